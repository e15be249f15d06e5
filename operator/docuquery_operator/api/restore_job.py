"""RestoreJob: bring data of a backup back, planned first, beside the live data, and reversible."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .backup_job import Bytes, CollectionName, DatabaseName, RunId, Sha256
from .common import (
    ApiModel,
    Cel,
    Column,
    Conditions,
    Duration,
    KindMeta,
    ListMap,
    ListSet,
    LocalRef,
    ObjectName,
    Quantity,
    Resource,
    SecretRef,
    ServerDefault,
    StatusModel,
    Time,
)
from .work import Mover, ServerCredentials, Work

STEPS_KEPT = 64

Line = Annotated[str, Field(max_length=512)]


class BackupRef(ApiModel):
    """The set to restore."""

    job_ref: Annotated[LocalRef, Field(description="BackupJob that took it")]
    run: Annotated[
        RunId,
        ServerDefault(),
        Field(description="latest, latestVerified, or the id of a run in the BackupJob's status.runs"),
    ] = "latestVerified"


class RestorePostgres(ApiModel):
    """What of PostgreSQL."""

    databases: Annotated[
        list[DatabaseName], ListSet(), Field(max_length=16, description="Databases; default: all of the set")
    ] = []


class RestoreQdrant(ApiModel):
    """What of Qdrant."""

    collections: Annotated[
        list[CollectionName],
        ListSet(),
        Field(max_length=64, description="Collections; '*', the default, is all of the set"),
    ] = ["*"]


class RestoreConfiguration(ApiModel):
    """What of the namespace's objects."""

    config_maps: Annotated[list[ObjectName], ListSet(), Field(max_length=64, description="ConfigMaps by name")] = []
    secrets: Annotated[list[ObjectName], ListSet(), Field(max_length=64, description="Secrets by name")] = []
    manifests: Annotated[bool, Field(description="True: differences to the saved manifests are applied as well")] = False


class RestoreInclude(ApiModel):
    """Parts of the set; a part that is absent is not restored."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.postgres) || has(self.qdrant) || has(self.configuration)",
            "include needs at least one of postgres, qdrant and configuration; without include all is restored",
        ),
    )

    postgres: Annotated[RestorePostgres | None, Field(description="PostgreSQL databases")] = None
    qdrant: Annotated[RestoreQdrant | None, Field(description="Qdrant collections")] = None
    configuration: Annotated[RestoreConfiguration | None, Field(description="ConfigMaps, Secrets, manifests")] = None


class Scratch(ApiModel):
    """A throwaway copy in a pod of its own: nothing live is touched."""

    size: Annotated[Quantity | None, Field(description="Volume for the copy; default: 1.2 times the recorded size")] = None
    storage_class_name: Annotated[ObjectName | None, Field(description="StorageClass of that volume")] = None
    keep_for: Annotated[Duration, Field(description="The copy is removed after this, default 1h")] = "1h"


class RestoreTarget(ApiModel):
    """Where the data goes: exactly one of stackRef and scratch."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.stackRef) != has(self.scratch)", "target needs exactly one of stackRef and scratch"),
    )

    stack_ref: Annotated[LocalRef | None, Field(description="The Stack whose data is replaced; needs confirm")] = None
    scratch: Annotated[Scratch | None, Field(description="A throwaway copy; {} takes the defaults")] = None


class RestoreApproval(ApiModel):
    """A second person's answer to the plan."""

    by: Annotated[str, Field(min_length=1, max_length=256, description="Who answered; not the one who made the object")]
    plan_digest: Annotated[
        str, Field(pattern=r"^[0-9a-f]{12}$", max_length=12, description="Digest of the plan, from status.plan.digest")
    ]
    decision: Annotated[Literal["Approve", "Reject"], Field(description="The answer")]


