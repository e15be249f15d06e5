"""Evidence before a disruptive step, and the report: both in one ConfigMap that belongs to the Incident."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from ..api.common import API_VERSION
from ..api.incident import Incident, IncidentStatus
from ..api.stack import Component, ComponentType, Stack
from ..catalogue import shared
from ..catalogue.base import Round
from ..domain.detection import watched
from ..domain.detection.watched import Ring
from ..domain.incidents import review
from ..domain.reports.incident import capped_evidence, report_json, report_markdown
from ..domain.reports.review import review_page, window
from ..domain.workloads.pods import PodFacts
from ..ports import CONFIG_MAP, EVENT, JSON, ApiError, Conflict, Ports

COLLECT_SECONDS = 10.0
LOG_LINES = 200
IDLE_CLIENTS = 50
# Kubernetes takes 1 MiB; the report itself is yet to come.
CONFIG_MAP_LIMIT = 700 * 1024
SAMPLES = "samples.json"


class Reporter:
    """Writes <incident>-report."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def evidence(self, incident: Incident, stack: Stack, component: str, attempt_id: str) -> None:
        """Collect and store what a restart would destroy, once an attempt. Raises ApiError or TimeoutError."""
        key = f"evidence-{attempt_id}.json"
        known = await self._ports.cluster.get(CONFIG_MAP, incident.metadata.namespace, name_of(incident))
        if known is not None and key in (known.get("data") or {}):
            return
        async with asyncio.timeout(COLLECT_SECONDS):
            parts = await self._collect(stack, component)
        await self._store(incident, known, {key: json.dumps(capped_evidence(parts), indent=1)})

    async def report(self, incident: Incident, ring: Ring | None = None) -> str:
        """Write report.md and report.json, for a P0 or P1 the review's page; the ConfigMap's name.

        ring: what was seen of the component. What was once written of it stays: a later process has seen less.
        """
        known = await self._ports.cluster.get(CONFIG_MAP, incident.metadata.namespace, name_of(incident))
        data = {
            "report.md": report_markdown(incident),
            "report.json": json.dumps(report_json(incident), indent=1, sort_keys=True),
        }
        status = incident.status or IncidentStatus()
        if status.severity in review.REVIEWED or review.digest(incident.spec.review):
            found = _seen(status, known, ring)
            data |= {SAMPLES: json.dumps(found)} if found else {}
            data["report.html"] = review_page(incident, found)
        await self._store(incident, known, data)
        return name_of(incident)

    async def _store(self, incident: Incident, known: JSON | None, data: Mapping[str, str]) -> None:
        namespace, name = incident.metadata.namespace, name_of(incident)
        if known is None:
            try:
                await self._ports.cluster.create(CONFIG_MAP, namespace, _config_map(incident, data))
                return
            except Conflict:
                pass
        await self._ports.cluster.patch(CONFIG_MAP, namespace, name, {"data": {**_room(incident, known, data), **data}})

    async def _collect(self, stack: Stack, component_name: str) -> dict[str, str]:
        component = stack.spec.components[component_name]
        # A server that hangs is waited for no longer than a probe waits.
        patience = min(stack.spec.detection.patience, COLLECT_SECONDS / 3)
        round_ = Round(stack, self._ports, patience, self._ports.clock.now())
        parts: dict[str, str] = {}
        for pod in await shared.pods(round_, component):
            parts[f"pod {pod.name}"] = repr(pod)
            parts |= await self._logs(round_.namespace, pod)
        parts["events"] = await self._events(round_, component)
        if component.type is ComponentType.POSTGRESQL:
            parts["pg_stat_activity"] = await self._activity(round_, component)
        if component.type is ComponentType.REDIS:
            parts["redis_info"] = await self._redis_info(round_, component)
        if component.type is ComponentType.QDRANT:
            parts["qdrant_state"] = await self._qdrant_state(round_, component)
        return parts

    async def _logs(self, namespace: str, pod: PodFacts) -> dict[str, str]:
        found = {}
        for previous in (False, True) if pod.restarts else (False,):
            text = await self._ports.cluster.logs(namespace, pod.name, pod.container, previous, LOG_LINES)
            found[f"log {pod.name}{' previous' if previous else ''}"] = text
        return found

    async def _events(self, round_: Round, component: Component) -> str:
        now = self._ports.clock.now()
        names = {component.workload.name, *(p.name for p in await shared.pods(round_, component))}
        events = await self._ports.cluster.list(EVENT, round_.namespace)
        lines = sorted(
            f"{e.get('eventTime') or e.get('deprecatedLastTimestamp')} {e.get('type')} {e.get('reason')} "
            f"{e['regarding'].get('name')}: {str(e.get('note', ''))[:300]}"
            for e in events
            if (e.get("regarding") or {}).get("name") in names
        )
        return "\n".join([f"as of {now.isoformat()}", *lines[-100:]])

    async def _activity(self, round_: Round, component: Component) -> str:
        host = await shared.address(round_, component)
        target = await shared.database_target(round_, component, host) if host else None
        if target is None:
            return "no address or no credentials"
        facts = await self._ports.database.look(target, round_.timeout)
        rows = [json.dumps(dict(r), default=str) for r in facts.activity]
        return "\n".join(rows) or f"{facts.outcome}: {facts.message}"

    async def _redis_info(self, round_: Round, component: Component) -> str:
        host = await shared.address(round_, component)
        target = await shared.redis_target(round_, component, host) if host else None
        if target is None:
            return "no address or no password"
        facts = await self._ports.redis.look(target, round_.timeout)
        idle = [f"idle client {c}" for c in (facts.clients or ())[:IDLE_CLIENTS]]
        return "\n".join([*idle, facts.info or f"{facts.outcome}: {facts.message}"])

    async def _qdrant_state(self, round_: Round, component: Component) -> str:
        host = await shared.address(round_, component)
        target = await shared.qdrant_target(round_, component, host) if host else None
        if target is None:
            return "no address or no key"
        facts = await self._ports.qdrant.look(target, COLLECT_SECONDS / 3)
        collections = [repr(c) for c in facts.collections or ()]
        return "\n".join([f"{facts.outcome} {facts.version} {facts.message}", repr(facts.cluster), *collections])


