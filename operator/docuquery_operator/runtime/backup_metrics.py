"""Metrics of backups. Ages are computed when they are asked for, so they grow also while nothing happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ..domain.backups.figures import BackupFigures

OBJECT = ("namespace", "backup_job")


class BackupMetrics(Collector):
    """Gauges of each BackupJob, from what its last pass has seen; gone with the object."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._figures: dict[tuple[str, str], BackupFigures] = {}

    def put(self, namespace: str, name: str, figures: BackupFigures) -> None:
        """What a BackupJob has to show now."""
        self._figures[namespace, name] = figures

    def drop(self, namespace: str, name: str) -> None:
        """The BackupJob was deleted."""
        self._figures.pop((namespace, name), None)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without samples."""
        yield from self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Samples as of now."""
        families, now = self._families(), self._now()
        for key, figures in sorted(self._figures.items()):
            _fill(families, key, figures, now)
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        part = (*OBJECT, "part")
        told = {
            "good": ("docuquery_backup_last_good_age_seconds", "Age of the newest good set", part),
            "proved": ("docuquery_backup_last_verified_age_seconds", "Age of the newest set that was proved", part),
            "bytes": ("docuquery_backup_stored_bytes", "Bytes of all sets in the store", OBJECT),
            "duration": ("docuquery_backup_duration_seconds", "Time that the newest good set took", OBJECT),
            "rto": ("docuquery_backup_rto_seconds", "Measured time from nothing to restored servers", OBJECT),
            "verdicts": ("docuquery_backup_sets", "Sets by verdict of their deepest check", (*OBJECT, "verdict")),
            "stale": ("docuquery_backup_stale", "1 when a good run is missing", OBJECT),
        }
        return {k: GaugeMetricFamily(name, text, labels=labels) for k, (name, text, labels) in told.items()}


def _fill(families: Mapping[str, GaugeMetricFamily], key: tuple[str, str], figures: BackupFigures, now: datetime) -> None:
    for kind, times in (("good", figures.good), ("proved", figures.proved)):
        for part, at in times.items():
            families[kind].add_metric((*key, part), max(0.0, (now - at).total_seconds()))
    for verdict, count in figures.verdicts.items():
        families["verdicts"].add_metric((*key, verdict), count)
    single = {"bytes": figures.stored_bytes, "duration": figures.duration_seconds, "rto": figures.rto_seconds}
    for kind, value in single.items():
        if value is not None:
            families[kind].add_metric(key, value)
    families["stale"].add_metric(key, float(figures.stale))
