"""Keeps one sample a day of each Stack in a ConfigMap that goes with the Stack."""

from __future__ import annotations

from ...api.common import API_VERSION
from ...api.stack import Stack
from ...domain.upkeep import samples
from ...domain.upkeep.measures import Measured
from ...domain.upkeep.samples import Samples
from ...ports import CONFIG_MAP, JSON, Conflict, Ports, Transient

TRIES = 3


async def sampled(ports: Ports, stack: Stack, seen: Measured) -> Samples:
    """All samples with today's. Written once a day, and again only where something was not known before."""
    namespace, name = stack.metadata.namespace, samples.name_of(stack.metadata.name)
    for _ in range(TRIES):
        found = await ports.cluster.get(CONFIG_MAP, namespace, name)
        kept = samples.read(((found or {}).get("data") or {}).get(samples.KEY))
        more = kept.with_day(seen.at.date(), seen.values())
        if more == kept:
            return kept
        try:
            await _write(ports, stack, name, found, samples.text_of(more))
        except Conflict:
            continue
        return more
    raise Transient("somebody else keeps writing the samples", 1.0)


async def _write(ports: Ports, stack: Stack, name: str, found: JSON | None, text: str) -> None:
    meta = stack.metadata
    data = {samples.KEY: text}
    if found is not None:
        body = {"metadata": {"resourceVersion": found["metadata"].get("resourceVersion")}, "data": data}
        await ports.cluster.patch(CONFIG_MAP, meta.namespace, name, body)
        return
    owner = {"apiVersion": API_VERSION, "kind": "Stack", "name": meta.name, "uid": meta.uid}
    labels = {"app.kubernetes.io/managed-by": "docuquery-operator"}
    metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
    await ports.cluster.create(CONFIG_MAP, meta.namespace, {"metadata": metadata, "data": data})
