"""BackupJob: one backup of a Stack, or a schedule of them, with its proof."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

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
    Resource,
    SecretRef,
    ServerDefault,
    StatusModel,
    Time,
)
from .schedule import RecurringSchedule, TimeZone
from .work import ALARMS_KEPT, Alarm, CatalogueView, Mover, ServerCredentials, Work

RUNS_KEPT = 50
NEXT_SHOWN = 5

DatabaseName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$-]*$", max_length=63)]
CollectionName = Annotated[str, Field(min_length=1, max_length=255)]
RunId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128, description="Identity of a run, status.runs[].id"),
]
Bytes = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
KeyPrefix = Annotated[
    str,
    Field(max_length=512, description="Prefix of all keys, without a slash at its ends; default: none"),
    Cel(
        "!self.startsWith('/') && !self.endsWith('/') && !self.contains('..')",
        "write a relative path such as backups/demo",
    ),
]


class PostgresInclude(ApiModel):
    """What of PostgreSQL."""

    databases: Annotated[
        list[DatabaseName], ListSet(), Field(max_length=16, description="Databases; default: the component's own")
    ] = []
    exclude_tables: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128)]],
        ListSet(),
        Field(max_length=32, description="Tables, as schema.name, whose rows are left out"),
    ] = []


class QdrantInclude(ApiModel):
    """What of Qdrant."""

    collections: Annotated[
        list[CollectionName],
        ListSet(),
        Field(max_length=64, description="Collections; '*', the default, is all of them"),
    ] = ["*"]


class ConfigurationInclude(ApiModel):
    """What of the namespace."""

    config_maps: Annotated[list[ObjectName], ListSet(), Field(max_length=64, description="ConfigMaps by name")] = []
    secrets: Annotated[
        list[ObjectName],
        ListSet(),
        Field(max_length=64, description="Secrets by name; they need encryption.recipients"),
    ] = []
    manifests: Annotated[bool, Field(description="The Stack's workloads and Services, and the objects of this API")] = True


class Include(ApiModel):
    """Parts of the Stack; a part that is absent is left out."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.postgres) || has(self.qdrant) || has(self.configuration)",
            "include needs at least one of postgres, qdrant and configuration; {} takes the part's defaults",
        ),
    )

    postgres: Annotated[PostgresInclude | None, Field(description="PostgreSQL databases, all from one snapshot")] = None
    qdrant: Annotated[QdrantInclude | None, Field(description="Qdrant collections, taken after PostgreSQL")] = None
    configuration: Annotated[
        ConfigurationInclude | None, Field(description="ConfigMaps, Secrets and manifests of the namespace")
    ] = None


class S3Destination(ApiModel):
    """A bucket of S3 or of a store that speaks its protocol."""

    bucket: Annotated[str, Field(min_length=3, max_length=63, description="Bucket; it must exist")]
    prefix: KeyPrefix = ""
    endpoint: Annotated[
        str | None,
        Field(pattern=r"^https?://[^\s]+$", max_length=512, description="Address of the store; default: that of AWS"),
    ] = None
    region: Annotated[str | None, Field(min_length=1, max_length=63, description="Region; default: us-east-1")] = None
    secret_ref: Annotated[
        SecretRef | None,
        Field(description="Secret with accessKeyId and secretAccessKey; default: the pod's own identity"),
    ] = None


class GcsDestination(ApiModel):
    """A bucket of Google Cloud Storage."""

    bucket: Annotated[str, Field(min_length=3, max_length=222, description="Bucket; it must exist")]
    prefix: KeyPrefix = ""
    secret_ref: Annotated[
        SecretRef | None, Field(description="Secret with serviceAccount.json; default: the pod's own identity")
    ] = None


class AzureDestination(ApiModel):
    """A container of Azure Blob Storage."""

    account: Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}$", max_length=24, description="Storage account")]
    container: Annotated[str, Field(min_length=3, max_length=63, description="Container; it must exist")]
    prefix: KeyPrefix = ""
    secret_ref: Annotated[
        SecretRef | None, Field(description="Secret with accountKey or sasToken; default: the pod's own identity")
    ] = None


