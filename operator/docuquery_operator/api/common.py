"""Types shared by all kinds: markers for the CRD generator, scalar types, conditions, base classes."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PlainSerializer
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUP = "ops.docuquery.ai"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


VALIDATIONS = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
SERVER_DEFAULT = "x-docuquery-server-default"


class Marker:
    """Base of the markers: each adds its keywords to the JSON schema, where the CRD generator finds them."""

    def extend(self, schema: JsonSchemaValue) -> None:
        """Add the keywords of this marker."""
        raise NotImplementedError

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        self.extend(schema)
        return schema


@dataclass(frozen=True)
class Cel(Marker):
    """A CEL rule of the schema: on a field (as Annotated metadata) or on a class (in `cel_rules`)."""

    rule: str
    message: str
    message_expression: str | None = None

    def keyword(self) -> dict[str, str]:
        """The rule in the form of `x-kubernetes-validations`."""
        form = {"rule": self.rule, "message": self.message}
        return form | ({"messageExpression": self.message_expression} if self.message_expression else {})

    def extend(self, schema: JsonSchemaValue) -> None:
        """Add the rule to the field."""
        schema[VALIDATIONS] = [*schema.get(VALIDATIONS, []), self.keyword()]


@dataclass(frozen=True)
class ListMap(Marker):
    """`x-kubernetes-list-type: map` with these keys."""

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)

    def extend(self, schema: JsonSchemaValue) -> None:
        """Say which fields are the key of an entry."""
        schema[LIST_TYPE] = "map"
        schema[LIST_MAP_KEYS] = list(self.keys)


@dataclass(frozen=True)
class ListSet(Marker):
    """`x-kubernetes-list-type: set`; scalars only."""

    def extend(self, schema: JsonSchemaValue) -> None:
        """Say that no entry may stand twice."""
        schema[LIST_TYPE] = "set"


@dataclass(frozen=True)
class Preserve(Marker):
    """`x-kubernetes-preserve-unknown-fields`, only for free parameters."""

    def extend(self, schema: JsonSchemaValue) -> None:
        """Keep fields that the schema does not name."""
        schema[PRESERVE] = True


@dataclass(frozen=True)
class ServerDefault(Marker):
    """The field's default is written by the API server and frozen at creation; all other defaults live in code."""

    def extend(self, schema: JsonSchemaValue) -> None:
        """Keep the default in the schema."""
        schema[SERVER_DEFAULT] = True


@dataclass(frozen=True)
class Column:
    """One printer column."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date", "number"] = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True)
class KindMeta:
    """Names and columns of a kind."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = field(default=())


