"""When something recurs: the parts that MaintenanceWindow and BackupJob share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .common import ApiModel, Cel, Time

_CRON_FIELD = r"(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?(#[1-5])?L?)(/[0-9]+)?"
CRON_PATTERN = rf"^{_CRON_FIELD}(,{_CRON_FIELD})*( +{_CRON_FIELD}(,{_CRON_FIELD})*){{4}}$"
RRULE_PATTERN = r"^FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY|HOURLY)(;[A-Z]+=[-+A-Z0-9,]+)*$"
TIME_ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"

Cron = Annotated[
    str,
    Field(max_length=128, description="Cron of five fields: minute, hour, day of month, month, day of week"),
    Cel(
        f"self.matches(r'{CRON_PATTERN}')",
        "cron must have five fields: minute, hour, day of month, month, day of week; for example '0 3 * * 0'",
    ),
]
RRule = Annotated[
    str,
    Field(max_length=256, description="Recurrence rule of RFC 5545, such as FREQ=MONTHLY;BYDAY=3TU"),
    Cel(
        f"self.matches(r'{RRULE_PATTERN}')",
        "rrule must be a rule of RFC 5545 that begins with FREQ, for example FREQ=MONTHLY;BYDAY=3TU; "
        "the first instant belongs in start",
    ),
]
TimeZone = Annotated[
    str,
    Field(
        max_length=64,
        description="IANA time zone; a skipped hour starts at the next valid instant, a doubled hour runs once",
    ),
    Cel(
        f"self.matches(r'{TIME_ZONE_PATTERN}') && self != 'Local'",
        "timeZone must be an IANA name such as Europe/Berlin or Etc/UTC",
    ),
]

_RRULE_START = (
    Cel("!has(self.rrule) || has(self.start)", "rrule needs start, the instant from which the rule counts"),
    Cel("!has(self.start) || has(self.rrule)", "start belongs to rrule; cron counts from the object's creation"),
)


class WindowSchedule(ApiModel):
    """When a window opens: exactly one of cron, rrule and at."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[has(self.cron), has(self.rrule), has(self.at)].exists_one(given, given)",
            "schedule needs exactly one of cron, rrule and at",
        ),
        *_RRULE_START,
    )

    cron: Annotated[Cron | None, Field(description="Cron of five fields, such as '0 3 * * 0'")] = None
    rrule: Annotated[RRule | None, Field(description="Recurrence rule of RFC 5545; needs start")] = None
    start: Annotated[Time | None, Field(description="First instant of rrule; its time of day is that of every window")] = (
        None
    )
    at: Annotated[Time | None, Field(description="One window at this instant")] = None


class RecurringSchedule(ApiModel):
    """When runs start: exactly one of cron and rrule."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.cron) != has(self.rrule)",
            "schedule needs exactly one of cron and rrule; without schedule it runs once",
        ),
        *_RRULE_START,
    )

    cron: Annotated[Cron | None, Field(description="Cron of five fields, such as '0 2 * * *'")] = None
    rrule: Annotated[RRule | None, Field(description="Recurrence rule of RFC 5545; needs start")] = None
    start: Annotated[Time | None, Field(description="First instant of rrule; its time of day is that of every run")] = None