class VolumeDestination(ApiModel):
    """A volume of the namespace."""

    claim_name: Annotated[ObjectName, Field(description="PersistentVolumeClaim in the same namespace")]
    path: KeyPrefix = ""


class Destination(ApiModel):
    """Where sets are kept: exactly one of s3, gcs, azure and volume."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[has(self.s3), has(self.gcs), has(self.azure), has(self.volume)].exists_one(given, given)",
            "destination needs exactly one of s3, gcs, azure and volume",
        ),
    )

    s3: Annotated[S3Destination | None, Field(description="A bucket of S3 or of a store that speaks its protocol")] = None
    gcs: Annotated[GcsDestination | None, Field(description="A bucket of Google Cloud Storage")] = None
    azure: Annotated[AzureDestination | None, Field(description="A container of Azure Blob Storage")] = None
    volume: Annotated[VolumeDestination | None, Field(description="A volume of the namespace")] = None


class Encryption(ApiModel):
    """Who can read the sets."""

    recipients: Annotated[
        list[Annotated[str, Field(max_length=128)]],
        ListSet(),
        Field(min_length=1, max_length=16, description="Public keys in the form of age; any one of them can decrypt"),
        Cel(
            "self.all(key, key.matches('^age1[02-9ac-hj-np-z]{58}$'))",
            "each recipient must be a public key of age: age1 and 58 characters; keep its private key elsewhere",
        ),
    ]


class Retention(ApiModel):
    """Which good sets are kept; the last good and the last verified one always are."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(has(self.keepLast) && self.keepLast > 0) || (has(self.keepDaily) && self.keepDaily > 0) || "
            "(has(self.keepWeekly) && self.keepWeekly > 0) || (has(self.keepMonthly) && self.keepMonthly > 0)",
            "retention needs at least one of keepLast, keepDaily, keepWeekly and keepMonthly above 0; "
            "leave retention out to keep everything",
        ),
    )

    keep_last: Annotated[int | None, Field(ge=0, le=1000, description="The newest sets")] = None
    keep_daily: Annotated[int | None, Field(ge=0, le=1000, description="The newest set of each of these days")] = None
    keep_weekly: Annotated[int | None, Field(ge=0, le=1000, description="The newest set of each of these weeks")] = None
    keep_monthly: Annotated[int | None, Field(ge=0, le=1000, description="The newest set of each of these months")] = None
    min_age: Annotated[Duration, Field(description="A younger set is never removed, default 24h")] = "24h"
    grace: Annotated[
        Duration, Field(description="Time from dropping a set from the catalogue to deleting its bytes, default 72h")
    ] = "72h"
    pinned: Annotated[list[RunId], ListSet(), Field(max_length=64, description="Runs that are never removed")] = []


class SqlAssertion(ApiModel):
    """A question whose answer on the restored copy proves that it is useful."""

    name: Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9]*$", max_length=63, description="camelCase name")]
    database: Annotated[DatabaseName, Field(description="Database it is asked of")]
    query: Annotated[str, Field(min_length=1, max_length=2048, description="One SELECT that gives one value; read-only")]
    expect: Annotated[str, Field(max_length=256, description="The value as text")]


