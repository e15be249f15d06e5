"""Alerts from outside: what a Stack lets them open, and what an Incident keeps of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .common import ApiModel, Cel, Duration, ListMap, ListSet, Time, TypeName

FINGERPRINT = r"^[0-9a-f]{16}$"
ALERTS_KEPT = 32
SLACK_USER = r"^slack:[UW][A-Z0-9]{2,30}$"


class Watchdog(ApiModel):
    """An alert that always fires: when it is not heard any more, alerting itself is broken."""

    alert: Annotated[str, Field(min_length=1, max_length=128, description="Its alertname")] = "Watchdog"
    after: Annotated[
        Duration,
        Field(
            description="Silence after which an Incident of type WatchdogSilent is opened; "
            "more than twice the repeat_interval of its route in Alertmanager"
        ),
        Cel(
            "self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('1m')",
            "write a duration of at least 1m, more than twice the repeat_interval of the watchdog's route",
        ),
    ] = "10m"


class Alerts(ApiModel):
    """What alerts of Alertmanager may do with the Stack."""

    types: Annotated[
        list[TypeName],
        ListSet(),
        Field(
            max_length=16,
            description="Types of Incidents that an alert may open, by its label docuquery_type; absent: none. "
            "A type without a runbook only tells people",
        ),
    ] = []
    watchdog: Annotated[Watchdog | None, Field(description="The alert that proves that alerts arrive; absent: none")] = None


class Approver(ApiModel):
    """A person who may answer for steps by a button."""

    id: Annotated[
        str,
        Field(max_length=64, description="Who presses the button: slack:<member id>"),
        Cel(f"self.matches('{SLACK_USER}')", "write slack: and the member id, such as slack:U0123ABCD"),
    ]
    user: Annotated[
        str,
        Field(min_length=1, max_length=256, description="The same person's Kubernetes user; one person counts once"),
    ]


Approvers = Annotated[
    list[Approver],
    ListMap("id"),
    Field(max_length=32, description="Who may approve or reject steps by a button in Slack; absent: nobody"),
]


class IncidentAlert(ApiModel):
    """One alert that belongs to an Incident."""

    cel_rules: ClassVar[tuple[Cel, ...]] = ()

    fingerprint: Annotated[
        str, Field(pattern=FINGERPRINT, max_length=16, description="Identity of the alert: Alertmanager's fingerprint")
    ]
    name: Annotated[str, Field(max_length=128, description="Its alertname")] = ""
    starts_at: Annotated[Time, Field(description="When it began to fire; a later one is another episode")]
    ends_at: Annotated[Time | None, Field(description="When it ended; absent: it fires")] = None
    component: Annotated[str | None, Field(max_length=63, description="Component that it names, where it is another")] = None
    summary: Annotated[str, Field(max_length=256, description="What it says")] = ""


IncidentAlerts = Annotated[
    list[IncidentAlert],
    ListMap("fingerprint"),
    Field(max_length=ALERTS_KEPT, description="Alerts that belong to it; written by the receiver of alerts"),
]
