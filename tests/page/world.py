"""Objects as the API server holds them, for the status page: a Stack, Incidents in every phase, windows of every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from docuquery_operator.api.common import format_time
from docuquery_operator.api.stack import Stack
from docuquery_operator.domain.public.incidents import incident_facts
from docuquery_operator.domain.public.page import Facts, Page, page_of
from docuquery_operator.domain.public.windows import read_window

JSON = dict[str, Any]
NOW = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)
NAMESPACE, STACK = "docuquery", "secret-stack-name"
PATIENCE = timedelta(minutes=2)
TYPES = {"api-7f": "Api", "worker-x": "CeleryWorker", "pg-main": "PostgreSQL", "redis-0": "Redis", "qdrant-z": "Qdrant"}
# Nothing of these may ever be seen.
SECRETS = (
    "secret-stack-name",
    "pg-main",
    "api-7f",
    "worker-x",
    "redis-0",
    "qdrant-z",
    "10.61.0.9",
    "TooManyConnections",
    "db-down",
)


def component(type_: str, name: str, **more: Any) -> JSON:
    spec: JSON = {"type": type_, "workload": {"kind": "Deployment", "name": name}, **more}
    if type_ == "CeleryWorker":
        spec["celery"] = {"app": "a"}
    else:
        spec["endpoint"] = {"service": name, "port": 1}
    if type_ == "PostgreSQL":
        spec |= {"database": "d", "credentials": {"secretName": "s"}}
    return spec


def stack(
    states: dict[str, str] | None = None, types: dict[str, str] | None = None, now: datetime = NOW, busy: int = 1
) -> JSON:
    """busy: how many of the days have something amiss: each third, each, …"""
    kinds = types or TYPES
    begin = now - timedelta(days=80)
    uptime = []
    for n, name in enumerate(sorted(kinds)):
        days = []
        for back in range(79, -1, -1):
            day = (now - timedelta(days=back)).date().isoformat()
            mark = (back * 7 + n * 3) % 23
            amounts = {
                "down": 300 + 60 * n if mark == 5 else 0,
                "partial": 4000 if mark in (11, 5) else 0,
                "unknown": 86400 if mark == 17 and back else 0,
                "maintenance": 86400 if mark == 19 and n == 2 and back else 3600 if mark == 20 else 0,
            }
            if busy > 1:
                amounts = {"down": 60 * (back % 2), "partial": 60, "unknown": 0, "maintenance": 0}
            if any(amounts.values()):
                days.append({"day": day, **amounts})
        uptime.append(
            {
                "name": name,
                "since": format_time(begin),
                "until": format_time(now.replace(hour=0, minute=0)),
                "state": (states or {}).get(name, "Operational"),
                "days": days,
            }
        )
    listed = [
        {
            "name": name,
            "state": (states or {}).get(name, "Operational"),
            "since": format_time(now - timedelta(hours=3)),
            "summary": "10.61.0.9 refused",
        }
        for name in sorted(kinds)
    ]
    meta = {"name": STACK, "namespace": NAMESPACE, "uid": "stack-uid", "creationTimestamp": format_time(begin)}
    return {
        "metadata": meta,
        "spec": {"components": {name: component(type_, name) for name, type_ in kinds.items()}},
        "status": {"components": listed, "uptime": uptime},
    }


def incident(
    number: int,
    phase: str = "Resolved",
    message: str | None = None,
    component: str | None = "pg-main",
    severity: str = "P1",
    opened: datetime | None = None,
    written: datetime | None = None,
    **spec: Any,
) -> JSON:
    began = opened or NOW - timedelta(days=number + 1, hours=1)
    order = ["Investigating", "Identified", "Monitoring", "Resolved"]
    names = ["openedAt", "identifiedAt", "mitigatedAt", "resolvedAt"]
    events = ["Opened", "Identified", "Mitigated", "Resolved"]
    reached = order.index(phase) + 1
    times = {n: format_time(began + timedelta(minutes=9 * k)) for k, n in enumerate(names[:reached])}
    line = [
        {
            "at": format_time(began + timedelta(minutes=9 * k)),
            "event": e,
            "message": "pg-main at 10.61.0.9: TooManyConnections",
        }
        for k, e in enumerate(events[:reached])
    ]
    meta: JSON = {
        "name": f"db-down-{number}",
        "namespace": NAMESPACE,
        "uid": f"uid-{number}",
        "creationTimestamp": format_time(began),
    }
    if message is not None:
        entry = {"f:spec": {"f:publicMessage": {}}}
        at = format_time(written or began + timedelta(minutes=12))
        meta["managedFields"] = [{"manager": "kubectl-edit", "time": at, "fieldsV1": entry}]
    return {
        "metadata": meta,
        "spec": {
            "stackRef": {"name": STACK},
            "type": "DatabaseConnectionFailure",
            "title": "pg-main on 10.61.0.9",
            "description": "TooManyConnections on 10.61.0.9",
            **({"publicMessage": message} if message is not None else {}),
            **spec,
        },
        "status": {
            "phase": phase,
            "severity": severity,
            "component": component,
            "summary": "pg-main: TooManyConnections at 10.61.0.9",
            "cause": {"name": "TooManyConnections", "message": "10.61.0.9", "since": times["openedAt"]},
            "times": times,
            "timeline": line,
        },
    }


def window(
    number: int, begin: datetime, hours: int = 2, message: str | None = None, now: datetime = NOW, **spec: Any
) -> JSON:
    end = begin + timedelta(hours=hours)
    status: JSON = {"phase": "Scheduled", "next": [format_time(begin)]}
    if begin <= now < end:
        status = {"phase": "Active", "active": {"since": format_time(begin), "until": format_time(end)}}
        status |= {"lastOpening": format_time(begin)}
    elif end <= now:
        past = {"since": format_time(begin), "until": format_time(end), "outcome": "Completed", "summary": "10.61.0.9"}
        status = {"phase": "Completed", "history": [past], "lastOpening": format_time(begin)}
    return {
        "metadata": {
            "name": f"pg-main-window-{number}",
            "namespace": NAMESPACE,
            "uid": f"window-{number}",
            "creationTimestamp": format_time(now - timedelta(days=20)),
        },
        "spec": {
            "stackRef": {"name": STACK},
            "title": "vacuum pg-main",
            "schedule": {"at": format_time(begin)},
            "duration": f"{hours}h",
            **({"publicMessage": message} if message is not None else {}),
            **spec,
        },
        "status": status,
    }


def usual() -> tuple[list[JSON], list[JSON], list[JSON]]:
    """Stacks, Incidents, MaintenanceWindows of a day on which something goes on."""
    states = {"pg-main": "MajorOutage", "api-7f": "Degraded", "qdrant-z": "Unknown"}
    incidents = [incident(n, severity=f"P{n % 3}") for n in range(3, 12)]
    incidents.append(
        incident(
            0,
            "Monitoring",
            "Log-ins failed for some users since 12:50 UTC.\nDocuments that were uploaded meanwhile are safe.",
            opened=NOW - timedelta(hours=1),
            severity="P0",
        )
    )
    incidents.append(incident(1, "Investigating", component="api-7f", opened=NOW - timedelta(minutes=70), severity="P2"))
    windows = [
        window(
            1,
            NOW + timedelta(days=2),
            message="The search is rebuilt. Results may be incomplete for some minutes.",
            components=["qdrant-z"],
        ),
        window(2, NOW - timedelta(minutes=30), components=["redis-0"]),
        window(3, NOW - timedelta(days=5)),
    ]
    return [stack(states)], incidents, windows


def facts(stacks: list[JSON], incidents: list[JSON], windows: list[JSON], looked: datetime | None = NOW) -> Facts:
    read = [f for f in (incident_facts(i) for i in incidents) if f is not None]
    shown = [w for w in (read_window(w) for w in windows) if w is not None]
    return Facts([Stack.model_validate(s) for s in stacks], read, shown, looked)


def page(
    stacks: list[JSON], incidents: list[JSON], windows: list[JSON], looked: datetime | None = NOW, now: datetime = NOW
) -> Page:
    return page_of(facts(stacks, incidents, windows, looked), "Example status", now, PATIENCE)
