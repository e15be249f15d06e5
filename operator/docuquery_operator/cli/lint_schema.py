"""Whether a document is a Runbook at all: what the API server would say, said without one."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..api.common import LIST_MAP_KEYS, PRESERVE, VALIDATIONS
from ..api.crd import schema_of
from ..api.runbook import Runbook
from ..catalogue.mistakes import among
from ..domain.diagnosis.expressions import rule_holds

Found = tuple[str, str]
_KNOWN = ("apiVersion", "kind", "metadata", "spec", "status")


def problems(document: Mapping[str, Any]) -> list[Found]:
    """Path and message of each; a path has one message, and a rule's own words come before those of the model."""
    found: dict[str, str] = {}
    for key in document:
        if key not in _KNOWN:
            found[str(key)] = f"unknown field{among(str(key), _KNOWN)}"
    for path, message in _walk(_schema()["properties"]["spec"], document.get("spec"), "spec"):
        found.setdefault(path, message)
    try:
        Runbook.model_validate(document)
    except ValidationError as error:
        for item in error.errors():
            if item["loc"][:1] != ("status",):
                found.setdefault(_path(document, item["loc"]), _instead(item))
    return list(found.items())


@functools.cache
def _schema() -> dict[str, Any]:
    return schema_of(Runbook)


def _walk(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Found]:
    """Unknown fields, rules in CEL and keys that stand twice; types and bounds are the model's."""
    for rule in schema.get(VALIDATIONS, []):
        if not rule_holds(rule["rule"], value):
            yield path, rule["message"]
    if isinstance(value, dict) and "properties" in schema and not schema.get(PRESERVE):
        known = schema["properties"]
        for name, child in value.items():
            if name in known:
                yield from _walk(known[name], child, f"{path}.{name}")
            else:
                yield f"{path}.{name}", f"unknown field{among(str(name), known)}"
    elif isinstance(value, list) and "items" in schema:
        yield from _twice(schema.get(LIST_MAP_KEYS, []), value, path)
        for number, child in enumerate(value):
            yield from _walk(schema["items"], child, f"{path}[{_label(child, number)}]")


def _twice(keys: Sequence[str], entries: Sequence[Any], path: str) -> Iterator[Found]:
    seen = set()
    for entry in (e for e in entries if isinstance(e, dict)):
        key = ", ".join(str(entry.get(k)) for k in keys)
        if keys and key in seen:
            yield path, f"two entries have the {' and '.join(keys)} '{key}'; give the second another one"
        seen.add(key)


def _label(entry: Any, number: int) -> str:
    """What people call an entry: its name, a step's action, else its number."""
    if isinstance(entry, dict):
        for field in ("name", "action"):
            if isinstance(entry.get(field), str) and re.fullmatch(r"\w+", entry[field]):
                return str(entry[field])
    return str(number)


def _path(document: Any, loc: Sequence[str | int]) -> str:
    path, value = "", document
    for part in loc:
        if isinstance(part, int):
            entry = value[part] if isinstance(value, list) and part < len(value) else None
            path, value = f"{path}[{_label(entry, part)}]", entry
        else:
            path, value = f"{path}.{part}" if path else part, value.get(part) if isinstance(value, dict) else None
    return path


def _instead(item: Any) -> str:
    """What to write instead, in words that do not ask to know Python."""
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    shown = repr(given) if len(repr(given)) <= 80 else f"{repr(given)[:80]}…"
    if kind == "missing":
        return "is required"
    if kind in ("enum", "literal_error"):
        return f"must be {context['expected']}, not {shown}"
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f"must be a string; write it in quotes: '{str(given).lower()}'"
    if kind == "too_long":
        return f"holds {context['actual_length']} entries; at most {context['max_length']} are possible"
    if kind == "string_too_long":
        return f"is longer than {context['max_length']} characters"
    if kind == "string_pattern_mismatch":
        return f"{shown} does not fit the pattern {context['pattern']}"
    if kind in ("model_type", "dict_type", "list_type", "model_attributes_type"):
        return f"must be {'a list' if kind == 'list_type' else 'an object with fields'}, not {shown}"
    return f"{str(item['msg']).replace('Input should be', 'must be')}, not {shown}"
