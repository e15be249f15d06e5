"""States of a component in the words of public status pages, and for how long it was in them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .common import ApiModel, ListMap, Time


class ComponentState(StrEnum):
    """States in the words of public status pages."""

    OPERATIONAL = "Operational"
    DEGRADED = "Degraded"
    PARTIAL_OUTAGE = "PartialOutage"
    MAJOR_OUTAGE = "MajorOutage"
    UNDER_MAINTENANCE = "UnderMaintenance"
    UNKNOWN = "Unknown"


class UptimeDay(ApiModel):
    """Seconds of one UTC day by state."""

    day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", max_length=10, description="UTC day")]
    down: Annotated[int, Field(ge=0, description="Seconds of major outage")] = 0
    partial: Annotated[int, Field(ge=0, description="Seconds of degradation or partial outage")] = 0
    unknown: Annotated[int, Field(ge=0, description="Seconds without data")] = 0
    maintenance: Annotated[int, Field(ge=0, description="Seconds of an open maintenance window")] = 0


class ComponentUptime(ApiModel):
    """Ninety days of one component."""

    name: Annotated[str, Field(max_length=63, description="Component")]
    since: Annotated[Time, Field(description="When counting began; before it there are no data")]
    until: Annotated[Time, Field(description="Up to here it is counted in days; since then it has been in state")]
    state: Annotated[ComponentState, Field(description="State that is counted since until")]
    days: Annotated[
        list[UptimeDay],
        ListMap("day"),
        Field(max_length=90, description="Days on which something was amiss, newest last; a day that is not here was good"),
    ] = []
