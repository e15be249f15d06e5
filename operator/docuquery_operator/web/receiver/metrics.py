"""Prometheus metrics of the receiver; names in docs/alerts.md."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ReceiverMetrics:
    """In a registry of their own. Names of objects are no labels."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self._alerts = Counter("docuquery_receiver_alerts", "Alerts by what became of them", ["outcome"], registry=r)
        self._answers = Counter(
            "docuquery_receiver_answers", "Answers of people by outcome", ["source", "outcome"], registry=r
        )
        self._reasons = Counter(
            "docuquery_receiver_reasons", "Reasons told to people whose press did not count", ["outcome"], registry=r
        )
        self._requests = Counter("docuquery_receiver_requests", "Requests by status", ["path", "status"], registry=r)
        self._seconds = Histogram("docuquery_receiver_seconds", "Time of a request", ["path"], buckets=TIMES, registry=r)

    def alert(self, outcome: str, count: int = 1) -> None:
        """What became of alerts."""
        self._alerts.labels(outcome).inc(count)

    def answer(self, source: str, outcome: str) -> None:
        """What became of a person's answer."""
        self._answers.labels(source, outcome).inc()

    def reason(self, outcome: str) -> None:
        """What became of the words to whoever pressed."""
        self._reasons.labels(outcome).inc()

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Exposition format."""
        return generate_latest(self.registry)
