"""Keeps one sample a day of each Stack in a ConfigMap that goes with the Stack."""

from __future__ import annotations

from ...api.common import API_VERSION
from ...domain import samples
from ...domain.measures import Measured
from ...domain.samples import Samples
from ...ports import CONFIG_MAP, JSON, Conflict, Transient
from .base import TaskContext

TRIES = 3


async def sampled(context: TaskContext, seen: Measured) -> Samples:
    """All samples with today's. Written once a day, and again only where something was not known before."""
    namespace, name = context.namespace, samples.name_of(context.stack.metadata.name)
    for _ in range(TRIES):
        found = await context.ports.cluster.get(CONFIG_MAP, namespace, name)
        kept = samples.read(((found or {}).get("data") or {}).get(samples.KEY))
        more = kept.with_day(seen.at.date(), seen.values())
        if more == kept:
            return kept
        try:
            await _write(context, name, found, samples.text_of(more))
        except Conflict:
            continue
        return more
    raise Transient("somebody else keeps writing the samples", 1.0)


async def _write(context: TaskContext, name: str, found: JSON | None, text: str) -> None:
    data = {samples.KEY: text}
    if found is not None:
        body = {"metadata": {"resourceVersion": found["metadata"].get("resourceVersion")}, "data": data}
        await context.ports.cluster.patch(CONFIG_MAP, context.namespace, name, body)
        return
    stack = context.stack.metadata
    owner = {"apiVersion": API_VERSION, "kind": "Stack", "name": stack.name, "uid": stack.uid}
    labels = {"app.kubernetes.io/managed-by": "docuquery-operator"}
    metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
    await context.ports.cluster.create(CONFIG_MAP, context.namespace, {"metadata": metadata, "data": data})
