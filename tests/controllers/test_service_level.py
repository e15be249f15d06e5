"""An api that is slow or fails for its users: one Incident of the right severity, and none where there is no proof."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.base import ProbeContext, Round
from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.ports import DEPLOYMENT, INCIDENT, JSON, POD, RUNBOOK, STACK, HttpAnswer
from tests.controllers.test_detector import KEY, Watch
from tests.fakes.rig import NAMESPACE, VERIFY, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
NAME = "docuquery-service-level-breach-1"
BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)


class Process:
    """One process of the api and its metrics."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter("http_requests", "x", ["method", "path", "status"], registry=r)
        self.seconds = Histogram("http_request_duration_seconds", "x", ["method", "path"], buckets=BUCKETS, registry=r)
        self.busy = Gauge("http_requests_in_progress", "x", registry=r)
        self.queue = Gauge("celery_queue_length", "x", ["queue"], registry=r)

    def asked(self, path: str, status: int, seconds: float) -> None:
        self.requests.labels("GET", path, str(status)).inc()
        self.seconds.labels("GET", path).observe(seconds)


class Traffic:
    """Users: each half second some requests to the pods of the api, of which some are slow or fail."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.rate, self.slow, self.failing, self.limited = 4, 0.0, 0.0, 0.0
        self.seconds = 3.0
        self.lost = self.none = False
        self.processes: dict[str, Process] = {}
        self._sent = 0
        rig.clock.listen(self._tick)
        rig.network.http = self._answer

    def _tick(self, _now: datetime) -> None:
        pods = self.rig.simulator.pods("api")
        for _ in range(self.rate if pods else 0):
            self._sent += 1
            process = self.process(pods[self._sent % len(pods)])
            # Spread evenly, so that the figures are exact.
            at = (self._sent * 0.618034) % 1.0
            status = 503 if at < self.failing else 429 if at < self.failing + self.limited else 200
            process.asked("/query", status, self.seconds if at > 1 - self.slow else 0.05)

    def process(self, pod: JSON) -> Process:
        key = f"{pod['metadata']['uid']}/{pod['status']['containerStatuses'][0]['restartCount']}"
        return self.processes.setdefault(key, Process())

    def _answer(self, host: str, path: str) -> HttpAnswer:
        if path != "/metrics":
            return self.rig._api()  # type: ignore[no-any-return]
        if self.none:
            return HttpAnswer(404, "no such path")
        if self.lost:
            return HttpAnswer(0, problem="no answer within 1 s")
        pod = next((p for p in self.rig.simulator.pods("api") if p["status"]["podIP"] == host), None)
        if pod is None:
            return HttpAnswer(0, problem="refused")
        return HttpAnswer(200, generate_latest(self.process(pod).registry).decode(), latency_ms=3.0)


def begun(window: str = "1m", mode: str = "Auto", **thresholds: Any) -> tuple[Watch, Traffic]:
    """A well stack whose api is asked things."""
    rig = Rig(mode=mode)
    rig.edit_stack(lambda s: s["spec"].update(thresholds={"window": window, **thresholds}))
    rig.put_runbook("ServiceLevelBreach", "own-level", verify=dict(VERIFY))
    traffic = Traffic(rig)
    return Watch(rig), traffic


def stack_status(watch: Watch) -> JSON:
    status: JSON = watch.rig.server.find(STACK, NAMESPACE, "docuquery")["status"]  # type: ignore[index]
    return status


def api_state(watch: Watch) -> JSON:
    return next(c for c in stack_status(watch)["components"] if c["name"] == "api")


def level_condition(watch: Watch) -> tuple[str, str]:
    found = next(c for c in stack_status(watch)["conditions"] if c["type"] == "ServiceLevelMet")
    return found["status"], found["reason"]


async def test_a_well_api_is_well_and_costs_no_writes() -> None:
    watch, _ = begun()
    await watch.live(90)
    assert level_condition(watch) == ("True", "WithinThresholds")
    before = len(watch.rig.server.writes)
    await watch.live(120)
    assert (watch.names(), len(watch.rig.server.writes)) == ([], before)


async def test_critical_opens_one_p1_and_ends_when_users_are_served_again() -> None:
    watch, traffic = begun()
    await watch.live(60)
    traffic.failing = 0.5
    await watch.live(120, watch.names)
    await watch.live(60)
    assert watch.names() == [NAME]
    spec = watch.incidents()[0]["spec"]
    # The figures pass the lower thresholds on their way.
    assert (spec["severity"], spec["component"]) == ("P1", "api")
    assert "requests failed > " in spec["description"]
    assert (watch.status(NAME)["severity"], watch.status(NAME)["cause"]["name"]) == ("P1", "Unknown")
    assert watch.status(NAME).get("steps", []) == []
    assert (api_state(watch)["state"], level_condition(watch)) == ("Degraded", ("False", "CriticalThresholdBreached"))
    assert api_state(watch)["summary"].startswith("critical: ")
    traffic.failing = 0.0
    await watch.live(240, lambda: watch.over(NAME))
    assert condition(watch.status(NAME), "Resolved") == "Recovered"
    await watch.live(60)
    assert (watch.names(), api_state(watch)["state"], level_condition(watch)[0]) == ([NAME], "Operational", "True")


async def test_a_slow_minute_below_the_threshold_and_limits_that_work_open_nothing() -> None:
    watch, traffic = begun("5m")
    await watch.live(170)
    traffic.slow, traffic.seconds, traffic.limited = 0.2, 30.0, 0.5
    # A fifth of the requests of a minute are a twenty-fifth of those of five.
    await watch.live(60)
    traffic.slow = 0.0
    await watch.live(120)
    # That half of the requests were refused is another incident.
    assert ([n for n in watch.names() if "rate-limit" not in n], level_condition(watch)[0]) == ([], "True")


@pytest.mark.parametrize(("slow", "seconds", "severity"), [(0.2, 7.0, "P1"), (0.2, 4.0, "P2"), (0.2, 1.5, "P3")])
async def test_slowness_has_the_severity_of_its_level(slow: float, seconds: float, severity: str) -> None:
    watch, traffic = begun(mode="Observe")
    traffic.slow, traffic.seconds = slow, seconds
    await watch.live(180, watch.names)
    spec = watch.incidents()[0]["spec"]
    assert spec.get("severity", "P3") == severity


async def test_worse_raises_the_severity_and_better_does_not_lower_it() -> None:
    watch, traffic = begun(mode="Observe")
    traffic.slow, traffic.seconds = 0.2, 1.5
    await watch.live(180, lambda: watch.status(NAME).get("severity") == "P3")
    respond_by = watch.status(NAME)["deadlines"]["respondBy"]
    traffic.seconds = 8.0
    await watch.live(180, lambda: watch.status(NAME).get("severity") == "P1")
    status = watch.status(NAME)
    assert "SeverityRaised" in [e["event"] for e in status["timeline"]]
    assert status["deadlines"]["respondBy"] < respond_by
    traffic.seconds = 1.5
    await watch.live(120)
    assert (watch.status(NAME)["severity"], watch.names()) == ("P1", [NAME])


@pytest.mark.parametrize("silent", ["lost", "idle"])
async def test_no_data_is_unknown_and_opens_nothing(silent: str) -> None:
    """A whole outage of the figures, while all requests fail."""
    watch, traffic = begun()
    await watch.live(90)
    assert level_condition(watch)[0] == "True"
    if silent == "lost":
        traffic.lost, traffic.failing = True, 1.0
    else:
        traffic.rate = 0
    await watch.live(150)
    assert (watch.names(), level_condition(watch)) == ([], ("Unknown", "NoData"))


async def test_an_incident_without_data_is_not_over() -> None:
    watch, traffic = begun()
    traffic.failing = 0.5
    await watch.live(180, lambda: watch.status(NAME).get("phase") == "Identified")
    traffic.lost = True
    await watch.live(300)
    assert (watch.over(NAME), condition(watch.status(NAME), "NeedsHuman")) == (False, "NoData")
    assert api_state(watch)["state"] == "Degraded"


async def test_single_lost_scrapes_hide_nothing() -> None:
    watch, traffic = begun(mode="Observe")
    traffic.failing = 0.5
    for _ in range(30):
        traffic.lost = not traffic.lost
        await watch.live(5)
    assert watch.names() == [NAME]


async def test_a_new_process_of_the_operator_opens_nothing_twice() -> None:
    watch, traffic = begun(mode="Observe")
    traffic.failing = 0.5
    await watch.live(180, watch.names)
    for _ in range(3):
        watch.begin()
        await watch.live(60)
    assert watch.names() == [NAME]


async def test_too_few_requests_say_nothing() -> None:
    watch, traffic = begun("1m", minRequests=1000)
    traffic.failing = 1.0
    await watch.live(180)
    assert (watch.names(), level_condition(watch)[0]) == ([], "Unknown")


async def test_a_database_that_is_down_is_one_incident_though_the_api_fails_and_still_shows_it_later() -> None:
    watch, traffic = begun()
    await watch.live(60)
    traffic.failing = 0.9
    watch.rig.freeze()
    await watch.live(300, lambda: watch.over("docuquery-database-connection-failure-1"))
    traffic.failing = 0.0
    await watch.live(180)
    assert watch.names() == ["docuquery-database-connection-failure-1"]


async def test_a_rollout_of_somebody_lately_is_named_and_nothing_is_done() -> None:
    watch, traffic = begun()
    await watch.live(30)
    watch.rig.server.edit(
        DEPLOYMENT, NAMESPACE, "api", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="api:2")
    )
    await watch.live(240)
    traffic.failing = 0.5
    await watch.live(240, lambda: (watch.status(NAME).get("cause") or {}).get("name"))
    assert watch.status(NAME)["cause"]["name"] == "NewRollout"
    await watch.live(60)
    assert (watch.status(NAME).get("steps", []), condition(watch.status(NAME), "NeedsHuman") != "") == ([], True)


async def test_pods_that_restart_lose_no_failures_and_make_none() -> None:
    watch, traffic = begun()
    await watch.live(70)
    for number in range(1, 6):
        pod = watch.rig.simulator.pods("api")[0]["metadata"]["name"]

        def restart(p: JSON, number: int = number) -> None:
            p["status"]["containerStatuses"][0]["restartCount"] = number

        watch.rig.server.edit(POD, NAMESPACE, pod, restart)
        await watch.live(20)
    assert (watch.names(), level_condition(watch)[0]) == ([], "True")
    traffic.failing = 0.3
    await watch.live(120, watch.names)
    assert watch.names() == [NAME]


async def test_without_metrics_the_operator_asks_itself() -> None:
    watch, traffic = begun()
    traffic.none = True
    answers = {"ms": 40.0}
    well = watch.rig.network.http

    def timed(host: str, path: str) -> HttpAnswer:
        answer = well(host, path)
        return HttpAnswer(answer.status, answer.body, latency_ms=answers["ms"]) if path == "/health" else answer

    watch.rig.network.http = timed
    await watch.live(120)
    assert level_condition(watch) == ("True", "WithinThresholds")
    answers["ms"] = 2500.0
    await watch.live(180, watch.names)
    (incident,) = watch.incidents()
    assert incident["spec"]["severity"] == "P2"
    assert "requests of the operator itself to /health" in incident["spec"]["description"]


async def test_a_page_that_is_too_long_or_broken_is_no_data() -> None:
    watch, traffic = begun()
    await watch.live(90)
    traffic.failing = 1.0
    well = watch.rig.network.http
    for body in ("http_requests_total{ broken\n", "x" * (5 << 20)):
        watch.rig.network.http = lambda host, path, body=body: (
            HttpAnswer(200, body) if path == "/metrics" else well(host, path)
        )
        await watch.live(90)
    assert (watch.names(), level_condition(watch)[0]) == ([], "Unknown")


async def test_a_processor_at_its_limit_is_saturation() -> None:
    watch, traffic = begun(mode="Observe")
    await watch.live(120)
    assert sum(call == "list pods" for call in watch.rig.life.faults.calls) > 0
    api = watch.rig.simulator.pods("api")[0]["metadata"]["name"]
    usage = {"containers": [{"name": "api", "usage": {"cpu": "490000000n", "memory": "131072Ki"}}]}
    watch.rig.server.pod_usage = [{"metadata": {"name": api}} | usage]
    traffic.slow, traffic.seconds = 0.5, 9.0
    await watch.live(500, lambda: (watch.status(NAME).get("cause") or {}).get("name") == "Saturated")


async def test_saturated_pods_get_one_more_within_the_bound_of_the_stack() -> None:
    watch, traffic = begun()
    watch.rig.edit_stack(lambda s: s["spec"]["components"]["api"].update(scaling={"max": 4}))
    await watch.live(120)
    before = len(watch.rig.simulator.pods("api"))
    api = watch.rig.simulator.pods("api")[0]["metadata"]["name"]
    usage = {"containers": [{"name": "api", "usage": {"cpu": "490000000n", "memory": "131072Ki"}}]}
    watch.rig.server.pod_usage = [{"metadata": {"name": api}} | usage]
    traffic.slow, traffic.seconds = 0.5, 9.0

    def relieved() -> bool:
        if len(watch.rig.simulator.pods("api")) > before:
            traffic.slow, watch.rig.server.pod_usage = 0.0, []
        return watch.over(NAME)

    await watch.live(1500, relieved)
    status = watch.status(NAME)
    assert (status["cause"]["name"], steps(status)) == ("Saturated", [("scaleWorkload", "Healed")])
    assert condition(status, "Resolved") == "Healed"
    assert len(watch.rig.simulator.pods("api")) <= 2 * before


async def test_the_probes_give_exactly_what_they_declare() -> None:
    watch, traffic = begun()
    given: dict[str, set[str]] = {"serviceLevel": set(), "rollout": set()}
    traffic.failing, traffic.limited = 0.2, 0.1

    async def look() -> None:
        stack = Stack.model_validate(watch.rig.server.find(STACK, NAMESPACE, "docuquery"))
        life = watch.rig.life
        memory = life.prober._memories[stack.metadata.uid][1]
        for name in given:
            round_ = Round(stack, life.ports, 1.0, watch.rig.clock.now(), memory)
            given[name] |= set(await PROBES[name].look(ProbeContext(round_, "api", stack.spec.components["api"])))

    await watch.live(5)
    await look()
    assert given == {"serviceLevel": {"summary", "source", "inProgress"}, "rollout": {"summary", "found"}}
    image = {"image": "api:2"}
    edited = (DEPLOYMENT, NAMESPACE, "api")
    watch.rig.server.edit(*edited, lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image))
    await watch.live(90)
    pod = watch.rig.simulator.pods("api")[0]
    traffic.process(pod).queue.labels("celery").set(3)
    usage = {"containers": [{"name": "api", "usage": {"cpu": "490000000n", "memory": "131072Ki"}}]}
    watch.rig.server.pod_usage = [{"metadata": {"name": pod["metadata"]["name"]}} | usage]
    watch.rig.life.prober._memories[next(iter(watch.rig.life.prober._memories))][1].pop("no metrics.k8s.io", None)
    await watch.live(10)
    await look()
    assert given == {name: {*PROBES[name].gives, "summary"} for name in given}


def custom(**changes: Any) -> JSON:
    """A runbook of a user: too much waits in the queue."""
    text = """
    incidentType: QueueFlood
    severity: P2
    componentType: Api
    diagnose: [{name: level, probe: serviceLevel, component: api}]
    symptom: findings.level.queueLength > 100
    causes: [{name: Unknown, when: "true", human: look at the workers}]
    verify: {settle: 5s, symptomClearFor: 10s, within: 60s}
    """
    spec: JSON = yaml.safe_load(text)
    return spec | changes


@pytest.mark.parametrize(
    ("changes", "opened"),
    [({}, True), ({"openIncidents": False}, False), ({"symptom": "findings.level.nothing > 1"}, False)],
    ids=["Ready", "switched off", "not Ready"],
)
async def test_runbooks_of_users_are_looked_with(changes: JSON, opened: bool) -> None:
    watch, traffic = begun(mode="Observe")
    watch.rig.server.put(RUNBOOK, {"metadata": {"name": "flood", "namespace": NAMESPACE}, "spec": custom(**changes)})
    await watch.live(60)
    assert watch.names() == []
    for pod in watch.rig.simulator.pods("api"):
        traffic.process(pod).queue.labels("celery").set(5000)
    await watch.live(60)
    assert watch.names() == (["docuquery-queue-flood-1"] if opened else [])


async def test_a_shipped_type_can_be_switched_off_by_its_runbook() -> None:
    watch, traffic = begun()
    watch.rig.server.edit(RUNBOOK, NAMESPACE, "own-level", lambda r: r["spec"].update(openIncidents=False))
    traffic.failing = 1.0
    await watch.live(180)
    assert (watch.names(), level_condition(watch)[0]) == ([], "False")


async def test_a_person_may_open_one_and_it_is_diagnosed() -> None:
    watch, traffic = begun(mode="Observe")
    traffic.failing = 0.5
    watch.rig.incident("api-slow", type="ServiceLevelBreach")
    await watch.live(180, lambda: watch.status("api-slow").get("cause"))
    await watch.live(60)
    assert [i["metadata"]["name"] for i in watch.rig.server.all(INCIDENT, NAMESPACE)] == ["api-slow"]


async def test_metrics_that_take_for_ever_do_not_hold_up_the_health() -> None:
    watch, _ = begun()
    ports = watch.rig.life.ports
    real = ports.network.http_get
    never = asyncio.Event()

    async def slow(host: str, port: int, path: str, timeout: float, limit: int = 65536) -> HttpAnswer:
        if path == "/metrics":
            await never.wait()
        return await real(host, port, path, timeout, limit)

    object.__setattr__(ports.network, "http_get", slow)
    await asyncio.wait_for(watch.stacks.reconcile(KEY), 5)
    assert api_state(watch)["state"] == "Unknown", "being probed"
    watch.rig.clock.advance(5)
    await asyncio.wait_for(watch.stacks.reconcile(KEY), 5)
    assert api_state(watch)["state"] == "Operational"
    never.set()
    await asyncio.sleep(0.05)
