"""workload: the Kubernetes side of a component."""

from __future__ import annotations

from typing import Any

from ...domain.workloads.pods import workload_finding
from .. import shared
from ..base import ProbeContext


class Workload:
    """Pods wanted and ready, how the last container ended, restarts, crash loop, OOM kill, lost node."""

    name = "workload"
    doc = (
        "the workload and its pods: numbers of `wanted`, `ready`, `pods`, `terminating` and `restarts`; `state` and "
        "`reason` of the worst one; `unschedulable` says why no node takes it; `starting` while a container runs for less "
        "than two minutes and was not ready yet; `justReady` when a pod became ready less than 15 seconds ago, which its "
        "Service may not know yet; only `exists` and `ready` without a workload"
    )
    gives: tuple[str, ...] = (
        *("exists", "wanted", "ready", "pods", "terminating", "crashLoop", "oomKilled", "nodeLost", "unschedulable"),
        *("restarts", "state", "reason", "memoryLimit", "cpuLimit", "starting", "justReady"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'exists' is always there."""
        owner = await shared.workload(context.round, context.component)
        pods = await shared.pods(context.round, context.component)
        return workload_finding(owner, pods, context.round.now)
