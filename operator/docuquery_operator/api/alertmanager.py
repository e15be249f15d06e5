"""The Alertmanager of a Stack, in which open maintenance windows keep silences."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .common import ApiModel, Cel, Name, Port
from .detection import LABEL_PATTERN

_NO_POD = "labels of single pods, such as pod or instance, change with each restart; write labels of the whole Stack"
LabelName = Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63)]


class AlertmanagerServer(ApiModel):
    """An Alertmanager that gets the Stack's alerts; it is asked by HTTP, without a password."""

    service: Annotated[Name, Field(description="Its Service in the Stack's namespace")]
    port: Annotated[Port, Field(description="Port of the Service")] = 9093
    prefix: Annotated[
        str, Field(pattern=r"^(/[A-Za-z0-9._-]+)*$", max_length=128, description="Path before /api/v2, where it has one")
    ] = ""
    labels: Annotated[
        dict[LabelName, Annotated[str, Field(min_length=1, max_length=253)]],
        Field(max_length=8, description="Labels that all alerts of the Stack bear, such as {namespace: docuquery}"),
        Cel("size(self) > 0", "labels must say which alerts are the Stack's, such as {namespace: docuquery}"),
        Cel(
            f"self.all(name, name.matches('{LABEL_PATTERN}'))",
            "an alert label's name must be letters, digits and '_', such as namespace or service",
        ),
        Cel("self.all(name, !(name in ['pod', 'instance', 'pod_name', 'container_id']))", _NO_POD),
    ]
    component_label: Annotated[
        LabelName,
        Field(description="Label whose value is the component's name; a window over single components goes by it"),
        Cel("!(self in ['pod', 'instance', 'pod_name', 'container_id'])", "componentLabel must be no label of single pods"),
    ] = "component"
