"""Rounds of probes on a Stack, shared by all that look at it, and the streaks of equal verdicts.

Streaks live in memory: losing them costs a recount, never a wrong action.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..api.runbook import ProbeSpec, RunbookSpec
from ..api.stack import Component, Stack
from ..catalogue import shared
from ..catalogue.base import ProbeContext, Round
from ..catalogue.probes import PROBES, celery
from ..catalogue.service_levels import ServiceLevel, service_level
from ..domain.detection.components import judge_component
from ..domain.detection.watched import Ring
from ..domain.diagnosis.causes import Findings, Verdict, judge
from ..domain.world import Neighbour, Streak
from ..ports import ApiError, Ports

log = logging.getLogger(__name__)
FRESH_SHARE = 0.7
FORGET_AFTER = timedelta(minutes=10)
GRACE_SECONDS = 2.0
SLOW_SECONDS = 0.05
# What was seen before, and whether this round came an interval after the last that counted.
_Probe = Callable[[Any, bool], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Observation:
    """One round: what was found, what it means, and the workloads' identities."""

    findings: Findings
    streak: Streak
    uids: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _History:
    """Of one question: began and at of the newest round; counted: when the last one that came an interval later began."""

    at: datetime
    used: datetime
    value: Any
    began: datetime | None = None
    counted: datetime | None = None
    running: asyncio.Task[Any] | None = None


