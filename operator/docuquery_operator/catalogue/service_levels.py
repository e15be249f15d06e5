"""The service level of an api, followed from round to round: figures of its window, judged and held.

Who says so, in this order: a Prometheus server that the Stack names, the metrics of the api's own pods, requests of our own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..api.common import seconds
from ..api.detection import Thresholds
from ..api.stack import Component, Stack
from ..domain.detection.thresholds import LEAVE_AFTER, Held, Judged, Level, Reading, held, judge, words
from ..domain.traffic import http_metrics, synthetic
from ..domain.traffic.counters import Grown, Window
from ..domain.traffic.http_metrics import Key
from ..domain.traffic.metrics_text import MetricsError
from ..domain.traffic.synthetic import Attempt
from ..domain.workloads.pods import PodFacts
from ..ports import ApiError
from . import prometheus, shared
from .base import Round

log = logging.getLogger(__name__)
# A page of this size is parsed beside the event loop.
LARGE_PAGE = 128 * 1024
MAX_PODS = 20
PAGES_AT_ONCE = 4
# Readings in one window; figures older than three of them are none.
READINGS = 20
STALE_READINGS = 3
LEAST_ATTEMPTS = 10
# An answer that says that there are none, or none for us.
NO_METRICS = (401, 403, 404, 405, 501)
UNJUDGED = Judged(None)


@dataclass(frozen=True)
class ServiceLevel:
    """What is known now. level: None while the data do not say."""

    level: Level | None
    words: str
    reading: Reading
    judged: Judged = UNJUDGED
    kind: str = ""
    in_progress: float | None = None
    queues: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Tracker:
    """What is kept of one api."""

    settings: object
    window: Window[Key]
    held: Held = field(default_factory=Held)
    at: datetime | None = None
    running: asyncio.Task[None] | None = None
    view: ServiceLevel = ServiceLevel(None, "not known: no figures yet", Reading(None, problem="no figures yet"))
    attempts: tuple[Attempt, ...] = ()
    in_progress: float | None = None
    queues: Mapping[str, float] = field(default_factory=dict)


async def service_level(round_: Round, name: str, component: Component) -> ServiceLevel:
    """The newest view; a new reading is taken when it is due, and waited for no longer than a probe may take."""
    thresholds = round_.stack.spec.thresholds
    settings = (thresholds.window, thresholds.prometheus, component.endpoint, component.metrics, component.health)
    tracker: _Tracker | None = round_.memory.get(("service level", name))
    if tracker is None or tracker.settings != settings:
        tracker = _Tracker(settings, Window(timedelta(seconds=seconds(thresholds.window))))
        round_.memory["service level", name] = tracker
    if tracker.running is None and _due(tracker, round_):
        tracker.at = round_.now
        tracker.running = asyncio.create_task(_read(tracker, round_, component))
    if tracker.running is not None:
        await asyncio.wait({tracker.running}, timeout=round_.timeout)
    return tracker.view


def every(stack: Stack) -> float:
    """Seconds between two readings."""
    return max(stack.spec.detection.pace, seconds(stack.spec.thresholds.window) / READINGS)


def lag_seconds(stack: Stack) -> float:
    """How long the level still shows a fault that is over: until it has left the window, and has been seen to."""
    return seconds(stack.spec.thresholds.window) + (LEAVE_AFTER + 2) * every(stack)


def _due(tracker: _Tracker, round_: Round) -> bool:
    if tracker.at is None:
        return True
    age = (round_.now - tracker.at).total_seconds()
    # Below nothing: the clock was set back.
    return age < 0 or age >= every(round_.stack) * 0.9


async def _read(tracker: _Tracker, round_: Round, component: Component) -> None:
    thresholds = round_.stack.spec.thresholds
    kind, reading = "", Reading(None, problem="the figures could not be read")
    try:
        kind, reading = await _reading(tracker, round_, component, thresholds)
    except ApiError as problem:
        reading = Reading(None, problem=f"the API server could not be read: {str(problem)[:200]}")
    except Exception:
        log.exception("service level not known")
    finally:
        judged = judge(thresholds, reading) if reading.figures is not None else UNJUDGED
        tracker.held = held(tracker.held, judged.level, round_.now)
        level = tracker.held.now
        text = words(thresholds, reading, judged, level)
        tracker.view = ServiceLevel(level, text, reading, judged, kind, tracker.in_progress, tracker.queues)
        tracker.running = None
        round_.ports.metrics.service_level(kind or "none", "unknown" if level is None else level.value)


async def _reading(tracker: _Tracker, round_: Round, component: Component, thresholds: Thresholds) -> tuple[str, Reading]:
    if component.endpoint is None:
        return "", Reading(None, problem="the component has no endpoint")
    why = ""
    if thresholds.prometheus is not None:
        server = thresholds.prometheus
        found = await prometheus.figures(round_, server, seconds(thresholds.window), _own_paths(component))
        if isinstance(found, http_metrics.Figures):
            return "prometheus", Reading(found, f"Prometheus server {server.service}", "", thresholds.min_requests)
        why = f"Prometheus server {server.service}: {found}; "
    answered, problems, without = await _scrape(tracker, round_, component)
    grown = tracker.window.over(round_.now)
    # Metrics that are there and cannot be had are no data; only an api that has none is asked by the operator itself.
    if answered or not without or grown.newest is not None or grown.mixed:
        reading = _of_window(grown, round_, thresholds, answered, problems)
        return "pods", Reading(reading.figures, why + reading.source, why + reading.problem, reading.min_requests)
    return "synthetic", await _own_requests(tracker, round_, component, thresholds, why)


async def _scrape(tracker: _Tracker, round_: Round, component: Component) -> tuple[int, list[str], bool]:
    """Reads the pods' pages into the window: how many spoke of requests, why others did not, and whether they have none."""
    ready = sorted((p for p in await shared.pods(round_, component) if p.ready and p.ip), key=lambda p: p.name)
    pods = ready[:MAX_PODS]
    path = shared.metrics_path(component)
    gate = asyncio.Semaphore(PAGES_AT_ONCE)
    own = _own_paths(component)
    pages = await asyncio.gather(*(_page(round_, gate, component, p, own) for p in pods))
    found = [(pod, page) for pod, page in zip(pods, pages, strict=True) if isinstance(page, http_metrics.Reading)]
    speaking = [(pod, page) for pod, page in found if page.speaks]
    scrapes = {p.uid: page.scrape(f"{p.uid}/{p.restarts}", p.started) for p, page in speaking}
    tracker.window.add(round_.now, scrapes, [p.uid for p in ready])
    busy = [page.in_progress for _, page in speaking if page.in_progress is not None]
    tracker.in_progress = sum(busy) / len(busy) if busy else None
    # Each pod tells the length of the same queue.
    tracker.queues = {q: max(page.queues.get(q, 0.0) for _, page in found) for _, page in found for q in page.queues}
    silent = [f"{p.name}: no metrics of requests at {path}" for p, page in found if not page.speaks]
    problems = [*(p for p in pages if isinstance(p, str)), *silent]
    return len(speaking), problems, bool(problems) and len(silent) == len(pages)


