"""The rate limit in a simulated world: counters of two pods, their logs, and what the operator makes of them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.catalogue.base import ProbeContext
from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.ports import CONFIG_MAP, DEPLOYMENT, POD, HttpAnswer, KeyCount, Kind, Unavailable
from tests.controllers.test_detector import Watch
from tests.fakes.rig import NAMESPACE, Rig, condition

pytestmark = pytest.mark.timeout(240)
NAME = "docuquery-rate-limit-spike-1"
ABUSER = "203.0.113.77"
AGENT = "docuquery-client/2.3"


class Api:
    """Counts and logs as the reference api does; `ask` is one request."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.counts: dict[str, dict[tuple[str, int], int]] = {}
        self.silent: set[str] = set()
        self.health = rig.network.http
        rig.network.http = self.http

    def pods(self) -> list[Any]:
        return self.rig.simulator.pods("api")

    def http(self, host: str, path: str) -> HttpAnswer:
        if path != "/metrics":
            return self.health(host, path)
        pod = next((p for p in self.pods() if p["status"].get("podIP") == host), None)
        if pod is None or pod["metadata"]["name"] in self.silent:
            return HttpAnswer(0, problem="no answer")
        # A page of an api that was asked nothing yet has its probes.
        counts = {("/health", 200): 1, **self.counts.get(pod["metadata"]["name"], {})}
        lines = [f'http_requests_total{{method="GET",path="{p}",status="{s}"}} {n}.0' for (p, s), n in counts.items()]
        return HttpAnswer(
            200, "\n".join([*lines, f"rate_limited_total {sum(n for (_, s), n in counts.items() if s == 429)}.0", ""])
        )

    def ask(self, client: str, status: int, times: int = 1, path: str = "/query", agent: str = AGENT) -> None:
        """Answered now, by the pods in turn."""
        names = [p["metadata"]["name"] for p in self.pods()]
        for n in range(times):
            name = names[n % len(names)]
            counts = self.counts.setdefault(name, {})
            counts[path, status] = counts.get((path, status), 0) + 1
            now = self.rig.clock.now()
            line = {"ts": now.isoformat(), "client": client, "path": path, "status": status, "userAgent": agent}
            self.rig.server.streams.setdefault(name, []).append((now + timedelta(microseconds=n), json.dumps(line)))


