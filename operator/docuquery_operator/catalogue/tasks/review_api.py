"""The api's part of a PerformanceReview: latency and errors by its own metrics, its rate limit against what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ...api.common import seconds
from ...api.detection import Thresholds
from ...api.stack import Component
from ...domain.detection.thresholds import Reading, judge, percent, quantile_words
from ...domain.maintenance.task_outcome import Cell, Finding, Rank, Series, Table
from ...domain.traffic import http_metrics, rate_limits
from ...domain.traffic.counters import Grown, Quantile
from ...domain.traffic.figures import Timeline, merged, report
from ...domain.traffic.http_metrics import Figures, Key
from ...domain.traffic.log_reader import LogReader
from ...domain.traffic.metrics_text import MetricsError
from ...domain.traffic.pod_log import Stamped
from ...domain.workloads.pods import PodFacts
from ...ports import ApiError
from .. import prometheus, shared
from ..base import ProbeContext, Round
from ..probes.ratelimit import limits_of_pods

LOG_LIMIT, LOG_SECONDS, MAX_PODS = 16 * 1024 * 1024, 60.0, 20
HOUR = timedelta(hours=1)
MINUTE = 60
PATHS = 20
# Refusing more than this share of all requests is more than stopping a few.
MANY_REFUSED = 5.0
# A limit that is so many times what the busiest client asks stops nobody.
IDLE_LIMIT = 10.0
_RANKS: Mapping[str, Rank] = {"critical": "Critical", "warning": "Warning", "info": "Info"}


@dataclass(frozen=True)
class ApiReview:
    """What was read. traffic: figures of the access log of the last hour, empty where there are none.

    paced: whether it is known in how much time the figures came together.
    """

    name: str
    figures: Figures | None = None
    source: str = ""
    problem: str = ""
    limit: Mapping[str, int] = field(default_factory=dict)
    mixed: bool = False
    traffic: Mapping[str, Any] = field(default_factory=dict)
    traffic_problem: str = ""
    curve: Series | None = None
    paced: bool = True


async def review(round_: Round, name: str, component: Component, since: float) -> ApiReview:
    """Read everything of one api; what cannot be read is said."""
    pods = sorted((p for p in await shared.pods(round_, component) if p.ready and p.ip), key=lambda p: p.name)[:MAX_PODS]
    figures, source, problem = await _figures(round_, component, pods, since)
    limit, mixed = rate_limits.in_force(await limits_of_pods(ProbeContext(round_, name, component)))
    traffic, curve, unread = await _traffic(round_, name, pods)
    paced = "Prometheus" in source[:10] or all(p.started is not None and p.started < round_.now for p in pods)
    return ApiReview(name, figures, source, problem, limit, mixed, traffic, unread, curve, paced)


async def _figures(
    round_: Round, component: Component, pods: list[PodFacts], since: float
) -> tuple[Figures | None, str, str]:
    own = [p.path for p in (component.health, component.metrics) if p is not None]
    server, why = round_.stack.spec.thresholds.prometheus, ""
    if server is not None:
        found = await prometheus.figures(round_, server, since, own)
        if isinstance(found, Figures):
            return found, f"Prometheus server {server.service}, the last {since / 3600:g} h", ""
        why = f"Prometheus server {server.service}: {found}; "
    if component.endpoint is None:
        return None, "", f"{why}the component has no endpoint"
    pages = [await _page(round_, component, pod, own) for pod in pods]
    problems = [p for p in pages if isinstance(p, str)]
    read = [(pod, p) for pod, p in zip(pods, pages, strict=True) if isinstance(p, http_metrics.Reading) and p.speaks]
    if not read:
        return None, "", f"{why}{problems[0] if problems else 'no pod tells metrics of requests'}"
    return _since_begin(read, round_.now), f"{why}metrics of {len(read)} pods since they began", "; ".join(problems[:2])


async def _page(round_: Round, component: Component, pod: PodFacts, own: list[str]) -> http_metrics.Reading | str:
    answer = await shared.metrics_page(round_, component, pod)
    if answer.status != 200 or answer.cut:
        return f"{pod.name}: {answer.problem or f'GET {shared.metrics_path(component)}: {answer.status}'}"[:200]
    try:
        return await asyncio.to_thread(http_metrics.read, answer.body, own)
    except MetricsError as problem:
        return f"{pod.name}: {problem}"[:200]


def _since_begin(read: list[tuple[PodFacts, http_metrics.Reading]], now: datetime) -> Figures | None:
    """Totals since each process began; a pod that was started anew in its container has lost what was before."""
    by: dict[Key, float] = {}
    ages = [(now - pod.started).total_seconds() if pod.started else 0.0 for pod, _ in read]
    for _, page in read:
        for key, value in page.totals.items():
            by[key] = by.get(key, 0.0) + value
    return http_metrics.figures(Grown(by, max(1.0, *ages)))


async def _traffic(round_: Round, name: str, pods: list[PodFacts]) -> tuple[Mapping[str, Any], Series | None, str]:
    """The access log of the last hour, of all pods or of none: a part would look like the whole."""
    parts = []
    for pod in pods:
        reader, stamped, taken = LogReader(), Stamped(), 0
        stream = round_.ports.cluster.log_stream(round_.namespace, pod.name, pod.container, round_.now - HOUR, LOG_LIMIT)
        try:
            async with asyncio.timeout(LOG_SECONDS), aclosing(stream):
                async for piece in stream:
                    taken += len(piece)
                    reader.feed(stamped.take(piece))
                    await asyncio.sleep(0)
        except (ApiError, TimeoutError) as problem:
            return {}, None, f"{pod.name}: {type(problem).__name__} {problem}"[:200]
        if taken >= LOG_LIMIT:
            return {}, None, f"{pod.name}: its log of one hour is longer than {LOG_LIMIT >> 20} MiB"
        parts.append(reader.finish())
    whole = merged(parts)
    if not whole.requests:
        return {}, None, "the log of the last hour holds no requests"
    return report(whole), _curve(name, whole.seconds), ""


def _curve(name: str, timeline: Timeline) -> Series | None:
    """Requests a second, by whole minutes; one without requests inside the log's time is zero."""
    if not timeline.counts:
        return None
    by: dict[int, int] = {}
    for bucket, times in timeline.counts.items():
        minute = bucket * timeline.width // MINUTE
        by[minute] = by.get(minute, 0) + times
    points = tuple(
        (datetime.fromtimestamp(m * MINUTE, UTC), round(by.get(m, 0) / MINUTE, 4)) for m in range(min(by) + 1, max(by))
    )
    return Series(name=f"{name}, requests of the last hour: answered", unit="requests/s", points=points[-120:])


