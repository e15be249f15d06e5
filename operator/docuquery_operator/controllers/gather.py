"""Reads the facts of one pass for an Incident: Stack, runbook, probes, ledgers, neighbours, targets."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from ..api.common import HealMode
from ..api.incident import Incident, IncidentStatus, Step
from ..api.maintenance_window import MaintenanceWindow
from ..api.runbook import Runbook, RunbookSpec, StepSpec
from ..api.stack import ComponentType, Stack
from ..catalogue import shared
from ..catalogue.actions import ACTIONS
from ..catalogue.base import PlanContext, Round, undoable
from ..catalogue.runbooks import problem_of, shipped
from ..domain.backups.occupied import replaces
from ..domain.diagnosis import parameters
from ..domain.incidents.lifecycle import WATCHDOG_SILENT
from ..domain.incidents.verification import to_put_back
from ..domain.maintenance import effects, openings
from ..domain.paging.outbox import CHANNEL_FAILURE, excluded
from ..domain.workloads.pods import foreign_rollout
from ..domain.workloads.rollout import gap, restarted_at, share
from ..domain.world import Effect, EffectState, PlannedStep, Problem, Quiet, Refusal, Risk, Target, World
from ..ports import (
    MAINTENANCE_WINDOW,
    RESTORE_JOB,
    RUNBOOK,
    STACK,
    ApiError,
    Ports,
)
from .labels import BACKUP_OPENER, OPENED_BY_LABEL
from .ledgers import LedgerStore
from .prober import Observation, StackProber
from .window_reads import readable

VIEW_FOR = timedelta(seconds=1)
SECRET_KEYS = {
    ComponentType.POSTGRESQL: ("username", "password"),
    ComponentType.REDIS: ("password",),
    ComponentType.QDRANT: (shared.QDRANT_KEY,),
}


@dataclass(frozen=True)
class Chosen:
    """The runbook in force, or why there is none."""

    spec: RunbookSpec | None
    source: str
    problem: Problem | None = None


WATCHDOG_TEXT = (
    "the alert that always fires is not heard any more, so other alerts may be lost too: check Prometheus, Alertmanager and "
    "the receiver; it ends by itself when the alert is heard again"
)


class Gatherer:
    """One for the Incident controller; keeps views of Stack and runbooks for one second."""

    def __init__(self, ports: Ports, prober: StackProber) -> None:
        self._ports = ports
        self._prober = prober
        self.ledgers = LedgerStore(ports.cluster)
        self._views: dict[tuple[str, ...], tuple[datetime, Any]] = {}
        self._alive_since = ports.clock.now()

    async def world(self, incident: Incident) -> World:
        """All facts that `decide` needs now; a person's problem is a fact too."""
        leader = self._ports.leader
        base = World(fence=leader.term, leading=leader.leading(), alive_since=self._alive_since)
        namespace = incident.metadata.namespace
        stack = await self.stack(namespace, incident.spec.stack_ref.name)
        if isinstance(stack, Problem):
            return replace(base, problem=stack)
        if incident.spec.type == CHANNEL_FAILURE:
            # That nobody can be told is never muted.
            return replace(base, stack=stack, problem=_channel_problem(incident, stack))
        if incident.spec.type == WATCHDOG_SILENT:
            return replace(base, stack=stack, problem=Problem(WATCHDOG_SILENT, WATCHDOG_TEXT))
        if stack.spec.communication.channels:
            base = replace(base, quiets=await self._quiets(stack))
        chosen = await self.runbook(namespace, incident.spec.type)
        world = replace(base, stack=stack, runbook=chosen.spec, runbook_source=chosen.source, problem=chosen.problem)
        if chosen.spec is None or chosen.problem is not None:
            return world
        component = _component(incident, stack, chosen.spec)
        if isinstance(component, Problem):
            return replace(world, problem=component)
        world = replace(world, component=component)
        problem = await self._secret_problem(stack, component)
        if problem is not None:
            return replace(world, problem=problem)
        try:
            values = parameters.resolve(chosen.spec, incident.spec.parameters)
        except ValueError as error:
            return replace(world, problem=Problem("ParameterInvalid", str(error)))
        return await self._observed(incident, stack, chosen, world, values)

    async def _observed(
        self, incident: Incident, stack: Stack, chosen: Chosen, world: World, values: Mapping[str, Any]
    ) -> World:
        status = incident.status or IncidentStatus()
        step = next((s for s in status.steps if s.state.in_flight), None)
        busy = step or to_put_back(status)
        mode = _stricter(stack, incident)
        if mode is HealMode.OFF and busy is None:
            return world
        assert chosen.spec is not None
        if incident.status is None and not self._prober.has_fresh(stack, chosen.source, world.component, values):
            # A person who has just applied the object sees at once that somebody looks at it.
            return world
        seen = await self._prober.diagnose(stack, chosen.spec, chosen.source, world.component, values)
        world = replace(world, streak=seen.streak, planner=_planner(stack, world.component, seen))
        if mode is HealMode.OBSERVE and busy is None:
            return world
        return await self._for_acting(incident.spec.type, status, stack, step, world)

    async def _for_acting(self, kind: str, status: IncidentStatus, stack: Stack, step: Step | None, world: World) -> World:
        assert world.streak is not None
        about_to = world.streak.symptom_rounds >= stack.spec.detection.failures and world.streak.verdict.symptom is True
        journal = any(s.attempt_id for s in status.steps)
        if not (about_to or journal or step):
            return world
        failed: list[str] = []
        namespace = stack.metadata.namespace
        guard = functools.partial(_guarded, failed)
        ledgers = await guard("the ledgers of attempts", lambda: self.ledgers.read(namespace, stack.metadata.name), {})
        neighbours = await guard("the neighbours' health", lambda: self._prober.health(stack), {})
        world = replace(world, ledgers=ledgers, neighbours=neighbours)
        effect = await self._effect(step, namespace) if step is not None else None
        begun = effect is not None and effect.state is not EffectState.ABSENT
        if about_to and not begun:
            windows = await guard("the maintenance windows", lambda: self._blocking(stack, kind), {})
            targets = await guard("the rollouts", lambda: self.targets(stack), {})
            restoring = await guard("the restores", lambda: self._restoring(stack), "")
            world = replace(world, blocking_windows=windows, restoring=restoring, targets=targets)
        elif begun:
            # Nothing begins here: whether it stands still at a safe point may rest on what was read just now.
            windows = await guard("the maintenance windows", lambda: self._blocking(stack, kind, fresh=False), {})
            world = replace(world, blocking_windows=windows)
        undone = await self._undone(to_put_back(status), namespace)
        return replace(world, effect=effect, undone=undone, failed_lookups=tuple(failed))

    async def _effect(self, step: Step, namespace: str) -> Effect | None:
        action = ACTIONS.get(step.kind)
        return await action.effect(step, namespace, self._ports) if action else None

    async def _undone(self, step: Step | None, namespace: str) -> Effect | None:
        action = undoable(ACTIONS.get(step.kind)) if step else None
        if step is None or action is None:
            return None
        return await action.undone(step, namespace, self._ports)

    async def stack(self, namespace: str, name: str, fresh: bool = False) -> Stack | Problem:
        """The Stack, at most one second old; fresh: read now."""

        async def read() -> Stack | Problem:
            found = await self._ports.cluster.get(STACK, namespace, name)
            if found is None:
                text = f"Stack '{name}' does not exist in namespace {namespace}; create it or correct spec.stackRef.name"
                return Problem("StackNotFound", text)
            try:
                return Stack.model_validate(found)
            except ValidationError as error:
                return Problem("StackInvalid", _first(error, f"Stack '{name}'"))

        view: Stack | Problem = await self._view(("stack", namespace, name), read, fresh)
        return view

    async def incident_types(self, namespace: str) -> list[str]:
        """Types that a runbook serves in this namespace, shipped or of its own."""
        own = ((o.get("spec") or {}).get("incidentType") for o in await self._runbooks(namespace))
        return sorted({*shipped(), *(name for name in own if isinstance(name, str))})

    async def _runbooks(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Runbooks of the namespace, read once a second at most, whoever asks."""

        async def read() -> Sequence[dict[str, Any]]:
            return await self._ports.cluster.list(RUNBOOK, namespace)

        found: Sequence[dict[str, Any]] = await self._view(("runbooks", namespace), read, False)
        return found

    async def runbook(self, namespace: str, incident_type: str) -> Chosen:
        async def read() -> Chosen:
            objects = await self._runbooks(namespace)
            own = [o for o in objects if (o.get("spec") or {}).get("incidentType") == incident_type]
            if len(own) > 1:
                names = ", ".join(sorted(o["metadata"]["name"] for o in own))
                return Chosen(
                    None, "", Problem("RunbookInvalid", f"several runbooks serve {incident_type}: {names}; keep one")
                )
            if own:
                return _own(Runbook, own[0])
            spec = shipped().get(incident_type)
            if spec is None:
                known = ", ".join(sorted(shipped()))
                text = (
                    f"no runbook serves '{incident_type}'; shipped are: {known}; or apply a Runbook with this incidentType"
                )
                return Chosen(None, "", Problem("RunbookNotFound", text))
            return Chosen(spec, f"shipped/{incident_type}")

        view: Chosen = await self._view(("runbook", namespace, incident_type), read, False)
        return view

    async def _view(self, key: tuple[str, ...], read: Callable[[], Awaitable[Any]], fresh: bool) -> Any:
        now = self._ports.clock.now()
        known = self._views.get(key)
        if known is not None and not fresh and abs(now - known[0]) < VIEW_FOR:
            return known[1]
        value = await read()
        self._views = {k: v for k, v in self._views.items() if abs(now - v[0]) < VIEW_FOR}
        self._views[key] = (now, value)
        return value

    async def _secret_problem(self, stack: Stack, name: str) -> Problem | None:
        component = stack.spec.components[name]
        wanted = SECRET_KEYS.get(component.type, ())
        if not wanted or component.credentials is None:
            return None
        secret = component.credentials.secret_name

        async def read() -> Mapping[str, str]:
            return await shared.credentials(self._round(stack), secret)

        data: Mapping[str, str] = await self._view(("secret", stack.metadata.namespace, secret), read, False)
        missing = [k for k in wanted if not data.get(k)]
        if not missing:
            return None
        return Problem("SecretNotFound", f"Secret '{secret}' is missing or has no {' and no '.join(missing)}; create it")

    def _round(self, stack: Stack) -> Round:
        return Round(stack, self._ports, 3.0, self._ports.clock.now())

    async def _windows(self, namespace: str, fresh: bool = False) -> Sequence[MaintenanceWindow]:
        """Windows of the namespace, at most one second old; what is open is computed from their schedules."""

        async def read() -> Sequence[MaintenanceWindow]:
            return readable(await self._ports.cluster.list(MAINTENANCE_WINDOW, namespace))

        found: Sequence[MaintenanceWindow] = await self._view(("windows", namespace), read, fresh)
        return found

    async def _quiets(self, stack: Stack) -> tuple[Quiet, ...] | None:
        try:
            found = await self._windows(stack.metadata.namespace)
        except ApiError:
            return None
        return effects.quiets(found, stack.metadata.name, self._ports.clock.now())

    async def _blocking(self, stack: Stack, incident_type: str, fresh: bool = True) -> Mapping[str, str]:
        found = await self._windows(stack.metadata.namespace, fresh)
        return openings.blocking(found, stack.metadata.name, incident_type, self._ports.clock.now())

    async def _restoring(self, stack: Stack) -> str:
        """The RestoreJob that replaces the Stack's data just now."""
        found = await self._ports.cluster.list(RESTORE_JOB, stack.metadata.namespace)
        return next((r["metadata"]["name"] for r in found if replaces(r, stack.metadata.name)), "")

    async def targets(self, stack: Stack) -> dict[str, Target]:
        found = {}
        round_ = self._round(stack)
        for name, component in stack.spec.components.items():
            workload = await shared.workload(round_, component)
            selector = shared.selector_of(workload)
            if workload is None or not selector:
                continue
            at, revision = foreign_rollout(await shared.revisions(round_, component)) or (None, "")
            own = self._ports.self.is_of(round_.namespace, component.workload.name)
            found[name] = Target(at, revision, own, gap(workload), share(workload), restarted_at(workload))
        return found


async def _guarded(failed: list[str], what: str, read: Callable[[], Awaitable[Any]], default: Any) -> Any:
    try:
        return await read()
    except (ApiError, ValueError):
        failed.append(what)
        return default


def _channel_problem(incident: Incident, stack: Stack) -> Problem:
    """No runbook heals a channel: a person must look; it ends by itself with the next message that is taken."""
    channel = excluded(incident)
    known = next((ref for name, ref in stack.spec.communication.channels.items() if name == channel), None)
    if known is None:
        text = f"the Stack has no channel '{channel}' any more; close this by spec.resolved"
        return Problem(CHANNEL_FAILURE, text)
    secret = known.secret_ref.secret_name
    text = f"channel {channel} takes no messages; check Secret '{secret}' and the way there. It is tried again by itself"
    return Problem(CHANNEL_FAILURE, text)


def _own(model: type[Runbook], obj: dict[str, Any]) -> Chosen:
    name, generation = obj["metadata"]["name"], obj["metadata"].get("generation", 0)
    try:
        spec = model.model_validate(obj).spec
    except ValidationError as error:
        return Chosen(None, "", Problem("RunbookInvalid", _first(error, f"Runbook '{name}'")))
    wrong = problem_of(spec)
    source = f"{name}@{obj['metadata'].get('uid', '')[:8]}.{generation}"
    if wrong is not None:
        return Chosen(spec, source, Problem("RunbookInvalid", f"Runbook '{name}': {wrong.message}"))
    return Chosen(spec, source)


def _component(incident: Incident, stack: Stack, runbook: RunbookSpec) -> str | Problem:
    wanted = incident.spec.component
    names = ", ".join(sorted(stack.spec.components)) or "none"
    if wanted is not None:
        known = stack.spec.components.get(wanted)
        if known is None:
            text = f"component '{wanted}' is not in Stack '{stack.metadata.name}'; it has: {names}"
            return Problem("ComponentNotFound", text)
        if known.type is not runbook.component_type:
            # What is found out about one component must never be done to another.
            text = f"component '{wanted}' is of type {known.type}; {incident.spec.type} is about {runbook.component_type}"
            return Problem("ComponentNotFound", text)
        return wanted
    same = [n for n, c in stack.spec.components.items() if c.type is runbook.component_type]
    if len(same) == 1:
        return same[0]
    if _about_backups(incident, runbook) and stack.spec.components:
        return sorted(same or stack.spec.components)[0]
    if not same:
        text = f"Stack '{stack.metadata.name}' has no component of type {runbook.component_type}; it has: {names}"
        return Problem("ComponentNotFound", text)
    text = f"several components are of type {runbook.component_type}: {', '.join(sorted(same))}; name one in spec.component"
    return Problem("ComponentNotFound", text)


def _about_backups(incident: Incident, runbook: RunbookSpec) -> bool:
    """Opened by a BackupJob: of the whole Stack, whatever components it has. Nothing may be done to any of them then."""
    acts = any(cause.remediate for cause in runbook.causes)
    return incident.metadata.labels.get(OPENED_BY_LABEL) == BACKUP_OPENER and not acts


def _stricter(stack: Stack, incident: Incident) -> HealMode:
    modes = [stack.spec.healing.mode] + ([incident.spec.mode] if incident.spec.mode else [])
    return max(modes, key=lambda m: m.strictness)


def _planner(stack: Stack, component: str, seen: Observation) -> Callable[[StepSpec], PlannedStep | Refusal]:
    def plan(spec: StepSpec) -> PlannedStep | Refusal:
        name = component
        if spec.component is not None and shared.ALIASES.get(spec.component) != stack.spec.components[component].type.value:
            found = shared.component_named(stack, spec.component)
            if found is None:
                return Refusal("3-own-targets", "TargetNotInStack", f"the Stack has no component '{spec.component}'")
            name = found[0]
        context = PlanContext(stack, name, stack.spec.components[name], seen.findings, spec, {"uids": seen.uids})
        planned = ACTIONS[spec.action].plan(context)
        if isinstance(planned, PlannedStep) and (spec.approval == "Always" or planned.risk is Risk.DATA):
            return replace(planned, needs_approval=True)
        return planned

    return plan


def _first(error: ValidationError, what: str) -> str:
    first = error.errors()[0]
    return f"{what}: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
