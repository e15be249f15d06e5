"""Walks over structural schemas, and a value in which every field is filled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# One value for every pattern of the API: a new pattern without a sample makes `filled` fail, which says what to add.
SAMPLES = (
    "30s", "10%", "3/1h", "10Gi", "sample", "Sample", "2026-12-01", "0123456789ab",
    "0123456789abcdef" * 4, "/sample", "https://sample.example.org",
)  # fmt: skip


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema inside, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}{mark}")


def messages(schema: Schema) -> set[str]:
    """Messages of all CEL rules inside."""
    return {rule["message"] for _, node in nodes(schema) for rule in node.get("x-kubernetes-validations", [])}


def filled(schema: Schema) -> Any:
    """A value with every field present and one entry in every list and map."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"free": {"form": [1, "two", None]}}
    if "properties" in schema:
        return {name: filled(child) for name, child in schema["properties"].items()}
    if "additionalProperties" in schema:
        return {"sample": filled(schema["additionalProperties"])}
    if schema["type"] == "array":
        return [filled(schema["items"])]
    return _scalar(schema)


def _scalar(schema: Schema) -> Any:
    if schema["type"] == "boolean":
        return True
    if schema["type"] == "integer":
        return int(schema.get("minimum", 7))
    if schema.get("format") == "date-time":
        return "2026-12-01T03:00:00.000Z"
    pattern = schema.get("pattern")
    return next(sample for sample in SAMPLES if pattern is None or re.fullmatch(pattern, sample))
