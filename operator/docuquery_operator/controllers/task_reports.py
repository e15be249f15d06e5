"""Reads and writes the ConfigMap with all that the tasks of one opening have found."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ..api.maintenance_window import MaintenanceWindow, TaskResult
from ..domain.maintenance.task_outcome import TaskOutcome
from ..domain.maintenance.tasks import opening_of, report_name
from ..domain.reports import kept
from ..ports import CONFIG_MAP, Conflict, Ports, Refused

log = logging.getLogger(__name__)


class TaskReports:
    """One for the runner of tasks."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def kept(self, window: MaintenanceWindow, result: TaskResult) -> TaskOutcome | None:
        """What this attempt has found, once it was kept."""
        name = _name(window, result)
        found = await self._ports.cluster.get(CONFIG_MAP, window.metadata.namespace, name)
        return kept.outcome_in((found or {}).get("data") or {}, result.type)

    async def keep(self, window: MaintenanceWindow, result: TaskResult, outcome: TaskOutcome) -> None:
        """Before the status says that the task has ended; may be repeated. The page is of all that was found by now."""
        name, key = _name(window, result), kept.key_of(result.type)
        found = await self._ports.cluster.get(CONFIG_MAP, window.metadata.namespace, name)
        data = {**((found or {}).get("data") or {}), key: kept.text_of(outcome)}
        await self.write(window, name, {key: data[key], **kept.pages(window, opening_of(window, result), data)})

    async def write(self, window: MaintenanceWindow, name: str, data: Mapping[str, str]) -> None:
        """Add these keys."""
        namespace = window.metadata.namespace
        if await self._ports.cluster.patch(CONFIG_MAP, namespace, name, {"data": dict(data)}) is not None:
            return
        try:
            await self._ports.cluster.create(CONFIG_MAP, namespace, kept.config_map(window, name, data))
        except Conflict:
            await self._ports.cluster.patch(CONFIG_MAP, namespace, name, {"data": dict(data)})

    async def drop(self, window: MaintenanceWindow, names: Sequence[str]) -> None:
        """Let these go. One that stays is only a ConfigMap too many."""
        for name in names:
            try:
                await self._ports.cluster.patch(CONFIG_MAP, window.metadata.namespace, name, kept.released(name))
            except Refused as no:
                log.warning("a report could not be dropped", extra={"report": name, "problem": str(no)[:200]})


def _name(window: MaintenanceWindow, result: TaskResult) -> str:
    since = opening_of(window, result)
    assert since is not None
    return report_name(window, since)
