"""Runbook: whether it can be used, said before an incident needs it."""

from __future__ import annotations

from pydantic import ValidationError

from ..api.runbook import Runbook, RunbookStatus
from ..catalogue.runbooks import problem_of
from ..domain.conditions import set_condition
from ..domain.patching import merge_patch
from ..domain.world import Problem
from ..ports import JSON, RUNBOOK, Key, Ports


class RunbookController:
    """Reconciles one Runbook: Ready, or the first mistake and what to write instead."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def reconcile(self, key: Key) -> float | None:
        """Only an event can change the verdict."""
        obj = await self._ports.cluster.get(RUNBOOK, key.namespace, key.name)
        if obj is None:
            return None
        meta = obj["metadata"]
        problem = _problem(obj)
        before = RunbookStatus.model_validate(obj.get("status") or {})
        reason, message = (
            (problem.reason, problem.message) if problem else ("Valid", "probes, actions and expressions are known")
        )
        now, generation = self._ports.clock.now(), meta.get("generation")
        conditions = set_condition(before.conditions, "Ready", problem is None, reason, message, now, generation)
        conditions = set_condition(conditions, "Stalled", problem is not None, reason, message, now, generation)
        status = RunbookStatus(observed_generation=generation, conditions=conditions)
        changes = merge_patch(obj.get("status") or {}, status.to_wire())
        if changes:
            body: JSON = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": changes}
            await self._ports.cluster.patch(RUNBOOK, key.namespace, key.name, body, "status")
            if problem is not None:
                await self._ports.events.post(RUNBOOK, obj, "Warning", reason, message)
        return None


def _problem(obj: JSON) -> Problem | None:
    try:
        return problem_of(Runbook.model_validate(obj).spec)
    except ValidationError as error:
        first = error.errors()[0]
        return Problem("InvalidSpec", f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}")
