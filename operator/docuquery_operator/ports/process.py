"""The operator's own process: its clock, its leadership, its Events and counters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..domain.backups.figures import BackupFigures
from ..domain.maintenance.window_figures import TaskEnd, WindowFigures
from .cluster import JSON, Kind


class Clock(Protocol):
    """Wall time in UTC."""

    def now(self) -> datetime:
        """The present instant, timezone-aware."""


class Events(Protocol):
    """Kubernetes Events; never raises."""

    async def post(self, kind: Kind, obj: JSON, type_: str, reason: str, message: str) -> None:
        """One Event about the object, counted up where it repeats."""


@dataclass(frozen=True)
class Self:
    """Where the operator itself runs; all empty when it runs outside a cluster."""

    namespace: str = ""
    pod: str = ""
    address: str = ""

    def is_of(self, namespace: str, workload: str) -> bool:
        """Whether a workload is the operator's own: a pod bears its name and a number, or a hash and a suffix."""
        own = re.fullmatch(re.escape(workload) + r"-([0-9]+|[a-z0-9]+-[a-z0-9]{5})", self.pod)
        return own is not None and namespace == self.namespace


class Leader(Protocol):
    """The Lease of the leader."""

    @property
    def term(self) -> int:
        """Number of this leadership: the Lease's transitions."""

    def leading(self) -> bool:
        """True only while the Lease was surely ours within the renew deadline."""

    @property
    def predecessor_looked(self) -> datetime | None:
        """When a Stack was last looked at before this leadership; None where nobody knows."""

    def looked(self, at: datetime) -> None:
        """A Stack was looked at; the next renewal of the Lease says so to whoever comes after us."""


class Metrics(Protocol):
    """Counters of what the operator does."""

    def refused(self, reason: str) -> None:
        """A rail refused an action."""

    def step(self, action: str, outcome: str) -> None:
        """A step has got its verdict."""

    def probe(self, probe: str, seconds: float) -> None:
        """A probe took this long."""

    def service_level(self, source: str, level: str) -> None:
        """The figures of an api were read."""

    def notified(self, channel: str, outcome: str, seconds: float | None) -> None:
        """A try to send a message has ended; seconds: from when it was ordered, where it was accepted."""

    def backup(self, namespace: str, name: str, figures: BackupFigures) -> None:
        """What a BackupJob has to show now."""

    def backup_gone(self, namespace: str, name: str) -> None:
        """The BackupJob was deleted."""

    def task_ended(self, end: TaskEnd) -> None:
        """A task of a MaintenanceWindow has ended."""

    def window(self, namespace: str, name: str, figures: WindowFigures) -> None:
        """What a MaintenanceWindow has to show now."""

    def window_gone(self, namespace: str, name: str) -> None:
        """The MaintenanceWindow was deleted."""
