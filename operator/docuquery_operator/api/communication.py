"""Who is told, how and when: the communication part of a Stack."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .common import ApiModel, Cel, Duration, ListMap, ListSet, SecretRef, Severity

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


ChannelName = Literal["slack", "pagerduty", "phone", "email", "webhook"]
GroupName = Literal["onCall", "teamLead", "engineeringManager", "cto", "stakeholders"]


class EscalationStep(ApiModel):
    """One step of the escalation path."""

    to: Annotated[GroupName, Field(description="Contact group")]
    after: Annotated[Duration, Field(description="Time after the start of the incident")]


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


class ResponseTimes(ApiModel):
    """Time until a person must have answered, by severity."""

    P0: Annotated[Duration, Field(alias="P0", description="Response time of P0")] = "15m"
    P1: Annotated[Duration, Field(alias="P1", description="Response time of P1")] = "1h"
    P2: Annotated[Duration, Field(alias="P2", description="Response time of P2")] = "4h"
    P3: Annotated[Duration, Field(alias="P3", description="Response time of P3")] = "24h"

    def of(self, severity: Severity) -> str:
        """Duration for a severity."""
        value: str = getattr(self, severity.value)
        return value


class Communication(ApiModel):
    """Who is told, how and when."""

    contacts: Annotated[ContactGroups, Field(description="Contact groups")] = ContactGroups()
    channels: Annotated[
        dict[ChannelName, ChannelRef],
        Field(max_length=8, description="Channels by name, each with its Secret"),
        Cel(
            "self.all(name, name in ['slack', 'pagerduty', 'phone', 'email', 'webhook'])",
            "channels may be slack, pagerduty, phone, email and webhook",
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
