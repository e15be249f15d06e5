"""httpHealth: the api's own health answer, and what it says of its dependencies: the view from a client's pod."""

from __future__ import annotations

import json
from typing import Any

from ...domain.redaction import redact
from .. import shared
from ..base import ProbeContext

GOOD = {"ok", "up", "healthy", "connected", "true", "pass"}
BAD = {"down", "error", "unhealthy", "disconnected", "false", "fail", "degraded"}


class HttpHealth:
    """GET the health path; each dependency becomes <name>: up|down and <name>Error: class."""

    name = "httpHealth"
    doc = (
        "the answer of the health path; `reachable` alone where nobody answers; for each dependency in it its name "
        "(`up` or `down`) and, where it says one, the name with `Error`"
    )
    gives: tuple[str, ...] = ("reachable", "status", "latencyMs", "*", "*Error")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; without an answer only 'reachable' is there."""
        component = context.component
        address = await shared.address(context.round, component)
        if not address or component.endpoint is None:
            return {"reachable": False, "summary": "no address: the Service is missing or has no endpoint"}
        path = component.health.path if component.health else shared.HEALTH_PATH
        answer = await context.round.ports.network.http_get(address, component.endpoint.port, path, context.round.timeout)
        if answer.status == 0:
            return {"reachable": False, "summary": f"GET {path}: {answer.problem}"}
        finding: dict[str, Any] = {"reachable": True, "status": answer.status, "latencyMs": round(answer.latency_ms)}
        finding.update(dependencies(answer.body))
        said = ", ".join(f"{k}={v}" for k, v in finding.items() if k not in ("reachable", "status", "latencyMs"))
        finding["summary"] = f"GET {path}: {answer.status} {said}"[:300]
        return finding


def dependencies(body: str) -> dict[str, str]:
    """`.dependencies` of a health answer; strings, booleans and objects with a status are understood."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    found = parsed.get("dependencies") if isinstance(parsed, dict) else None
    if not isinstance(found, dict):
        return {}
    result: dict[str, str] = {}
    for name, value in list(found.items())[:16]:
        state, error = _state(value)
        if state and isinstance(name, str) and name.isidentifier():
            result[name] = state
            if error:
                result[f"{name}Error"] = error
    return result


def _state(value: Any) -> tuple[str, str]:
    error = ""
    if isinstance(value, dict):
        error = redact(str(value.get("error") or value.get("code") or ""))[:64]
        value = value.get("status", value.get("healthy", ""))
    word = str(value).lower()
    if word in GOOD:
        return "up", ""
    return ("down", error) if word in BAD else ("", "")
