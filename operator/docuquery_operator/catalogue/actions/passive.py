"""Steps without an effect: waiting for a recovery that goes on by itself, and proposals that a person may take up."""

from __future__ import annotations

from datetime import timedelta

from ...api.incident import Step
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import Ports
from ..base import Parameters, PlanContext
from ..probes.postgres import quantity
from .restart_workload import NoParameters

MEMORY_FACTOR = 1.5
VOLUME_FACTOR = 2.0


class Passive:
    """Base of steps that touch nothing."""

    risk = Risk.NONE
    cooldown = timedelta(0)
    repeat = "idempotent"
    parameters: type[Parameters] = NoParameters

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """There is none, so it is done."""
        return Effect(EffectState.DONE, "nothing was touched")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Nothing to begin."""


class WaitForRecovery(Passive):
    """Waits, within the step's timeout, while Kubernetes or the server itself recovers."""

    name = "waitForRecovery"
    doc = "touch nothing and watch, for the step's timeout, whether the symptom goes away by itself"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """A wait."""
        return PlannedStep(
            self.name,
            context.component_name,
            self.risk,
            {},
            f"wait up to {context.spec.timeout} for it to recover by itself",
        )


class ProposeMemory(Passive):
    """Says which memory limit a person should set."""

    name = "proposeMemory"
    doc = "write down a higher memory limit for a person to set"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """One and a half times the present limit."""
        limit = context.findings.get("workload", {}).get("memoryLimit", "")
        memory = context.findings.get("memory", {})
        ref = context.component.workload
        if memory.get("oom") and memory.get("limitBytes"):
            text = _own_bound(memory["limitBytes"], f"{ref.kind} {ref.name}", limit)
            return PlannedStep(self.name, context.component_name, self.risk, {"note": True}, f"proposal: {text}")
        if not quantity(limit):
            text = f"set a memory limit on {ref.kind} {ref.name}; it has none"
        else:
            wanted = int(quantity(limit) * MEMORY_FACTOR / 2**20)
            text = f"raise the memory limit of {ref.kind} {ref.name} from {limit} to {wanted}Mi"
        return PlannedStep(self.name, context.component_name, self.risk, {"note": True}, f"proposal: {text}")


class ProposeVolume(Passive):
    """Says to which size a person should grow the volume."""

    name = "proposeVolume"
    doc = "write down a bigger size for the full volume for a person to set"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Twice the present size."""
        disk = context.findings.get("disk", {})
        claim, capacity = disk.get("claim", ""), disk.get("capacity", "")
        if not claim:
            return Refusal("2-empty-target", "NothingToDo", "the claim of the volume is not known")
        wanted = int(quantity(capacity) * VOLUME_FACTOR / 2**20)
        text = f"grow PersistentVolumeClaim {claim} from {capacity} to {wanted}Mi (spec.resources.requests.storage)"
        return PlannedStep(self.name, context.component_name, self.risk, {"note": True}, f"proposal: {text}")


class ProposeScaling(Passive):
    """Says what more pods of a Qdrant would and would not move."""

    name = "proposeScaling"
    doc = (
        "write down how this Qdrant can be given more room: a single node only by more resources, a cluster by a peer more "
        "and shards that are moved to it"
    )

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Nothing is scaled: a pod more is of no use before somebody has moved shards to it."""
        nodes, workload = context.findings.get("cluster", {}), context.findings.get("workload", {})
        ref = f"{context.component.workload.kind} {context.component.workload.name}"
        limits = f"cpu {workload.get('cpuLimit') or 'without'}, memory {workload.get('memoryLimit') or 'without'}"
        if nodes.get("enabled"):
            peers = nodes.get("peers", 1)
            text = (
                f"add a peer to the {peers} of {ref}, then move shards to it (POST /collections/<name>/cluster with "
                "move_shard): a new peer holds nothing until then"
            )
        elif "enabled" in nodes:
            text = (
                f"raise the resources of {ref} (limits now: {limits}); more replicas would not help: "
                "a single node's second pod is another, empty Qdrant, and no data move to it"
            )
        else:
            text = f"raise the resources of {ref} (limits now: {limits}); whether it is part of a cluster it does not tell"
        return PlannedStep(self.name, context.component_name, self.risk, {"note": True}, f"proposal: {text}")


def _own_bound(limit: int, workload: str, of_container: str) -> str:
    """The server has a bound of its own, which it came to before that of its container."""
    wanted = int(limit * MEMORY_FACTOR / 2**20)
    return (
        f"raise maxmemory from {limit // 2**20}mb to {wanted}mb, and keep the memory limit of {workload} "
        f"({of_container or 'none'}) well above it"
    )
