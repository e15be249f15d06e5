"""Changes that return by themselves (rule 18): what was before is kept on the changed object, so no crash can lose it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from ...api.common import format_time
from ..ledger import parse_time
from ..patching import merge_patch
from .fields import JSON, value, with_value

# The same key: the annotation holds the changes, the label finds the object and says whose Stack it is.
KEY = "ops.docuquery.ai/temporary"


@dataclass(frozen=True)
class Change:
    """One changed field of one object.

    id: attempt that made it. former: what comes back, None for absent. ours: what was written; anything else in the
    field means that somebody has taken it over.
    """

    id: str
    cause: str
    until: datetime
    field: str
    former: Any
    ours: Any


@dataclass(frozen=True)
class Return:
    """What a look found due. patch: merge patch with the version that was read."""

    patch: JSON
    put_back: tuple[Change, ...] = ()
    kept: tuple[Change, ...] = ()


def changes(obj: Mapping[str, Any]) -> tuple[Change, ...]:
    """The object's temporary changes. ValueError: somebody has spoilt the record."""
    text = (obj.get("metadata", {}).get("annotations") or {}).get(KEY, "")
    rows = json.loads(text) if text else []
    try:
        return tuple(Change(**{**row, "until": parse_time(row["until"])}) for row in rows)
    except (TypeError, KeyError) as problem:
        raise ValueError(f"the annotation {KEY} is spoilt: {problem}") from problem


def active(obj: Mapping[str, Any], field: str) -> Change | None:
    """The change that the field is under, if it still is: then what is kept for it is the true former value."""
    found = next((c for c in changes(obj) if c.field == field), None)
    return found if found is not None and value(obj, field) == found.ours else None


def applied(obj: Mapping[str, Any], change: Change, stack_label: str) -> JSON:
    """Merge patch that makes the change and keeps its record; a field changed twice keeps its first former value."""
    known = active(obj, change.field)
    if known is not None:
        change = replace(change, former=known.former)
    others = [c for c in changes(obj) if c.field != change.field]
    return _patch(obj, with_value(obj, change.field, change.ours), [*others, change], stack_label)


def due(obj: Mapping[str, Any], now: datetime) -> Return | None:
    """What has come to its end: fields that are still ours get their former value, those that are not stay as they are."""
    return _ended(obj, [c for c in changes(obj) if now >= c.until])


def undone(obj: Mapping[str, Any], attempt_id: str) -> Return | None:
    """The changes of one attempt, ended before their time."""
    return _ended(obj, [c for c in changes(obj) if c.id == attempt_id])


def everything(obj: Mapping[str, Any]) -> Return | None:
    """All of them: the Stack is gone, and nobody will look again."""
    return _ended(obj, list(changes(obj)))


def _ended(obj: Mapping[str, Any], over: list[Change]) -> Return | None:
    if not over:
        return None
    ours = [c for c in over if value(obj, c.field) == c.ours]
    after: JSON = dict(obj)
    for change in ours:
        after = with_value(after, change.field, change.former)
    left = [c for c in changes(obj) if c not in over]
    label = (obj.get("metadata", {}).get("labels") or {}).get(KEY, "")
    patch = _patch(obj, after, left, label)
    return Return(patch, tuple(ours), tuple(c for c in over if c not in ours))


def _patch(obj: Mapping[str, Any], after: JSON, kept: list[Change], stack_label: str) -> JSON:
    after = with_value(after, f"annotation/{KEY}", _encoded(kept) if kept else None)
    labels = {k: v for k, v in (after["metadata"].get("labels") or {}).items() if k != KEY}
    after["metadata"]["labels"] = labels | ({KEY: stack_label} if kept else {})
    patch = merge_patch(obj, after)
    patch.setdefault("metadata", {})["resourceVersion"] = obj["metadata"]["resourceVersion"]
    return patch


def _encoded(kept: list[Change]) -> str:
    rows = [asdict(c) | {"until": format_time(c.until)} for c in kept]
    return json.dumps(rows, separators=(",", ":"), sort_keys=True)
