"""MaintenanceWindow: a span of planned work, what it mutes and which tasks it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .common import (
    DURATION_PATTERN,
    ApiModel,
    Cel,
    Column,
    Conditions,
    Duration,
    KindMeta,
    ListMap,
    ListSet,
    LocalRef,
    Name,
    ObjectName,
    Percent,
    Quantity,
    Resource,
    SecretRef,
    ServerDefault,
    Severity,
    Time,
    TypeName,
)
from .incident import Notification
from .schedule import TimeZone, WindowSchedule

NEXT_SHOWN = 5
RUNS_KEPT = 10

Line = Annotated[str, Field(max_length=512)]
DatabaseName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$-]*$", max_length=63)]
Databases = Annotated[
    list[DatabaseName], ListSet(), Field(max_length=16, description="Databases; default: the component's own")
]
_WINDOW_LENGTH = Cel(
    f"!self.matches('{DURATION_PATTERN}') || (duration(self) > duration('0s') && duration(self) <= duration('24h'))",
    "duration of a window must be more than 0s and at most 24h; split longer work into several windows",
)


class Effects(ApiModel):
    """What the open window changes."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(has(self.healing) && self.healing == 'Runbooks') == (has(self.runbooks) && size(self.runbooks) > 0)",
            "healing: Runbooks goes with runbooks, the incident types that may be healed, such as [RedisConnection]",
        ),
        Cel(
            "!has(self.pierce) || size(self.pierce) == 0 || !has(self.paging) || self.paging != 'None'",
            "pierce has a meaning only with paging: Mute or Downgrade",
        ),
    )

    paging: Annotated[
        Literal["Mute", "Downgrade", "None"],
        Field(description="Mute: nobody is paged; Downgrade: one severity lower; None: as always"),
    ] = "Mute"
    pierce: Annotated[
        list[Severity],
        ListSet(),
        Field(max_length=4, description="Severities that page all the same, such as [P0]; default: none"),
    ] = []
    healing: Annotated[
        Literal["Allow", "Block", "Runbooks"],
        Field(description="Block: no healing step begins while it is open; Runbooks: only those of `runbooks` begin"),
    ] = "Allow"
    runbooks: Annotated[
        list[TypeName], ListSet(), Field(max_length=32, description="Incident types that may be healed all the same")
    ] = []
    alertmanager_silence: Annotated[bool, Field(description="Keep a silence in Alertmanager while it is open")] = False
    status_page: Annotated[bool, Field(description="Show the window on the status page")] = True


class TaskType(StrEnum):
    """The tasks of the source runbook: daily, weekly, monthly."""

    HEALTH_CHECK = "HealthCheck"
    RESOURCE_USAGE = "ResourceUsage"
    ERROR_RATE = "ErrorRate"
    VACUUM_DATABASE = "VacuumDatabase"
    ANALYZE_TABLES = "AnalyzeTables"
    ROTATE_LOGS = "RotateLogs"
    VERIFY_BACKUPS = "VerifyBackups"
    OPTIMIZE_COLLECTIONS = "OptimizeCollections"
    UPDATE_IMAGES = "UpdateImages"
    PERFORMANCE_REVIEW = "PerformanceReview"
    CAPACITY_PLAN = "CapacityPlan"


class ErrorRateTask(ApiModel):
    """Parameters of ErrorRate."""

    since: Annotated[Duration, Field(description="How far back logs are read, default 1h")] = "1h"
    top: Annotated[int, Field(ge=1, le=100, description="Groups of errors that are reported, default 10")] = 10


class VacuumDatabaseTask(ApiModel):
    """Parameters of VacuumDatabase."""

    databases: Databases = []
    analyze: Annotated[bool, Field(description="Analyze as well, default true")] = True
    parallel: Annotated[int, Field(ge=1, le=8, description="Connections, default 1")] = 1
    lock_timeout: Annotated[Duration, Field(description="A table that is locked longer is skipped, default 5s")] = "5s"
    credentials: Annotated[
        SecretRef | None,
        Field(description="Secret with username and password of a role that may maintain; default: the component's"),
    ] = None
    reindex: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128)]],
        ListSet(),
        Field(max_length=32, description="Indexes, as schema.name, that are rebuilt concurrently"),
    ] = []


