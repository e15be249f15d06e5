"""Answers of people into Incidents: read, decide (domain/paging/replies.py), write conditionally, again after a conflict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from ...api.incident import Incident
from ...api.stack import Stack
from ...domain.paging.replies import Reply
from ...ports import INCIDENT, JSON, STACK, Cluster, Conflict, Unavailable

TRIES = 8


@dataclass(frozen=True)
class Ref:
    """One Incident; another one of the same name is not meant. round: which of its rounds the person saw."""

    namespace: str
    name: str
    uid: str
    round: int


class Answers:
    """Raises ApiError when an answer could not be stored."""

    def __init__(self, cluster: Cluster, watched: Sequence[str]) -> None:
        self._cluster = cluster
        self._watched = tuple(watched)

    async def write(self, ref: Ref, reply: Callable[[Incident], Reply]) -> str:
        """What came of it, in one word."""
        if self._watched and ref.namespace not in self._watched:
            return "namespace_not_watched"
        for _ in range(TRIES):
            incident = _read(await self._cluster.get(INCIDENT, ref.namespace, ref.name))
            if incident is None or incident.metadata.uid != ref.uid:
                return "gone"
            found = reply(incident)
            if found.spec is None:
                return found.outcome
            body: JSON = {"metadata": {"resourceVersion": incident.metadata.resource_version}, "spec": found.spec}
            try:
                written = await self._cluster.patch(INCIDENT, ref.namespace, ref.name, body)
            except Conflict:
                continue
            return found.outcome if written is not None else "gone"
        raise Unavailable(f"{ref.name} changes faster than an answer can be written")

    async def stack(self, namespace: str, name: str) -> Stack | None:
        """The Stack as it is now, None when there is none that can be read."""
        try:
            found = await self._cluster.get(STACK, namespace, name)
            return None if found is None else Stack.model_validate(found)
        except ValidationError:
            return None

    async def stack_of(self, ref: Ref) -> Stack | None:
        """The Stack of an Incident."""
        if self._watched and ref.namespace not in self._watched:
            return None
        incident = _read(await self._cluster.get(INCIDENT, ref.namespace, ref.name))
        return None if incident is None else await self.stack(ref.namespace, incident.spec.stack_ref.name)

    async def find(self, uid: str) -> Ref | None:
        """The Incident with this uid."""
        for namespace in self._watched or ("",):
            for obj in await self._cluster.list(INCIDENT, namespace):
                meta = obj["metadata"]
                if meta.get("uid") == uid:
                    return Ref(meta["namespace"], meta["name"], uid, 0)
        return None


def _read(obj: JSON | None) -> Incident | None:
    try:
        return None if obj is None else Incident.model_validate(obj)
    except ValidationError:
        return None
