"""The reference page: each field of each kind, from the CRDs themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .common import INT_OR_STRING, PRESERVE, VALIDATIONS

Schema = dict[str, Any]

_HEAD = """# Reference of the resources

Written by `make generate` from the models; do not edit. **Bold** fields are required.
The same text stands in `kubectl explain`.
"""


def page_of(crds: Sequence[Schema]) -> str:
    """The page in Markdown."""
    return "\n".join([_HEAD, *(_kind(crd) for crd in crds)])


def _kind(crd: Schema) -> str:
    names = crd["spec"]["names"]
    version = crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    lines = [
        f"## {names['kind']}",
        "",
        schema["description"],
        "",
        f"`apiVersion: {crd['spec']['group']}/{version['name']}`, short name `{', '.join(names['shortNames'])}`.",
        "",
        *_selectable(version),
        "| field | type | meaning |",
        "|---|---|---|",
        *(_row(*field) for part in ("spec", "status") for field in _fields(schema, part)),
        "",
        *_rules(schema),
    ]
    return "\n".join(lines)


def _selectable(version: Schema) -> list[str]:
    paths = [f"`{field['jsonPath'].lstrip('.')}`" for field in version.get("selectableFields", [])]
    return [f"Field selectors: {', '.join(paths)}.", ""] if paths else []


def _fields(parent: Schema, name: str, prefix: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Path, schema and whether it is required, depth first."""
    schema = parent["properties"][name]
    path = f"{prefix}{name}"
    yield path, schema, name in parent.get("required", [])
    inner, suffix = _inside(schema)
    for child in inner.get("properties", {}):
        yield from _fields(inner, child, f"{path}{suffix}.")


def _inside(schema: Schema) -> tuple[Schema, str]:
    if "items" in schema:
        return schema["items"], "[]"
    if "additionalProperties" in schema:
        return schema["additionalProperties"], ".*"
    return schema, ""


def _row(path: str, schema: Schema, required: bool) -> str:
    shown = f"**`{path}`**" if required else f"`{path}`"
    return f"| {shown} | {_type(schema)} | {_escape(_meaning(schema))} |"


def _type(schema: Schema) -> str:
    if schema.get(INT_OR_STRING):
        return "integer or string"
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    if schema.get(PRESERVE):
        return "free object"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def _meaning(schema: Schema) -> str:
    parts = [schema.get("description", "")]
    values = schema.get("enum") or schema.get("items", {}).get("enum")
    if values:
        parts.append("One of " + ", ".join(f"`{value}`" for value in values))
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema]
    parts.extend([" and ".join(bounds)] if bounds else [])
    if "default" in schema:
        parts.append(f"Default `{schema['default']}`")
    return ". ".join(part.rstrip(".") for part in parts if part)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _rules(schema: Schema) -> list[str]:
    rules = sorted({rule["message"] for rule in _all_rules(schema)})
    return ["What the API server refuses, in its own words:", "", *(f"- {_escape(rule)}" for rule in rules), ""]


def _all_rules(schema: Schema) -> Iterator[Schema]:
    yield from schema.get(VALIDATIONS, [])
    for child in schema.get("properties", {}).values():
        yield from _all_rules(child)
    inner, suffix = _inside(schema)
    if suffix:
        yield from _all_rules(inner)