def _seen(status: IncidentStatus, known: JSON | None, ring: Ring | None) -> JSON | None:
    """Samples around this round: those that stand in the report already, else those of the ring."""
    try:
        stored = json.loads(((known or {}).get("data") or {})[SAMPLES])
        if stored["round"] == status.round and isinstance(stored["rows"], list):
            return dict(stored)
    except (KeyError, ValueError, TypeError):
        pass
    span = window(status)
    if ring is None or span is None:
        return None
    return {"round": status.round, **watched.as_json(status.component or "", *ring.between(*span))}


def _room(incident: Incident, known: JSON | None, data: Mapping[str, str]) -> dict[str, str | None]:
    """Evidence that has to go so that all fits into one ConfigMap: the oldest first."""
    kept = {k: v for k, v in ((known or {}).get("data") or {}).items() if k not in data}
    steps = incident.status.steps if incident.status else []
    order = {f"evidence-{s.attempt_id}.json": number for number, s in enumerate(steps)}
    oldest = sorted((k for k in kept if k.startswith("evidence-")), key=lambda k: order.get(k, -1))
    gone: dict[str, str | None] = {}
    while oldest and sum(len(v.encode()) for v in (*kept.values(), *data.values())) > CONFIG_MAP_LIMIT:
        gone[oldest[0]] = None
        del kept[oldest.pop(0)]
    return gone


def name_of(incident: Incident) -> str:
    """Name of the ConfigMap."""
    return f"{incident.metadata.name[:240].rstrip('-.')}-report"


def _config_map(incident: Incident, data: Mapping[str, str]) -> JSON:
    return {
        "metadata": {
            "name": name_of(incident),
            "labels": {"app.kubernetes.io/managed-by": "docuquery-operator", "ops.docuquery.ai/report": "incident"},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "Incident",
                    "name": incident.metadata.name,
                    "uid": incident.metadata.uid,
                }
            ],
        },
        "data": dict(data),
    }


async def collected(reporter: Reporter, incident: Incident, stack: Stack, component: str, attempt_id: str) -> str:
    """'' when the evidence is stored, else why not (rule 32: a P0 acts all the same, others wait)."""
    try:
        await reporter.evidence(incident, stack, component, attempt_id)
    except (ApiError, TimeoutError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""