class Reconcile(ApiModel):
    """Comparison of document ids in PostgreSQL with points in Qdrant after the restore."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.action) || self.action != 'RunSql' || (has(self.sql) && size(self.sql) > 0)",
            "action: RunSql needs sql, the statement that is run for the missing ids",
        ),
    )

    database: Annotated[DatabaseName, Field(description="Database with the documents")]
    query: Annotated[str, Field(min_length=1, max_length=2048, description="One SELECT that gives the ids, read-only")]
    collection: Annotated[CollectionName, Field(description="Collection with the points")]
    action: Annotated[
        Literal["Report", "DeleteOrphans", "RunSql"],
        Field(description="Report, the default: count and list; DeleteOrphans: remove points without a document"),
    ] = "Report"
    sql: Annotated[
        str | None, Field(max_length=2048, description="Statement for RunSql; $1 is the array of ids missing in Qdrant")
    ] = None


_APPLY = "(has(self.mode) && self.mode == 'Apply')"


class RestoreJobSpec(ApiModel):
    """What is restored, where to, and who said so."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.target.stackRef) || (has(self.confirm) && self.confirm == self.target.stackRef.name)",
            "confirm must repeat the name of target.stackRef: its data is going to be replaced",
            '"confirm must be \'" + self.target.stackRef.name + "\', the name of target.stackRef: '
            'its data is going to be replaced"',
        ),
        Cel(
            f"!{_APPLY} || !has(self.target.stackRef) || has(self.planDigest)",
            "mode: Apply onto a Stack needs planDigest; first create it with mode: Plan and read status.plan.digest",
        ),
        Cel(
            "self.backup == oldSelf.backup && self.target == oldSelf.target && "
            "has(self.include) == has(oldSelf.include) && (!has(self.include) || self.include == oldSelf.include)",
            "backup, include and target cannot be changed, the plan would be another; make another RestoreJob",
        ),
        Cel(
            "!(has(oldSelf.mode) && oldSelf.mode == 'Apply') || (has(self.mode) && self.mode == 'Apply')",
            "mode cannot go back from Apply to Plan; set rollback: true to undo",
        ),
        Cel(
            f"!(has(self.rollback) && self.rollback) || ({_APPLY} && has(self.target.stackRef))",
            "rollback undoes a restore onto a Stack; it needs mode: Apply and target.stackRef",
        ),
        Cel(
            "!has(self.target.stackRef) || !has(self.include) || !has(self.include.configuration) || "
            "(has(self.mover) && has(self.mover.serviceAccountName))",
            "include.configuration needs mover.serviceAccountName, an account that may write these objects",
        ),
    )

    backup: Annotated[BackupRef, Field(description="The set to restore")]
    include: Annotated[RestoreInclude | None, Field(description="Parts of the set; absent: all of it")] = None
    target: Annotated[RestoreTarget, Field(description="Where the data goes: exactly one of stackRef and scratch")]
    confirm: Annotated[str | None, Field(max_length=253, description="Name of target.stackRef, written by hand")] = None
    mode: Annotated[
        Literal["Plan", "Apply"],
        ServerDefault(),
        Field(description="Plan: say what would happen; Apply: do it. Changed from Plan to Apply by hand"),
    ] = "Plan"
    plan_digest: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{12}$", max_length=12, description="Digest of the plan that is applied")
    ] = None
    approval: Annotated[RestoreApproval | None, Field(description="A second person's answer; needed onto a Stack")] = None
    decryption: Annotated[
        SecretRef | None, Field(description="Secret with identity, the private key in the form of age")
    ] = None
    credentials: Annotated[
        ServerCredentials | None,
        Field(
            description="Secrets of roles that may make and rename databases and manage collections; "
            "default: the components' own, whose rights are seldom enough"
        ),
    ] = None
    mover: Annotated[Mover, Field(description="The pods that do the work")] = Mover()
    timeout: Annotated[Duration, Field(description="Time for all of it, default 6h")] = "6h"
    keep_previous_for: Annotated[
        Duration, Field(description="How long the replaced data is kept for rollback, default 24h")
    ] = "24h"
    rollback: Annotated[bool, Field(description="True: put the replaced data back while it is kept")] = False
    reconcile: Annotated[Reconcile | None, Field(description="Comparison of documents with points afterwards")] = None


