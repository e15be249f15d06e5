"""Holds a request or an answer against the cut OpenAPI document; names what is wrong and where."""

import json
import pathlib
import re
import uuid
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

USED = pathlib.Path(__file__).with_name("used.json")

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


class Document:
    """An OpenAPI 3.0 document, as far as Qdrant's uses the format."""

    def __init__(self, path: pathlib.Path = USED) -> None:
        """Read the document once."""
        content = json.loads(path.read_text())
        self._paths: dict[str, Any] = content["paths"]
        self._schemas: dict[str, Schema] = content["components"]["schemas"]

    def request_problems(self, method: str, path: str, body: object = None) -> list[str]:
        """What the real server would not accept; fields that it does not know count as wrong too."""
        operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {path} is not in the document"]
        schema = _json_schema(operation.get("requestBody"))
        if schema is None:
            return [] if body is None else [f"{method} {path} takes no JSON body"]
        return list(self._problems(schema, body, "body"))

    def answer_problems(self, method: str, path: str, body: object) -> list[str]:
        """Where a good answer differs from what the real server promises."""
        operation = self._operation(method, path)
        schema = _json_schema(operation["responses"]["200"]) if operation else None
        return (
            [f"no JSON answer known for {method} {path}"] if schema is None else list(self._problems(schema, body, "answer"))
        )

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        plain = path.partition("?")[0]
        # Fixed words before placeholders: /collections/aliases is not the collection "aliases".
        for template in sorted(self._paths, key=lambda each: each.count("{")):
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, plain) and method.lower() in self._paths[template]:
                found: dict[str, Any] = self._paths[template][method.lower()]
                return found
        return None

    def _problems(self, schema: Schema, value: object, where: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rsplit("/", 1)[1]]
            yield from self._problems(schema, value, where)
            return
        if value is None and (schema.get("nullable") or schema.get("default", "") is None):
            return
        if set(schema) == {"nullable"}:
            yield f"{where}: not null"
            return
        for each in schema.get("allOf", []):
            yield from self._problems(each, value, where)
        yield from self._choice(schema, value, where)
        yield from self._plain(schema, value, where)

    def _choice(self, schema: Schema, value: object, where: str) -> Iterator[str]:
        choices = schema.get("anyOf") or schema.get("oneOf")
        if not choices:
            return
        failures = [list(self._problems(each, value, where)) for each in choices]
        if all(failures):
            yield min(failures, key=len)[0]

    def _plain(self, schema: Schema, value: object, where: str) -> Iterator[str]:
        kind = schema.get("type")
        if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
            yield f"{where}: {value!r:.60} is not of type {kind}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r:.60} is none of {schema['enum']}"
        if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{where}: {value} is out of bounds"
        if schema.get("format") == "uuid" and not _is_uuid(value):
            yield f"{where}: {value!r:.60} is not a UUID"
        if isinstance(value, list):
            for number, each in enumerate(value):
                yield from self._problems(schema.get("items", {}), each, f"{where}[{number}]")
        if isinstance(value, dict) and kind == "object":
            yield from self._object(schema, value, where)

    def _object(self, schema: Schema, value: dict[str, Any], where: str) -> Iterator[str]:
        known = schema.get("properties", {})
        further = schema.get("additionalProperties", not known)
        yield from (f"{where}: {name} is missing" for name in schema.get("required", []) if name not in value)
        for name, each in value.items():
            if name in known:
                yield from self._problems(known[name], each, f"{where}.{name}")
            elif further is False:
                yield f"{where}: {name} is not known"
            elif isinstance(further, dict):
                yield from self._problems(further, each, f"{where}.{name}")


def _json_schema(holder: dict[str, Any] | None) -> Schema | None:
    content = (holder or {}).get("content", {})
    found: Schema | None = content.get("application/json", {}).get("schema")
    return found


def _is_uuid(value: object) -> bool:
    try:
        uuid.UUID(str(value))
    except ValueError:
        return False
    return True