class AnalyzeTablesTask(ApiModel):
    """Parameters of AnalyzeTables."""

    databases: Databases = []
    lock_timeout: Annotated[Duration, Field(description="A table that is locked longer is skipped, default 5s")] = "5s"
    credentials: Annotated[
        SecretRef | None,
        Field(description="Secret with username and password of a role that may maintain; default: the component's"),
    ] = None


class LogArchive(ApiModel):
    """A copy of each archive in the store of a BackupJob."""

    backup_job: Annotated[
        ObjectName,
        Field(description="BackupJob of the same Stack with a bucket: its destination, credentials and recipients are used"),
    ]


class RotateLogsTask(ApiModel):
    """Parameters of RotateLogs."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.keep) || self.keep > 0 || has(self.archive)",
            "keep: 0 leaves no archive on the volume; it needs archive, so that each is in a store before it goes",
        ),
    )

    component: Annotated[
        Name | None,
        Field(description="Component that writes them; default: the window's, or the Stack's only one with such a volume"),
    ] = None
    path: Annotated[
        str,
        Field(
            pattern=r"^/[^\s]*$",
            max_length=256,
            description="Directory of the log files, as its containers see it, on a PersistentVolumeClaim",
        ),
    ]
    pattern: Annotated[str, Field(min_length=1, max_length=128, description="File names, default *.log")] = "*.log"
    keep: Annotated[
        int, Field(ge=0, le=365, description="Archives of each file that are kept on the volume, default 7; 0 needs archive")
    ] = 7
    max_age: Annotated[Duration | None, Field(description="Archives older than this go; default: any age")] = None
    max_size: Annotated[
        Quantity | None, Field(description="Archives of one file together are no larger, the oldest go; default: any size")
    ] = None
    archive: Annotated[
        LogArchive | None,
        Field(description="Keep a copy in a store; no archive leaves the volume before its copy was read back and compared"),
    ] = None


class VerifyBackupsTask(ApiModel):
    """Parameters of VerifyBackups."""

    level: Annotated[Literal["Checksum", "Restore"], Field(description="How deep, default Restore")] = "Restore"
    max_age: Annotated[Duration, Field(description="A verification older than this is repeated, default 168h")] = "168h"


class OptimizeCollectionsTask(ApiModel):
    """Parameters of OptimizeCollections."""

    collections: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=255)]],
        ListSet(),
        Field(max_length=64, description="Qdrant collections; default: all that need it"),
    ] = []


class UpdateImagesTask(ApiModel):
    """Parameters of UpdateImages."""

    components: Annotated[
        list[Name], ListSet(), Field(max_length=16, description="Components to update, one at a time; default: all")
    ] = []
    report_only: Annotated[bool, Field(description="True: new digests are reported, nothing is changed")] = False


class ReviewTask(ApiModel):
    """Parameters of PerformanceReview."""

    since: Annotated[Duration, Field(description="How far back figures are taken, default 720h")] = "720h"
    slow_queries: Annotated[int, Field(ge=0, le=100, description="Slow queries that are listed, default 20")] = 20


class CapacityPlanTask(ApiModel):
    """Parameters of CapacityPlan."""

    horizon: Annotated[Duration, Field(description="How far ahead, default 2160h")] = "2160h"
    warn_at: Annotated[Percent, Field(description="Usage that counts as full, default 80%")] = "80%"


_PARAMETERS = (
    "errorRate", "vacuumDatabase", "analyzeTables", "rotateLogs", "verifyBackups",
    "optimizeCollections", "updateImages", "performanceReview", "capacityPlan",
)  # fmt: skip
_PARAMETERS_FIT = " && ".join(f"(!has(self.{name}) || self.type == '{name[0].upper()}{name[1:]}')" for name in _PARAMETERS)


class Task(ApiModel):
    """One task of the window; its parameters stand in the field named like its type."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            _PARAMETERS_FIT,
            "parameters must stand in the field named like the task's type, such as vacuumDatabase for VacuumDatabase",
        ),
        Cel("self.type != 'RotateLogs' || has(self.rotateLogs)", "a RotateLogs task needs rotateLogs.path"),
    )

    type: Annotated[TaskType, Field(description="What is done")]
    timeout: Annotated[Duration, Field(description="Time for the task, default 30m")] = "30m"
    error_rate: Annotated[ErrorRateTask | None, Field(description="Parameters of ErrorRate")] = None
    vacuum_database: Annotated[VacuumDatabaseTask | None, Field(description="Parameters of VacuumDatabase")] = None
    analyze_tables: Annotated[AnalyzeTablesTask | None, Field(description="Parameters of AnalyzeTables")] = None
    rotate_logs: Annotated[RotateLogsTask | None, Field(description="Parameters of RotateLogs")] = None
    verify_backups: Annotated[VerifyBackupsTask | None, Field(description="Parameters of VerifyBackups")] = None
    optimize_collections: Annotated[
        OptimizeCollectionsTask | None, Field(description="Parameters of OptimizeCollections")
    ] = None
    update_images: Annotated[UpdateImagesTask | None, Field(description="Parameters of UpdateImages")] = None
    performance_review: Annotated[ReviewTask | None, Field(description="Parameters of PerformanceReview")] = None
    capacity_plan: Annotated[CapacityPlanTask | None, Field(description="Parameters of CapacityPlan")] = None


