"""Between a window's passes and the courier: the digest of what it has muted."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from ..api.communication import ChannelName
from ..api.maintenance_window import MaintenanceWindow, MaintenanceWindowStatus
from ..api.stack import Stack
from ..domain.incidents.draft import News
from ..domain.maintenance import digest
from ..domain.maintenance.digest import DigestPlan
from ..ports import INCIDENT, JSON, Key, Ports
from .courier import Courier
from .lane import Letter


class Digester:
    """One for the MaintenanceWindow controller."""

    def __init__(self, ports: Ports, courier: Courier) -> None:
        self._ports = ports
        self._courier = courier

    def forget(self, key: Key) -> None:
        """The window is gone."""
        self._courier.forget(key)

    async def plan(
        self, key: Key, window: MaintenanceWindow, status: MaintenanceWindowStatus, stack: JSON | None, now: datetime
    ) -> tuple[DigestPlan, tuple[News, ...]]:
        """The digest as it is to be written, and what to tell of a new one."""
        past, known = digest.due(window, status, now), status.digest
        news: tuple[News, ...] = ()
        if past is not None:
            found = _readable(stack)
            listed = await self._ports.cluster.list(INCIDENT, key.namespace)
            ours = [i for i in digest.readable(listed) if i.spec.stack_ref.name == window.spec.stack_ref.name]
            known = digest.compose(window, past, ours, found.spec.communication if found else None, now)
            if known.incidents:
                news = (News("Normal", "MutedDigest", digest.text(window, known)[:1000]),)
        return digest.keep(known, self._courier.deliveries(key, window.metadata.uid), now), news

    def tell(self, key: Key, window: MaintenanceWindow, stack: JSON | None, plan: DigestPlan) -> None:
        """What was just written is sent; receipts that were just written are settled."""
        uid, found = window.metadata.uid, _readable(stack)
        self._courier.recorded(key, uid, plan.settled)
        letters = []
        for note in plan.send if found is not None and plan.digest is not None else ():
            assert found is not None
            assert plan.digest is not None
            channel: ChannelName = note.channel  # type: ignore[assignment]
            ref = found.spec.communication.channels.get(channel)
            if ref is None:
                continue
            text = digest.message(window, found, plan.digest, note, self._ports.clock.now())
            name = found.metadata.name
            letters.append(Letter(key, uid, note.key, note.channel, ref.secret_ref.secret_name, name, text))
        self._courier.offer(uid, letters)


def with_digest(status: MaintenanceWindowStatus, plan: DigestPlan) -> MaintenanceWindowStatus:
    """The status with it."""
    return status.model_copy(update={"digest": plan.digest})


def _readable(stack: JSON | None) -> Stack | None:
    try:
        return Stack.model_validate(stack) if stack is not None else None
    except ValidationError:
        return None
