"""Probes of Celery: one look through the broker a round, and what the rounds mean together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...domain.workloads import celery
from ...domain.workloads.celery import Past, Seen
from ...domain.workloads.pods import PodFacts
from ...ports import Batch, CeleryFacts, CeleryTarget, TaskResult, Waiting
from .. import shared
from ..base import ProbeContext

KILLED_BY = 3
TASKS_TOLD, BATCHES_TOLD, TYPES_TOLD = 20, 32, 10
RESULTS_KEPT = 5000
WINDOW_SECONDS = 300.0
# A look of another asker is used again for this share of the interval.
REUSE_SHARE = 0.5


async def target_of(context: ProbeContext) -> CeleryTarget | str:
    """The broker of a worker, or in one word why there is none to ask."""
    settings, broker = context.component.celery, shared.broker_of(context.round.stack, context.component)
    if settings is None or broker is None:
        return "no_broker"
    host = await shared.address(context.round, broker[1])
    if not host:
        return "no_address"
    return await shared.celery_target(context.round, broker[1], settings, host) or "no_credentials"


async def facts(context: ProbeContext) -> CeleryFacts:
    """One look at workers and queues, shared by all who ask at about the same time."""

    async def read() -> CeleryFacts:
        key, now = ("celery facts", context.name), context.round.now.timestamp()
        known = context.round.memory.get(key)
        if known is not None and 0 <= now - known[0] < context.round.stack.spec.detection.pace * REUSE_SHARE:
            return known[1]  # type: ignore[no-any-return]
        target = await target_of(context)
        if isinstance(target, str):
            return CeleryFacts(target)
        seen = await context.round.ports.celery.look(target, context.round.timeout)
        context.round.memory[key] = now, seen
        return seen

    found: CeleryFacts = await context.round.once(("celery", context.name), read)
    return found


async def past(context: ProbeContext) -> Past:
    """What the rounds up to this one have shown."""

    async def read() -> Past:
        seen, pods = await facts(context), await shared.pods(context.round, context.component)
        key = ("celery past", context.name)
        before: Past = context.round.memory.get(key) or Past()
        if seen.outcome == "ok":
            before = celery.after(before, _seen(context, seen, pods))
            context.round.memory[key] = before
        return before

    found: Past = await context.round.once(("celery past", context.name), read)
    return found


def _seen(context: ProbeContext, seen: CeleryFacts, pods: Sequence[PodFacts]) -> Seen:
    waiting = seen.waiting
    return Seen(
        at=context.round.now.timestamp(),
        waiting=waiting.total if waiting else None,
        head=waiting.head if waiting else "",
        held_ids=waiting.held_ids if waiting else (),
        held=waiting.held if waiting else 0,
        begun=sum(n.begun for n in seen.nodes),
        active=frozenset(t.id for n in seen.nodes for t in n.active),
        pools={n.name: n.pool for n in seen.nodes},
        restarts=sum(p.restarts for p in pods),
    )


async def health(context: ProbeContext) -> str:
    """Why the workers do no work, as far as the broker can tell; '' where only their pods can say more."""
    finding = await CeleryWorkers().look(context)
    if finding["outcome"] not in ("ok", "no_broker"):
        return f"broker {finding['outcome']}"
    words = {"dead": "no worker listens", "frozen": "the worker is frozen"}
    return words.get(finding["state"], "")


class CeleryWorkers:
    """Asks all workers by remote control; whoever listens and does not answer is silent."""

    name = "celeryWorkers"
    doc = (
        "the workers of Celery, asked through their broker: `outcome`, the broker's own (as of redisReady, or no_broker), "
        "`state` (brokerDown, dead, frozen, silent, idle, busy, unknown), workers that are `subscribed`, that `answered`, "
        "that are `silent`; `dead` when none listens, `frozen` when a ready pod says nothing that could answer while it "
        "works; tasks `active` in how many `slots`, `saturated` when all are taken, `idle` when nobody has anything to do; "
        "the oldest task by `oldestTask`, `oldestId` and `oldestSeconds`; `stalledSeconds` since messages wait and nothing "
        "was begun or finished; `killer`, a task that was there each time when a worker died; `unconsumed`, queues that "
        "nobody takes from"
    )
    gives: tuple[str, ...] = (
        *("outcome", "state", "subscribed", "answered", "silent", "dead", "frozen", "active", "reserved", "slots"),
        *("saturated", "idle", "oldestTask", "oldestId", "oldestSeconds", "tasks", "stalledSeconds", "killer", "unconsumed"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; only `outcome` and `state` where the broker does not answer."""
        seen, before = await facts(context), await past(context)
        pods = await shared.pods(context.round, context.component)
        if seen.outcome != "ok" or seen.subscribed is None:
            text = f"the broker does not answer: {seen.outcome} {seen.message}".strip()
            return {"outcome": seen.outcome, "state": "brokerDown", "summary": text}
        finding = self._alive(seen, before, pods) | self._work(seen, before)
        if context.component.celery and seen.waiting:
            consumed = {q for n in seen.nodes for q in n.queues}
            lost = celery.unconsumed(context.component.celery.queues, seen.waiting.by_queue, consumed)
            finding["unconsumed"] = lost if seen.nodes and seen.complete else []
        finding["summary"] = _words(finding)
        return finding

    @staticmethod
    def _alive(seen: CeleryFacts, before: Past, pods: Sequence[PodFacts]) -> dict[str, Any]:
        answered, subscribed = len(seen.nodes), seen.subscribed or 0
        ready = sum(p.ready and not p.terminating for p in pods)
        # A worker that ends warmly still listens and answers no more.
        silent = max(0, subscribed - answered - sum(p.terminating for p in pods))
        # Where remote control is switched off nobody ever listens.
        dead = subscribed == 0 and (ready == 0 or bool(before.pools))
        frozen = silent > 0 and ready > answered and before.silence_tells
        active = sum(len(n.active) for n in seen.nodes)
        state = celery.state_of(seen.outcome, answered, frozen, dead, active, silent)
        return {"outcome": seen.outcome, "state": state, "subscribed": subscribed, "answered": answered, "silent": silent,
                "dead": dead, "frozen": frozen}  # fmt: skip

    @staticmethod
    def _work(seen: CeleryFacts, before: Past) -> dict[str, Any]:
        tasks = sorted((t for n in seen.nodes for t in n.active), key=lambda t: -(t.age_seconds or 0.0))
        slots, held = sum(n.slots for n in seen.nodes), seen.waiting.held if seen.waiting else 0
        reserved = sum(n.reserved for n in seen.nodes)
        ages = [t.age_seconds for t in tasks if t.age_seconds is not None]
        if not seen.complete and seen.waiting and seen.waiting.held_oldest is not None:
            # Whoever is silent may work on what he took long ago.
            ages.append(seen.waiting.held_oldest)
        finding: dict[str, Any] = {
            "active": len(tasks),
            "reserved": reserved,
            "slots": slots,
            "saturated": slots > 0 and len(tasks) >= slots,
            "idle": bool(seen.nodes) and seen.complete and not tasks and not reserved and not held,
            "oldestTask": tasks[0].name if tasks else "",
            "oldestId": tasks[0].id if tasks else "",
            "tasks": [{"id": t.id, "name": t.name, "ageSeconds": round(t.age_seconds or 0.0)} for t in tasks[:TASKS_TOLD]],
            "stalledSeconds": before.stalled,
            "killer": before.killer(KILLED_BY),
        }
        if ages or seen.complete:
            finding["oldestSeconds"] = max(ages, default=0.0)
        return finding