class Verification(ApiModel):
    """How a set is proved."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.assertions) || size(self.assertions) == 0 || (has(self.level) && self.level == 'Restore')",
            "assertions are asked of a restored copy; they need level: Restore",
        ),
    )

    level: Annotated[
        Literal["Checksum", "Restore"],
        Field(description="Checksum: bytes are read again; Restore: restored in a pod of its own and compared"),
    ] = "Checksum"
    every: Annotated[
        str,
        Field(max_length=16, description="Run: each run; else a time such as 12h, 7d or 1w"),
        Cel("self.matches('^(Run|[1-9][0-9]{0,3}(h|d|w))$')", "every must be Run, or a time such as 12h, 7d or 1w"),
    ] = "Run"
    assertions: Annotated[
        list[SqlAssertion], ListMap("name"), Field(max_length=16, description="Questions to the restored copy")
    ] = []
    decryption: Annotated[
        SecretRef | None,
        Field(description="Secret with identity, the private key in the form of age; an encrypted set is not read without"),
    ] = None


class BackupJobSpec(ApiModel):
    """What is saved, where to, how often, and how it is proved."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(oldSelf.schedule) || self == oldSelf",
            "a BackupJob without schedule runs once and cannot be changed; make another BackupJob",
        ),
        Cel(
            "!has(oldSelf.schedule) || has(self.schedule)",
            "schedule cannot be removed; set suspend: true to stop the runs",
        ),
        Cel(
            "self.stackRef == oldSelf.stackRef && self.destination == oldSelf.destination",
            "stackRef and destination cannot be changed, the sets already taken would be lost; make another BackupJob",
        ),
        Cel(
            "has(self.schedule) || !((has(self.suspend) && self.suspend) || has(self.startingDeadline))",
            "suspend and startingDeadline need schedule; a BackupJob without schedule runs once",
        ),
        Cel(
            "!has(self.include.configuration) || !has(self.include.configuration.secrets) || "
            "size(self.include.configuration.secrets) == 0 || has(self.encryption)",
            "include.configuration.secrets needs encryption.recipients; Secrets are never stored in clear",
        ),
        Cel(
            "!has(self.credentials) || ((!has(self.credentials.postgres) || has(self.include.postgres)) && "
            "(!has(self.credentials.qdrant) || has(self.include.qdrant)))",
            "credentials are for parts that include names: add include.postgres or include.qdrant, or leave them out",
        ),
    )

    stack_ref: Annotated[LocalRef, Field(description="The Stack that is saved")]
    schedule: Annotated[
        RecurringSchedule | None, Field(description="When runs start; absent: one run, at once, like a Job")
    ] = None
    time_zone: Annotated[TimeZone, ServerDefault(), Field(description="IANA zone of the schedule")] = "Etc/UTC"
    suspend: Annotated[bool, Field(description="True: no further run starts")] = False
    starting_deadline: Annotated[
        Duration | None, Field(description="A run missed for longer than this is skipped; default 1h")
    ] = None
    concurrency: Annotated[
        Literal["Forbid"], Field(description="Forbid: while a run is going on, the next is skipped and reported")
    ] = "Forbid"
    timeout: Annotated[Duration, Field(description="A run that takes longer has failed, default 6h")] = "6h"
    retries: Annotated[int, Field(ge=0, le=10, description="New tries of a failed run, default 2")] = 2
    include: Annotated[Include, Field(description="Parts of the Stack; a part that is absent is left out")]
    destination: Annotated[Destination, Field(description="Where sets are kept: exactly one store")]
    encryption: Annotated[Encryption | None, Field(description="Who can read the sets; absent: not encrypted")] = None
    retention: Annotated[Retention | None, Field(description="Which sets are kept; absent: all")] = None
    verification: Annotated[Verification, Field(description="How a set is proved")] = Verification()
    credentials: Annotated[
        ServerCredentials | None, Field(description="Secrets for reading the servers; default: the components' own")
    ] = None
    mover: Annotated[Mover, Field(description="The pods that do the work")] = Mover()
    allow_empty: Annotated[bool, Field(description="True: no table or no collection is not a failure")] = False
    deletion_policy: Annotated[
        Literal["Retain", "Delete"],
        ServerDefault(),
        Field(description="What becomes of the sets when this object is deleted"),
    ] = "Retain"


