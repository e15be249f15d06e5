"""What the page is made of, kept up to date from the API server."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any

from ...api.maintenance_window import MaintenanceWindow
from ...api.stack import Stack
from ...domain.names import LOOKED_ANNOTATION
from ...domain.public.incidents import IncidentFacts, incident_facts
from ...domain.public.page import Facts
from ...domain.public.windows import read_window
from ...ports import INCIDENT, LEASE, MAINTENANCE_WINDOW, STACK
from .kube import JSON, ApiProblem, Reader, Watched
from .settings import PageSettings

log = logging.getLogger(__name__)
LEASE_SECONDS = 10.0


class Source:
    """Watches of three kinds, and a look at the operator's Lease now and then. version: grows with each change."""

    def __init__(self, reader: Reader, settings: PageSettings) -> None:
        self._reader, self._settings = reader, settings
        self.version = 0
        self.changed = asyncio.Event()
        self._looked: datetime | None = None
        self._stacks: Watched[Stack] = Watched(reader, STACK, settings.namespace, self._stack, self._grow)
        self._incidents: Watched[IncidentFacts] = Watched(reader, INCIDENT, settings.namespace, incident_facts, self._grow)
        self._windows: Watched[MaintenanceWindow] = Watched(
            reader, MAINTENANCE_WINDOW, settings.namespace, read_window, self._grow
        )

    @property
    def missing(self) -> str:
        """'' once everything has been read, else what has not."""
        parts: dict[str, Watched[Any]] = {
            "stacks": self._stacks,
            "incidents": self._incidents,
            "maintenancewindows": self._windows,
        }
        return ", ".join(name for name, part in parts.items() if not part.synced)

    def facts(self) -> Facts:
        """What is known now."""
        return Facts(self._stacks.items, self._incidents.items, self._windows.items, self._looked)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for watched in (self._stacks, self._incidents, self._windows):
                group.create_task(watched.run())
            group.create_task(self._watch_lease())

    def _stack(self, obj: JSON) -> Stack | None:
        stack = Stack.model_validate(obj)
        return stack if self._settings.stack in ("", stack.metadata.name) else None

    def _grow(self) -> None:
        self.version += 1
        self.changed.set()

    async def _watch_lease(self) -> None:
        """When the operator looked at the Stacks last; while the API server is away that time grows old by itself."""
        path = f"{LEASE.prefix}/namespaces/{self._settings.lease_namespace}/{LEASE.plural}/{self._settings.lease_name}"
        while True:
            try:
                lease = await self._reader.get(path)
            except ApiProblem as problem:
                log.warning("the operator's Lease was not read", extra={"problem": str(problem)})
                lease = None
            if lease is not None:
                self._looked = looked_at(lease) or self._looked
            await asyncio.sleep(LEASE_SECONDS)


def looked_at(lease: JSON) -> datetime | None:
    """By the operator's own word on its Lease."""
    text = ((lease.get("metadata") or {}).get("annotations") or {}).get(LOOKED_ANNOTATION)
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
