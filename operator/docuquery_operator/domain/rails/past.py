"""Checks that rest on what was tried before: budget, cooldown, back-off, breaker, recurrence (rules 4 to 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from ...api.common import format_time, rate
from ..ledger import FAILED, Attempt, Ledger, since, words_of
from ..world import Refusal
from .candidate import Candidate

PER_TARGET_DAILY = 6
BACKOFF_MINUTES = (1, 2, 4, 8, 10)
BREAKER_FAILURES = 3
BREAKER_OPEN = timedelta(hours=1)
RECURRENCE_WINDOW = timedelta(hours=4)
RECURRENCE_FAILED = 3
RECURRENCE_ANY = 5
DEMOTION_WINDOW = timedelta(days=7)
DEMOTION_OF, DEMOTION_FAILED = 5, 3


def one_actor(c: Candidate) -> Refusal | None:
    """Rule 4."""
    if not c.ledger.held_by_other(c.incident_uid, c.now):
        return None
    return Refusal(
        "4-one-actor",
        "TargetBusy",
        f"{words_of(c.ledger.holder)} is working on {c.planned.component}",
    )


def recurrence(c: Candidate) -> Refusal | None:
    """Rule 9."""
    same = [a for a in since(c.ledger.attempts, c.now - RECURRENCE_WINDOW) if a.cause == c.cause and a.outcome]
    failed = [a for a in same if a.failed]
    if len(failed) < RECURRENCE_FAILED and len(same) < RECURRENCE_ANY:
        return None
    return Refusal(
        "9-recurrence",
        "CauseKeepsComingBack",
        f"{c.cause} was acted on {len(same)} times in 4h, {len(failed)} without success; a person must find the root",
        same[0].at + RECURRENCE_WINDOW,
    )


def breaker(c: Candidate) -> Refusal | None:
    """Rule 8."""
    failures = _failures_in_a_row(c.ledger)
    if len(failures) < BREAKER_FAILURES:
        return None
    until = (failures[-1].finished or failures[-1].at) + BREAKER_OPEN
    if c.now >= until:
        return None
    return Refusal(
        "8-circuit-breaker", "CircuitOpen", f"{len(failures)} attempts in a row did not heal {c.planned.component}", until
    )


def backoff(c: Candidate) -> Refusal | None:
    """Rule 7."""
    failures = _failures_in_a_row(c.ledger)
    if not failures:
        return None
    last = failures[-1]
    minutes = BACKOFF_MINUTES[min(len(failures), len(BACKOFF_MINUTES)) - 1]
    until = (last.finished or last.at) + timedelta(minutes=minutes) * (1 + _jitter(last.id))
    if c.now >= until:
        return None
    return Refusal(
        "7-backoff", "Backoff", f"{len(failures)} failed attempt(s) on {c.planned.component}; waiting {minutes}m", until
    )


def cooldown(c: Candidate) -> Refusal | None:
    """Rule 6."""
    for attempt in reversed(c.ledger.attempts):
        if attempt.action != c.planned.action or attempt.outcome != "Healed":
            continue
        until = (attempt.finished or attempt.at) + c.planned.cooldown
        if c.now < until:
            return Refusal(
                "6-cooldown",
                "Cooldown",
                f"{c.planned.action} on {c.planned.component} succeeded at "
                f"{format_time(attempt.finished or attempt.at)}; that it is needed again so soon is for a person to see",
                until,
            )
        return None
    return None


def target_budget(c: Candidate) -> Refusal | None:
    """Rule 5, the target's part."""
    limit, per = rate(c.stack.spec.healing.budget.per_target)
    return _over(c, c.ledger.attempts, limit, per, c.planned.component) or _over(
        c,
        c.ledger.attempts,
        PER_TARGET_DAILY if limit <= PER_TARGET_DAILY else limit * 2,
        timedelta(days=1),
        c.planned.component,
    )


def stack_budget(c: Candidate) -> Refusal | None:
    """Rule 5, the Stack's part."""
    limit, per = rate(c.stack.spec.healing.budget.per_stack)
    everything = sorted((a for ledger in c.world.ledgers.values() for a in ledger.attempts), key=lambda a: a.at)
    return _over(c, everything, limit, per, "the Stack")


def _over(c: Candidate, attempts: Iterable[Attempt], limit: int, per: timedelta, what: str) -> Refusal | None:
    recent = since(attempts, c.now - per)
    if len(recent) < limit:
        return None
    return Refusal(
        "5-budget",
        "BudgetUsedUp",
        f"{len(recent)} actions on {what} within {int(per.total_seconds() // 60)}m, the limit is {limit}",
        recent[-limit].at + per if limit else None,
    )


def demoted(c: Candidate) -> str:
    """Why this remedy asks first although it could act: it has mostly failed lately; '' while it has not."""
    known = [a for a in c.ledger.attempts if a.outcome in (*FAILED, "Healed")]
    mine = [a for a in known if (a.cause, a.action) == (c.cause, c.planned.action)]
    recent = since(mine, c.now - DEMOTION_WINDOW)[-DEMOTION_OF:]
    failed = sum(a.failed for a in recent)
    if failed < DEMOTION_FAILED:
        return ""
    return f"{c.planned.action} failed {failed} of the last {len(recent)} times on {c.cause}, so a person must say yes first"


def _failures_in_a_row(ledger: Ledger) -> list[Attempt]:
    """Only Healed ends the row: a step that was let go before it had an effect proves nothing."""
    row: list[Attempt] = []
    for attempt in reversed(ledger.attempts):
        if attempt.outcome == "Healed":
            break
        if attempt.failed:
            row.insert(0, attempt)
    return row


def _jitter(seed: str) -> float:
    """0 … 10 %, the same for the same attempt, so that a second look does not move the time."""
    return int(hashlib.sha256(seed.encode()).hexdigest()[:4], 16) / 0xFFFF * 0.1