def figures_of(seen: ApiReview) -> dict[str, Cell]:
    """Single figures, None where nothing is known."""
    found, name = seen.figures, seen.name
    return {
        f"{name}: requests": round(found.requests) if found else None,
        f"{name}: requests a second": round(found.per_second, 4) if found and seen.paced else None,
        f"{name}: error rate (%)": _percent(found.error_rate) if found else None,
        f"{name}: p50 (s)": _seconds(found.p50) if found else None,
        f"{name}: p95 (s)": _seconds(found.p95) if found else None,
        f"{name}: p99 (s)": _seconds(found.p99) if found else None,
        f"{name}: refused by the limit (%)": _share(found.limited, found.requests) if found else None,
        f"{name}: limit": f"{seen.limit['requests']} in {seen.limit['window']} s" if len(seen.limit) == 2 else None,
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 3)


def _share(part: float | None, whole: float) -> float | None:
    return round(100 * part / whole, 3) if part is not None and whole else None


def _seconds(q: Quantile | None) -> Cell:
    """A number; text where only its lower bound is known."""
    return None if q is None else quantile_words(q) if q.at_least else round(q.value, 6)


def tables(seen: ApiReview) -> Iterator[Table]:
    """Paths, and the busiest clients of the last hour."""
    if seen.figures is not None and seen.figures.paths:
        yield Table(
            title=f"{seen.name}: paths, the busiest first",
            columns=("path", "requests", "failed (%)", "refused", "mean time (s)"),
            rows=tuple(
                (
                    *(p.path, round(p.requests), _share(p.failed, p.requests), round(p.limited)),
                    round(p.seconds / p.requests, 6) if p.seconds else None,
                )
                for p in seen.figures.paths[:PATHS]
            ),
        )
    if seen.traffic.get("clients"):
        yield Table(
            title=f"{seen.name}: busiest clients of the last hour",
            columns=("client", "requests", "share of all (%)", "refused", "refused of its own (%)"),
            rows=tuple(
                (c["client"], c["requests"], c["percent"], c["refused"], c["refusedPercent"])
                for c in seen.traffic["clients"]
            ),
        )


