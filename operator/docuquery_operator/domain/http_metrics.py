"""Which metrics of an api are read, and what they count: requests by status, their times, those of each path.

Families of the reference api, prometheus-fastapi-instrumentator, starlette_exporter, fastapi-observability, OpenTelemetry.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .metrics_text import Sample, countable, samples
from .windows import Grown, Quantile, Scrape, quantile

REQUESTS = ("http_requests_total", "starlette_requests_total", "fastapi_responses_total", "fastapi_requests_total")
DURATIONS = (
    *("http_request_duration_seconds", "http_request_duration_highr_seconds", "starlette_request_duration_seconds"),
    *("fastapi_requests_duration_seconds", "http_server_request_duration_seconds"),
)
IN_PROGRESS = ("http_requests_in_progress", "http_requests_inprogress", "starlette_requests_in_progress")
QUEUE = ("celery_queue_length",)
PATH_LABELS = ("path", "handler", "path_template", "endpoint", "route", "http_route")
STATUS_LABELS = ("status", "status_code", "code", "http_status", "http_status_code", "http_response_status_code")
# What probes and Prometheus ask for is no user's request.
OWN_PATHS = frozenset({"/health", "/healthz", "/livez", "/readyz", "/live", "/ready", "/metrics", "/ping"})
NAMES = frozenset(
    {*REQUESTS, *IN_PROGRESS, *QUEUE, *(f"{d}_{end}" for d in DURATIONS for end in ("bucket", "sum", "count"))}
)
MAX_PATHS = 200
MAX_KEYS = 1_000

# ("status", code), ("le", bound), ("seconds",), and ("path", path, "requests" | "failed" | "limited" | "timed" | "seconds")
Key = tuple[str | float, ...]


@dataclass(frozen=True)
class Reading:
    """One page of metrics: totals since the process began, and what is in flight right now."""

    totals: Mapping[Key, float]
    layout: str = ""
    in_progress: float | None = None
    queues: Mapping[str, float] = field(default_factory=dict)

    def scrape(self, process: str = "") -> Scrape[Key]:
        """For a window."""
        return Scrape(self.totals, process, self.layout)


def read(text: str, leave_out: Collection[str] = ()) -> Reading:
    """MetricsError when the text cannot be used. leave_out: paths beside the usual ones that are no user's requests."""
    found: dict[str, list[Sample]] = {}
    for sample in samples(text, NAMES):
        found.setdefault(sample.name, []).append(sample)
    own = OWN_PATHS | set(leave_out)
    users = {name: [s for s in group if path_of(s.labels) not in own] for name, group in found.items()}
    durations = _durations(users)
    counter = next((r for r in REQUESTS if r in users), "")
    totals: dict[Key, float] = {}
    counted = users.get(counter) or [s for s in users.get(f"{durations}_count", ()) if status_of(s.labels)]
    for sample in counted:
        _count(totals, sample)
    for sample in users.get(f"{durations}_bucket", ()):
        _add(totals, ("le", _bound(sample)), sample.value)
    for end, key in (("sum", "seconds"), ("count", "timed")):
        for sample in users.get(f"{durations}_{end}", ()):
            _add(totals, (key,), sample.value)
            _add(totals, ("path", path_of(sample.labels), key), sample.value)
    layout = f"{counter}/{durations}" if counter or durations else ""
    paths = {key[1] for key in totals if key[0] == "path"}
    if len(paths) > MAX_PATHS or len(totals) > MAX_KEYS:
        # The path as it came instead of its template: as many series as there are requests.
        totals, layout = {k: v for k, v in totals.items() if k[0] != "path"}, f"{layout}/no paths"
    gauges = [s.value for name in IN_PROGRESS for s in found.get(name, ()) if countable(s.value)]
    return Reading(totals, layout, sum(gauges) if gauges else None, _queues(found))


def path_of(labels: Mapping[str, str]) -> str:
    """The route that a series is about, '' when none is told."""
    return next((labels[name] for name in PATH_LABELS if name in labels), "")[:200]


