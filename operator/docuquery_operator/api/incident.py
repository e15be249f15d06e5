"""Incident: one fault of one Stack, from its first sign to its end."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from .alerts import IncidentAlerts
from .common import (
    ApiModel,
    Cel,
    Column,
    Condition,
    Conditions,
    HealMode,
    KindMeta,
    LocalRef,
    Name,
    Preserve,
    Resource,
    Severity,
    StatusModel,
    Time,
    TypeName,
)
from .review import Review, ReviewState

Line = Annotated[str, Field(max_length=512)]

DECISIONS_KEPT = 20
TIMELINE_KEPT = 200


class Acknowledged(ApiModel):
    """Somebody has taken the incident."""

    by: Annotated[str, Field(min_length=1, max_length=256, description="Who took it")]
    at: Annotated[
        Time | None,
        Field(description="When; default: when the operator first saw it; needed to take an incident that was reopened"),
    ] = None


class Approval(ApiModel):
    """A person's answer to one planned step."""

    step: Annotated[str, Field(min_length=1, max_length=63, description="Name of the step")]
    plan_digest: Annotated[
        str,
        Field(pattern=r"^[0-9a-f]{12}$", max_length=12, description="Digest of the plan, from status.steps[].planDigest"),
    ]
    by: Annotated[str, Field(min_length=1, max_length=256, description="Who answered")]
    decision: Annotated[Literal["Approve", "Reject"], Field(description="The answer")]


class ResolvedByHand(ApiModel):
    """A person closes the incident."""

    by: Annotated[str, Field(min_length=1, max_length=256, description="Who closed it")]
    note: Annotated[str, Field(max_length=2048, description="Why it is over")] = ""
    at: Annotated[Time | None, Field(description="When; needed to close an incident that was reopened")] = None


