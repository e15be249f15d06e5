"""Which metrics of an api are read, and what they count: requests by status, their times, those of each path.

Families of the reference api, prometheus-fastapi-instrumentator, starlette_exporter, fastapi-observability, OpenTelemetry.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .counters import Grown, Quantile, Scrape, quantile
from .metrics_text import Sample, countable, samples

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
    """One page of metrics: totals since the process began, and what is in flight right now.

    speaks: the page is about requests, though there may have been none yet.
    """

    totals: Mapping[Key, float]
    layout: str = ""
    speaks: bool = False
    in_progress: float | None = None
    queues: Mapping[str, float] = field(default_factory=dict)

    def scrape(self, process: str = "", began: datetime | None = None) -> Scrape[Key]:
        """For a window."""
        return Scrape(self.totals, process, self.layout, began)


def read(text: str, leave_out: Collection[str] = ()) -> Reading:
    """MetricsError when the text cannot be used. leave_out: paths beside the usual ones that are no user's requests."""
    found: dict[str, list[Sample]] = {}
    for sample in samples(text, NAMES):
        found.setdefault(sample.name, []).append(sample)
    own = OWN_PATHS | set(leave_out)
    users = {name: [s for s in group if path_of(s.labels) not in own] for name, group in found.items()}
    durations = _durations(found)
    counter = next((r for r in REQUESTS if r in users), "")
    totals: dict[Key, float] = {}
    counted = users.get(counter) or [s for s in users.get(f"{durations}_count", ()) if status_of(s.labels)]
    count_all(totals, ((s.labels, s.value) for s in counted))
    for sample in users.get(f"{durations}_bucket", ()):
        _add(totals, ("le", bound_of(sample.labels)), sample.value)
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
    return Reading(totals, layout, bool(layout) or _announced(text), sum(gauges) if gauges else None, _queues(found))


def _announced(text: str) -> bool:
    """Whether a family of ours has its TYPE line: its first series comes with the first request."""
    return any(f"# TYPE {name} " in text for name in (*REQUESTS, *(r.removesuffix("_total") for r in REQUESTS), *DURATIONS))


def path_of(labels: Mapping[str, str]) -> str:
    """The route that a series is about, '' when none is told."""
    return next((labels[name] for name in PATH_LABELS if name in labels), "")[:200]


def status_of(labels: Mapping[str, str]) -> str:
    """'503', or '5xx' where they are grouped; '' when none is told."""
    return next((labels[name] for name in STATUS_LABELS if name in labels), "")[:8].lower()


def failed(status: str) -> bool:
    """A fault of the service. 429 is a limit that works, and 4xx is the client's."""
    return status.startswith("5")


def _durations(found: Mapping[str, Sequence[Sample]]) -> str:
    """The histogram that reaches farthest: one whose last bound is a second cannot tell two seconds from ten."""
    there = [d for d in DURATIONS if found.get(f"{d}_bucket")]
    return max(there, key=lambda d: _reach(found[f"{d}_bucket"]), default="")


def _reach(buckets: Sequence[Sample]) -> float:
    return max((b for b in (bound_of(s.labels) for s in buckets) if b != math.inf), default=0.0)


def bound_of(labels: Mapping[str, str]) -> float:
    """Upper bound of a bucket; what is no number is the last one."""
    try:
        bound = float(labels.get("le", ""))
    except ValueError:
        return math.inf
    return math.inf if math.isnan(bound) else bound


def count_all(totals: dict[Key, float], counted: Iterable[tuple[Mapping[str, str], float]]) -> None:
    """Add series of requests by status and path."""
    for labels, value in counted:
        status, path = status_of(labels), path_of(labels)
        _add(totals, ("status", status), value)
        _add(totals, ("path", path, "requests"), value)
        if failed(status):
            _add(totals, ("path", path, "failed"), value)
        if status == "429":
            _add(totals, ("path", path, "limited"), value)


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
    paths: tuple[PathFigures, ...] = ()
    buckets: Mapping[float, float] = field(default_factory=dict)

    @property
    def timed(self) -> float:
        """Requests whose time is known."""
        return max(self.buckets.values(), default=0.0)

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
    told = {s: v for s, v in statuses.items() if s}
    requests = sum(statuses.values()) if statuses else max(buckets.values(), default=0.0)
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
        buckets=buckets,
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
