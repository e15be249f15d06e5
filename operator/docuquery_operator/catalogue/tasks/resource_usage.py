"""ResourceUsage: how full everything is now, and one sample of the day for the trend."""

from __future__ import annotations

from datetime import timedelta

from ...api.maintenance_window import TaskType
from ...domain.maintenance.task_outcome import TaskOutcome
from ...domain.upkeep.measures import Measured, findings, measure_table, pod_table, told
from ...ports import ApiError, Transient
from .base import Light, TaskContext
from .looking import components_of, round_of
from .measuring import measured
from .sampling import sampled

RECENT = timedelta(hours=24)
SHOWN = 10


async def run(context: TaskContext) -> TaskOutcome:
    """What cannot be measured is a finding, not a failure."""
    seen = await measured(round_of(context), components_of(context))
    kept = await _sampled(context, seen)
    by_share = sorted((m for m in seen.measures if m.share is not None), key=lambda m: m.share or 0.0, reverse=True)
    fullest = f"; fullest: {by_share[0].component}, {by_share[0].what}, {by_share[0].share:g}%" if by_share else ""
    said = f"{len(seen.pods)} pods and {len(seen.measures)} figures were read{fullest}"
    return TaskOutcome(
        state="Succeeded",
        summary=said[:512],
        evidence=tuple(f"{m.component}: {m.what}: {told(m)}, {m.share:g}% of its limit"[:512] for m in by_share[:SHOWN]),
        figures=_figures(seen, kept),
        tables=(measure_table(seen.measures), pod_table(seen.pods)),
        findings=tuple(findings(seen, seen.at - RECENT)),
    )


async def _sampled(context: TaskContext, seen: Measured) -> int | None:
    """How many days there are by now; None where today's could not be written."""
    try:
        return len((await sampled(context.ports, context.stack, seen)).days)
    except (ApiError, Transient):
        return None


def _figures(seen: Measured, kept: int | None) -> dict[str, str | int | float | bool | None]:
    single = {f"{m.component}: {m.what} ({m.unit})": m.value for m in seen.measures if "/cpu" not in m.key}
    return {"pods": len(seen.pods), "restarts": sum(p.pod.restarts for p in seen.pods), **single, "days of samples": kept}


KIND = Light(TaskType.RESOURCE_USAGE, "how full pods, stores and connections are; one sample of the day is kept", run)
