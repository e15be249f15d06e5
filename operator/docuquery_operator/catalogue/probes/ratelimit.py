"""Probes of an api's rate limit: who is refused at all, what the limit is, and how many counters there are of it.

Only the first looks in each round. The others look while something is refused: nobody needs them before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ...api.stack import Component, RateLimitSettings
from ...domain.traffic import rate_limits, refusals
from ...domain.traffic.counters import Scrape, Window
from ...domain.traffic.metrics_text import MetricsError
from ...domain.workloads.pods import PodFacts
from ...ports import CONFIG_MAP, JSON, KeyCount
from .. import shared
from ..base import ProbeContext, Round

MAX_PODS = 20
SHORTEST_WINDOW = 60.0
ROUNDS = 6
KEYS_TOLD = 10
NOT_LOOKED = "not looked for: nothing is refused"


@dataclass
class _Memory:
    window: Window[str]
    usual: refusals.Usual = field(default_factory=refusals.Usual)


async def figures(context: ProbeContext) -> Mapping[str, Any]:
    """Figures of the refusals, read once a round; `problem` alone where there are none."""

    async def read() -> Mapping[str, Any]:
        return await _figures(context)

    found: Mapping[str, Any] = await context.round.once(("refusals", context.name), read)
    return found


async def suspicious(context: ProbeContext) -> bool:
    """Whether it is worth to ask who is refused."""
    return refusals.suspicious(await figures(context))


async def quiet(context: ProbeContext) -> bool:
    """Whether the counters say that nobody is refused; False where they say nothing."""
    found = await figures(context)
    return "problem" not in found and not refusals.suspicious(found)


async def _figures(context: ProbeContext) -> Mapping[str, Any]:
    round_, component = context.round, context.component
    if component.endpoint is None:
        return {"problem": "no endpoint"}
    pods = sorted((p for p in await shared.pods(round_, component) if p.ready and p.ip), key=lambda p: p.name)[:MAX_PODS]
    pages = await asyncio.gather(*(_page(round_, component, pod) for pod in pods))
    memory = _memory(round_, context.name)
    scrapes = {
        pod.uid: Scrape(page, f"{pod.uid}/{pod.restarts}", began=pod.started)
        for pod, page in zip(pods, pages, strict=True)
        if not isinstance(page, str)
    }
    memory.window.add(round_.now, scrapes, [pod.uid for pod in pods])
    problem = next((page for page in pages if isinstance(page, str)), "" if pods else "no ready pod")
    found = refusals.figures(memory.window.over(round_.now))
    # What some pods do not tell may be bad; what others tell is.
    if not scrapes or not found or (problem and not refusals.suspicious(found)):
        return {"problem": problem or "not seen for long enough yet"}
    memory.usual.note(round_.now, found)
    return {**found, **memory.usual.growth(found)}


def _memory(round_: Round, name: str) -> _Memory:
    length = max(SHORTEST_WINDOW, ROUNDS * round_.stack.spec.detection.pace)
    memory: _Memory | None = round_.memory.get(("refusals", name))
    if memory is None or memory.window.length.total_seconds() != length:
        memory = round_.memory["refusals", name] = _Memory(Window(timedelta(seconds=length)))
    return memory


async def _page(round_: Round, component: Component, pod: PodFacts) -> refusals.Totals | str:
    """One pod's totals, or why there are none."""
    path = shared.metrics_path(component)
    try:
        async with asyncio.timeout(round_.timeout):
            answer = await shared.metrics_page(round_, component, pod)
    except TimeoutError:
        return f"{pod.name}: no answer within {round_.timeout:g} s"
    if answer.status != 200 or answer.cut:
        return f"{pod.name}: {answer.problem or f'GET {path}: {answer.status}'}"[:200]
    try:
        totals = refusals.read(answer.body, [component.health.path] if component.health else [])
    except MetricsError as problem:
        return f"{pod.name}: {problem}"[:200]
    return totals or f"{pod.name}: no counter of requests by status at {path}"


