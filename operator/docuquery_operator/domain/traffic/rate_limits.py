"""A rate limit as pods have it in their environment, and whom a key of its counters is about."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

JSON = Mapping[str, Any]
_ADDRESS = re.compile(r"(?<![0-9.])(?:\d{1,3}\.){3}\d{1,3}(?![0-9.])")
# Networks that hold no client from outside; the addresses of examples and benchmarks are not among them.
INTERNAL = tuple(
    ipaddress.ip_network(n)
    for n in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
)


def config_maps(container: JSON) -> list[str]:
    """Names of the ConfigMaps that give this container its environment."""
    whole = [(e.get("configMapRef") or {}).get("name") for e in container.get("envFrom") or []]
    single = [((e.get("valueFrom") or {}).get("configMapKeyRef") or {}).get("name") for e in container.get("env") or []]
    return sorted({name for name in (*whole, *single) if name})


def value_of(container: JSON, name: str, maps: Mapping[str, JSON]) -> int | None:
    """The number that a container has in this variable; None when there is none or it cannot be read, as from a Secret."""
    for entry in reversed(container.get("env") or []):
        if entry.get("name") == name:
            return _number(_single(entry, maps))
    for entry in reversed(container.get("envFrom") or []):
        key = name.removeprefix(entry.get("prefix") or "")
        if (entry.get("prefix") or "") and key == name:
            continue
        if entry.get("secretRef"):
            # It may hold the variable, and then it would win.
            return None
        data = (maps.get((entry.get("configMapRef") or {}).get("name", "")) or {}).get("data") or {}
        if key in data:
            return _number(data[key])
    return None


def _single(entry: JSON, maps: Mapping[str, JSON]) -> Any:
    source = entry.get("valueFrom")
    if source is None:
        return entry.get("value")
    ref = source.get("configMapKeyRef") or {}
    return ((maps.get(ref.get("name", "")) or {}).get("data") or {}).get(ref.get("key", ""))


def _number(value: Any) -> int | None:
    text = str(value).strip() if value is not None else ""
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def in_force(values: Sequence[tuple[int | None, int | None]]) -> tuple[dict[str, int], bool]:
    """Requests and window, seconds, where all pods agree; and whether pods disagree, as in the middle of a rollout."""
    found: dict[str, int] = {}
    mixed = len(set(values)) > 1
    for place, key in enumerate(("requests", "window")):
        each = {v[place] for v in values}
        only = each.pop() if len(each) == 1 else None
        if only is not None:
            found[key] = only
    return found, mixed


def client_of(key: str) -> str:
    """The address in a key of the counters, '' when it holds none."""
    found = _ADDRESS.search(key)
    if found:
        return address(found.group())
    parts = key.split(":")
    # An address of version 6 is itself parted by colons: the longest run of parts that makes one.
    for length in range(min(8, len(parts)), 2, -1):
        for start in range(len(parts) - length + 1):
            known = address(":".join(parts[start : start + length]))
            if known:
                return known
    return ""


def address(text: str) -> str:
    """An address in its usual form, '' when it is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return "" if found.is_unspecified else str(found)


def internal(client: str) -> bool:
    """Whether this is an address of no client from outside: private, of the machine itself, or of a link."""
    try:
        found = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(found in network for network in INTERNAL if network.version == found.version)
