"""From the models to CustomResourceDefinitions: a pure function, nothing is read or written here."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from .backup_job import BackupJob
from .common import (
    GROUP,
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    PRESERVE,
    SERVER_DEFAULT,
    VALIDATIONS,
    VERSION,
    Column,
    Resource,
)
from .incident import Incident
from .maintenance_window import MaintenanceWindow
from .restore_job import RestoreJob
from .runbook import Runbook
from .stack import Stack

Schema = dict[str, Any]

KINDS: tuple[type[Resource], ...] = (Stack, Incident, Runbook, MaintenanceWindow, BackupJob, RestoreJob)
CATEGORY = "docuquery"

KEPT = frozenset({
    "type", "description", "format", "enum", "pattern", "properties", "required", "items", "additionalProperties",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "default",
    LIST_TYPE, LIST_MAP_KEYS, PRESERVE, INT_OR_STRING, VALIDATIONS,
})  # fmt: skip
_DROPPED = frozenset({"title", "examples", "deprecated", "readOnly", "writeOnly", "$defs", SERVER_DEFAULT})
_REFUSED = {
    "oneOf": "write one object with all branches optional and a Cel rule 'exactly one of'",
    "allOf": "write the fields into one model",
    "not": "write a Cel rule",
    "prefixItems": "a tuple has no place in a structural schema; write a model",
    "discriminator": "write one object with all branches optional and a Cel rule 'exactly one of'",
}
_STANDARD = {
    "apiVersion": f"Version of this form of the object: {GROUP}/{VERSION}",
    "kind": "Kind of the object, in CamelCase",
}


class SchemaError(ValueError):
    """A model cannot be said as a structural schema; the message names the field and the way out."""


def crd_of(model: type[Resource]) -> Schema:
    """The CustomResourceDefinition of a kind."""
    meta = model.meta_of_kind
    names = {
        "kind": meta.kind,
        "listKind": f"{meta.kind}List",
        "plural": meta.plural,
        "singular": meta.singular,
        "shortNames": list(meta.short_names),
        "categories": [CATEGORY],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{meta.plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version(model)]},
    }


def text_of(model: type[Resource]) -> str:
    """The same as YAML: sorted, stable, one document."""
    return yaml.safe_dump(crd_of(model), sort_keys=True, width=110, allow_unicode=True)


def schema_of(model: type[Resource]) -> Schema:
    """The structural schema of a kind."""
    schema = structural(model)
    properties = schema["properties"]
    for name, description in _STANDARD.items():
        properties[name] = {"type": "string", "description": description}
    properties["metadata"] = {"type": "object"}
    schema["required"] = [name for name in schema["required"] if name != "metadata"]
    return schema


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of any model; SchemaError where it cannot be said as one."""
    raw = model.model_json_schema(by_alias=True)
    return _Converter(raw.get("$defs", {})).convert(raw, model.__name__)


def _version(model: type[Resource]) -> Schema:
    meta = model.meta_of_kind
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema_of(model)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in meta.columns],
    }
    if meta.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in meta.selectable]
    return version


def _column(column: Column) -> Schema:
    form: Schema = {"name": column.name, "jsonPath": column.path, "type": column.type}
    if column.priority:
        form["priority"] = column.priority
    if column.description:
        form["description"] = column.description
    return form


class _Converter:
    """Walks one JSON schema; `trail` holds the references that are open, to notice a recursive model."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def convert(self, node: Schema, path: str, trail: tuple[str, ...] = ()) -> Schema:
        """The structural form of one node."""
        node, trail = self._inline(node, path, trail)
        _refuse(node, path)
        node = _plain(node)
        _check_keywords(node, path)
        if "properties" in node:
            node["properties"] = {n: self.convert(s, f"{path}.{n}", trail) for n, s in node["properties"].items()}
        if "items" in node:
            node["items"] = self.convert(node["items"], f"{path}[]", trail)
        if isinstance(node.get("additionalProperties"), dict):
            node["additionalProperties"] = self.convert(node["additionalProperties"], f"{path}.*", trail)
        return _check_shape(node, path)

    def _inline(self, node: Schema, path: str, trail: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Replace a reference or an optional by what it means; what stands beside it wins."""
        while "$ref" in node or "anyOf" in node:
            if "$ref" in node:
                name = node["$ref"].removeprefix("#/$defs/")
                if name in trail:
                    raise SchemaError(f"{path}: {name} holds itself; a structural schema cannot recurse")
                trail = (*trail, name)
                node = _merge(self._definitions[name], _without(node, "$ref"))
            else:
                node = _merge(_only_branch(node["anyOf"], path), _without(node, "anyOf"))
        return node, trail


