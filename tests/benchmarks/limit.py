"""The limit: 500 statuses written by a bare loop, nothing decided, nothing read."""

from __future__ import annotations

import functools
import time

from .api import GROUP, Client, parallel
from .rounds import incident, names


async def bare_patches(client: Client, namespace: str) -> float:
    """Seconds for one status patch an incident."""
    path = f"{GROUP}/namespaces/{namespace}/incidents"
    await client.write("POST", "/api/v1/namespaces", "namespaces", {"metadata": {"name": namespace}})
    await parallel(functools.partial(client.write, "POST", path, "incidents", incident(n)) for n in names())
    body = {"status": {"phase": "Identified", "summary": "the workload that the Stack names does not exist"}}
    began = time.monotonic()
    await parallel(functools.partial(client.write, "PATCH", f"{path}/{n}/status", "incidents/status", body) for n in names())
    took = time.monotonic() - began
    await client.write("DELETE", path, "incidents")
    return took