class ApiModel(BaseModel):
    """Base of every part of a resource: camelCase outside, unknown fields ignored, immutable inside."""

    model_config = ConfigDict(
        defer_build=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_enum_values=False
    )
    cel_rules: ClassVar[tuple[Cel, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        for rule in cls.cel_rules:
            rule.extend(schema)
        return schema

    def to_wire(self) -> dict[str, Any]:
        """JSON form for the API server: camelCase, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _without_empty(value: Any) -> Any:
    """Without empty lists and objects: what says nothing is not written."""
    if not isinstance(value, dict):
        return [_without_empty(v) for v in value] if isinstance(value, list) else value
    pruned = {k: _without_empty(v) for k, v in value.items()}
    return {k: v for k, v in pruned.items() if v not in ([], {})}


class StatusModel(ApiModel):
    """Base of a status: empty parts are left out, so that people read only what is there."""

    def to_wire(self) -> dict[str, Any]:
        """JSON form for the API server."""
        wire: dict[str, Any] = _without_empty(super().to_wire())
        return wire


def _utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as problem:
        raise ValueError("the time is not between the years 1 and 9999 in UTC") from problem


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: what every timestamp of ours looks like."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[datetime, AfterValidator(_utc), PlainSerializer(format_time, return_type=str, when_used="json")]

DURATION_PATTERN = r"^([0-9]+(ms|s|m|h))+$"
Duration = Annotated[
    str,
    Field(pattern=DURATION_PATTERN, max_length=32, description="Go-style duration such as 30s, 5m or 1h30m"),
    Cel(f"self.matches('{DURATION_PATTERN}')", "write a Go-style duration such as 30s, 5m or 1h30m; a day is 24h"),
]
PERCENT_PATTERN = r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$"
Percent = Annotated[
    str,
    Field(pattern=PERCENT_PATTERN, max_length=12, description="Percentage such as 10%"),
    Cel(f"self.matches(r'{PERCENT_PATTERN}')", "write a percentage from 0% to 100%, such as 10% or 2.5%"),
]
# No rate is counted over no time.
RATE_PATTERN = r"^[0-9]{1,4}/0*[1-9][0-9]*(s|m|h)$"
Rate = Annotated[
    str,
    Field(pattern=RATE_PATTERN, max_length=16, description="Count per time, such as 3/1h"),
    Cel(
        f"self.matches('{RATE_PATTERN}')",
        "write a count per time such as 3/1h: three in one hour, in no time of 0",
    ),
]
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
Quantity = Annotated[
    str,
    Field(pattern=QUANTITY_PATTERN, max_length=24, description="Kubernetes quantity such as 512Mi or 10Gi"),
    Cel(f"self.matches(r'{QUANTITY_PATTERN}')", "write a Kubernetes quantity such as 512Mi or 10Gi"),
]
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        min_length=1,
        max_length=63,
        description="Lower-case name: letters, digits and '-'",
    ),
]
ObjectName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        min_length=1,
        max_length=253,
        description="Name of a Kubernetes object in the same namespace",
    ),
]
TYPE_NAME_PATTERN = r"^[A-Z][A-Za-z0-9]*$"
TypeName = Annotated[
    str,
    Field(pattern=TYPE_NAME_PATTERN, max_length=63, description="CamelCase name such as ProcessDown"),
    Cel(f"self.matches('{TYPE_NAME_PATTERN}')", "write a name in CamelCase without spaces, such as ProcessDown"),
]
Port = Annotated[int, Field(ge=1, le=65535, description="TCP port")]

# A longer duration counts as a year: what is added to a time must stay a time.
LONGEST_SECONDS = 366 * 24 * 3600.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@functools.lru_cache(maxsize=256)
def seconds(duration: str) -> float:
    """Seconds of a Go-style duration; ValueError says what to write instead."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"'{duration}' is not a duration; write for example 30s, 5m or 1h30m")
    total = sum(float(n) * _UNITS[u] for n, u in re.findall(r"([0-9]+)(ms|s|m|h)", duration))
    return min(total, LONGEST_SECONDS)


def delta(duration: str) -> timedelta:
    """The same as a timedelta."""
    return timedelta(seconds=seconds(duration))


def rate(value: str) -> tuple[int, timedelta]:
    """'3/1h' → (3, one hour). A count per no time would bound nothing: it counts per hour."""
    count, _, per = value.partition("/")
    return int(count), delta(per) or timedelta(hours=1)


class Severity(StrEnum):
    """Severity levels of the source runbook: P0 critical … P3 low."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class HealMode(StrEnum):
    """How far the operator may go; later members are stricter."""

    AUTO = "Auto"
    APPROVE = "Approve"
    OBSERVE = "Observe"
    OFF = "Off"

    @property
    def strictness(self) -> int:
        """0 for Auto … 3 for Off."""
        return list(HealMode).index(self)


class Condition(ApiModel):
    """A condition in the form of the Kubernetes API conventions."""

    type: Annotated[str, Field(max_length=63, description="Name of the condition")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds")]
    reason: Annotated[str, Field(min_length=1, max_length=128, description="CamelCase reason of the last transition")]
    message: Annotated[str, Field(max_length=2048, description="What a person should know")] = ""
    last_transition_time: Annotated[Time, Field(description="When the status last changed")]
    observed_generation: Annotated[int | None, Field(description="Generation it was computed from")] = None


Conditions = Annotated[
    list[Condition],
    ListMap("type"),
    Field(max_length=16, description="Observations in the form of the API conventions"),
]


class LocalRef(ApiModel):
    """A reference to an object of the same namespace."""

    name: Annotated[ObjectName, Field(description="Name of the object; it lives in the same namespace")]


class SecretRef(ApiModel):
    """A Secret of the same namespace."""

    secret_name: Annotated[ObjectName, Field(description="Name of the Secret in the same namespace")]


class ObjectMeta(BaseModel):
    """The part of metadata that the operator reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    finalizers: list[str] = []
    deletion_timestamp: Time | None = None


class Resource(ApiModel):
    """Base of the kinds: `meta_of_kind` says its names and columns."""

    meta_of_kind: ClassVar[KindMeta]

    api_version: str = API_VERSION
    kind: str = ""
    metadata: ObjectMeta
