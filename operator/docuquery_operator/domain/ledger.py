"""Attempts on one target, kept in the annotations of the target's Lease so that they survive restarts and deletions.

The Lease is taken and the attempt entered in one conditional write: one actor per target and a true budget in the same step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..api.common import format_time

ENTRIES_KEPT = 50
KEEP_FOR = timedelta(days=7)
LEASE_FOR = timedelta(seconds=60)
FAILED = ("NotHealed", "Inconclusive", "Regressed", "Unknown")
# Holders that are tasks of MaintenanceWindows; all others are uids of Incidents.
TASK_HOLDER = "task/"


@dataclass(frozen=True)
class Attempt:
    """One attempt; outcome is empty while it runs."""

    id: str
    at: datetime
    action: str
    cause: str
    incident: str
    outcome: str = ""
    finished: datetime | None = None

    @property
    def failed(self) -> bool:
        """True for every verdict but Healed."""
        return self.outcome in FAILED


@dataclass(frozen=True)
class Ledger:
    """Attempts on one target, oldest first, and who holds the target now."""

    attempts: tuple[Attempt, ...] = ()
    holder: str = ""
    renewed: datetime | None = None

    def find(self, attempt_id: str) -> Attempt | None:
        """The attempt of this id."""
        return next((a for a in self.attempts if a.id == attempt_id), None)

    def held_by_other(self, holder: str, now: datetime) -> bool:
        """True while somebody else holds the target and has renewed lately; a clock that was set back renews nothing."""
        return bool(self.holder) and self.holder != holder and self.renewed is not None and self._age(now) < LEASE_FOR

    def keep(self, attempt: Attempt, now: datetime) -> Ledger:
        """With the attempt entered and its incident as holder, renewed when that is due; doing it twice is doing it once."""
        if self.find(attempt.id) and self.holder == attempt.incident and self._age(now) <= LEASE_FOR / 3:
            return self
        known = self.attempts if self.find(attempt.id) else (*self.attempts, attempt)
        kept = tuple(a for a in known if now - a.at < KEEP_FOR)[-ENTRIES_KEPT:]
        return Ledger(kept, attempt.incident, now)

    def _age(self, now: datetime) -> timedelta:
        return LEASE_FOR if self.renewed is None else abs(now - self.renewed)

    def finish(self, attempt_id: str, outcome: str, now: datetime) -> Ledger:
        """With the verdict of an attempt; a verdict once given stays. The target is free when it was held for it."""
        attempts = tuple(
            replace(a, outcome=outcome, finished=now) if a.id == attempt_id and not a.outcome else a for a in self.attempts
        )
        mine = self.find(attempt_id)
        free = mine is not None and mine.incident == self.holder
        return Ledger(attempts, "" if free else self.holder, None if free else self.renewed)

    def heals(self, now: datetime, limit: timedelta) -> bool:
        """Whether an incident's attempt has no verdict yet, also while nobody is there who would renew the Lease."""
        return any(not a.outcome and not a.incident.startswith(TASK_HOLDER) for a in self.settled(now, limit).attempts)

    def settled(self, now: datetime, limit: timedelta) -> Ledger:
        """With attempts that nobody finished within the limit counted as Unknown, which is a failure."""
        return replace(
            self,
            attempts=tuple(
                replace(a, outcome="Unknown", finished=a.at + limit) if not a.outcome and now - a.at > limit else a
                for a in self.attempts
            ),
        )


def encode(ledger: Ledger) -> str:
    """JSON for the annotation."""

    def entry(attempt: Attempt) -> dict[str, Any]:
        row = asdict(attempt)
        row["at"] = format_time(attempt.at)
        row["finished"] = format_time(attempt.finished) if attempt.finished else None
        return {k: v for k, v in row.items() if v not in (None, "")}

    return json.dumps([entry(a) for a in ledger.attempts], separators=(",", ":"))


def decode(text: str, holder: str, renewed: datetime | None) -> Ledger:
    """From the annotation; ValueError when somebody has spoilt it."""
    rows: list[Mapping[str, str]] = json.loads(text) if text else []
    if not isinstance(rows, list):
        raise ValueError("the ledger of attempts is not a list")
    return Ledger(tuple(_attempt(row) for row in rows), holder, renewed)


def _attempt(row: Mapping[str, str]) -> Attempt:
    try:
        return Attempt(
            id=row["id"],
            at=parse_time(row["at"]),
            action=row["action"],
            cause=row.get("cause", ""),
            incident=row.get("incident", ""),
            outcome=row.get("outcome", ""),
            finished=parse_time(row["finished"]) if row.get("finished") else None,
        )
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"the ledger of attempts has a broken entry: {problem}") from problem


def parse_time(text: str) -> datetime:
    """RFC 3339 to UTC."""
    value = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def since(attempts: Iterable[Attempt], start: datetime) -> list[Attempt]:
    """Those that began at or after start."""
    return [a for a in attempts if a.at >= start]


def words_of(holder: str) -> str:
    """Who holds a target, for people."""
    return "a maintenance task" if holder.startswith(TASK_HOLDER) else "another incident"
