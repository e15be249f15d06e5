"""Runbook: healing as data. Probes give findings, CEL over the findings names the cause, the cause has its remedy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from .common import (
    ApiModel,
    Cel,
    Column,
    Conditions,
    Duration,
    KindMeta,
    ListMap,
    Name,
    Preserve,
    Resource,
    Severity,
    TypeName,
)
from .stack import ComponentType

Identifier = Annotated[
    str,
    Field(
        pattern=r"^[a-z][A-Za-z0-9]*$",
        max_length=63,
        description="camelCase identifier; findings.<name> in expressions",
    ),
]
Expression = Annotated[
    str,
    Field(min_length=1, max_length=1024, description="CEL expression over findings and parameters that gives a bool"),
]
CATALOGUE_PATTERN = r"^[a-z][A-Za-z0-9]*$"
CatalogueName = Annotated[
    str,
    Field(pattern=CATALOGUE_PATTERN, max_length=63, description="Name from the catalogue, camelCase"),
    Cel(
        f"self.matches('{CATALOGUE_PATTERN}')",
        "write the name of a probe or action of the catalogue, such as postgresReady or restartWorkload; "
        "commands are not possible",
    ),
]


class ProbeSpec(ApiModel):
    """One probe; its finding is `findings.<name>` in the expressions."""

    name: Identifier
    probe: Annotated[CatalogueName, Field(description="Probe of the catalogue")]
    component: Annotated[
        Name | None,
        Field(description="Component of the Stack by name or by type alias (api, worker, postgres, redis, qdrant)"),
    ] = None


class StepSpec(ApiModel):
    """One step of a remedy."""

    name: Annotated[Identifier | None, Field(description="Name of the step; default: the action's")] = None
    action: Annotated[CatalogueName, Field(description="Action of the catalogue")]
    component: Annotated[
        Name | None, Field(description="Target component by name or type alias; default: the incident's")
    ] = None
    parameters: Annotated[
        dict[str, Any] | None, Preserve(), Field(max_length=16, description="Parameters of the action")
    ] = None
    approval: Annotated[
        Literal["Never", "Always"] | None,
        Field(description="Always: a person must approve; Never cannot loosen a step that risks data"),
    ] = None
    timeout: Annotated[Duration, Field(description="Time for the effect to be complete")] = "5m"


class CauseSpec(ApiModel):
    """One cause; the first whose expression is true is the diagnosis."""

    name: TypeName
    when: Expression
    message: Annotated[str, Field(max_length=512, description="What it means, one sentence for people")] = ""
    remediate: Annotated[list[StepSpec], Field(max_length=4, description="Steps in order; empty: a person must act")] = []
    human: Annotated[
        str | None, Field(max_length=1024, description="What a person should do, where no step helps or none may")
    ] = None
    forbid: Annotated[
        list[CatalogueName], Field(max_length=8, description="Actions that would make this cause worse; enforced")
    ] = []
    transient: Annotated[
        bool, Field(description="A state on the way to another, such as starting: it takes no other cause's place")
    ] = False


class SeverityRule(ApiModel):
    """A severity that its incidents take while an expression holds."""

    severity: Annotated[Severity, Field(description="Severity while the expression is true")]
    when: Expression


class Verify(ApiModel):
    """When a remedy counts as having worked."""

    settle: Annotated[Duration, Field(description="Wait after the effect before judging")] = "30s"
    symptom_clear_for: Annotated[Duration, Field(description="How long the symptom must stay away")] = "2m"
    within: Annotated[Duration, Field(description="Time after settling in which it must go away")] = "5m"
    no_regression: Annotated[bool, Field(description="A neighbour that was healthy must stay healthy")] = True


class ParameterSpec(ApiModel):
    """One parameter that an Incident may set."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum",
            "minimum of a parameter must not be above its maximum",
        ),
        Cel(
            "self.type == 'Integer' || (!has(self.minimum) && !has(self.maximum))",
            "minimum and maximum are bounds of type: Integer; use values for strings",
        ),
    )

    name: Identifier
    type: Annotated[Literal["String", "Integer", "Boolean", "Duration"], Field(description="Type of the value")]
    default: Annotated[str | None, Field(max_length=256, description="Default, written as a string")] = None
    minimum: Annotated[int | None, Field(description="Smallest integer")] = None
    maximum: Annotated[int | None, Field(description="Largest integer")] = None
    values: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32, description="Allowed strings")] = []
    description: Annotated[str, Field(max_length=512, description="What it does")] = ""


class RunbookSpec(ApiModel):
    """How one type of incident is diagnosed and healed."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel("size(self.diagnose) > 0", "diagnose must hold at least one probe"),
        Cel("size(self.causes) > 0", "causes must hold at least one cause; end with {name: Unknown, when: 'true'}"),
    )

    incident_type: Annotated[TypeName, Field(description="Value of Incident.spec.type that this runbook serves")]
    title: Annotated[str, Field(max_length=200, description="Title for people")] = ""
    severity: Annotated[Severity, Field(description="Severity of its incidents")]
    severities: Annotated[
        list[SeverityRule],
        ListMap("severity"),
        Field(
            max_length=4,
            description="Other severities by what is found, first match wins; an open incident that the operator has opened "
            "is raised, never lowered",
        ),
    ] = []
    open_incidents: Annotated[
        bool,
        Field(description="Open an Incident when its symptom shows on a Stack; false: only people and alerts open them"),
    ] = True
    component_type: Annotated[ComponentType, Field(description="Type of the component that its incidents are about")]
    parameters: Annotated[list[ParameterSpec], ListMap("name"), Field(max_length=16, description="Parameters")] = []
    diagnose: Annotated[list[ProbeSpec], ListMap("name"), Field(max_length=16, description="Probes, run side by side")]
    symptom: Annotated[
        Expression,
        Field(description="CEL expression that is true while the fault is felt; its end is the proof of healing"),
    ]
    causes: Annotated[list[CauseSpec], ListMap("name"), Field(max_length=32, description="Causes, first match wins")]
    verify: Annotated[Verify, Field(description="When a remedy counts as having worked")] = Verify()


class RunbookStatus(ApiModel):
    """Whether the runbook can be used."""

    observed_generation: Annotated[int | None, Field(description="Generation this status describes")] = None
    conditions: Conditions = []


class Runbook(Resource):
    """Healing as data: overrides the shipped runbook of the same incident type in its namespace, or adds a new one."""

    meta_of_kind: ClassVar[KindMeta] = KindMeta(
        kind="Runbook",
        plural="runbooks",
        singular="runbook",
        short_names=("rb",),
        columns=(
            Column("Incident-Type", ".spec.incidentType"),
            Column("Severity", ".spec.severity"),
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable=(".spec.incidentType",),
    )

    spec: Annotated[RunbookSpec, Field(description="How one type of incident is diagnosed and healed")]
    status: Annotated[RunbookStatus | None, Field(description="Whether the runbook can be used")] = None