class ApiRefusals:
    """The share of requests that the api refuses with 429, from its own counters on every pod."""

    name = "apiRefusals"
    doc = (
        "the share of requests that the api refuses with 429, over the last minute, from the counters of each of its pods; "
        "`healthRefused` counts refused health probes; `growth` is the present rate by the usual one of the hour before; "
        "nothing while a pod does not tell its counters, unless others refuse already"
    )
    gives: tuple[str, ...] = (
        *("requests", "refused", "refusedPercent", "healthRefused", "perSecond", "seconds", "usualPerSecond", "growth"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; without counters only the summary."""
        found = dict(await figures(context))
        if "problem" in found:
            return {"summary": f"no figures: {found['problem']}"}
        growth = f", {found['growth']:g} times the usual" if "growth" in found else ""
        text = f"{found['refused']} of {found['requests']} requests refused in {found['seconds']} s"
        found["summary"] = f"{text} ({found['refusedPercent']:g} %); {found['perSecond']:g} a second{growth}"
        return found


class RateLimits:
    """The limit in force, from the environment of the running pods."""

    name = "rateLimits"
    doc = (
        "the limit in the environment of the api's pods: `requests` in each `window` seconds a client, also from "
        "ConfigMaps; `mixed` when pods differ; a default of the program, a Secret's value or one that pods disagree on is "
        "left out; only while requests are refused"
    )
    gives: tuple[str, ...] = ("requests", "window", "perSecond", "mixed")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; nothing while nothing is refused."""
        if not await suspicious(context):
            return {"summary": NOT_LOOKED}
        settings = context.component.rate_limit or RateLimitSettings()
        names = (settings.requests_env, settings.window_env)
        limits = await limits_of_pods(context)
        found, mixed = rate_limits.in_force(limits)
        finding: dict[str, Any] = {**found, "mixed": mixed} if limits else {}
        if found.get("window") and "requests" in found:
            finding["perSecond"] = round(found["requests"] / found["window"], 3)
        told = [
            f"{n}={found[k]}" if k in found else f"{n} is not known"
            for k, n in zip(("requests", "window"), names, strict=True)
        ]
        finding["summary"] = ", ".join(told) + ("; pods differ" if mixed else "")
        return finding


async def limits_of_pods(context: ProbeContext) -> list[tuple[int | None, int | None]]:
    """Requests and window, seconds, of each of the api's pods; None where it is not known."""
    settings = context.component.rate_limit or RateLimitSettings()
    containers = [c for p in await shared.pod_objects(context.round, context.component) if (c := _container(p))]
    maps = {name: await _config_map(context.round, name) for c in containers for name in rate_limits.config_maps(c)}
    names = (settings.requests_env, settings.window_env)
    return [(a, b) for a, b in ([rate_limits.value_of(c, n, maps) for n in names] for c in containers)]


def _container(pod: JSON) -> JSON | None:
    containers = (pod.get("spec") or {}).get("containers") or []
    return containers[0] if containers and not pod["metadata"].get("deletionTimestamp") else None


async def _config_map(round_: Round, name: str) -> JSON:
    async def read() -> JSON:
        return await round_.ports.cluster.get(CONFIG_MAP, round_.namespace, name) or {}

    found: JSON = await round_.once(("config map", name), read)
    return found


class RateLimitKeys:
    """How many counters of the limit there are in Redis, and the highest."""

    name = "rateLimitKeys"
    doc = (
        "the keys of the limit's counters in Redis, read by SCAN in steps of a millisecond: `keys`, `atLeast` when not all "
        "could be read in time, and `clients`, the highest counters where keys hold an address; only while requests are "
        "refused"
    )
    gives: tuple[str, ...] = ("keys", "atLeast", "clients")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; nothing while nothing is refused, or when Redis cannot be read."""
        if not await suspicious(context):
            return {"summary": NOT_LOOKED}
        settings = context.component.rate_limit or RateLimitSettings()
        counted = await self._counted(context, settings.key_pattern)
        if counted.problem:
            return {"summary": f"not counted: {counted.problem}"}
        known = {key: rate_limits.client_of(key) for key, _ in counted.highest}
        clients = [{"client": known[k], "count": n} for k, n in counted.highest if known[k]][:KEYS_TOLD]
        most = f"; highest {clients[0]['client']}: {clients[0]['count']}" if clients else ""
        text = f"{'at least ' if counted.at_least else ''}{counted.keys} keys {settings.key_pattern}{most}"
        return {"keys": counted.keys, "atLeast": counted.at_least, "clients": clients, "summary": text}

    async def _counted(self, context: ProbeContext, pattern: str) -> KeyCount:
        round_ = context.round
        found = _redis_of(context)
        if found is None or found.endpoint is None:
            return KeyCount(problem="the Stack has no Redis that the api rests on")
        host = await shared.address(round_, found)
        target = await shared.redis_target(round_, found, host) if host else None
        if target is None:
            return KeyCount(problem="no address or no password")
        return await round_.ports.redis_keys.count(target, pattern, KEYS_TOLD, round_.timeout)


def _redis_of(context: ProbeContext) -> Component | None:
    components = context.round.stack.spec.components
    named = [components[n] for n in context.component.depends_on if n in components]
    own = next((c for c in named if c.type.value == "Redis"), None)
    if own is not None:
        return own
    other = shared.component_named(context.round.stack, "redis")
    return other[1] if other else None
