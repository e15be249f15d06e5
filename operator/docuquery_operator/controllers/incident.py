"""Incident: read → decide → write once → act."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from ..api.common import HealMode, Severity
from ..api.incident import Incident, IncidentStatus, Phase, Report, Step
from ..api.stack import Stack
from ..catalogue.actions import ACTIONS
from ..catalogue.base import undoable
from ..domain import rails
from ..domain.incidents.healing import AT_ONCE, Plan, decide
from ..domain.incidents.review import digest
from ..domain.incidents.settled import settled
from ..domain.ledger import Attempt
from ..domain.world import EffectState, Problem, World
from ..ports import INCIDENT, JSON, STACK, Key, Ports, Transient
from .courier import Courier
from .evidence import Reporter, collected
from .follow_ups import FollowUps
from .gather import Gatherer
from .invalid import say_invalid
from .prober import StackProber
from .status import write_status
from .teller import Teller

log = logging.getLogger(__name__)
SHORTEST_LOOK = 0.05


class IncidentController:
    """Reconciles one Incident at a time; every pass starts from what the API server holds."""

    def __init__(
        self,
        ports: Ports,
        prober: StackProber,
        ended: Callable[[Key], None] | None = None,
        courier: Courier | None = None,
        decided: Callable[[Key, str], None] | None = None,
    ) -> None:
        self._ports = ports
        self._decided = decided or (lambda _key, _version: None)
        self._changed = ended or (lambda _key: None)
        self._gather = Gatherer(ports, prober)
        self._prober = prober
        self._reporter = Reporter(ports)
        self._follow_ups = FollowUps()
        self._teller = Teller(ports, courier or Courier(ports, lambda _key: None))

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next look, None when only an event can change something."""
        obj = await self._ports.cluster.get(INCIDENT, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            self._teller.forget(key)
            self._follow_ups.forget(key)
            return None
        try:
            incident = Incident.model_validate(obj)
        except ValidationError as error:
            await say_invalid(self._ports, INCIDENT, obj, "NeedsHuman", error)
            return None
        self._follow_ups.note(key, incident)
        world = self._teller.known(key, incident, await self._gather.world(incident))
        world = replace(world, follow_ups=self._follow_ups.of(key, incident))
        now = self._ports.clock.now()
        plan = decide(incident, world, now)
        read, before = incident, incident.status.phase if incident.status else None
        incident = await self._write(incident, plan.status)
        self._follow_ups.note(key, incident)
        # Before what is done about it, which may take long: whoever is to be told is told now.
        self._teller.tell(key, incident, world, plan.send)
        if before is None or (before is not plan.status.phase and Phase.RESOLVED in (before, plan.status.phase)):
            self._changed(Key(STACK.plural, key.namespace, incident.spec.stack_ref.name))
        await self._act(incident, obj, world, plan)
        await self._teller.alarm(incident, world)
        look_again = plan.look_again if incident is read else self._settle(key, read, incident, world, plan, now)
        if look_again is None:
            return None
        # What the pass itself has taken counts; a clock that was set back meanwhile does not.
        took = max(timedelta(0), self._ports.clock.now() - now)
        return max(SHORTEST_LOOK, (look_again - now - took).total_seconds())

    def _settle(
        self, key: Key, read: Incident, written: Incident, world: World, plan: Plan, now: datetime
    ) -> datetime | None:
        """When to look again; the event of the write is left out where a pass on it would do nothing."""
        again = settled(read, written, world, plan, now)
        if again is None:
            return plan.look_again
        look_again = min((at for at in (plan.look_again, again.look_again) if at is not None), default=None)
        if look_again is None or look_again - now > AT_ONCE:
            self._decided(key, written.metadata.resource_version)
        return look_again

    async def _write(self, incident: Incident, status: IncidentStatus) -> Incident:
        """One status patch, only when something changed; Conflict when somebody wrote first."""
        if status == incident.status:
            return incident
        before = incident.status.to_wire() if incident.status else {}
        changes, written = await write_status(self._ports, INCIDENT, incident.metadata, before, status.to_wire())
        if not changes:
            return incident
        if written is None:
            raise Transient("the incident was deleted meanwhile", 0.0)
        return Incident.model_validate(written)

    async def _act(self, incident: Incident, obj: JSON, world: World, plan: Plan) -> None:
        for news in plan.news:
            await self._ports.events.post(INCIDENT, obj, news.type, news.reason, news.message)
        for reason in plan.refused:
            self._ports.metrics.refused(reason)
        stack = incident.spec.stack_ref.name
        namespace = incident.metadata.namespace
        for item in plan.settle:
            await self._gather.ledgers.finish(
                namespace, stack, item.component, item.attempt_id, item.outcome, self._ports.clock.now()
            )
            self._ports.metrics.step(item.action, item.outcome)
        if plan.keep is not None:
            await self._keep(incident, world, plan.keep)
        if plan.advance is not None:
            await self._advance(incident, world, plan.advance)
        if plan.undo is not None:
            await self._undo(incident, plan.undo)
        if plan.close:
            await self._close(incident, world)

    async def _advance(self, incident: Incident, world: World, step: Step) -> None:
        """Start or carry on the effect: leader, fence, fresh Stack, ledger and evidence come first."""
        leader = self._ports.leader
        if not leader.leading() or (step.fence or 0) > leader.term:
            raise Transient("not the leader any more", 1.0)
        stack = await self._gather.stack(incident.metadata.namespace, incident.spec.stack_ref.name, fresh=True)
        if isinstance(stack, Problem) or not rails.named(stack, step):
            raise Transient("the Stack is gone or does not name the target any more; nothing is touched", 5.0)
        if not _may_begin(stack, incident, world):
            return
        await self._keep(incident, world, step)
        if world.effect is None or world.effect.state is EffectState.ABSENT:
            why = await collected(self._reporter, incident, stack, step.component or "", step.attempt_id or "")
            if why and (incident.status or IncidentStatus()).severity is not Severity.P0:
                raise Transient(f"no evidence yet ({why}); only a P0 acts without", 2.0)
        if not leader.leading():
            raise Transient("not the leader any more", 1.0)
        action = ACTIONS[step.kind]
        log.info("advancing", extra={"incident": incident.metadata.name, "step": step.name, "attempt": step.attempt_id})
        await action.advance(step, incident.metadata.namespace, self._ports)

    async def _undo(self, incident: Incident, step: Step) -> None:
        """Put back what a step has changed in vain (rule 18): the same leader, a fresh Stack that still names the target."""
        action, namespace = undoable(ACTIONS.get(step.kind)), incident.metadata.namespace
        stack = await self._gather.stack(namespace, incident.spec.stack_ref.name, fresh=True)
        if isinstance(stack, Problem) or stack.spec.paused or not rails.named(stack, step):
            return
        if action is not None and self._ports.leader.leading():
            log.info("putting back", extra={"incident": incident.metadata.name, "step": step.name})
            await action.undo(step, namespace, self._ports)

    async def _keep(self, incident: Incident, world: World, step: Step) -> None:
        """Enter the attempt in the target's ledger, and keep the target until the step has its verdict."""
        assert step.component is not None
        assert step.attempt_id is not None
        now, uid = self._ports.clock.now(), incident.metadata.uid
        attempt = Attempt(step.attempt_id, step.started_at or now, step.kind, step.cause, uid)
        known = world.ledgers.get(step.component)
        if known is not None and known.keep(attempt, now) == known:
            return
        namespace, stack = incident.metadata.namespace, incident.spec.stack_ref.name
        await self._gather.ledgers.keep(namespace, stack, step.component, attempt, now)

    async def _close(self, incident: Incident, world: World) -> None:
        """The report is the last thing written: an ended incident without one is closed again after a crash."""
        status = incident.status or IncidentStatus()
        stack, component = world.stack, status.component
        ring = self._prober.ring(stack.metadata.uid, component) if stack is not None and component else None
        name = await self._reporter.report(incident, ring)
        shown = digest(incident.spec.review)
        report = Report(config_map=name, updated_at=self._ports.clock.now(), review=shown)
        await self._write(incident, status.model_copy(update={"report": report}))


def _may_begin(stack: Stack, incident: Incident, world: World) -> bool:
    """A pause or a mode that only looks, read just now, holds back an effect that has not begun (rule 29)."""
    begun = world.effect is not None and world.effect.state is not EffectState.ABSENT
    modes = (stack.spec.healing.mode, incident.spec.mode or stack.spec.healing.mode)
    return begun or not (stack.spec.paused or HealMode.OBSERVE in modes or HealMode.OFF in modes)
