"""HealthCheck: every component's probes once, as they stand."""

from __future__ import annotations

from ...api.maintenance_window import TaskType
from ...domain.maintenance.task_outcome import Finding, Table, TaskOutcome
from ...domain.world import Neighbour
from .base import Light, TaskContext

WORDS = {True: "healthy", False: "not healthy", None: "unknown"}


async def run(context: TaskContext) -> TaskOutcome:
    """A component that is ill is a finding, not a failure: the task has looked and says so."""
    seen = await context.health()
    bad = sorted(name for name, found in seen.items() if found.healthy is not True)
    said = f"{len(seen) - len(bad)} of {len(seen)} components are healthy"
    return TaskOutcome(
        state="Succeeded",
        summary=f"{said}; not: {', '.join(bad)}"[:512] if bad else said,
        evidence=tuple(_line(name, seen[name])[:512] for name in sorted(seen, key=lambda n: (n not in bad, n)))[:12],
        figures={"components": len(seen), "healthy": len(seen) - len(bad)},
        tables=(
            Table(
                title="Components",
                columns=("component", "state", "what was seen"),
                rows=tuple((name, WORDS[found.healthy], found.summary) for name, found in sorted(seen.items())),
            ),
        ),
        findings=tuple(
            Finding(rank="Critical" if seen[name].healthy is False else "Warning", text=_line(name, seen[name])[:512])
            for name in bad
        ),
    )


def _line(name: str, found: Neighbour) -> str:
    return f"{name}: {WORDS[found.healthy]}" + (f" ({found.summary})" if found.summary else "")


KIND = Light(TaskType.HEALTH_CHECK, "every component's probes once", run)
