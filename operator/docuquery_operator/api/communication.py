"""Who is told, how and when: the communication part of a Stack."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .common import ApiModel, Cel, Duration, ListMap, ListSet, SecretRef, Severity, Time
from .schedule import TimeZone

Contact = Annotated[str, Field(min_length=1, max_length=256)]
Contacts = Annotated[list[Contact], Field(max_length=32, description="Names or addresses, first is called first")]


class ContactGroups(ApiModel):
    """Who is told."""

    on_call: Contacts = []
    team_lead: Contacts = []
    engineering_manager: Contacts = []
    cto: Contacts = []
    stakeholders: Contacts = []


class ChannelRef(ApiModel):
    """How a channel is reached."""

    secret_ref: Annotated[SecretRef, Field(description="Secret with the channel's address and token")]


ChannelName = Literal["slack", "pagerduty", "phone", "email", "webhook", "apprise"]
GroupName = Literal["onCall", "teamLead", "engineeringManager", "cto", "stakeholders"]


Unless = Literal["Acknowledged", "Resolved"]


class EscalationStep(ApiModel):
    """One step of the escalation path."""

    to: Annotated[GroupName, Field(description="Contact group")]
    after: Annotated[Duration, Field(description="Time after the start of the incident")]
    unless: Annotated[
        Unless | None,
        Field(
            description="What stops the step: Acknowledged, somebody has taken it, or the end; Resolved, the end alone. "
            "Default: Acknowledged for the first two steps, Resolved for later ones"
        ),
    ] = None


CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
WallClock = Annotated[
    str,
    Field(max_length=5, description="Time of day, such as 22:00"),
    Cel(f"self.matches('{CLOCK_PATTERN}')", "write a time of day from 00:00 to 23:59, such as 22:00"),
]


class Rotation(ApiModel):
    """A group whose contacts take turns: one is on call for a week, then the next one of the list."""

    group: Annotated[GroupName, Field(description="Contact group")]
    start: Annotated[Time, Field(description="When the first contact's first week began; handed over weekly at this time")]
    time_zone: Annotated[TimeZone, Field(description="IANA time zone of the handover")] = "Etc/UTC"


class Override(ApiModel):
    """Somebody stands in for a group for a while."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel("timestamp(self.until) > timestamp(self.from)", "until must be later than from"),
    )

    group: Annotated[GroupName, Field(description="Contact group")]
    contact: Annotated[Contact, Field(description="Who is told instead")]
    from_: Annotated[Time, Field(alias="from", description="First instant")]
    until: Annotated[Time, Field(description="First instant after it")]


class QuietHours(ApiModel):
    """Hours in which nobody is told of P2 and P3: their clocks stand still. P0 and P1 know no quiet hours."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel("self.from != self.until", "from and until must differ: quiet hours around the clock would tell nobody"),
    )

    from_: Annotated[WallClock, Field(alias="from", description="First minute")]
    until: Annotated[WallClock, Field(description="First minute after them; earlier than from: on the next day")]
    time_zone: Annotated[TimeZone, Field(description="IANA time zone of the hours")] = "Etc/UTC"


class Link(ApiModel):
    """A link in each message."""

    text: Annotated[str, Field(min_length=1, max_length=60, description="What it leads to")]
    href: Annotated[
        str,
        Field(max_length=1024, description="Address, https"),
        Cel("self.startsWith('https://')", "href must begin with https://"),
    ]


class Updates(ApiModel):
    """When people are told how it goes."""

    team: Annotated[Duration, Field(description="First update to the team")] = "15m"
    stakeholders: Annotated[Duration, Field(description="First update to the stakeholders")] = "1h"


class Routes(ApiModel):
    """Channels by severity; defaults of the source runbook."""

    P0: Annotated[list[ChannelName], ListSet(), Field(alias="P0", max_length=8, description="Channels of P0")] = [
        "slack", "pagerduty", "phone"]  # fmt: skip
    P1: Annotated[list[ChannelName], ListSet(), Field(alias="P1", max_length=8, description="Channels of P1")] = [
        "slack", "pagerduty", "phone"]  # fmt: skip
    P2: Annotated[list[ChannelName], ListSet(), Field(alias="P2", max_length=8, description="Channels of P2")] = [
        "slack", "email"]  # fmt: skip
    P3: Annotated[list[ChannelName], ListSet(), Field(alias="P3", max_length=8, description="Channels of P3")] = [
        "email"]  # fmt: skip


class DurationsBySeverity(ApiModel):
    """Base of those with one duration for each severity."""

    def of(self, severity: Severity) -> str:
        """Duration for a severity."""
        value: str = getattr(self, severity.value)
        return value


class ResponseTimes(DurationsBySeverity):
    """Time until a person must have answered, by severity."""

    P0: Annotated[Duration, Field(alias="P0", description="Response time of P0")] = "15m"
    P1: Annotated[Duration, Field(alias="P1", description="Response time of P1")] = "1h"
    P2: Annotated[Duration, Field(alias="P2", description="Response time of P2")] = "4h"
    P3: Annotated[Duration, Field(alias="P3", description="Response time of P3")] = "24h"


class AckExpiry(DurationsBySeverity):
    """How long an acknowledgement holds, by severity; afterwards the incident counts as not acknowledged."""

    P0: Annotated[Duration, Field(alias="P0", description="For P0")] = "30m"
    P1: Annotated[Duration, Field(alias="P1", description="For P1")] = "1h"
    P2: Annotated[Duration, Field(alias="P2", description="For P2")] = "8h"
    P3: Annotated[Duration, Field(alias="P3", description="For P3")] = "72h"


class Communication(ApiModel):
    """Who is told, how and when."""

    contacts: Annotated[ContactGroups, Field(description="Contact groups")] = ContactGroups()
    channels: Annotated[
        dict[ChannelName, ChannelRef],
        Field(max_length=8, description="Channels by name, each with its Secret"),
        Cel(
            "self.all(name, name in ['slack', 'pagerduty', 'phone', 'email', 'webhook', 'apprise'])",
            "channels may be slack, pagerduty, phone, email, webhook, and apprise for whatever else",
        ),
    ] = {}
    routes: Annotated[Routes, Field(description="Channels by severity")] = Routes()
    response_times: Annotated[ResponseTimes, Field(description="Response times by severity")] = ResponseTimes()
    escalation: Annotated[list[EscalationStep], ListMap("to"), Field(max_length=8, description="Escalation path")] = [
        EscalationStep(to="onCall", after="0s"),
        EscalationStep(to="teamLead", after="30m"),
        EscalationStep(to="engineeringManager", after="2h"),
        EscalationStep(to="cto", after="4h"),
    ]
    updates: Annotated[Updates, Field(description="When updates are due")] = Updates()
    ack_expiry: Annotated[AckExpiry, Field(description="How long an acknowledgement holds")] = AckExpiry()
    rotations: Annotated[
        list[Rotation], ListMap("group"), Field(max_length=5, description="Groups whose contacts take weekly turns")
    ] = []
    overrides: Annotated[
        list[Override], Field(max_length=16, description="Who stands in for whom; the last one that holds counts")
    ] = []
    quiet_hours: Annotated[QuietHours | None, Field(description="Hours in which nobody is told of P2 and P3")] = None
    links: Annotated[list[Link], ListMap("text"), Field(max_length=5, description="Links in each message")] = []