class MaintenanceWindowSpec(ApiModel):
    """When the window opens, what it changes and what it does."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel("self.stackRef == oldSelf.stackRef", "stackRef cannot be changed; make another MaintenanceWindow"),
        Cel(
            "!has(self.maxExtension) || (has(self.overrun) && self.overrun == 'Extend')",
            "maxExtension has a meaning only with overrun: Extend",
        ),
    )

    stack_ref: Annotated[LocalRef, Field(description="The Stack it is about")]
    components: Annotated[
        list[Name],
        ListSet(),
        Field(max_length=16, description="Components under maintenance; default: the whole Stack"),
    ] = []
    title: Annotated[str, Field(max_length=200, description="Title for people")] = ""
    public_message: Annotated[
        str | None, Field(max_length=1024, description="The only text that may reach the status page")
    ] = None
    schedule: Annotated[WindowSchedule, Field(description="When it opens: exactly one of cron, rrule and at")]
    time_zone: Annotated[
        TimeZone,
        ServerDefault(),
        Field(description="IANA zone of cron and rrule; a skipped hour opens at the next instant, a doubled hour once"),
    ] = "Etc/UTC"
    duration: Annotated[Duration, _WINDOW_LENGTH, Field(description="How long it stays open, at most 24h")]
    effects: Annotated[Effects, Field(description="What the open window changes")] = Effects()
    tasks: Annotated[list[Task], ListMap("type"), Field(max_length=16, description="Tasks, one after the other")] = []
    overrun: Annotated[
        Literal["Warn", "Extend", "Abort"],
        Field(description="When tasks run at the end. Warn: say so; Extend: stay open; Abort: stop at a safe point"),
    ] = "Warn"
    max_extension: Annotated[Duration | None, Field(description="Longest extension, default 1h; needs overrun: Extend")] = (
        None
    )
    suspend: Annotated[bool, Field(description="True: no further window opens; an open one is closed")] = False
    starting_deadline: Annotated[
        Duration | None, Field(description="A window missed for longer than this is skipped; default: its duration")
    ] = None
    history_limit: Annotated[int, Field(ge=0, le=RUNS_KEPT, description="Past windows kept in status, default 5")] = 5


class TaskResult(ApiModel):
    """How a task went."""

    type: Annotated[TaskType, Field(description="The task")]
    state: Annotated[
        Literal["Pending", "Running", "Succeeded", "Failed", "Skipped", "Aborted"], Field(description="State")
    ] = "Pending"
    started_at: Annotated[Time | None, Field(description="When it started")] = None
    finished_at: Annotated[Time | None, Field(description="When it ended")] = None
    attempt_id: Annotated[str | None, Field(max_length=40, description="Identity of the effect")] = None
    summary: Annotated[str, Field(max_length=512, description="In one line")] = ""
    evidence: Annotated[list[Line], Field(max_length=12, description="Figures before and after")] = []
    failures: Annotated[
        int | None, Field(ge=0, description="Times in a row, over all openings, that it has failed or was aborted")
    ] = None
    last_succeeded_at: Annotated[Time | None, Field(description="When it last succeeded, in whichever opening")] = None


class ActiveWindow(ApiModel):
    """The window that is open."""

    since: Annotated[Time, Field(description="When it opened")]
    until: Annotated[Time, Field(description="When it closes, extension included")]


class Silence(ApiModel):
    """The silence in Alertmanager: written before it is made, and kept until it is gone."""

    mark: Annotated[str, Field(max_length=256, description="Words in its comment by which it is found again")]
    state: Annotated[Literal["Intended", "Active"], Field(description="Active: it was seen there")] = "Intended"
    id: Annotated[str | None, Field(max_length=64, description="Its id; a renewal may change it")] = None
    ends_at: Annotated[Time, Field(description="When it ends by itself, at the latest, if nobody renews it")]


class PastWindow(ApiModel):
    """A window that is over."""

    since: Annotated[Time, Field(description="When it opened")]
    until: Annotated[Time, Field(description="When it closed")]
    outcome: Annotated[Literal["Completed", "Failed", "Aborted", "Missed"], Field(description="How it ended")]
    summary: Annotated[str, Field(max_length=512, description="In one line")] = ""
    report: Annotated[str | None, Field(max_length=253, description="ConfigMap with the report")] = None


class Digest(ApiModel):
    """What of the last window nobody was told, told after it."""

    since: Annotated[Time, Field(description="When that window opened")]
    until: Annotated[Time, Field(description="When it closed")]
    incidents: Annotated[int, Field(ge=0, description="Incidents that it has muted or downgraded")] = 0
    lines: Annotated[list[Line], Field(max_length=12, description="One for each, the worst first")] = []
    notifications: Annotated[list[Notification], Field(max_length=4, description="The outbox")] = []


class MaintenanceWindowStatus(ApiModel):
    """What is open, what comes next and how the tasks went."""

    observed_generation: Annotated[int | None, Field(description="Generation this status describes")] = None
    conditions: Conditions = []
    phase: Annotated[
        Literal["Scheduled", "Active", "Completed", "Failed"] | None, Field(description="Summary for people")
    ] = None
    active: Annotated[ActiveWindow | None, Field(description="The window that is open")] = None
    silence: Annotated[Silence | None, Field(description="Its silence in Alertmanager, while one may exist")] = None
    digest: Annotated[Digest | None, Field(description="What the last window has muted")] = None
    last_opening: Annotated[Time | None, Field(description="Openings up to this instant were opened or missed")] = None
    next: Annotated[list[Time], Field(max_length=NEXT_SHOWN, description="Next openings, soonest first")] = []
    tasks: Annotated[
        list[TaskResult], ListMap("type"), Field(max_length=16, description="Tasks of the open or the last window")
    ] = []
    history: Annotated[list[PastWindow], Field(max_length=RUNS_KEPT, description="Past windows, newest last")] = []


class MaintenanceWindow(Resource):
    """A span of planned work on one Stack: what it mutes, which tasks it runs, and how they went."""

    meta_of_kind: ClassVar[KindMeta] = KindMeta(
        kind="MaintenanceWindow",
        plural="maintenancewindows",
        singular="maintenancewindow",
        short_names=("mw",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Next", ".status.next[0]"),
            Column("Ends", ".status.active.until"),
            Column("Time-Zone", ".spec.timeZone"),
            Column("Duration", ".spec.duration", priority=1),
            Column("Suspend", ".spec.suspend", "boolean", priority=1),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable=(".spec.stackRef.name", ".status.phase"),
    )

    spec: Annotated[MaintenanceWindowSpec, Field(description="When it opens, what it changes and what it does")]
    status: Annotated[
        MaintenanceWindowStatus | None, Field(description="What is open, what comes next and how the tasks went")
    ] = None
