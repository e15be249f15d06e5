"""Metrics of MaintenanceWindows and their tasks. Ages are computed when they are asked for, as those of backups are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ..domain.maintenance.window_figures import WindowFigures

OBJECT = ("namespace", "window")
TASK = (*OBJECT, "type")


class WindowMetrics(Collector):
    """Gauges of each MaintenanceWindow, from what its last pass has seen; gone with the object."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._figures: dict[tuple[str, str], WindowFigures] = {}

    def put(self, namespace: str, name: str, figures: WindowFigures) -> None:
        """What a window has to show now."""
        self._figures[namespace, name] = figures

    def drop(self, namespace: str, name: str) -> None:
        """The window was deleted."""
        self._figures.pop((namespace, name), None)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without samples."""
        yield from self._families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Samples as of now."""
        families, now = self._families(), self._now()
        is_open, overrun, failures, age = families
        for key, figures in sorted(self._figures.items()):
            is_open.add_metric(key, float(figures.open))
            overrun.add_metric(key, _since(figures.overrun, now) if figures.overrun else 0.0)
            for type_, task in figures.tasks.items():
                failures.add_metric((*key, type_), task.failures)
                if task.succeeded is not None:
                    age.add_metric((*key, type_), _since(task.succeeded, now))
        yield from families

    def _families(self) -> tuple[GaugeMetricFamily, ...]:
        told = (
            ("docuquery_maintenance_window_open", "1 while the window is open", OBJECT),
            ("docuquery_maintenance_window_overrun_seconds", "Time at work beyond the planned end", OBJECT),
            ("docuquery_maintenance_task_failures_in_a_row", "Times in a row that a task has failed or was aborted", TASK),
            ("docuquery_maintenance_task_last_success_age_seconds", "Age of a task's newest success", TASK),
        )
        return tuple(GaugeMetricFamily(name, text, labels=labels) for name, text, labels in told)


def _since(at: datetime, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds())
