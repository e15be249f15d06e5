"""CapacityPlan: the trend of the daily samples, the day each resource runs out as a range, and what a step would buy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

from ...api.common import delta
from ...api.maintenance_window import CapacityPlanTask, TaskType
from ...api.stack import Component, ComponentType
from ...domain.maintenance.task_outcome import Cell, Series, TaskOutcome
from ...domain.reports.maintenance import thinned
from ...domain.upkeep import capacity
from ...domain.upkeep.capacity import Forecast, forecast
from ...domain.upkeep.measures import Measured
from ...domain.upkeep.samples import Samples
from .base import Light, TaskContext, parameters
from .looking import components_of, round_of
from .measuring import measured
from .sampling import sampled

LONGEST = 3650
PLOTS, POINTS = 4, 90


async def run(context: TaskContext) -> TaskOutcome:
    """Today's sample is taken first, so that the newest is of today."""
    asked: CapacityPlanTask = parameters(context, "capacity_plan", CapacityPlanTask)
    components = components_of(context)
    seen = await measured(round_of(context), components)
    samples = await sampled(context.ports, context.stack, seen)
    horizon = max(1, min(LONGEST, delta(asked.horizon).days))
    forecasts = _forecasts(seen, components, samples, float(asked.warn_at.rstrip("%")) / 100)
    today = seen.at.date()
    soon = [f for f in forecasts if f.earliest is not None and f.earliest <= horizon]
    few = sum(f.state == "TooFewSamples" for f in forecasts)
    said = f"{len(soon)} of {len(forecasts)} resources may run out within {horizon} days"
    return TaskOutcome(
        state="Succeeded",
        summary=f"{said}{f'; not enough data for {few}' if few else ''}"[:512],
        evidence=tuple(f.text for f in capacity.findings(soon, today, horizon)[:10]),
        figures=_figures(forecasts, samples, horizon, asked.warn_at),
        tables=(capacity.table(forecasts, today, horizon),),
        series=tuple(_series(forecasts, samples, horizon)),
        findings=tuple(capacity.findings(forecasts, today, horizon)),
    )


def _forecasts(seen: Measured, components: Mapping[str, Component], samples: Samples, warn_at: float) -> list[Forecast]:
    # Only what may run side by side without sharing data takes its part of the load.
    spread = {name for name, c in components.items() if c.type in (ComponentType.API, ComponentType.CELERY_WORKER)}
    pods = Counter(p.component for p in seen.pods if p.component in spread)
    return [forecast(m, samples.of(m.key), warn_at, pods[m.component]) for m in seen.measures]


def _figures(forecasts: Sequence[Forecast], samples: Samples, horizon: int, warn_at: str) -> dict[str, Cell]:
    first: date | None = min(samples.days, default=None)
    return {
        "days of samples": len(samples.days),
        "first sample": str(first) if first else None,
        "horizon (days)": horizon,
        "counts as full": warn_at,
        "resources": len(forecasts),
        "with a trend": sum(f.trend is not None for f in forecasts),
    }


def _series(forecasts: Sequence[Forecast], samples: Samples, horizon: int) -> list[Series]:
    """Of those that run out first; the others stand in the table."""
    shown = [f for f in sorted(forecasts, key=capacity.urgency) if samples.of(f.measure.key) and f.full is not None][:PLOTS]
    return [thinned(s, POINTS) for f in shown for s in capacity.series(f, samples.of(f.measure.key), horizon)]


KIND = Light(TaskType.CAPACITY_PLAN, "trend of the daily samples, when each resource runs out, what a step would buy", run)