def findings(seen: ApiReview, thresholds: Thresholds) -> Iterator[Finding]:
    """What is slow or fails, and what the limit does."""
    found = seen.figures
    if found is None:
        yield Finding(rank="Info", text=f"{seen.name}: latency and errors are not known: {seen.problem}"[:512])
    else:
        yield from _levels(seen, found, thresholds)
        yield from _paths(seen.name, found, thresholds)
    if seen.problem and found is not None:
        yield Finding(rank="Info", text=f"{seen.name}: not all pods could be read: {seen.problem}"[:512])
    yield from _limits(seen)


def _levels(seen: ApiReview, found: Figures, thresholds: Thresholds) -> Iterator[Finding]:
    judged = judge(thresholds, Reading(found, seen.source, "", thresholds.min_requests))
    rank = _RANKS.get(judged.level.value.lower()) if judged.level is not None else None
    if judged.level is None:
        few = f"{found.requests:.0f} requests are too few, or too little is told, to judge latency and errors"
        yield Finding(rank="Info", text=f"{seen.name}: {few} ({seen.source})"[:512])
    elif rank is not None:
        yield Finding(rank=rank, text=f"{seen.name}: {', '.join(judged.reasons)} ({seen.source})"[:512])


def _paths(name: str, found: Figures, thresholds: Thresholds) -> Iterator[Finding]:
    slow, wrong = seconds(thresholds.warning.response_time), percent(thresholds.warning.error_rate)
    enough = [p for p in found.paths if p.requests >= thresholds.min_requests]
    for p in sorted(enough, key=lambda p: -p.seconds / p.requests)[:3]:
        if p.seconds / p.requests > slow:
            text = f"{name}: {p.path} takes {p.seconds / p.requests:.3g} s on the average of {p.requests:.0f} requests"
            yield Finding(rank="Warning", text=text[:512])
    for p in sorted(enough, key=lambda p: -p.failed / p.requests)[:3]:
        if p.failed / p.requests > wrong:
            text = f"{name}: {p.path} fails for {100 * p.failed / p.requests:.3g}% of {p.requests:.0f} requests"
            yield Finding(rank="Warning", text=text[:512])


def _limits(seen: ApiReview) -> Iterator[Finding]:
    """The policy against what is asked."""
    if seen.mixed:
        yield Finding(rank="Warning", text=f"{seen.name}: pods have different rate limits: what a client gets is chance")
    refused = _refused(seen)
    if refused is not None and refused >= MANY_REFUSED:
        who = seen.traffic.get("topRefused")
        most = f"; {seen.traffic['topRefusedPercent']:g}% of that to {who}" if who else ""
        yield Finding(rank="Warning", text=f"{seen.name}: the limit refuses {refused:.3g}% of all requests{most}"[:512])
    most_asked = _busiest(seen)
    if len(seen.limit) < 2:
        text = "the rate limit in force is not known: it is a default of the program, or comes from a Secret"
        yield Finding(rank="Info", text=f"{seen.name}: {text}")
    elif most_asked and not refused and seen.limit["requests"] > IDLE_LIMIT * most_asked:
        times = seen.limit["requests"] / most_asked
        text = f"the limit is {times:.3g} times what the busiest client asks ({most_asked:.3g} in {seen.limit['window']} s)"
        yield Finding(rank="Info", text=f"{seen.name}: {text}: it would stop an abuser late")
    if seen.traffic_problem:
        yield Finding(rank="Info", text=f"{seen.name}: clients are not known: {seen.traffic_problem}"[:512])


def _refused(seen: ApiReview) -> float | None:
    if seen.figures is not None and seen.figures.limited is not None and seen.figures.requests:
        return 100 * seen.figures.limited / seen.figures.requests
    told: float | None = seen.traffic.get("refusedPercent")
    return told


def _busiest(seen: ApiReview) -> float | None:
    """Requests of the busiest client in one window of the limit, on the average of its hour."""
    clients, span = seen.traffic.get("clients"), seen.traffic.get("spanSeconds")
    if not clients or not span or "window" not in seen.limit:
        return None
    return float(clients[0]["requests"]) / max(float(span), float(seen.limit["window"])) * float(seen.limit["window"])