def _without(node: Schema, *names: str) -> Schema:
    return {key: value for key, value in node.items() if key not in names}


def _merge(inner: Schema, outer: Schema) -> Schema:
    rules = [*inner.get(VALIDATIONS, []), *outer.get(VALIDATIONS, [])]
    return {**inner, **outer, **({VALIDATIONS: rules} if rules else {})}


def _only_branch(branches: list[Schema], path: str) -> Schema:
    """`X | None` is X; `int | str` is int-or-string; anything else has no structural form."""
    real = [branch for branch in branches if branch.get("type") != "null"]
    if len(real) == 1:
        return real[0]
    if sorted(str(branch.get("type")) for branch in real) == ["integer", "string"]:
        return {INT_OR_STRING: True}
    raise SchemaError(f"{path}: a union has no structural form; write one object and a Cel rule 'exactly one of'")


def _refuse(node: Schema, path: str) -> None:
    for keyword, way_out in _REFUSED.items():
        if keyword in node:
            raise SchemaError(f"{path}: {keyword} is not possible; {way_out}")


def _plain(node: Schema) -> Schema:
    """The node with each of pydantic's keywords replaced by the one that Kubernetes knows."""
    out = _without(node, *_DROPPED)
    if not node.get(SERVER_DEFAULT):
        out.pop("default", None)
    if "const" in out:
        out["enum"] = [out.pop("const")]
    if out.pop("uniqueItems", False):
        out[LIST_TYPE] = "set"
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    if out.get("type") == "integer":
        out["format"] = "int64"
    _plain_bounds(out)
    _plain_map(out)
    return out


def _plain_bounds(out: Schema) -> None:
    for bound, exclusive, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        if exclusive not in out:
            continue
        limit = out.pop(exclusive)
        if out.get("type") == "integer":
            out[bound] = limit + step
        else:
            out |= {bound: limit, exclusive: True}


def _plain_map(out: Schema) -> None:
    """One kind of value for every key; keys are checked by a Cel rule, which `_check_shape` demands."""
    patterns = out.pop("patternProperties", None)
    if patterns:
        (out["additionalProperties"],) = patterns.values()
    if out.get("additionalProperties") is False:
        del out["additionalProperties"]
    if out.get(PRESERVE):
        out.pop("additionalProperties", None)
    if out.pop("propertyNames", None) or patterns:
        out.setdefault(VALIDATIONS, None)


def _check_keywords(node: Schema, path: str) -> None:
    unknown = sorted(set(node) - KEPT)
    if unknown:
        raise SchemaError(f"{path}: {', '.join(unknown)} has no place in a structural schema")


def _check_shape(node: Schema, path: str) -> Schema:
    if VALIDATIONS in node and not node[VALIDATIONS]:
        raise SchemaError(f"{path}: the keys of this map are constrained; say so in a Cel rule on the field")
    if node.get("additionalProperties") is True:
        raise SchemaError(f"{path}: free content needs the Preserve marker")
    if "properties" in node and "additionalProperties" in node:
        raise SchemaError(f"{path}: named fields and free keys cannot stand in one object")
    if node.get(LIST_TYPE) == "set" and node["items"].get("type") in ("object", "array"):
        raise SchemaError(f"{path}: a set holds scalars only; use ListMap with the fields that are its key")
    if "type" not in node and not node.get(INT_OR_STRING):
        raise SchemaError(f"{path}: no type; give the field one")
    return node
