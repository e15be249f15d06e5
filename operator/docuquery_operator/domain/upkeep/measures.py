"""How full things are: what was measured of each, its limit, and how serious that is. No data is told, and never zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..maintenance.task_outcome import Finding, Table
from ..reports.scales import figure
from ..workloads.pods import PodFacts

ALMOST, SOON = 95.0, 80.0


@dataclass(frozen=True)
class Measure:
    """One thing that can run out.

    key: of its samples, such as postgres/bytes. value: None: not known, and `problem` says why. limit: None: it has none, or
    it is not known. limit_name: what is to be raised. at_least: the true value is this or more.
    """

    key: str
    component: str
    what: str
    unit: str
    value: float | None = None
    limit: float | None = None
    limit_name: str = ""
    problem: str = ""
    at_least: bool = False

    @property
    def share(self) -> float | None:
        """Percent of the limit."""
        return round(100 * self.value / self.limit, 1) if self.value is not None and self.limit else None


@dataclass(frozen=True)
class PodUse:
    """One pod's main container. Processor in cores, memory in bytes; None where it is not known or not set."""

    component: str
    pod: PodFacts
    cpu: float | None = None
    memory: float | None = None
    requests: tuple[float | None, float | None] = (None, None)
    limits: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Measured:
    """One look at everything. problems: why something is not known."""

    at: datetime
    pods: tuple[PodUse, ...] = ()
    measures: tuple[Measure, ...] = ()
    problems: tuple[str, ...] = field(default=())

    def values(self) -> dict[str, float]:
        """What a sample of the day keeps."""
        return {m.key: m.value for m in self.measures if m.value is not None}


def percent(value: float | None, of: float | None) -> float | None:
    """None where either is not known."""
    return round(100 * value / of, 1) if value is not None and of else None


def of_pods(pods: Sequence[PodUse]) -> list[Measure]:
    """Processor and memory of each component by its fullest pod."""
    found = []
    for component in dict.fromkeys(p.component for p in pods):
        ours = [p for p in pods if p.component == component]
        for n, (what, unit) in enumerate((("cpu", "cores"), ("memory", "bytes"))):
            used = [(u, p.limits[n]) for p in ours if (u := (p.cpu, p.memory)[n]) is not None]
            if used:
                value, limit = max(used, key=lambda pair: pair[0] / pair[1] if pair[1] else 0.0)
                name = f"{what} of its fullest pod"
                limit_name = f"the {what} limit of {component}" if limit else ""
                found.append(Measure(f"{component}/{what}", component, name, unit, value, limit, limit_name))
    return found


def pod_table(pods: Sequence[PodUse]) -> Table:
    """A row a pod."""
    return Table(
        title="Pods",
        columns=(
            *("pod", "component", "cpu (cores)", "cpu of request (%)", "cpu of limit (%)", "memory (bytes)"),
            *("memory of request (%)", "memory of limit (%)", "restarts", "last end"),
        ),
        rows=tuple(
            (
                *(p.pod.name, p.component, p.cpu, percent(p.cpu, p.requests[0]), percent(p.cpu, p.limits[0]), p.memory),
                *(percent(p.memory, p.requests[1]), percent(p.memory, p.limits[1]), p.pod.restarts),
                p.pod.last_reason or (None if p.pod.restarts else "none"),
            )
            for p in pods
        ),
    )


def measure_table(measures: Sequence[Measure]) -> Table:
    """A row for each thing that can run out, the fullest first; figures in their own units, as text."""
    return Table(
        title="What can run out",
        columns=("what", "used of limit (%)", "used", "limit", "limited by"),
        rows=tuple(
            (
                f"{m.component}: {m.what}",
                m.share,
                told(m),
                figure(m.limit, m.unit) if m.limit else None,
                m.limit_name or None,
            )
            for m in sorted(measures, key=lambda m: -(m.share if m.share is not None else -1.0))
        ),
    )


def told(measure: Measure) -> str | None:
    """The value for people."""
    if measure.value is None:
        return None
    return f"{'at least ' if measure.at_least else ''}{figure(measure.value, measure.unit)}"


def findings(seen: Measured, since: datetime) -> list[Finding]:
    """What is almost full, what was killed for memory or began anew since then, and what is not known."""
    return [*_full(seen.measures), *_pods(seen.pods, since), *_unknown(seen)]


def _full(measures: Sequence[Measure]) -> Iterator[Finding]:
    for m in sorted(measures, key=lambda m: m.share or 0.0, reverse=True):
        if m.share is not None and m.limit and m.share >= SOON:
            text = f"{m.component}: {m.what} is at {m.share:g}% of {figure(m.limit, m.unit)}; raise {m.limit_name}"
            # A processor at its limit is slow; what is full stops.
            grave = m.share >= ALMOST and m.unit != "cores"
            yield Finding(rank="Critical" if grave else "Warning", text=text[:512])


def _pods(pods: Sequence[PodUse], since: datetime) -> Iterator[Finding]:
    for p in pods:
        ended = p.pod.last_finished
        if p.pod.restarts and ended is not None and ended >= since:
            why = p.pod.last_reason or "no reason told"
            rank = "Critical" if why == "OOMKilled" else "Warning"
            text = f"{p.component}: {p.pod.name} began anew ({why}), {p.pod.restarts} restarts in all"
            yield Finding.model_validate({"rank": rank, "text": text[:512]})
    for component in dict.fromkeys(p.component for p in pods if p.limits[1] is None):
        text = f"{component}: no memory limit: one pod may take what the whole node has"
        yield Finding(rank="Info", text=text[:512])


def _unknown(seen: Measured) -> Iterator[Finding]:
    for problem in seen.problems:
        yield Finding(rank="Info", text=f"not known: {problem}"[:512])
