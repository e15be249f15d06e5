"""How faults of a Stack are noticed, and when figures count as bad."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .common import ApiModel, Cel, Duration, Name, Percent, Port, seconds

SHORTEST_PACE = 0.5
SHORTEST_PATIENCE, LONGEST_PATIENCE = 0.1, 30.0


class Detection(ApiModel):
    """How faults are noticed."""

    interval: Annotated[Duration, Field(description="Time between two rounds of probes")] = "5s"
    timeout: Annotated[Duration, Field(description="Time that one probe may take")] = "3s"
    failures: Annotated[int, Field(ge=1, le=100, description="Bad rounds in a row that count as a fault")] = 3
    recoveries: Annotated[int, Field(ge=1, le=100, description="Good rounds in a row that count as recovery")] = 3
    open_incidents: Annotated[
        bool, Field(description="Open an Incident when a fault is noticed; false: only people and alerts open them")
    ] = True
    held_connections: Annotated[
        bool,
        Field(
            description="Hold one connection to each server open, to notice at once that its process is gone; "
            "false: faults are noticed by the rounds alone"
        ),
    ] = True

    @property
    def pace(self) -> float:
        """Seconds between two rounds; a shorter interval than half a second would only keep the process busy."""
        return max(SHORTEST_PACE, seconds(self.interval))

    @property
    def patience(self) -> float:
        """Seconds that a probe may take; a longer time-out would keep a pass from ending, and others from beginning."""
        return min(max(SHORTEST_PATIENCE, seconds(self.timeout)), LONGEST_PATIENCE)


class Threshold(ApiModel):
    """Limits of one level."""

    response_time: Annotated[Duration, Field(description="95th percentile of the response time")]
    error_rate: Annotated[Percent, Field(description="Share of failed requests")]


LABEL_PATTERN = r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$"


class PrometheusServer(ApiModel):
    """A Prometheus server that knows the api's metrics; it is asked by HTTP, without a password."""

    service: Annotated[Name, Field(description="Its Service in the Stack's namespace")]
    port: Annotated[Port, Field(description="Port of the Service")] = 9090
    labels: Annotated[
        dict[
            Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63)],
            Annotated[str, Field(min_length=1, max_length=253)],
        ],
        Field(max_length=8, description="Labels of the api's series there, such as {namespace: docuquery, service: api}"),
        Cel("size(self) > 0", "labels must say which series are the api's, such as {namespace: docuquery, service: api}"),
        Cel(
            f"self.all(name, name.matches('{LABEL_PATTERN}'))",
            "a label's name must be letters, digits and '_', such as namespace or service",
        ),
    ]


class Thresholds(ApiModel):
    """Alert thresholds of the source runbook."""

    window: Annotated[Duration, Field(description="Time over which the figures are taken")] = "5m"
    critical: Annotated[Threshold, Field(description="Opens a P1")] = Threshold(response_time="5s", error_rate="10%")
    warning: Annotated[Threshold, Field(description="Opens a P2")] = Threshold(response_time="2s", error_rate="5%")
    info: Annotated[Threshold, Field(description="Opens a P3")] = Threshold(response_time="1s", error_rate="1%")
    min_requests: Annotated[
        int, Field(ge=1, le=1_000_000, description="Requests in the window below which nothing is said of them")
    ] = 20
    prometheus: Annotated[
        PrometheusServer | None,
        Field(description="Server to ask for the figures; absent: the metrics of the api's pods, else requests of our own"),
    ] = None
