"""ErrorRate: the errors in the logs of the last hour, or as long as asked, grouped by what stays the same in them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from ...api.common import delta, format_time
from ...api.maintenance_window import ErrorRateTask, TaskType
from ...domain.maintenance.task_outcome import Finding, Rank, Table, TaskOutcome
from ...domain.upkeep.error_groups import ErrorGroups, ErrorReader, Group, share
from ...domain.workloads.pods import PodFacts
from ...ports import ApiError
from .. import shared
from ..base import Round
from .base import Light, TaskContext, parameters
from .looking import components_of, round_of

# Of one pod; the log API begins at the oldest line.
READ_LIMIT = 16 * 1024 * 1024
POD_SECONDS = 60.0
PREVIOUS_LINES, PREVIOUS_LIMIT = 5_000, 1024 * 1024
MAX_PODS = 20
TOLD = 5
OFTEN = 10
# What does not go away by itself.
_GRAVE = re.compile(r"\bpanic|out of memory|no space left|disk full|corrupt", re.IGNORECASE)


@dataclass
class _Reading:
    """unread: why a log is missing; cut: pods whose log is longer than is read; read: pods whose log was."""

    groups: ErrorGroups
    read: int = 0
    unread: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


async def run(context: TaskContext) -> TaskOutcome:
    """Errors of all pods; a log that cannot be read is told, and never counts as one without errors."""
    asked: ErrorRateTask = parameters(context, "error_rate", ErrorRateTask)
    round_ = round_of(context)
    secrets = await _secrets(round_)
    reading = _Reading(ErrorGroups(round_.now - delta(asked.since), round_.now, secrets))
    for name, component in components_of(context).items():
        pods = [p for p in await shared.pods(round_, component) if p.phase != "Pending"]
        if not pods:
            reading.unread.append(f"{name}: no pod")
        for pod in sorted(pods, key=lambda p: p.name)[:MAX_PODS]:
            if why := context.stopping():
                return TaskOutcome(state="Aborted", summary=why[:512])
            context.say(f"reading the log of {pod.name}")
            await _read(context, reading, name, pod)
        reading.unread += [f"{p.name}: only {MAX_PODS} pods are read" for p in pods[MAX_PODS:][:1]]
    return _outcome(asked, reading)


async def _secrets(round_: Round) -> list[str]:
    """What the operator itself logs in with: a log may hold it where no pattern finds it."""
    named = [c.credentials.secret_name for c in round_.stack.spec.components.values() if c.credentials is not None]
    found = [await shared.credentials(round_, name) for name in dict.fromkeys(named)]
    return [value for secret in found for key, value in secret.items() if key != "username"]


async def _read(context: TaskContext, reading: _Reading, component: str, pod: PodFacts) -> None:
    reader, taken = ErrorReader(reading.groups, component, pod.name), 0
    try:
        if pod.restarts and pod.last_finished is not None and pod.last_finished >= reading.groups.since:
            await _previous(context, reader, pod)
        stream = context.ports.cluster.log_stream(
            context.namespace, pod.name, pod.container, reading.groups.since, READ_LIMIT
        )
        async with asyncio.timeout(POD_SECONDS), aclosing(stream):
            async for piece in stream:
                taken += len(piece)
                reader.feed(piece)
                await asyncio.sleep(0)
    except (ApiError, TimeoutError) as problem:
        reading.unread.append(f"{pod.name}: {type(problem).__name__} {problem}"[:200])
    else:
        reading.read += 1
    reader.finish()
    if taken >= READ_LIMIT:
        reading.cut.append(pod.name)


async def _previous(context: TaskContext, reader: ErrorReader, pod: PodFacts) -> None:
    """What the container said before it ended, which is what one looks for."""
    text = await context.ports.cluster.logs(context.namespace, pod.name, pod.container, True, PREVIOUS_LINES, PREVIOUS_LIMIT)
    reader.feed(text.encode() if text.endswith("\n") or not text else text.encode() + b"\n")


def _outcome(asked: ErrorRateTask, reading: _Reading) -> TaskOutcome:
    groups = reading.groups
    errors, lines = sum(groups.errors.values()), sum(groups.lines.values())
    top = groups.top(asked.top)
    minutes = (groups.until - groups.since).total_seconds() / 60
    if not reading.read:
        why = "; ".join(reading.unread[:3]) or "the Stack has no pods"
        return TaskOutcome(state="Failed", summary=f"no log could be read: {why}"[:512])
    said = f"{errors} errors in {len(groups.groups)} groups, in {lines} lines of {reading.read} pods over {asked.since}"
    return TaskOutcome(
        state="Succeeded",
        summary=f"{said}{f'; {len(reading.unread)} logs were not read' if reading.unread else ''}"[:512],
        evidence=tuple(f"{g.count}x {g.component}: {g.fingerprint}"[:300] for g in top[:10]),
        figures={
            "errors": errors,
            "errors per minute": round(errors / minutes, 3),
            "groups": len(groups.groups),
            "lines": lines,
            "pods read": reading.read,
            "pods not read": len(reading.unread),
            "share of the groups shown (%)": share(top, errors),
            "errors in groups that were dropped": groups.dropped,
        },
        tables=(_groups(top), _components(groups, lines, minutes)),
        series=tuple(s for s in groups.series() if any(value for _, value in s.points)),
        findings=tuple(_findings(top, reading)),
    )


def _groups(top: Sequence[Group]) -> Table:
    return Table(
        title="Errors, the most frequent first",
        columns=("error", "component", "count", "first seen (UTC)", "last seen (UTC)", "pods", "place", "one of them"),
        rows=tuple(
            (g.fingerprint, g.component, g.count, _time(g.first), _time(g.last), len(g.pods), g.place or None, g.sample)
            for g in top
        ),
    )


def _components(groups: ErrorGroups, lines: int, minutes: float) -> Table:
    return Table(
        title="Errors by component",
        columns=("component", "errors", "errors per minute", "lines read"),
        rows=tuple(
            (name, groups.errors[name], round(groups.errors[name] / minutes, 3), groups.lines.get(name, 0))
            for name in sorted(groups.errors)
        ),
    )


def _findings(top: Sequence[Group], reading: _Reading) -> list[Finding]:
    found = []
    for group in top[:TOLD]:
        last = f", last at {_time(group.last)}" if group.last else ""
        text = f"{group.component}: {group.count} {'time' if group.count == 1 else 'times'}{last}: {group.fingerprint}"
        found.append(Finding(rank=_rank(group), text=text[:512]))
    if reading.unread:
        text = f"the errors of these logs are not known: {'; '.join(reading.unread[:5])}"
        found.append(Finding(rank="Warning", text=text[:512]))
    if reading.cut:
        text = f"only the first {READ_LIMIT >> 20} MiB were read of {', '.join(reading.cut[:5])}: there may be more errors"
        found.append(Finding(rank="Warning", text=text[:512]))
    return found


def _rank(group: Group) -> Rank:
    if _GRAVE.search(group.fingerprint):
        return "Critical"
    return "Warning" if group.count >= OFTEN else "Info"


def _time(at: datetime | None) -> str | None:
    return format_time(at)[:19].replace("T", " ") if at is not None else None


KIND = Light(TaskType.ERROR_RATE, "errors in the logs of all pods, grouped by what stays the same in them", run)