class StackProber:
    """Probes each Stack once an interval, whoever asks; a second asker waits for the same round."""

    def __init__(self, ports: Ports, aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext) -> None:
        self._ports = ports
        self._aside = aside
        self._histories: dict[tuple[str, ...], _History] = {}
        self._memories: dict[str, tuple[datetime, dict[object, Any]]] = {}
        self._outdated: dict[str, tuple[datetime, Collection[str]]] = {}
        self._rings: dict[str, tuple[datetime, dict[str, Ring]]] = {}

    def round(self, stack: Stack) -> Round:
        """For those who ask side by side: what one of them has read, the others need not read again."""
        now = self._ports.clock.now()
        _, memory = self._memories.get(stack.metadata.uid, (now, {}))
        self._memories[stack.metadata.uid] = (now, memory)
        self._memories = {k: v for k, v in self._memories.items() if now - v[0] <= FORGET_AFTER}
        return Round(stack, self._ports, stack.spec.detection.patience, now, memory)

    def ring(self, uid: str, component: str) -> Ring:
        """What was seen of a component of this Stack since the process began; empty where nobody looked."""
        now = self._ports.clock.now()
        _, rings = self._rings.get(uid, (now, {}))
        self._rings[uid] = (now, rings)
        return rings.setdefault(component, Ring())

    def outdate(self, stack: Stack, components: Collection[str]) -> None:
        """What was seen of these until now is no answer any more, however young; of none: all is as usual again."""
        if components:
            self._outdated[stack.metadata.uid] = (self._ports.clock.now(), frozenset(components))
        else:
            self._outdated.pop(stack.metadata.uid, None)

    async def diagnose(
        self,
        stack: Stack,
        runbook: RunbookSpec,
        source: str,
        component: str,
        parameters: Mapping[str, Any],
        together: Round | None = None,
    ) -> Observation:
        """The newest round for this runbook on this Stack, with its streak."""
        key = _diagnose_key(stack, source, component, parameters)

        async def probe(before: Observation | None, paced: bool) -> Observation:
            round_ = together or self.round(stack)
            findings, uids = await asyncio.gather(self._findings(round_, runbook, component), _uids(round_))
            verdict = judge(runbook, findings, parameters)
            streak = _continued(before.streak if before else None, verdict, round_.now, paced)
            return Observation(findings, streak, uids)

        found: Observation = await self._shared(key, stack, probe, component, together is not None)
        return found

    def has_fresh(self, stack: Stack, source: str, component: str, parameters: Mapping[str, Any]) -> bool:
        """Whether `diagnose` would answer at once."""
        known = self._histories.get(_diagnose_key(stack, source, component, parameters))
        return known is not None and known.value is not None and self._is_fresh(known, stack, component)

    def _is_fresh(self, known: _History, stack: Stack, component: str, pacing: bool = False) -> bool:
        if known.began is not None and known.began < self._outdated_since(stack.metadata.uid, component, known.began):
            return False
        # Whoever sets the pace counts from the beginning: where a probe waits for a time-out, the next round still comes an
        # interval later. To others the newest round is news as long as ever.
        since = known.began if pacing and known.began is not None else known.at
        age = (self._ports.clock.now() - since).total_seconds()
        # Below nothing: the clock was set back, and how old it is cannot be said.
        return known.running is None and 0 <= age < stack.spec.detection.pace * FRESH_SHARE

    def _outdated_since(self, uid: str, component: str, otherwise: datetime) -> datetime:
        since, components = self._outdated.get(uid, (otherwise, ()))
        return since if not component or component in components else otherwise

    async def health(self, stack: Stack, together: Round | None = None) -> Mapping[str, Neighbour]:
        """Health of every component, with the number of rounds in a row that agree."""

        async def probe(before: Mapping[str, Neighbour] | None, paced: bool) -> Mapping[str, Neighbour]:
            round_ = together or self.round(stack)
            names = list(stack.spec.components)
            self._forget_rings(stack, round_.now)
            seen = await asyncio.gather(*(self._component(round_, n, stack.spec.components[n]) for n in names))
            return {n: _counted((before or {}).get(n), s, paced) for n, s in zip(names, seen, strict=True)}

        found: Mapping[str, Neighbour] = await self._shared(_key(stack, "health"), stack, probe, pacing=together is not None)
        return found

    async def _shared(
        self, key: tuple[str, ...], stack: Stack, probe: _Probe, component: str = "", pacing: bool = False
    ) -> Any:
        now = self._ports.clock.now()
        known = self._histories.get(key)
        if known is not None and known.running is not None and key[0] in self._outdated:
            # It may have begun before what made it outdated; then it is no answer, and one round more is run.
            await self._ended(known.running)
        if known is not None and known.value is not None and self._is_fresh(known, stack, component, pacing):
            known.used = now
            return known.value
        if known is None:
            known = self._histories[key] = _History(now, now, None)
        if known.running is None:
            known.running = asyncio.create_task(self._run(known, stack, probe))
            self._forget(now)
        return await self._ended(known.running)

    async def _ended(self, running: asyncio.Task[Any]) -> Any:
        """Its result; while it takes long, as with a service that never answers, the worker is lent to others."""
        await asyncio.wait({running}, timeout=SLOW_SECONDS)
        if not running.done():
            async with self._aside():
                await asyncio.wait({running})
        return running.result()

    async def _run(self, history: _History, stack: Stack, probe: _Probe) -> Any:
        began, last = self._ports.clock.now(), history.counted
        paced = last is None or not 0 <= (began - last).total_seconds() < stack.spec.detection.pace * FRESH_SHARE
        try:
            history.value = await probe(history.value, paced)
            history.began = began
            if paced:
                history.counted = began
            history.at = history.used = self._ports.clock.now()
            return history.value
        finally:
            history.running = None

    def _forget_rings(self, stack: Stack, now: datetime) -> None:
        """Of Stacks that are gone, and of components that this one has no more."""
        self._rings = {k: v for k, v in self._rings.items() if now - v[0] <= FORGET_AFTER or k == stack.metadata.uid}
        _, rings = self._rings.get(stack.metadata.uid, (now, {}))
        for name in set(rings) - set(stack.spec.components):
            del rings[name]

    def _forget(self, now: datetime) -> None:
        old = [k for k, h in self._histories.items() if h.running is None and now - h.used > FORGET_AFTER]
        for key in old:
            del self._histories[key]

    async def _findings(self, round_: Round, runbook: RunbookSpec, component: str) -> Findings:
        specs = [(s, resolve(round_.stack, component, s)) for s in runbook.diagnose]
        known = [(s, c) for s, c in specs if c is not None]
        found = await asyncio.gather(*(self._look(round_, s.probe, *c) for s, c in known))
        return {s.name: f for (s, _), f in zip(known, found, strict=True)}

    async def _look(self, round_: Round, probe: str, name: str, component: Component) -> dict[str, Any]:
        """A probe that fails gives no facts, only the reason: the expressions then answer Unknown."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(round_.timeout * 2 + GRACE_SECONDS):
                return await PROBES[probe].look(ProbeContext(round_, name, component))
        except TimeoutError:
            return {"summary": f"probe {probe} gave no answer in time"}
        except ApiError as problem:
            return {"summary": f"probe {probe} could not read the API server: {str(problem)[:200]}"}
        except Exception as problem:
            # What nobody foresaw must not keep the others from being read, nor the incident from asking for a person.
            log.exception("probe failed", extra={"probe": probe})
            return {"summary": f"probe {probe} failed: {type(problem).__name__}"}
        finally:
            self._ports.metrics.probe(probe, asyncio.get_running_loop().time() - began)

    async def _component(self, round_: Round, name: str, component: Component) -> Neighbour:
        began = asyncio.get_running_loop().time()
        seen = await self._judged(round_, name, component)
        took = asyncio.get_running_loop().time() - began
        self.ring(round_.stack.metadata.uid, name).add(self._ports.clock.now(), seen.healthy, took)
        return seen

    async def _judged(self, round_: Round, name: str, component: Component) -> Neighbour:
        context = ProbeContext(round_, name, component)
        try:
            async with asyncio.timeout(round_.timeout * 2 + GRACE_SECONDS):
                workload, answer, level = await asyncio.gather(
                    PROBES["workload"].look(context), _answer(context), _level(round_, name, component)
                )
                host = await shared.address(round_, component) if component.endpoint else ""
        except (TimeoutError, ApiError) as problem:
            return Neighbour(None, 1, f"could not be probed: {problem}"[:200])
        except Exception as problem:
            log.exception("health not known", extra={"component": name})
            return Neighbour(None, 1, f"could not be probed: {type(problem).__name__}")
        seen = replace(judge_component(workload, answer), host=host)
        return seen if level is None else replace(seen, level=level.level, level_words=level.words)


async def _level(round_: Round, name: str, component: Component) -> ServiceLevel | None:
    return await service_level(round_, name, component) if component.type == "Api" else None


async def _answer(context: ProbeContext) -> str:
    """Whether the service itself answers: 'ok', a class of failure, or '' where nothing can be asked."""
    component, round_ = context.component, context.round
    if component.type == "CeleryWorker":
        return await celery.health(context)
    if component.endpoint is None:
        return ""
    host = await shared.address(round_, component)
    if not host:
        return "no endpoint"
    network, port = round_.ports.network, component.endpoint.port
    if component.type == "Redis":
        return str((await PROBES["redisReady"].look(context))["outcome"])
    if component.type == "PostgreSQL":
        finding = await PROBES["postgresReady"].look(context)
        return "ok" if finding["ok"] else str(finding["outcome"] if finding["outcome"] != "ok" else finding["write"])
    if component.type == "Qdrant":
        return str((await PROBES["qdrantReady"].look(context))["outcome"])
    http = await network.http_get(host, port, shared.readiness_path(component), round_.timeout)
    if http.status == 0:
        return http.problem
    return "ok" if 200 <= http.status < 300 else f"HTTP {http.status}"


async def _uids(round_: Round) -> dict[str, str]:
    """Identity of each component's workload; a component that cannot be read has none, and is then not touched."""
    found = {}
    for name, component in round_.stack.spec.components.items():
        try:
            owner = await shared.workload(round_, component)
        except ApiError:
            continue
        if owner is not None:
            found[name] = owner["metadata"]["uid"]
    return found