def _words(finding: dict[str, Any]) -> str:
    text = f"{finding['state']}: {finding['answered']} of {finding['subscribed']} workers answer"
    if finding["active"]:
        age = shared.age_words(finding.get("oldestSeconds", 0))
        text += f", {finding['active']} tasks in {finding['slots']} slots, the oldest {finding['oldestTask']} for {age}"
    if finding["stalledSeconds"] > 0:
        text += f"; nothing was begun or finished for {shared.age_words(finding['stalledSeconds'])} though messages wait"
    if finding["killer"]:
        text += f"; task {finding['killer']} was there each time when a worker died"
    return text


class CeleryQueue:
    """Lengths of the queues, and what workers hold without having acknowledged it."""

    name = "celeryQueue"
    doc = (
        "messages `waiting` in the Stack's queues, all priorities together, and `byQueue`; `growing` when more wait than "
        "half a minute ago; `nextTask`, the name of the one that is next, and `sentSeconds`, its age where it says when it "
        "was sent; `held` by workers and not acknowledged, the first since `heldSeconds`, their `heldTasks`, and how many "
        "of these were `redelivered`; nothing when the broker does not answer"
    )
    gives: tuple[str, ...] = (
        *("waiting", "byQueue", "growing", "nextTask", "sentSeconds", "held", "heldSeconds", "heldTasks", "redelivered"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        seen, before = await facts(context), await past(context)
        if seen.waiting is None:
            return {"summary": "no figures"}
        return _queue(seen.waiting, before)


def _queue(waiting: Waiting, before: Past) -> dict[str, Any]:
    finding: dict[str, Any] = {
        "waiting": waiting.total,
        "byQueue": dict(waiting.by_queue),
        "growing": before.growing,
        "nextTask": waiting.head_task,
        "held": waiting.held,
        "heldTasks": dict(waiting.held_tasks),
        "redelivered": waiting.redelivered,
    }
    text = f"{waiting.total} messages wait{' and grow in number' if before.growing else ''}"
    if waiting.head_task:
        text += f", next {waiting.head_task}"
    if waiting.sent_seconds is not None:
        finding["sentSeconds"] = waiting.sent_seconds
    if waiting.held_oldest is not None:
        finding["heldSeconds"] = waiting.held_oldest
        text += f"; {waiting.held} held by workers, the first for {shared.age_words(waiting.held_oldest)}"
    finding["summary"] = text
    return finding


class CeleryFailures:
    """How tasks ended lately, from the result back end; never what they returned or were called with."""

    name = "celeryFailures"
    doc = (
        "tasks that ended within 5m by the result back end: how many `finished` and `failed`, `failedPercent`, `byType` of "
        "exception and `byTask`, `worstTask` with `worstPercent` of the failures; `complete` when all keys were read; a "
        "part of the keys is read each round, and nothing when the broker does not answer"
    )
    gives: tuple[str, ...] = (
        *("finished", "failed", "failedPercent", "byType", "byTask", "worstTask", "worstPercent", "complete"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        target = await target_of(context)
        if isinstance(target, str):
            return {"summary": "no figures"}
        key = ("celery results", context.name)
        cursor, passes, known = context.round.memory.get(key, (0, 0, {}))
        page = await context.round.ports.celery.results(target, cursor, context.round.timeout)
        if page is None:
            return {"summary": "the result back end does not answer"}
        fresh = {**known, **{r.id: r for r in page.results}}
        kept = {i: r for i, r in fresh.items() if r.finished is not None and page.now - r.finished <= WINDOW_SECONDS}
        kept = dict(list(kept.items())[-RESULTS_KEPT:])
        passes += page.cursor == 0
        context.round.memory[key] = page.cursor, passes, kept
        return _failures(list(kept.values()), passes > 0)


def _failures(ended: Sequence[TaskResult], complete: bool) -> dict[str, Any]:
    failed = [r for r in ended if r.failed]
    tasks, types = Counter(r.name or "unknown" for r in failed), Counter(r.error or "unknown" for r in failed)
    worst, count = next(iter(tasks.most_common(1)), ("", 0))
    text = f"{len(failed)} of {len(ended)} tasks that ended within {WINDOW_SECONDS / 60:.0f}m have failed"
    if failed:
        text += ": " + ", ".join(f"{n} {name}" for name, n in types.most_common(3)) + f"; {count} of them {worst}"
    return {
        "finished": len(ended),
        "failed": len(failed),
        "failedPercent": round(100 * len(failed) / len(ended), 1) if ended else 0.0,
        "byType": dict(types.most_common(TYPES_TOLD)),
        "byTask": dict(tasks.most_common(TYPES_TOLD)),
        "worstTask": worst,
        "worstPercent": round(100 * count / len(failed), 1) if failed else 0.0,
        "complete": complete,
        "summary": text,
    }


class QuarantineProbe:
    """What is held in quarantine on the broker of a worker."""

    name = "quarantine"
    doc = (
        "messages of the worker's queues in quarantine: how many `messages`, the `batches` with attempt, queue, number, "
        "digest and since when, and `newestSeconds`, the age of the newest; nothing when the broker does not answer"
    )
    gives: tuple[str, ...] = ("messages", "batches", "newestSeconds")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        target = await target_of(context)
        if isinstance(target, str):
            return {"summary": "no figures"}
        batches = await context.round.ports.quarantine.held(target, context.round.timeout)
        if batches is None:
            return {"summary": "no figures"}
        finding: dict[str, Any] = {
            "messages": sum(b.messages for b in batches),
            "batches": [_batch(b) for b in batches[:BATCHES_TOLD]],
        }
        text = f"{finding['messages']} messages in {len(batches)} batches"
        if batches:
            finding["newestSeconds"] = max(0.0, context.round.now.timestamp() - max(b.since for b in batches))
            text += "".join(f"; {b.messages} of {b.queue.encode('unicode_escape').decode()}" for b in batches[:3])
        finding["summary"] = text
        return finding


def _batch(batch: Batch) -> dict[str, Any]:
    return {"attempt": batch.attempt, "queue": batch.queue, "messages": batch.messages, "since": round(batch.since),
            "digest": batch.digest}  # fmt: skip