class RestorePlan(ApiModel):
    """What Apply would do."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", max_length=12, description="Digest; Apply and approval name it")]
    made_at: Annotated[Time, Field(description="When it was made")]
    run: RunId
    manifest: Annotated[Sha256 | None, Field(description="SHA-256 of the set's manifest")] = None
    size: Annotated[Bytes, Field(description="Bytes to be restored")] = 0
    lines: Annotated[list[Line], Field(max_length=32, description="What would happen and what would be lost")] = []


class RestoreStep(ApiModel):
    """One step of the restore and its journal entry."""

    name: Annotated[str, Field(max_length=128, description="Part and action, such as postgres/docuquery_ai/restore")]
    state: Annotated[
        Literal["Pending", "Intended", "Running", "Done", "Failed", "Skipped", "RolledBack"], Field(description="State")
    ] = "Pending"
    attempt_id: Annotated[str | None, Field(max_length=40, description="Identity of the effect")] = None
    started_at: Annotated[Time | None, Field(description="When the intent was written")] = None
    finished_at: Annotated[Time | None, Field(description="When it ended")] = None
    summary: Annotated[str, Field(max_length=512, description="In one line")] = ""


class Reconciled(ApiModel):
    """Result of the comparison."""

    missing_in_qdrant: Annotated[int, Field(ge=0, description="Documents without points")] = 0
    orphans_in_qdrant: Annotated[int, Field(ge=0, description="Points without a document")] = 0
    missing_ids: Annotated[
        list[Annotated[str, Field(max_length=128)]], Field(max_length=20, description="First of the missing ids")
    ] = []
    orphan_ids: Annotated[
        list[Annotated[str, Field(max_length=128)]], Field(max_length=20, description="First of the orphans")
    ] = []


class RestoreTimes(ApiModel):
    """When what happened."""

    planned_at: Annotated[Time | None, Field(description="When the plan was made")] = None
    started_at: Annotated[Time | None, Field(description="When Apply began")] = None
    swapped_at: Annotated[Time | None, Field(description="When the restored data went live")] = None
    finished_at: Annotated[Time | None, Field(description="When it ended")] = None
    previous_until: Annotated[Time | None, Field(description="Until when the copy that is not live is kept")] = None


class RestoreJobStatus(StatusModel):
    """What would happen or has happened."""

    observed_generation: Annotated[int | None, Field(description="Generation this status describes")] = None
    conditions: Conditions = []
    phase: Annotated[
        Literal[
            "Planning", "Planned", "AwaitingApproval", "Restoring", "Verifying",
            "Complete", "RestoredUnverified", "Failed", "RolledBack",
        ] | None,
        Field(description="Summary for people"),
    ] = None  # fmt: skip
    work: Annotated[Work | None, Field(description="The Job that is at work")] = None
    set_id: Annotated[str | None, Field(max_length=40, description="The set, chosen when the plan was made")] = None
    tries: Annotated[int, Field(ge=0, description="Jobs of the present phase that ended without success")] = 0
    retry_at: Annotated[Time | None, Field(description="When the next try begins")] = None
    plan: Annotated[RestorePlan | None, Field(description="What Apply would do")] = None
    steps: Annotated[
        list[RestoreStep], ListMap("name"), Field(max_length=STEPS_KEPT, description="Journal, oldest first")
    ] = []
    reconciled: Annotated[Reconciled | None, Field(description="Documents against points")] = None
    times: Annotated[RestoreTimes, Field(description="When what happened")] = RestoreTimes()
    message: Annotated[str, Field(max_length=512, description="In one line; on failure what to do")] = ""


class RestoreJob(Resource):
    """Brings the data of a backup back: planned first, beside the live data, checked, swapped in, and reversible."""

    meta_of_kind: ClassVar[KindMeta] = KindMeta(
        kind="RestoreJob",
        plural="restorejobs",
        singular="restorejob",
        short_names=("rj",),
        columns=(
            Column("Backup", ".spec.backup.jobRef.name"),
            Column("Run", ".status.plan.run"),
            Column("Target", ".spec.target.stackRef.name"),
            Column("Mode", ".spec.mode"),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.work.progress"),
            Column("Message", ".status.message", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable=(".spec.backup.jobRef.name", ".status.phase"),
    )

    spec: Annotated[RestoreJobSpec, Field(description="What is restored, where to, and who said so")]
    status: Annotated[RestoreJobStatus | None, Field(description="What would happen or has happened")] = None
