"""Prometheus figures of the api."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The figures of one application object, so that two in one process do not collide."""

    def __init__(self) -> None:
        """Register every figure in a registry of its own."""
        self.registry = CollectorRegistry()
        labels = ["method", "path", "status"]
        self.requests = Counter("http_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time to answer",
            ["method", "path"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_progress = Gauge("http_requests_in_progress", "Requests being answered", registry=self.registry)
        self.rate_limited = Counter("rate_limited", "Requests refused with 429", registry=self.registry)
        self.denied = Counter("denied", "Requests of blocked clients, refused with 403", registry=self.registry)
        self.queue = Gauge("celery_queue_length", "Tasks that wait for a worker", ["queue"], registry=self.registry)

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method, path, str(status)).inc()
        self.seconds.labels(method, path).observe(seconds)
        if status == 429:
            self.rate_limited.inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
