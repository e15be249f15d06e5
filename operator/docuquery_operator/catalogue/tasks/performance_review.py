"""PerformanceReview: latency and errors, slow statements, hit rates, and the rate limit against what is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...api.common import seconds
from ...api.maintenance_window import ReviewTask, TaskType
from ...api.stack import Component, ComponentType
from ...domain.maintenance.task_outcome import Cell, Finding, Series, Table, TaskOutcome
from ...domain.reports.maintenance_parts import RANKS
from . import review_api, review_stores
from .base import Light, TaskContext, parameters
from .looking import components_of, round_of


@dataclass
class _Review:
    """What was collected. sources: who says so."""

    figures: dict[str, Cell] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


async def run(context: TaskContext) -> TaskOutcome:
    """What cannot be read is a finding that says what to do about it."""
    asked: ReviewTask = parameters(context, "performance_review", ReviewTask)
    found = _Review()
    for name, component in components_of(context).items():
        if why := context.stopping():
            return TaskOutcome(state="Aborted", summary=why[:512])
        context.say(f"reviewing {name}")
        await _component(context, asked, found, name, component)
    ranked = sorted(found.findings, key=lambda f: RANKS.index(f.rank))
    counts = ", ".join(f"{sum(f.rank == r for f in ranked)} {r.lower()}" for r in RANKS)
    return TaskOutcome(
        state="Succeeded",
        summary=f"{len(ranked)} findings ({counts})",
        evidence=(*(f.text for f in ranked if f.rank != "Info"), *found.sources)[:10],
        figures=found.figures,
        tables=tuple(found.tables),
        series=tuple(found.series),
        findings=tuple(ranked),
    )


async def _component(context: TaskContext, asked: ReviewTask, found: _Review, name: str, component: Component) -> None:
    round_ = round_of(context)
    match component.type:
        case ComponentType.API:
            api = await review_api.review(round_, name, component, seconds(asked.since))
            found.figures |= review_api.figures_of(api)
            found.tables += review_api.tables(api)
            found.findings += review_api.findings(api, context.stack.spec.thresholds)
            found.series += [api.curve] if api.curve else []
            found.sources += [f"{name}: {api.source}"[:512]] if api.source else []
        case ComponentType.POSTGRESQL:
            database = await review_stores.database(round_, component, asked.slow_queries)
            found.figures |= review_stores.database_figures(name, database)
            found.tables += review_stores.database_tables(name, database)
            found.findings += review_stores.database_findings(name, database)
        case ComponentType.REDIS:
            cache = await review_stores.cache(round_, name, component)
            found.figures |= review_stores.cache_figures(cache)
            found.findings += review_stores.cache_findings(cache)
        case _:
            pass


KIND = Light(
    TaskType.PERFORMANCE_REVIEW,
    "latency, errors, slow statements, hit rates, rate limit against traffic; findings ranked",
    run,
)