def status_of(labels: Mapping[str, str]) -> str:
    """'503', or '5xx' where they are grouped; '' when none is told."""
    return next((labels[name] for name in STATUS_LABELS if name in labels), "")[:8].lower()


def failed(status: str) -> bool:
    """A fault of the service. 429 is a limit that works, and 4xx is the client's."""
    return status.startswith("5")


def _durations(users: Mapping[str, Sequence[Sample]]) -> str:
    """The histogram that reaches farthest: one whose last bound is a second cannot tell two seconds from ten."""
    there = [d for d in DURATIONS if users.get(f"{d}_bucket")]
    return max(
        there, key=lambda d: max((b for b in map(_bound, users[f"{d}_bucket"]) if b != math.inf), default=0.0), default=""
    )


def _bound(sample: Sample) -> float:
    try:
        bound = float(sample.labels.get("le", ""))
    except ValueError:
        return math.inf
    return math.inf if math.isnan(bound) else bound


def _count(totals: dict[Key, float], sample: Sample) -> None:
    status, path = status_of(sample.labels), path_of(sample.labels)
    _add(totals, ("status", status), sample.value)
    _add(totals, ("path", path, "requests"), sample.value)
    if failed(status):
        _add(totals, ("path", path, "failed"), sample.value)
    if status == "429":
        _add(totals, ("path", path, "limited"), sample.value)


def _add(totals: dict[Key, float], key: Key, value: float) -> None:
    if countable(value):
        totals[key] = totals.get(key, 0.0) + value


def _queues(found: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    gauges = [s for name in QUEUE for s in found.get(name, ()) if countable(s.value)][:32]
    return {s.labels.get("queue", s.labels.get("queue_name", ""))[:128]: s.value for s in gauges}


@dataclass(frozen=True)
class PathFigures:
    """One path over the window."""

    path: str
    requests: float
    failed: float
    limited: float
    seconds: float


@dataclass(frozen=True)
class Figures:
    """An api over the window; None is not known.

    requests: answered ones that users sent. failed and limited: of these, answered by 5xx and by 429.
    """

    requests: float
    failed: float | None
    limited: float | None
    statuses: Mapping[str, float]
    p50: Quantile | None
    p95: Quantile | None
    p99: Quantile | None
    per_second: float
    paths: tuple[PathFigures, ...]
    timed: float = 0.0

    @property
    def error_rate(self) -> float | None:
        """Share of failed requests, 0 to 1."""
        return self.failed / self.requests if self.failed is not None and self.requests > 0 else None


def figures(grown: Grown[Key]) -> Figures | None:
    """None when the window holds no data; zero requests are data."""
    if grown.covered <= 0:
        return None
    by = grown.by
    statuses = {str(k[1]): v for k, v in by.items() if k[0] == "status"}
    buckets = {float(k[1]): v for k, v in by.items() if k[0] == "le"}
    timed = max(buckets.values(), default=0.0)
    told = {s: v for s, v in statuses.items() if s}
    requests = sum(statuses.values()) if statuses else timed
    # Without a single status the rate is not known; it is where nothing was asked, too.
    known = bool(told) and len(told) == len(statuses)
    return Figures(
        requests=requests,
        failed=sum(v for s, v in told.items() if failed(s)) if known else None,
        limited=told.get("429", 0.0) if known and not any(s.endswith("xx") for s in told) else None,
        statuses=statuses,
        p50=quantile(0.5, buckets),
        p95=quantile(0.95, buckets),
        p99=quantile(0.99, buckets),
        per_second=requests / grown.covered,
        paths=_paths(by),
        timed=timed,
    )


def _paths(by: Mapping[Key, float]) -> tuple[PathFigures, ...]:
    """The busiest first."""
    names = {str(k[1]) for k in by if k[0] == "path" and k[1]}

    def value(path: str, what: str) -> float:
        return by.get(("path", path, what), 0.0)

    found = [
        PathFigures(
            n, value(n, "requests") or value(n, "timed"), value(n, "failed"), value(n, "limited"), value(n, "seconds")
        )
        for n in names
    ]
    return tuple(sorted((p for p in found if p.requests > 0), key=lambda p: (-p.requests, p.path)))
