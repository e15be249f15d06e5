"""Processor and memory of a component's pods, from metrics.k8s.io where the cluster serves it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ..api.stack import Component
from ..ports import JSON, POD_METRICS, ApiError
from . import shared
from .base import Round

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([numkMGTP]|[KMGTP]i)?")
_FACTORS = {
    **{"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15},
    **{"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50},
}
# A cluster without metrics.k8s.io is asked again after so long.
ASK_AGAIN = timedelta(minutes=5)


async def usage(round_: Round, component: Component) -> dict[str, Any]:
    """`cpuPercent` and `memoryPercent` of the limits, of the fullest pod; nothing where either is not known."""
    silent: datetime | None = round_.memory.get("no metrics.k8s.io")
    if silent is not None and timedelta(0) <= round_.now - silent < ASK_AGAIN:
        return {}
    owner = await shared.workload(round_, component)
    selector = shared.selector_of(owner)
    if owner is None or not selector:
        return {}
    ours = {p.name for p in await shared.pods(round_, component)}
    try:
        found = await round_.ports.cluster.list(POD_METRICS, round_.namespace, selector)
    except ApiError:
        found = []
    measured = [m for m in found if (m.get("metadata") or {}).get("name") in ours]
    if not measured:
        round_.memory["no metrics.k8s.io"] = round_.now
        return {}
    return _percentages(owner, measured)


def _percentages(owner: JSON, measured: Sequence[JSON]) -> dict[str, Any]:
    containers = owner.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    main, limits = containers[0].get("name", ""), (containers[0].get("resources") or {}).get("limits") or {}
    finding: dict[str, Any] = {}
    for key, what in (("cpuPercent", "cpu"), ("memoryPercent", "memory")):
        limit = amount(limits.get(what))
        used = [
            value
            for m in measured
            for c in m.get("containers") or []
            if c.get("name") == main and (value := amount((c.get("usage") or {}).get(what))) is not None
        ]
        if limit and used:
            finding[key] = round(max(used) / limit * 100)
    return finding


def amount(text: Any) -> float | None:
    """A Kubernetes quantity in its base unit; None for what is none."""
    match = _QUANTITY.fullmatch(str(text))
    return float(match[1]) * _FACTORS[match[2] or ""] if match else None