class BackupRun(ApiModel):
    """One run and the set it made."""

    id: RunId
    state: Annotated[
        Literal["Running", "Complete", "Suspicious", "Failed", "Missed"],
        Field(description="Suspicious: complete, but much smaller than its predecessors; it does not count as good"),
    ]
    started_at: Annotated[Time, Field(description="When it started, or was to")]
    attempt: Annotated[int, Field(ge=0, le=99, description="Tries so far; each makes a set of its own")] = 0
    retry_at: Annotated[Time | None, Field(description="When the next try begins")] = None
    again: Annotated[bool, Field(description="It takes the place of a set that did not stand its check")] = False
    parts: Annotated[
        list[Literal["postgres", "qdrant", "configuration"]],
        ListSet(),
        Field(max_length=3, description="What the set holds"),
    ] = []
    finished_at: Annotated[Time | None, Field(description="When it ended")] = None
    duration: Annotated[Duration | None, Field(description="How long it took")] = None
    size: Annotated[Bytes | None, Field(description="Bytes stored")] = None
    content: Annotated[Bytes | None, Field(description="Bytes before compression")] = None
    checksum: Annotated[Sha256 | None, Field(description="SHA-256 of the manifest")] = None
    verified: Annotated[
        Literal["Pending", "Verified", "Failed", "Unverifiable"],
        Field(description="Verdict of the deepest check so far"),
    ] = "Pending"
    level: Annotated[Literal["Checksum", "Restore"] | None, Field(description="Level of that check")] = None
    verified_at: Annotated[Time | None, Field(description="When it was checked")] = None
    rto: Annotated[Duration | None, Field(description="Measured time from nothing to restored servers")] = None
    checks: Annotated[int, Field(ge=0, description="Checks that ended without a verdict")] = 0
    check_after: Annotated[Time | None, Field(description="When it is checked again")] = None
    attempt_id: Annotated[str | None, Field(max_length=40, description="Identity of the Job and of its set")] = None
    message: Annotated[str, Field(max_length=512, description="In one line; on failure what to do")] = ""


class RunPointer(ApiModel):
    """A run that stands out."""

    id: RunId
    time: Annotated[Time, Field(description="When it ended")]
    size: Annotated[Bytes | None, Field(description="Bytes stored")] = None


class BackupJobStatus(StatusModel):
    """What was saved and what of it is proved."""

    observed_generation: Annotated[int | None, Field(description="Generation this status describes")] = None
    conditions: Conditions = []
    phase: Annotated[
        Literal["Pending", "Scheduled", "Running", "Verifying", "Complete", "Failed", "Suspended"] | None,
        Field(description="Summary for people"),
    ] = None
    runs: Annotated[list[BackupRun], ListMap("id"), Field(max_length=RUNS_KEPT, description="Runs, newest last")] = []
    last_successful: Annotated[RunPointer | None, Field(description="The newest good set")] = None
    last_verified: Annotated[RunPointer | None, Field(description="The newest set that was proved")] = None
    work: Annotated[Work | None, Field(description="The Job that is at work")] = None
    oldest_checked_at: Annotated[
        Time | None, Field(description="When the oldest kept set was checked last, once a month")
    ] = None
    last_due: Annotated[Time | None, Field(description="The newest instant of the schedule that was dealt with")] = None
    catalogue: Annotated[CatalogueView | None, Field(description="What the store says of itself")] = None
    alarms: Annotated[
        list[Alarm], ListMap("name"), Field(max_length=ALARMS_KEPT, description="Incidents that were opened for it")
    ] = []
    next: Annotated[list[Time], Field(max_length=NEXT_SHOWN, description="Next runs, soonest first")] = []
    expected_by: Annotated[Time | None, Field(description="Without a good run by then the condition Stale is True")] = None
    sets: Annotated[int, Field(ge=0, description="Sets in the catalogue")] = 0
    total_size: Annotated[Bytes, Field(description="Bytes of all sets")] = 0


class BackupJob(Resource):
    """One backup of a Stack, or a schedule of them: what, where to, for how long, and the proof that it restores."""

    meta_of_kind: ClassVar[KindMeta] = KindMeta(
        kind="BackupJob",
        plural="backupjobs",
        singular="backupjob",
        short_names=("bj",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.work.progress"),
            Column("Last-Success", ".status.lastSuccessful.time", "date"),
            Column("Last-Verified", ".status.lastVerified.time", "date"),
            Column("Size", ".status.lastSuccessful.size", "integer"),
            Column("Next", ".status.next[0]"),
            Column("Suspend", ".spec.suspend", "boolean", priority=1),
            Column("Message", ".status.conditions[?(@.type=='Failed')].message", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable=(".spec.stackRef.name", ".status.phase"),
    )

    spec: Annotated[BackupJobSpec, Field(description="What is saved, where to, how often, and how it is proved")]
    status: Annotated[BackupJobStatus | None, Field(description="What was saved and what of it is proved")] = None
