"""How far a rate limit may be moved for a while, and what the workload says of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON = Mapping[str, Any]
LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0
# Room above the busiest client that keeps to the limit: windows are filled unevenly.
ROOM = 1.5
HEEDLESS_PERCENT = 50.0


@dataclass(frozen=True)
class Setting:
    """Where the limit of a workload stands. source: value, envFrom, valueFrom or absent; value: what is written there."""

    container: str = ""
    source: str = "absent"
    value: int | None = None


def setting(workload: JSON, name: str) -> Setting:
    """The entry of the environment, in the container that has it, else in the first one."""
    pod = workload.get("spec", {}).get("template", {}).get("spec", {})
    containers: Sequence[JSON] = pod.get("containers") or []
    for container in containers:
        entry = next((e for e in container.get("env") or [] if e.get("name") == name), None)
        if entry is not None:
            found = "valueFrom" if entry.get("valueFrom") else "value"
            return Setting(str(container.get("name", "")), found, number(entry.get("value")))
    first: JSON = containers[0] if containers else {}
    return Setting(str(first.get("name", "")), "envFrom" if first.get("envFrom") else "absent")


def number(text: Any) -> int | None:
    """A positive whole number, or None."""
    try:
        value = int(str(text))
    except ValueError:
        return None
    return value if 0 < value <= 1_000_000_000 else None


def needed(limit: int, window: int, clients: Sequence[JSON], span: float) -> int:
    """The limit that the busiest client which minds it would keep to; never less than there is."""
    minding = [c for c in clients if 100.0 * c.get("refused", 0) < HEEDLESS_PERCENT * max(1, c.get("requests", 0))]
    busiest = max((float(c.get("requests", 0)) for c in minding), default=0.0)
    return max(limit, math.ceil(ROOM * busiest / max(1.0, span) * window))


def moved(limit: int, baseline: int, factor: float | None, wanted: int) -> int:
    """The new limit: by the factor or to what is wanted, from a quarter to four times of what it was before any change."""
    target = round(limit * factor) if factor is not None else wanted
    return max(1, math.ceil(baseline * LEAST_FACTOR), min(target, math.floor(baseline * MOST_FACTOR)))
