"""Services as objects of the API server, so that our operator watches processes of this machine, and a witness of what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .api import GROUP, JSON, Client
from .services import SECRET, Server

KINDS = {"Api": ("deployments", "Deployment")}


async def prepare(client: Client, namespace: str, servers: Sequence[Server]) -> None:
    """Namespace, Secret, and for each server a workload without pods, a Service and its endpoint on loopback."""
    core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
    await client.write("POST", "/api/v1/namespaces", "namespaces", {"metadata": {"name": namespace}})
    await client.write(
        "POST", f"{core}/secrets", "secrets", {"metadata": {"name": "postgres-operator"}, "stringData": SECRET}
    )
    for server in servers:
        labels, name = {"app": server.name}, server.name
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": name}]}}
        spec: JSON = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        plural, kind = KINDS.get(server.component["type"], ("statefulsets", "StatefulSet"))
        if kind == "StatefulSet":
            spec["serviceName"] = name
        await client.write("POST", f"{apps}/{plural}", plural, {"metadata": {"name": name}, "spec": spec})
        service = {"clusterIP": "None", "ports": [{"port": server.port}]}
        await client.write("POST", f"{core}/services", "services", {"metadata": {"name": name}, "spec": service})
        # The API server takes no loopback address for an endpoint, but any name; this one needs no resolver.
        slice_: JSON = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "FQDN",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
            "ports": [{"port": server.port}],
        }
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        await client.write("POST", path, "endpointslices", slice_)


async def watch(client: Client, namespace: str, name: str, servers: Sequence[Server], detection: JSON, mode: str) -> None:
    """A Stack of these servers."""
    components = {s.name: _component(s) for s in servers}
    spec = {"components": components, "detection": detection, "healing": {"mode": mode}}
    body = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "Stack", "metadata": {"name": name}, "spec": spec}
    await client.write("POST", f"{GROUP}/namespaces/{namespace}/stacks", "stacks", body)


def _component(server: Server) -> JSON:
    kind = KINDS.get(server.component["type"], ("", "StatefulSet"))[1]
    where = {"service": server.name, "port": server.port}
    return server.component | {"workload": {"kind": kind, "name": server.name}, "endpoint": where}


class Witness:
    """Watches Incidents, Stacks and workloads of a namespace by itself: when was what first said."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._tasks: list[asyncio.Task[None]] = []
        self.incidents: dict[str, JSON] = {}
        self.opened: list[tuple[float, str]] = []
        self.states: dict[str, tuple[float, str]] = {}
        self.steps: dict[tuple[str, str], float] = {}
        self.ordered: dict[tuple[str, str], float] = {}

    async def __aenter__(self) -> Witness:
        ours = f"{GROUP}/namespaces/{self._namespace}"
        apps = f"/apis/apps/v1/namespaces/{self._namespace}"
        paths = ((f"{ours}/incidents", self._incident), (f"{ours}/stacks", self._stack))
        paths += ((f"{apps}/statefulsets", self._workload), (f"{apps}/deployments", self._workload))
        self._tasks = [asyncio.create_task(self._run(path, take)) for path, take in paths]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, done: Any, within: float) -> float | None:
        """The moment at which something was seen to hold, None when it did not within this time."""
        end = time.monotonic() + within
        while not (found := done()):
            if time.monotonic() > end:
                return None
            await asyncio.sleep(0.002)
        return found if isinstance(found, float) else time.monotonic()

    def down_since(self, component: str, since: float) -> float | None:
        """When the Stack first said so after this moment."""
        at, state = self.states.get(component, (0.0, ""))
        return at if state == "MajorOutage" and at >= since else None

    def opened_since(self, component: str, since: float) -> float | None:
        """When an Incident about it was first there, or fired again, after this moment."""
        return next((at for at, name in self.opened if at >= since and name == component), None)

    def well(self, components: Sequence[str]) -> bool:
        """Whether all are."""
        return all(self.states.get(c, (0.0, ""))[1] == "Operational" for c in components)

    async def _run(self, path: str, take: Any) -> None:
        while True:
            async for event in self._client.lines(f"{path}?watch=true"):
                take(event["type"], event["object"])

    def _incident(self, kind: str, obj: JSON) -> None:
        name, now, spec = obj["metadata"]["name"], time.monotonic(), obj["spec"]
        if kind == "DELETED":
            self.incidents.pop(name, None)
            return
        before = self.incidents.get(name)
        if before is None or before["spec"].get("refiredAt") != spec.get("refiredAt"):
            self.opened.append((now, spec.get("component") or ""))
        self.incidents[name] = obj
        for step in (obj.get("status") or {}).get("steps") or []:
            if step.get("attemptId"):
                self.steps.setdefault((name, step["attemptId"]), now)

    def _stack(self, kind: str, obj: JSON) -> None:
        now = time.monotonic()
        for state in (obj.get("status") or {}).get("components") or [] if kind != "DELETED" else []:
            if self.states.get(state["name"], (0.0, ""))[1] != state["state"]:
                self.states[state["name"]] = (now, state["state"])

    def _workload(self, kind: str, obj: JSON) -> None:
        annotations = obj["spec"]["template"]["metadata"].get("annotations") or {}
        for value in annotations.values():
            self.ordered.setdefault((obj["metadata"]["name"], value), time.monotonic())
