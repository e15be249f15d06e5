"""Between an Incident's passes and the courier: letters out, receipts in, and an Incident for a channel that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..api.common import Severity, format_time
from ..api.communication import ChannelName
from ..api.incident import Incident, IncidentStatus, Notification, Phase
from ..domain.paging.messages import message
from ..domain.paging.outbox import CHANNEL, CHANNEL_FAILURE, excluded
from ..domain.world import World
from ..ports import INCIDENT, JSON, Conflict, Key, Ports
from .courier import Courier
from .lane import Letter

ALARM_EVERY = timedelta(minutes=1)


class Teller:
    """One for the Incident controller."""

    def __init__(self, ports: Ports, courier: Courier) -> None:
        self._ports = ports
        self._courier = courier
        self._alarmed: dict[tuple[str, str], datetime] = {}

    def forget(self, key: Key) -> None:
        """The incident is gone."""
        self._courier.forget(key)

    def known(self, key: Key, incident: Incident, world: World) -> World:
        """The facts with what became of messages."""
        seen = self._courier.deliveries(key, incident.metadata.uid)
        return replace(world, deliveries=seen, channel_works=self._works(incident))

    def _works(self, incident: Incident) -> bool:
        channel, opened = excluded(incident), (incident.status or IncidentStatus()).times.opened_at
        place = incident.metadata.namespace, incident.spec.stack_ref.name, channel
        since = self._courier.works_since(*place) if channel else None
        return not self._courier.broken(*place) and since is not None and opened is not None and since > opened

    def tell(self, key: Key, incident: Incident, world: World, send: Sequence[Notification]) -> None:
        """What was just written is sent; receipts that were just written are settled."""
        uid = incident.metadata.uid
        self._courier.recorded(key, uid, list(world.deliveries))
        now, letters = self._ports.clock.now(), []
        for note in send if world.stack is not None else ():
            assert world.stack is not None
            channel: ChannelName = note.channel  # type: ignore[assignment]
            secret = world.stack.spec.communication.channels[channel].secret_ref.secret_name
            text = message(incident, world.stack, note, now)
            letters.append(Letter(key, uid, note.key, note.channel, secret, world.stack.metadata.name, text))
        self._courier.offer(uid, letters)

    async def alarm(self, incident: Incident, world: World) -> None:
        """A channel that fails is an incident of its own, which travels by the others. Found again each pass."""
        known = world.stack.spec.communication.channels if world.stack else {}
        failed = {n.channel: n for n in (incident.status or IncidentStatus()).notifications if n.state == "Failed"}
        place = incident.metadata.namespace, incident.spec.stack_ref.name
        for channel, note in sorted(failed.items()):
            if channel != excluded(incident) and channel in known and self._courier.broken(*place, channel):
                await self._open(incident, channel, note)

    async def _open(self, incident: Incident, channel: str, note: Notification) -> None:
        now, namespace, stack = self._ports.clock.now(), incident.metadata.namespace, incident.spec.stack_ref.name
        name = f"{stack}-channel-{channel}"
        last = self._alarmed.get((namespace, name))
        if not self._ports.leader.leading() or (last is not None and timedelta(0) <= now - last < ALARM_EVERY):
            return
        spec: JSON = {
            "stackRef": {"name": stack},
            "type": CHANNEL_FAILURE,
            "severity": Severity.P2.value,
            "title": f"Channel {channel} takes no messages",
            "description": f"tried {note.attempts} times for {incident.metadata.name}: {note.problem or 'no reason known'}",
            "parameters": {CHANNEL: channel},
        }
        try:
            await self._ports.cluster.create(INCIDENT, namespace, {"metadata": {"name": name}, "spec": spec})
        except Conflict:
            await self._again(namespace, name, now)
        self._alarmed[namespace, name] = now

    async def _again(self, namespace: str, name: str, now: datetime) -> None:
        """It was open before: one that has ended is opened again."""
        known = await self._ports.cluster.get(INCIDENT, namespace, name)
        status = (known or {}).get("status") or {}
        if status.get("phase") == Phase.RESOLVED.value:
            again: JSON = {"spec": {"refiredAt": format_time(now)}}
            await self._ports.cluster.patch(INCIDENT, namespace, name, again)
