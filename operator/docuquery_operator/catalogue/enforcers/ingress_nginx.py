"""IngressNginx: the deny list of an Ingress, kept beside what a person wrote there, and put back while it is still ours.

The annotation is read by ingress-nginx (kubernetes.github.io/ingress-nginx, "Annotations"): nginx answers 403 before the api
sees the request. Whose address nginx takes for the client's is its own configuration (use-forwarded-headers, PROXY).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...api.blocking import Block
from ...api.stack import Component
from ...domain.remedies import blocklists
from ...domain.remedies.ownership import git_owner
from ...ports import INGRESS, JSON, Transient
from ..base import Round
from .base import Obstacle


class IngressNginx:
    """Changes one annotation."""

    def object_name(self, round_: Round, name: str, component: Component) -> str:
        """The Ingress that the Stack names."""
        return (component.blocking.ingress if component.blocking else None) or ""

    async def obstacle(self, round_: Round, name: str, component: Component) -> Obstacle | None:
        """No Ingress, or one that Git owns: what would be reverted is not fought over (rule 26)."""
        ingress = self.object_name(round_, name, component)
        obj = await self._read(round_, ingress)
        if obj is None:
            return Obstacle("IngressMissing", f"Ingress '{ingress}' does not exist; create it or correct blocking.ingress")
        if owner := git_owner(obj):
            text = f"{owner} owns Ingress '{ingress}' and would revert the deny list; write the addresses into Git"
            return Obstacle("GitOwnsField", text)
        return None

    async def block(self, round_: Round, component: Component, block: Block) -> None:
        """Add the addresses to the annotation."""
        obj = await self._read(round_, block.object)
        if obj is None:
            raise Transient(f"Ingress {block.object} is gone", 5.0)
        await self._patch(round_, obj, blocklists.deny_list_patch(obj, block))

    async def unblock(self, round_: Round, block: Block, addresses: Sequence[str]) -> str:
        """Put back what was there; a list that somebody has changed meanwhile is left to him."""
        obj = await self._read(round_, block.object)
        if obj is None:
            return ""
        patch, ours = blocklists.deny_list_end(obj, block.attempt_id, addresses)
        await self._patch(round_, obj, patch)
        if ours:
            return ""
        return (
            f"somebody has changed the deny list of Ingress {block.object} meanwhile, and it is left so: take them out there"
        )

    async def listed(self, round_: Round, block: Block) -> Sequence[str] | None:
        """Those that the annotation names."""
        obj = await self._read(round_, block.object)
        text = ((obj or {}).get("metadata", {}).get("annotations") or {}).get(blocklists.DENY_LIST, "")
        there = {part.strip().partition("/")[0] for part in text.split(",")}
        return [a for a in block.addresses if a in there]

    async def _read(self, round_: Round, name: str) -> JSON | None:
        return await round_.ports.cluster.get(INGRESS, round_.namespace, name) if name else None

    async def _patch(self, round_: Round, obj: JSON, patch: JSON) -> None:
        if patch:
            await round_.ports.cluster.patch(INGRESS, round_.namespace, obj["metadata"]["name"], patch)
