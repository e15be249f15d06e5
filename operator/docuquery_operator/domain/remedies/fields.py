"""Fields of API objects that actions change, by a short name: read, set, and find in an owner's record.

`replicas`, `minReplicas`, `minReplicaCount`: an integer of spec. `annotation/<key>`: an annotation.
`env/<container>/<NAME>`: the whole entry of a container's environment, so that `valueFrom` comes back as it was.
`image/<container>`: only read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]
NUMBERS = ("replicas", "minReplicas", "minReplicaCount")


def value(obj: Mapping[str, Any], field: str) -> Any:
    """What the field holds, None when it is not there. ValueError: no such field."""
    kind, _, rest = field.partition("/")
    if kind in NUMBERS and not rest:
        return (obj.get("spec") or {}).get(kind)
    if kind == "annotation" and rest:
        return (obj.get("metadata", {}).get("annotations") or {}).get(rest)
    if kind == "image" and rest:
        return (_container(obj, rest) or {}).get("image")
    container, _, name = rest.partition("/")
    if kind == "env" and container and name:
        entries = (_container(obj, container) or {}).get("env") or []
        return next((e for e in entries if e.get("name") == name), None)
    raise ValueError(f"no field is called '{field}'")


def with_value(obj: Mapping[str, Any], field: str, new: Any) -> JSON:
    """A copy with the field set; None takes it away. ValueError: no such field or no such container."""
    changed: JSON = copy.deepcopy(dict(obj))
    kind, _, rest = field.partition("/")
    if kind in NUMBERS and not rest:
        _set(changed.setdefault("spec", {}), kind, new)
    elif kind == "annotation" and rest:
        _set(changed.setdefault("metadata", {}).setdefault("annotations", {}), rest, new)
    else:
        value(obj, field)
        container, _, name = rest.partition("/")
        found = _container(changed, container)
        if found is None:
            raise ValueError(f"no container is called '{container}'")
        _set_entry(found.setdefault("env", []), name, new)
    return changed


def path_of(field: str) -> tuple[str, ...]:
    """Where metadata.managedFields says who owns it (kubernetes.io, Server-Side Apply, "Field management")."""
    kind, _, rest = field.partition("/")
    if kind in NUMBERS:
        return ("f:spec", f"f:{kind}")
    if kind == "annotation":
        return ("f:metadata", "f:annotations", f"f:{rest}")
    pod = ("f:spec", "f:template", "f:spec")
    if kind == "image":
        return (*pod, "f:containers", f'k:{{"name":"{rest}"}}', "f:image")
    container, _, name = rest.partition("/")
    return (*pod, "f:containers", f'k:{{"name":"{container}"}}', "f:env", f'k:{{"name":"{name}"}}')


def _set(place: JSON, key: str, new: Any) -> None:
    if new is None:
        place.pop(key, None)
    else:
        place[key] = new


def _set_entry(entries: list[JSON], name: str, new: Any) -> None:
    at = next((i for i, e in enumerate(entries) if e.get("name") == name), None)
    if at is None:
        if new is not None:
            entries.append(new)
    elif new is None:
        del entries[at]
    else:
        entries[at] = new


def _container(obj: Mapping[str, Any], name: str) -> JSON | None:
    pod = obj.get("spec", {}).get("template", {}).get("spec", {})
    return next((c for c in pod.get("containers") or [] if c.get("name") == name), None)