class World(Watch):
    """A Stack that is watched while traffic goes on."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.api = Api(rig)

    async def traffic(self, seconds: float, requests: dict[tuple[str, int], int], agent: str = AGENT) -> None:
        """The same requests in each step of 2.5 seconds."""
        for _ in range(int(seconds / 2.5)):
            for (client, status), times in requests.items():
                self.api.ask(client, status, times, agent=agent)
            await self.live(2.5)


def crowd(count: int, good: int, refused: int) -> dict[tuple[str, int], int]:
    """Many clients, all alike."""
    return {
        (f"198.51.100.{n}", status): times for n in range(count) for status, times in ((200, good), (429, refused)) if times
    }


def world() -> World:
    return World(Rig())


async def finding(rig: Rig, probe: str, memory: dict[object, Any] | None = None) -> dict[str, Any]:
    """One look of one probe."""
    from docuquery_operator.api.stack import Stack
    from docuquery_operator.catalogue.base import Round
    from docuquery_operator.ports import STACK

    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    round_ = Round(stack, rig.life.ports, 1.0, rig.clock.now(), {} if memory is None else memory)
    found = await PROBES[probe].look(ProbeContext(round_, "api", stack.spec.components["api"]))
    assert set(found) <= {*PROBES[probe].gives, "summary"}
    return found


async def test_one_abuser_is_named_and_nothing_is_restarted() -> None:
    it = world()
    await it.traffic(100, crowd(20, 1, 0))
    assert it.names() == []
    await it.traffic(60, crowd(20, 1, 0) | {(ABUSER, 200): 2, (ABUSER, 429): 30})
    status = it.status(NAME)
    assert status["cause"]["name"] == "OneAbuser"
    assert any(ABUSER in line for line in status["cause"]["evidence"])
    assert condition(status, "NeedsHuman")
    assert it.rig.simulator.created == []
    # It goes away: the symptom is gone, and that is no heal of ours.
    await it.traffic(300, crowd(20, 1, 0))
    assert it.status(NAME)["phase"] == "Resolved"
    assert condition(it.status(NAME), "Resolved") != "Healed"


async def test_growth_is_told_from_a_limit_that_is_too_low() -> None:
    it = world()
    await it.traffic(150, crowd(20, 1, 0))
    await it.traffic(60, crowd(60, 2, 1))
    assert it.status(NAME)["cause"]["name"] == "OrganicGrowth"
    low = world()
    await low.traffic(150, crowd(20, 4, 0))
    await low.traffic(60, crowd(20, 3, 1))
    assert low.status(NAME)["cause"]["name"] == "LimitTooLow"


async def test_an_operator_that_has_just_begun_does_not_guess_whether_traffic_has_grown() -> None:
    it = world()
    await it.traffic(60, crowd(60, 2, 1))
    assert it.status(NAME)["cause"]["name"] == "Unknown"


async def test_a_retry_storm_is_told_by_its_version() -> None:
    it = world()
    await it.traffic(100, crowd(20, 1, 0))
    for _ in range(24):
        for n in range(20):
            it.api.ask(f"198.51.100.{n}", 429, 2, agent="app/9.9")
        it.api.ask("198.51.100.200", 200, 20)
        # Less than the two seconds that an answer of 429 asks for.
        it.rig.clock.advance(0.5)
        for n in range(20):
            it.api.ask(f"198.51.100.{n}", 429, 2, agent="app/9.9")
        await it.live(2.5)
    status = it.status(NAME)
    assert status["cause"]["name"] == "RetryStorm"


async def test_refused_health_probes_are_an_incident_of_their_own() -> None:
    it = world()
    await it.traffic(60, crowd(5, 1, 0))
    for _ in range(20):
        it.api.ask("10.61.0.1", 429, 2, path="/readyz", agent="kube-probe/1.33")
        await it.live(2.5)
    assert it.status(NAME)["cause"]["name"] == "HealthCheckLimited"


async def test_a_log_that_cannot_be_read_names_nobody() -> None:
    it = world()
    await it.traffic(60, crowd(20, 1, 0))
    it.rig.life.faults.raise_for = lambda name, _: Unavailable("no") if name.startswith("log stream") else None
    await it.traffic(60, crowd(20, 1, 0) | {(ABUSER, 429): 30})
    status = it.status(NAME)
    assert (status["cause"]["name"], status["cause"]["confidence"]) == ("Unknown", "Low")
    assert not any(ABUSER in line for line in status["cause"]["evidence"])


async def test_a_new_process_reads_the_window_again_and_says_the_same() -> None:
    it = world()
    await it.traffic(60, crowd(20, 1, 0))
    await it.traffic(60, crowd(20, 1, 0) | {(ABUSER, 429): 30})
    assert it.status(NAME)["cause"]["name"] == "OneAbuser"
    it.begin()
    await it.traffic(60, crowd(20, 1, 0) | {(ABUSER, 429): 30})
    assert it.status(NAME)["cause"]["name"] == "OneAbuser"


async def test_the_log_is_read_once_and_only_while_something_is_refused() -> None:
    rig = Rig()
    api, memory = Api(rig), {}
    for _ in range(8):
        api.ask("198.51.100.1", 200, 4)
        rig.clock.advance(5)
        assert "clients" not in await finding(rig, "apiTraffic", memory)
    assert not any(call.startswith("log stream") for call in rig.life.faults.calls)
    total = 8 * 4
    for _ in range(6):
        api.ask(ABUSER, 429, 7)
        total += 7
        rig.clock.advance(5)
        seen = await finding(rig, "apiTraffic", memory)
        assert (seen["requests"], seen["complete"]) == (total, True)
    assert seen["clients"][0] == {
        "client": ABUSER, "requests": 42, "percent": round(100 * 42 / total, 2), "refused": 42, "refusedPercent": 100.0,
    }  # fmt: skip
    rig.clock.advance(400)
    for _ in range(5):
        api.ask(ABUSER, 429, 1)
        rig.clock.advance(5)
        seen = await finding(rig, "apiTraffic", memory)
    assert seen["requests"] == 5


async def test_counters_that_some_pods_do_not_tell_are_no_good_news() -> None:
    rig = Rig()
    rig.server.edit(DEPLOYMENT, NAMESPACE, "api", lambda d: d["spec"].update(replicas=2))
    rig.clock.advance(10)
    api, memory = Api(rig), {}
    for _ in range(6):
        api.ask("198.51.100.1", 200, 4)
        rig.clock.advance(5)
        seen = await finding(rig, "apiRefusals", memory)
    assert (seen["refused"], seen["refusedPercent"]) == (0, 0.0)
    api.silent.add(api.pods()[0]["metadata"]["name"])
    rig.clock.advance(5)
    assert "refused" not in await finding(rig, "apiRefusals", memory)
    api.ask(ABUSER, 429, 40)
    rig.clock.advance(5)
    assert (await finding(rig, "apiRefusals", memory))["refused"] > 0


async def test_a_restart_of_the_api_is_no_burst() -> None:
    rig = Rig()
    api, memory = Api(rig), {}
    for _ in range(6):
        api.ask("198.51.100.1", 429, 1)
        api.ask("198.51.100.1", 200, 99)
        rig.clock.advance(5)
        seen = await finding(rig, "apiRefusals", memory)
    name = api.pods()[0]["metadata"]["name"]
    api.counts[name] = {}
    rig.clock.advance(5)
    seen = await finding(rig, "apiRefusals", memory)
    assert (seen["refusedPercent"], seen["refused"]) == (1.0, 5)


async def test_limits_are_read_from_the_pods_and_their_config_maps() -> None:
    rig = Rig()
    api, memory = Api(rig), {}
    pod = api.pods()[0]["metadata"]["name"]
    rig.server.put(
        CONFIG_MAP, {"metadata": {"name": "settings", "namespace": NAMESPACE}, "data": {"RATE_LIMIT_WINDOW": "30"}}
    )

    def limited(pod: Any) -> None:
        pod["spec"]["containers"] = [{
            "name": "api", "env": [{"name": "RATE_LIMIT_REQUESTS", "value": "100"}],
            "envFrom": [{"configMapRef": {"name": "settings"}}],
        }]  # fmt: skip

    rig.server.edit(POD, NAMESPACE, pod, limited)
    assert await finding(rig, "rateLimits", memory) == {"summary": "not looked for: nothing is refused"}
    for _ in range(4):
        api.ask(ABUSER, 429, 5)
        rig.clock.advance(5)
        seen = await finding(rig, "rateLimits", memory)
    assert (seen["requests"], seen["window"], seen["perSecond"], seen["mixed"]) == (100, 30, 3.333, False)


async def test_counters_of_the_limit_are_counted_in_the_redis_that_the_api_rests_on() -> None:
    rig = Rig()
    api, memory = Api(rig), {}
    for _ in range(4):
        api.ask(ABUSER, 429, 5)
        rig.clock.advance(5)
        seen = await finding(rig, "rateLimitKeys", memory)
    assert "keys" not in seen
    rig.with_redis()
    rig.redis.keys = KeyCount(7, True, ((f"rate_limit:{ABUSER}:29000", 412), ("rate_limit:unknown:29000", 3)))
    api.ask(ABUSER, 429, 5)
    seen = await finding(rig, "rateLimitKeys", memory)
    assert (seen["keys"], seen["atLeast"], seen["clients"]) == (7, True, [{"client": ABUSER, "count": 412}])
    rig.redis.keys = KeyCount(problem="refused")
    assert "keys" not in await finding(rig, "rateLimitKeys", memory)


@pytest.mark.parametrize(("refused", "asked"), [(0, False), (1, True)])
async def test_a_round_reads_each_page_of_counters_once_and_asks_who_is_around_only_where_clients_are_refused(
    refused: int, asked: bool
) -> None:
    it = world()
    it.rig.edit_stack(lambda s: s["spec"]["components"]["api"].update(blocking={"enforcer": "ApiDenySet"}))
    pages: Counter[tuple[datetime, str]] = Counter()
    answer, listed = it.rig.network.http, it.rig.server.all
    lists: list[str] = []

    def http(host: str, path: str) -> HttpAnswer:
        if path == "/metrics":
            pages[it.rig.clock.now(), host] += 1
        return answer(host, path)

    def every(kind: Kind, namespace: str, selector: str = "") -> Any:
        if kind is POD and not selector:
            lists.append(namespace)
        return listed(kind, namespace, selector)

    it.rig.network.http, it.rig.server.all = http, every  # type: ignore[method-assign]
    # Until the counters were seen for a while nobody knows that nothing is refused.
    await it.traffic(30, crowd(20, 1, refused))
    pages.clear()
    lists.clear()
    await it.traffic(60, crowd(20, 1, refused))
    # The service level counts from the same pages, though not in each round.
    assert len(pages) >= 10
    assert set(pages.values()) == {1}
    assert bool(lists) == asked