class IncidentSpec(ApiModel):
    """What a person, the detector or an alert says of the incident."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.stackRef == oldSelf.stackRef && self.type == oldSelf.type",
            "stackRef and type cannot be changed; open another Incident",
        ),
    )

    stack_ref: Annotated[LocalRef, Field(description="The Stack it is about")]
    type: Annotated[
        TypeName,
        Field(
            description="DatabaseConnectionFailure, VectorStorePerformance, RateLimitSpike, RedisConnection, "
            "BackgroundTaskFailure, or the incidentType of a Runbook in the same namespace"
        ),
    ]
    severity: Annotated[Severity | None, Field(description="Default: the runbook's")] = None
    component: Annotated[
        Name | None, Field(description="Component it is about; default: the only one of the runbook's type")
    ] = None
    title: Annotated[str | None, Field(max_length=200, description="Short title for people")] = None
    description: Annotated[str | None, Field(max_length=4096, description="What was seen, for the team")] = None
    public_message: Annotated[
        str | None, Field(max_length=1024, description="The only text that may reach the status page")
    ] = None
    mode: Annotated[
        HealMode | None,
        Field(description="Default: the Stack's; can only be stricter than the Stack's. Write 'Off' in quotes"),
    ] = None
    parameters: Annotated[
        dict[str, Any] | None,
        Preserve(),
        Field(max_length=16, description="Parameters that the runbook declares, checked against its bounds"),
    ] = None
    refired_at: Annotated[
        Time | None,
        Field(description="When the fault was seen again; later than the end of the incident: it is reopened"),
    ] = None
    alerts: IncidentAlerts = []
    alerts_left_out: Annotated[
        int, Field(ge=0, description="Alerts that are known to be missing in the list: a message had no room for them")
    ] = 0
    acknowledged: Annotated[Acknowledged | None, Field(description="Written by the person who takes it")] = None
    approvals: Annotated[list[Approval], Field(max_length=16, description="Answers to planned steps")] = []
    resolved: Annotated[ResolvedByHand | None, Field(description="Written by a person to close it by hand")] = None
    review: Annotated[Review | None, Field(description="The post-incident review")] = None


class Phase(StrEnum):
    """Life cycle, in the words of public status pages."""

    INVESTIGATING = "Investigating"
    IDENTIFIED = "Identified"
    MONITORING = "Monitoring"
    RESOLVED = "Resolved"


class StepState(StrEnum):
    """States of a step; the last five are final."""

    PENDING = "Pending"
    AWAITING_APPROVAL = "AwaitingApproval"
    INTENDED = "Intended"
    RUNNING = "Running"
    HEALED = "Healed"
    NOT_HEALED = "NotHealed"
    INCONCLUSIVE = "Inconclusive"
    REGRESSED = "Regressed"
    SKIPPED = "Skipped"

    @property
    def final(self) -> bool:
        """True when nothing more happens in this step."""
        return self in FINAL_STATES

    @property
    def in_flight(self) -> bool:
        """True from the written intent to the verdict."""
        return self in (StepState.INTENDED, StepState.RUNNING)


class UndoState(StrEnum):
    """What became of the values that a step without success has changed."""

    PENDING = "Pending"
    DONE = "Done"
    NOT_DONE = "NotDone"


FINAL_STATES = (
    StepState.HEALED,
    StepState.NOT_HEALED,
    StepState.INCONCLUSIVE,
    StepState.REGRESSED,
    StepState.SKIPPED,
)


class Cause(ApiModel):
    """The diagnosis."""

    name: Annotated[str, Field(max_length=63, description="Cause, one of the runbook's")]
    message: Annotated[str, Field(max_length=1024, description="In one sentence")] = ""
    evidence: Annotated[list[Line], Field(max_length=12, description="Facts it rests on")] = []
    confidence: Annotated[Literal["High", "Medium", "Low"], Field(description="How sure")] = "High"
    since: Annotated[Time, Field(description="When it was first named")]


class Step(ApiModel):
    """One step of the remedy and its journal entry."""

    name: Annotated[str, Field(max_length=63, description="Name of the step")]
    kind: Annotated[str, Field(max_length=63, description="Action of the catalogue")]
    component: Annotated[str | None, Field(max_length=63, description="Target component")] = None
    cause: Annotated[str, Field(max_length=63, description="Cause that asked for it")] = ""
    round: Annotated[int, Field(ge=1, description="Round of the incident it belongs to")] = 1
    state: Annotated[StepState, Field(description="State")] = StepState.PENDING
    attempt_id: Annotated[str | None, Field(max_length=40, description="Identity of the effect")] = None
    fence: Annotated[int | None, Field(description="Leader term that wrote the intent")] = None
    plan: Annotated[dict[str, Any] | None, Preserve(), Field(description="Exactly what will be or was done")] = None
    plan_digest: Annotated[str | None, Field(max_length=12, description="Digest of the plan; approvals name it")] = None
    neighbours: Annotated[
        list[Annotated[str, Field(max_length=63)]],
        Field(max_length=16, description="Components that were healthy when the step began"),
    ] = []
    approval_by: Annotated[str | None, Field(max_length=256, description="Who approved it")] = None
    approval_until: Annotated[Time | None, Field(description="When a missing answer counts as no")] = None
    started_at: Annotated[Time | None, Field(description="When the intent was written")] = None
    effect_at: Annotated[Time | None, Field(description="When the effect was found done")] = None
    finished_at: Annotated[Time | None, Field(description="When the verdict was given")] = None
    undo: Annotated[
        UndoState | None, Field(description="Whether what it has changed was put back, where it has not helped")
    ] = None
    summary: Annotated[str, Field(max_length=512, description="In one line")] = ""


class Decision(ApiModel):
    """Why something was not done."""

    at: Annotated[Time, Field(description="When it was decided")]
    reason: Annotated[str, Field(max_length=63, description="CamelCase reason")]
    rule: Annotated[str, Field(max_length=63, description="Rail that refused")]
    step: Annotated[str | None, Field(max_length=63, description="Step that was refused")] = None
    message: Annotated[str, Field(max_length=512, description="Figures and what would change it")] = ""
    next_allowed_at: Annotated[Time | None, Field(description="When it may be tried again")] = None


class Deadlines(ApiModel):
    """What people must do by when."""

    respond_by: Annotated[Time, Field(description="Somebody acknowledges by then")]
    team_update_by: Annotated[Time, Field(description="The team is told by then")]
    stakeholders_by: Annotated[Time, Field(description="The stakeholders are told by then")]
    response: Annotated[Literal["Pending", "Met", "Breached", "NotNeeded"], Field(description="State of respondBy")] = (
        "Pending"
    )
    warned_percent: Annotated[int, Field(description="Highest share of the response time that was warned of")] = 0
    team_told_at: Annotated[Time | None, Field(description="When the team's update was put into the outbox")] = None
    stakeholders_told_at: Annotated[Time | None, Field(description="When the stakeholders' was")] = None


class AckState(ApiModel):
    """The last acknowledgement, as the operator counts it."""

    by: Annotated[str, Field(max_length=256, description="Who took it")]
    at: Annotated[Time, Field(description="When")]
    until: Annotated[Time, Field(description="When it expires")]
    written_at: Annotated[Time | None, Field(description="Time in spec.acknowledged; tells it from an earlier one")] = None
    expired: Annotated[bool, Field(description="It holds no more: the escalation goes on")] = False


class EscalationEntry(ApiModel):
    """One due escalation."""

    to: Annotated[str, Field(max_length=63, description="Contact group")]
    due_at: Annotated[Time, Field(description="When it is due")]
    unless: Annotated[Literal["Acknowledged", "Resolved"], Field(description="What stops it")] = "Acknowledged"
    ordered_at: Annotated[Time | None, Field(description="When its messages were put into the outbox")] = None
    superseded: Annotated[bool, Field(description="Left out, as a later step was due as well")] = False
    sent_at: Annotated[Time | None, Field(description="When a channel first took it")] = None
    receipts: Annotated[list[Line], Field(max_length=8, description="Receipts of the channels")] = []


class Paging(ApiModel):
    """What open maintenance windows make of the paging of this incident."""

    effect: Annotated[
        Literal["Mute", "Downgrade"], Field(description="Mute: nobody is told; Downgrade: told as one severity lower")
    ]
    windows: Annotated[list[Name], Field(max_length=8, description="MaintenanceWindows that do so")]
    since: Annotated[Time, Field(description="Since when")]
    until: Annotated[Time, Field(description="When it ends by their schedules")]
    ended_at: Annotated[Time | None, Field(description="When it ended")] = None
    held_seconds: Annotated[int, Field(ge=0, description="Time muted so far in this round; no deadline counts it")] = 0


NotificationState = Literal["Due", "Sent", "Failed", "NotNeeded"]


class Notification(ApiModel):
    """One entry of the outbox: one message to one group through one channel."""

    key: Annotated[str, Field(max_length=128, description="Stable identity: round, message, group and channel")]
    what: Annotated[str, Field(max_length=32, description="What is told")] = "Step"
    to: Annotated[str, Field(max_length=63, description="Contact group")] = ""
    channel: Annotated[str, Field(max_length=63, description="Channel")]
    ordered_at: Annotated[Time | None, Field(description="When it was put here")] = None
    state: Annotated[
        NotificationState,
        Field(description="Failed: tried in vain several times, and tried again at nextAt"),
    ] = "Due"
    attempts: Annotated[int, Field(ge=0, description="Tries so far")] = 0
    next_at: Annotated[Time | None, Field(description="Next try")] = None
    sent_at: Annotated[Time | None, Field(description="When it was accepted")] = None
    receipt: Annotated[str | None, Field(max_length=256, description="Receipt of the channel")] = None
    problem: Annotated[str | None, Field(max_length=256, description="Why the last try failed")] = None

    @property
    def unfinished(self) -> bool:
        """It is still to be sent."""
        return self.state in ("Due", "Failed")


class Times(ApiModel):
    """When what happened."""

    detected_at: Annotated[Time | None, Field(description="First sign")] = None
    opened_at: Annotated[Time | None, Field(description="When this round was opened")] = None
    acknowledged_at: Annotated[Time | None, Field(description="When a person took it")] = None
    identified_at: Annotated[Time | None, Field(description="When the cause was named")] = None
    acted_at: Annotated[Time | None, Field(description="When the first effect was ordered")] = None
    mitigated_at: Annotated[Time | None, Field(description="When the symptom was gone")] = None
    resolved_at: Annotated[Time | None, Field(description="When it ended")] = None


class TimelineEntry(ApiModel):
    """One line of the story."""

    at: Annotated[Time, Field(description="When")]
    event: Annotated[str, Field(max_length=63, description="CamelCase name of the event")]
    message: Annotated[str, Field(max_length=512, description="What happened")] = ""


class Report(ApiModel):
    """Where the full report is."""

    config_map: Annotated[
        str,
        Field(max_length=253, description="ConfigMap with report.html, report.md, report.json, evidence-<attempt>.json"),
    ]
    updated_at: Annotated[Time, Field(description="When it was written")]
    review: Annotated[str | None, Field(max_length=12, description="Digest of the review that it shows")] = None


class IncidentStatus(StatusModel):
    """What the operator found, did, and did not do."""

    observed_generation: Annotated[int | None, Field(description="Generation this status describes")] = None
    phase: Annotated[Phase, Field(description="Life cycle")] = Phase.INVESTIGATING
    summary: Annotated[str, Field(max_length=512, description="What is going on, in one line")] = ""
    severity: Annotated[Severity | None, Field(description="Severity in force")] = None
    mode: Annotated[HealMode | None, Field(description="Mode in force: the stricter of Stack and Incident")] = None
    component: Annotated[str | None, Field(max_length=63, description="Component it is about")] = None
    runbook: Annotated[str | None, Field(max_length=320, description="Runbook in use, and where it comes from")] = None
    round: Annotated[int, Field(ge=1, description="1, and one more for each time it was reopened")] = 1
    conditions: Conditions = []
    cause: Annotated[Cause | None, Field(description="The diagnosis")] = None
    steps: Annotated[list[Step], Field(max_length=24, description="Journal of the remedy, oldest first")] = []
    decisions: Annotated[
        list[Decision], Field(max_length=DECISIONS_KEPT, description="Why something was not done, newest last")
    ] = []
    acknowledgement: Annotated[AckState | None, Field(description="Who has taken it, and until when that holds")] = None
    deadlines: Annotated[Deadlines | None, Field(description="What people must do by when")] = None
    escalation: Annotated[list[EscalationEntry], Field(max_length=8, description="Escalation path")] = []
    paging: Annotated[Paging | None, Field(description="What maintenance windows make of the paging")] = None
    notifications: Annotated[list[Notification], Field(max_length=64, description="The outbox")] = []
    times: Annotated[Times, Field(description="When what happened")] = Times()
    timeline: Annotated[list[TimelineEntry], Field(max_length=TIMELINE_KEPT, description="The story, newest last")] = []
    report: Annotated[Report | None, Field(description="Where the full report is")] = None
    review: Annotated[ReviewState | None, Field(description="What the operator keeps of the review")] = None
    open_follow_ups: Annotated[
        list[Line], Field(max_length=5, description="Follow-ups of earlier incidents of the same cause that are not done")
    ] = []

    def condition(self, type_: str) -> Condition | None:
        """The condition of this type, if any."""
        return next((c for c in self.conditions if c.type == type_), None)

    def holds(self, type_: str) -> bool:
        """True when the condition of this type is True."""
        found = self.condition(type_)
        return found is not None and found.status == "True"


class Incident(Resource):
    """One fault of one Stack: opened by a person, the detector or an alert; diagnosed and healed by the operator."""

    meta_of_kind: ClassVar[KindMeta] = KindMeta(
        kind="Incident",
        plural="incidents",
        singular="incident",
        short_names=("inc",),
        columns=(
            Column("Severity", ".status.severity"),
            Column("Type", ".spec.type"),
            Column("Component", ".status.component", priority=1),
            Column("Phase", ".status.phase"),
            Column("Cause", ".status.cause.name"),
            Column("Ack", ".spec.acknowledged.by"),
            Column("Summary", ".status.summary"),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable=(".status.phase", ".status.severity", ".spec.type", ".spec.stackRef.name"),
    )

    spec: Annotated[IncidentSpec, Field(description="What a person, the detector or an alert says of it")]
    status: Annotated[IncidentStatus | None, Field(description="What the operator found, did and did not do")] = None