def resolve(stack: Stack, component: str, spec: ProbeSpec) -> tuple[str, Component] | None:
    """The component that a probe looks at: the incident's own where the alias means its type."""
    own = stack.spec.components.get(component)
    if own is not None and spec.component in (None, component):
        return component, own
    if own is not None and shared.ALIASES.get(spec.component or "") == own.type.value:
        return component, own
    return shared.component_named(stack, spec.component or "")


def _key(stack: Stack, *parts: str) -> tuple[str, ...]:
    return (stack.metadata.uid, str(stack.metadata.generation), *parts)


def _diagnose_key(stack: Stack, source: str, component: str, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    return _key(stack, "diagnose", source, component, json.dumps(parameters, sort_keys=True))


def _continued(before: Streak | None, verdict: Verdict, now: datetime, paced: bool = True) -> Streak:
    name, one = verdict.diagnosis.name if verdict.diagnosis else "", int(paced)
    if before is None or before.verdict.symptom != verdict.symptom:
        return Streak(verdict, one, one, now, 1, 1)
    same = before.cause_name == name
    causes, looks = (before.cause_rounds, before.cause_looks) if same else (0, 0)
    return Streak(verdict, before.symptom_rounds + one, causes + one, before.since, before.looks + 1, looks + 1)


def _counted(before: Neighbour | None, seen: Neighbour, paced: bool = True) -> Neighbour:
    same = before is not None and before.healthy == seen.healthy
    rounds, looks = (before.rounds, before.looks) if same and before else (0, 0)
    return replace(seen, rounds=rounds + int(paced), looks=looks + 1)
