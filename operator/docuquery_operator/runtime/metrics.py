"""Prometheus metrics; names in docs/metrics.md."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from ..domain.backups.figures import BackupFigures
from ..domain.maintenance.window_figures import TaskEnd, WindowFigures
from ..ports import Clock, Key
from .backup_metrics import BackupMetrics
from .window_metrics import WindowMetrics

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
LONG = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)


class OperatorMetrics:
    """ports.Metrics and the figures of the process itself, in a registry of their own."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self._refused = Counter("docuquery_action_refused", "Actions that a rail refused", ["reason"], registry=r)
        self._steps = Counter("docuquery_heal_steps", "Verdicts of healing steps", ["action", "outcome"], registry=r)
        self._probes = Histogram("docuquery_probe_seconds", "Time a probe took", ["probe"], buckets=FAST, registry=r)
        self._levels = Counter(
            "docuquery_service_level_readings", "Readings of an api's figures", ["source", "level"], registry=r
        )
        self._notified = Counter("docuquery_notifications", "Tries to send a message", ["channel", "outcome"], registry=r)
        self._told = Histogram(
            "docuquery_notification_seconds", "From ordered to accepted", ["channel"], buckets=SLOW, registry=r
        )
        self._passes = Counter("docuquery_operator_reconcile", "Passes by result", ["kind", "result"], registry=r)
        self._pass_time = Histogram(
            "docuquery_operator_reconcile_seconds", "Time of a pass", ["kind"], buckets=FAST, registry=r
        )
        self.leader = Gauge("docuquery_operator_leader", "1 while this replica leads", registry=r)
        self.queue = Gauge("docuquery_operator_queue_depth", "Keys that wait", registry=r)
        self.loop_lag = Gauge("docuquery_operator_loop_lag_seconds", "Delay of the event loop's last beat", registry=r)
        self.resync_finds = Counter(
            "docuquery_operator_resync_finds", "Objects that the watch had missed", ["kind"], registry=r
        )

        self._backups = BackupMetrics(clock.now)
        r.register(self._backups)
        self._tasks = Counter(
            "docuquery_maintenance_task_outcomes", "Ends of maintenance tasks", ["type", "outcome"], registry=r
        )
        self._task_time = Histogram(
            "docuquery_maintenance_task_seconds", "Time of a maintenance task", ["type"], buckets=LONG, registry=r
        )
        self._windows = WindowMetrics(clock.now)
        r.register(self._windows)

    def backup(self, namespace: str, name: str, figures: BackupFigures) -> None:
        """What a BackupJob has to show now."""
        self._backups.put(namespace, name, figures)

    def backup_gone(self, namespace: str, name: str) -> None:
        """The BackupJob was deleted."""
        self._backups.drop(namespace, name)

    def task_ended(self, end: TaskEnd) -> None:
        """A task of a MaintenanceWindow has ended."""
        self._tasks.labels(end.type, end.outcome).inc()
        if end.seconds is not None:
            self._task_time.labels(end.type).observe(end.seconds)

    def window(self, namespace: str, name: str, figures: WindowFigures) -> None:
        """What a MaintenanceWindow has to show now."""
        self._windows.put(namespace, name, figures)

    def window_gone(self, namespace: str, name: str) -> None:
        """The MaintenanceWindow was deleted."""
        self._windows.drop(namespace, name)

    def refused(self, reason: str) -> None:
        """A rail refused an action."""
        self._refused.labels(reason).inc()

    def step(self, action: str, outcome: str) -> None:
        """A step has its verdict."""
        self._steps.labels(action, outcome).inc()

    def probe(self, probe: str, seconds: float) -> None:
        """A probe took this long."""
        self._probes.labels(probe).observe(seconds)

    def service_level(self, source: str, level: str) -> None:
        """The figures of an api were read."""
        self._levels.labels(source, level).inc()

    def notified(self, channel: str, outcome: str, seconds: float | None) -> None:
        """A try to send a message has ended."""
        self._notified.labels(channel, outcome).inc()
        if seconds is not None:
            self._told.labels(channel).observe(seconds)

    def reconciled(self, key: Key, result: str, seconds: float) -> None:
        """A pass has ended."""
        self._passes.labels(key.plural, result).inc()
        self._pass_time.labels(key.plural).observe(seconds)

    def text(self) -> bytes:
        """Exposition format."""
        return generate_latest(self.registry)
