"""scaling: how many replicas a component has, who keeps their number, and who would put it back."""

from __future__ import annotations

from typing import Any

from ...domain.remedies.scaling import autoscaler_of, keda_name, scaling_finding
from ...ports import HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT
from .. import shared
from ..base import ProbeContext


class Scaling:
    """Replicas now and before a temporary change, the autoscaler or ScaledObject that owns them, and Git's hand in it."""

    name = "scaling"
    doc = (
        "replicas: `replicas`, `ready` and `baseline` (before a temporary change, as `temporary` says); `through` the "
        "workload, a HorizontalPodAutoscaler or a KEDA ScaledObject by `name`, `uid` and `field`, at most `ownMost` there; "
        "`git` says who would put the field back, '' for nobody; only `summary` without a workload. `scaleWorkload` reads it"
    )
    gives: tuple[str, ...] = (
        *("component", "replicas", "ready", "baseline", "through", "name", "uid", "field", "git", "paused", "temporary"),
        "ownMost",
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'component' is always there."""
        round_, ref = context.round, context.component.workload
        workload = await shared.workload(round_, context.component)
        autoscalers = await round_.ports.cluster.list(HORIZONTAL_POD_AUTOSCALER, round_.namespace)
        autoscaler = autoscaler_of(autoscalers, ref.kind, ref.name)
        scaled = None
        if keda_name(autoscaler):
            scaled = await round_.ports.cluster.get(SCALED_OBJECT, round_.namespace, keda_name(autoscaler))
        return {"component": context.name, **scaling_finding(workload, autoscaler, scaled)}
