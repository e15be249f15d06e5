"""Configuration's part of a restore: what would change, and applying it with the rights of the user's own ServiceAccount."""

from __future__ import annotations

from typing import Any

from ..domain.backups.manifest import Manifest, ObjectKind
from ..domain.backups.request import RestoreRequest
from .configuration_restore import cluster, differences, load
from .contracts import MoverError, ObjectReader

API = "https://kubernetes.default.svc"
# Secrets and ConfigMaps before what reads them.
ORDER = (ObjectKind.SECRETS, ObjectKind.CONFIG_MAPS, ObjectKind.MANIFESTS)
SHOWN = 8


async def planned(request: RestoreRequest, manifest: Manifest, reader: ObjectReader) -> list[str]:
    """Lines for the plan, which has no rights in the cluster: objects by name; what differs is told when it is applied."""
    objects = await _meant(request, manifest, reader)
    named = ", ".join(f"{o['kind']} {o['metadata']['name']}" for o in objects[:SHOWN])
    more = f" and {len(objects) - SHOWN} more" if len(objects) > SHOWN else ""
    return [f"configuration: {len(objects)} objects are applied: {named}{more}"]


async def applied(request: RestoreRequest, manifest: Manifest, reader: ObjectReader) -> str:
    """Server-side apply of what differs; says what was done."""
    objects = await _meant(request, manifest, reader)
    async with cluster(API, request.source.namespace) as api:
        changes = differences(objects, await api.live(objects))
        await api.apply(objects)
    return "; ".join(changes) or f"{len(objects)} objects were as they are in the set"


async def _meant(request: RestoreRequest, manifest: Manifest, reader: ObjectReader) -> list[dict[str, Any]]:
    wanted = request.wanted_configuration
    found = await load(manifest, reader, ORDER)
    if wanted is None or not (wanted.config_maps or wanted.secrets or wanted.manifests):
        return found
    from .configuration_restore import chosen

    manifests = [o for o in found if o["kind"] not in ("ConfigMap", "Secret")] if wanted.manifests else []
    meant = [*chosen(found, "Secret", wanted.secrets), *chosen(found, "ConfigMap", wanted.config_maps), *manifests]
    if not meant:
        raise MoverError("NothingToRestore", "the set has none of the objects that are asked for", retry=False)
    return meant
