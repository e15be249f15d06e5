"""Actions on PostgreSQL sessions, named by pid *and* start: a pid that is another session now is left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from ...api.common import Duration, seconds
from ...api.incident import Step
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import DatabaseTarget, Ports, Transient
from .. import shared
from ..base import Parameters, PlanContext, Round
from .restart_workload import NoParameters, RestartWorkload, plan_restart

TERMINATE_TIMEOUT = 10.0


class IdleParameters(Parameters):
    """Bounds of terminateIdleSessions."""

    min_idle: Annotated[Duration, Field(description="Only sessions idle in transaction for at least this long")] = "30s"
    max: Annotated[int, Field(ge=1, le=100, description="At most so many in one step, the oldest first")] = 25


class SessionAction:
    """Ends the sessions that the plan names, and finds out from the server whether they are gone."""

    name = ""
    only_idle = True

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when none of the named sessions lives."""
        left = await self._left(step, namespace, ports)
        total = len((step.plan or {}).get("sessions", []))
        if left is None:
            return Effect(EffectState.ABSENT, "the server does not answer")
        if left:
            state = EffectState.ABSENT if left == total else EffectState.IN_PROGRESS
            return Effect(state, f"{left} of {total} sessions still there", in_parts=True)
        return Effect(EffectState.DONE, f"{total} sessions ended")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """End what is left of the named sessions."""
        target = await _target(step, namespace, ports)
        await ports.database.terminate(target, _sessions(step), self.only_idle, TERMINATE_TIMEOUT)

    async def _left(self, step: Step, namespace: str, ports: Ports) -> int | None:
        target = await _target(step, namespace, ports)
        return await ports.database.alive(target, _sessions(step), self.only_idle, TERMINATE_TIMEOUT)


class TerminateIdleSessions(SessionAction):
    """Ends idle-in-transaction sessions of the application's own role, oldest first, bounded."""

    name = "terminateIdleSessions"
    doc = "end idle-in-transaction sessions of the application's roles, the oldest first"
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=2)
    repeat = "idempotent"
    parameters: type[Parameters] = IdleParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names every session that would be ended."""
        bounds = IdleParameters.model_validate(context.spec.parameters or {})
        found: Sequence[Mapping[str, Any]] = context.findings.get("connections", {}).get("sessions", [])
        old = [s for s in found if s["idleSeconds"] >= seconds(bounds.min_idle)]
        if not old:
            if found:
                text = f"{len(found)} sessions are idle in transaction, none for {bounds.min_idle} yet"
                return Refusal("2-empty-target", "NotOldEnough", text)
            return Refusal("2-empty-target", "NothingToDo", "no session of the application is idle in transaction")
        chosen = sorted(old, key=lambda s: -s["idleSeconds"])[: bounds.max]
        if len(old) * 2 < len(found) and chosen[0]["idleSeconds"] < 2 * seconds(bounds.min_idle):
            # One of a leak that has just begun would free one place, and the next step has a cooldown to wait for.
            text = f"{len(old)} of {len(found)} sessions idle in a transaction for {bounds.min_idle}; most will in a moment"
            return Refusal("2-empty-target", "NotOldEnough", text)
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan=_plan(context, [{"pid": s["pid"], "started": s["started"]} for s in chosen]),
            summary=f"end {len(chosen)} of {len(found)} idle-in-transaction sessions, the oldest idle for "
            f"{shared.age_words(chosen[0]['idleSeconds'])}",
            cooldown=self.cooldown,
        )


class TerminateBlocker(SessionAction):
    """Ends the one session at the root of a lock storm; a person approves it."""

    name = "terminateBlocker"
    doc = "end the session at the root of a lock storm, after approval"
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=2)
    repeat = "idempotent"
    only_idle = False
    parameters: type[Parameters] = NoParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names the session."""
        roots: Sequence[Mapping[str, Any]] = context.findings.get("locks", {}).get("blockers", [])
        if not roots:
            return Refusal("2-empty-target", "NothingToDo", "no session blocks others")
        root = roots[0]
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan=_plan(context, [{"pid": root["pid"], "started": root["started"]}]),
            summary=f"end session {root['pid']} of {root['application'] or root['role']}, "
            f"which blocks {root['waiting']} others",
            cooldown=self.cooldown,
            needs_approval=True,
        )


class RestartLeakingClient(RestartWorkload):
    """Restarts the workload of the Stack that holds most of what was forgotten; never the store that it is held in."""

    name = "restartLeakingClient"
    doc = "restart the Stack's workload that holds most sessions or clients that were forgotten; never the store itself"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """The component that most of them come from, as any finding with `byComponent` counts them."""
        counted: Counter[str] = Counter()
        for finding in context.findings.values():
            counted.update(finding.get("byComponent", {}))
        del counted[context.component_name]
        if not counted:
            return Refusal("2-empty-target", "NothingToDo", "they come from no workload of the Stack")
        worst = max(sorted(counted), key=lambda n: counted[n])
        return plan_restart(self.name, self.cooldown, context, worst)


def _plan(context: PlanContext, sessions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    component = context.component
    return {
        "service": component.endpoint.service if component.endpoint else "",
        "port": component.endpoint.port if component.endpoint else 0,
        "database": component.database,
        "secret": component.credentials.secret_name if component.credentials else "",
        "sessions": list(sessions),
    }


def _sessions(step: Step) -> list[tuple[int, str]]:
    return [(int(s["pid"]), str(s["started"])) for s in (step.plan or {}).get("sessions", [])]


async def _target(step: Step, namespace: str, ports: Ports) -> DatabaseTarget:
    """Address and credentials from the written plan, so that a Stack edited meanwhile moves nothing."""
    plan = step.plan or {}
    component = shared.plain_database(plan["service"], plan["port"], plan["database"], plan["secret"])
    round_ = Round(shared.bare_stack(namespace), ports, TERMINATE_TIMEOUT, ports.clock.now())
    host = await shared.address(round_, component)
    target = await shared.database_target(round_, component, host)
    if target is None or not host:
        raise Transient("the database's address or credentials are missing", 5.0)
    return target
