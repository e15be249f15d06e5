"""A limit that is too low, in a simulated world: raised for a while by a rolling restart that is watched, and back by itself."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.domain.remedies import temporary
from docuquery_operator.ports import DEPLOYMENT, JSON, RUNBOOK
from tests.controllers.test_detector import Watch
from tests.fakes.rig import NAMESPACE, VERIFY, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
NAME = "RATE_LIMIT_REQUESTS"
PLAIN: JSON = {"name": NAME, "value": "100"}
SPEC: JSON = {
    "incidentType": "Tight",
    "severity": "P1",
    "componentType": "Api",
    "symptom": "findings.traffic.refusedPercent > 10.0",
    "diagnose": [
        {"name": "traffic", "probe": "apiTraffic", "component": "api"},
        {"name": "limits", "probe": "rateLimits", "component": "api"},
        {"name": "setting", "probe": "limitSetting", "component": "api"},
    ],
    "causes": [
        {
            "name": "LimitTooLow",
            "when": "true",
            "human": "raise it",
            "remediate": [{"action": "setTemporaryLimits", "timeout": "2m"}],
        }
    ],
    "verify": VERIFY,
}


class World(Watch):
    """Honest clients need 180 requests in each window of 60 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **container: Any) -> None:
        rig = Rig(detection={"interval": "5s", "timeout": "1s", "failures": 2, "recoveries": 2, "openIncidents": False})
        self.in_force = 100
        self.helps = True

        def written(deployment: JSON) -> None:
            pod = deployment["spec"]["template"].setdefault("spec", {})
            pod["containers"] = [{"name": "api", "image": "a", **(container or {"env": [PLAIN]})}]

        rig.server.edit(DEPLOYMENT, NAMESPACE, "api", written)
        rig.clock.advance(30)
        rig.server.put(RUNBOOK, {"metadata": {"name": "tight", "namespace": NAMESPACE}, "spec": SPEC})
        super().__init__(rig)
        monkeypatch.setitem(
            PROBES, "apiTraffic", _Says("apiTraffic", ("clients", "refusedPercent", "spanSeconds"), self._traffic)
        )
        monkeypatch.setitem(PROBES, "rateLimits", _Says("rateLimits", ("requests", "window", "mixed"), self._limits))
        self.rig.clock.advance(700)

    def deployment(self) -> JSON:
        found = self.rig.server.find(DEPLOYMENT, NAMESPACE, "api")
        assert found
        return found

    def env(self) -> list[JSON]:
        found: list[JSON] = self.deployment()["spec"]["template"]["spec"]["containers"][0].get("env") or []
        return found

    async def tried(self, seconds: float = 300, until: Any = None) -> JSON:
        self.rig.incident("tight", type="Tight")
        await self.live(seconds, until)
        return self.status("tight")

    def _traffic(self) -> JSON:
        limit = int(next((e["value"] for e in self.env() if e["name"] == NAME and "value" in e), self.in_force))
        refused = 0 if self.helps and limit >= 180 else 300
        clients = [{"client": "198.51.100.4", "requests": 900, "refused": refused, "percent": 50.0}]
        return {"clients": clients, "spanSeconds": 300, "refusedPercent": refused / 9.0}

    def _limits(self) -> JSON:
        return {"requests": self.in_force, "window": 60, "mixed": False}


class _Says:
    doc = ""

    def __init__(self, name: str, gives: tuple[str, ...], say: Any) -> None:
        self.name, self.gives, self._say = name, gives, say

    async def look(self, _context: Any) -> JSON:
        return {"summary": "", **self._say()}


async def test_the_limit_is_raised_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    status = await world.tried(until=lambda: world.over("tight"))
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("setTemporaryLimits", "Healed")])
    assert world.env() == [{"name": NAME, "value": "270"}]
    (change,) = temporary.changes(world.deployment())
    assert (change.former, change.id) == (PLAIN, status["steps"][0]["attemptId"])
    world.rig.clock.advance(3700)
    world.begin()
    await world.live(40)
    assert world.env() == [PLAIN]
    assert temporary.changes(world.deployment()) == ()
    assert "PutBack" in world.rig.all_events()


async def test_a_limit_of_a_config_map_is_overridden_and_the_override_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, envFrom=[{"configMapRef": {"name": "docuquery-settings"}}])
    await world.tried(until=lambda: world.over("tight"))
    assert world.env() == [{"name": NAME, "value": "270"}]
    world.rig.clock.advance(3700)
    await world.live(40)
    assert world.env() == []


async def test_what_a_person_writes_meanwhile_is_his(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    await world.tried(until=lambda: world.over("tight"))

    def mine(deployment: JSON) -> None:
        deployment["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": NAME, "value": "500"}]

    world.rig.server.edit(DEPLOYMENT, NAMESPACE, "api", mine)
    world.rig.clock.advance(3700)
    await world.live(40)
    assert world.env() == [{"name": NAME, "value": "500"}]


async def test_a_limit_that_does_not_help_is_put_back_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.helps = False
    status = await world.tried(240)
    assert steps(status) == [("setTemporaryLimits", "NotHealed")]
    assert world.env() == [PLAIN]


@pytest.mark.parametrize(
    ("container", "meta", "reason"),
    [
        ({"env": [{"name": NAME, "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]}, {}, "LimitByReference"),
        ({"env": [PLAIN]}, {"annotations": {"argocd.argoproj.io/tracking-id": "a:b"}}, "GitOwnsField"),
        ({"env": [PLAIN]}, {"labels": {"kustomize.toolkit.fluxcd.io/name": "a"}}, "GitOwnsField"),
    ],
)
async def test_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch, container: JSON, meta: JSON, reason: str) -> None:
    world = World(monkeypatch, **container)
    world.rig.server.edit(DEPLOYMENT, NAMESPACE, "api", lambda d: d["metadata"].update(meta))
    before = world.deployment()["spec"]
    status = await world.tried(120)
    assert condition(status, "HealBlocked") == reason
    assert world.deployment()["spec"] == before