async def _page(
    round_: Round, gate: asyncio.Semaphore, component: Component, pod: PodFacts, own: Sequence[str]
) -> http_metrics.Reading | str:
    """One pod's page, or why there is none."""
    path = shared.metrics_path(component)
    async with gate:
        answer = await shared.metrics_page(round_, component, pod)
        if answer.status in NO_METRICS:
            return http_metrics.Reading({})
        if answer.status != 200:
            return f"{pod.name}: {answer.problem or f'GET {path}: {answer.status}'}"
        if answer.cut:
            return f"{pod.name}: GET {path} is longer than {shared.METRICS_LIMIT >> 20} MiB"
        try:
            if len(answer.body) > LARGE_PAGE:
                return await asyncio.to_thread(http_metrics.read, answer.body, own)
            return http_metrics.read(answer.body, own)
        except MetricsError as problem:
            return f"{pod.name}: {problem}"


def _of_window(grown: Grown[Key], round_: Round, thresholds: Thresholds, answered: int, problems: Sequence[str]) -> Reading:
    source = f"metrics of {answered} pods" if answered != 1 else "metrics of 1 pod"
    why = f"; {problems[0]}" if problems else ""
    if grown.mixed:
        why += "; counters fall again and again: several processes answer at one address"
    length = seconds(thresholds.window)
    if grown.newest is None or (round_.now - grown.newest).total_seconds() > STALE_READINGS * every(round_.stack):
        return Reading(None, source, f"no metrics lately{why}"[:250])
    if grown.covered < length / 2:
        return Reading(None, source, f"only {grown.covered:.0f} s of {thresholds.window} seen so far{why}"[:250])
    return Reading(http_metrics.figures(grown), (source + why)[:250], "", thresholds.min_requests)


async def _own_requests(tracker: _Tracker, round_: Round, component: Component, thresholds: Thresholds, why: str) -> Reading:
    """One request through the Service, and what all of the window say together."""
    assert component.endpoint is not None
    path = component.info.path if component.info else component.health.path if component.health else shared.HEALTH_PATH
    length, pace = seconds(thresholds.window), every(round_.stack)
    host = await shared.address(round_, component)
    if host:
        answer = await round_.ports.network.http_get(host, component.endpoint.port, path, round_.timeout)
        good = 0 < answer.status < 500
        attempt = Attempt(round_.now, answer.latency_ms / 1000 if answer.status else None, good)
        tracker.attempts = synthetic.kept((*tracker.attempts, attempt), round_.now, length)
    source = f"{why}requests of the operator itself to {path}, as the pods have no metrics of theirs"
    if not tracker.attempts or not synthetic.covers(tracker.attempts, round_.now, length, STALE_READINGS * pace):
        return Reading(None, source, f"{why}{len(tracker.attempts)} own requests to {path} so far"[:250])
    least = max(3, min(LEAST_ATTEMPTS, thresholds.min_requests, int(length / pace / 2)))
    return Reading(synthetic.figures(tracker.attempts), source[:250], "", least)


def _own_paths(component: Component) -> Sequence[str]:
    """What probes ask for."""
    return [p.path for p in (component.health, component.metrics) if p is not None]
