"""Clients that flood an api, in a simulated world: only the right ones are kept out, for a time, and let in again whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.controllers.blocks import BEGINS_WITHIN
from docuquery_operator.domain.remedies.blocklists import DENY_LIST, HELD
from docuquery_operator.ports import INCIDENT, INGRESS, JSON, NETWORK_POLICY, POD, RUNBOOK, STACK, Key
from tests.controllers.test_detector import Watch
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, VERIFY, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
ABUSER, HONEST, PRIVATE = "203.0.113.7", "198.51.100.4", "10.61.44.4"
POLICY = "docuquery-block-docuquery-api"
INCIDENT_KEY = Key(INCIDENT.plural, NAMESPACE, "flood")
RUNBOOK_SPEC: JSON = {
    "incidentType": "Flood",
    "severity": "P1",
    "componentType": "Api",
    "symptom": "findings.traffic.refusedPercent > 10.0",
    "diagnose": [
        {"name": "traffic", "probe": "apiTraffic", "component": "api"},
        {"name": "blocking", "probe": "clientBlocking", "component": "api"},
    ],
    "causes": [
        {
            "name": "OneAbuser",
            "when": "true",
            "human": "block it by hand",
            "remediate": [{"action": "blockClients", "parameters": {"blockFor": "10m"}}],
        }
    ],
    "verify": VERIFY,
}


class Flood:
    """The probe of the traffic: whoever is kept out is answered with 403, which is no refusal by the limit."""

    name, doc, gives = "apiTraffic", "", ("clients", "refusedPercent")

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.flooding = [ABUSER]
        self.block_helps = True
        self.began, self.grows = rig.clock.now(), 0.0

    @property
    def share(self) -> float:
        """Of all flooding clients together; a flood that has just begun has little of the last minutes."""
        age = (self.rig.clock.now() - self.began).total_seconds()
        return 90.0 if age >= self.grows else 10.0

    def kept_out(self, address: str) -> bool:
        policy = self.rig.server.find(NETWORK_POLICY, NAMESPACE, POLICY) or {}
        front = self.rig.server.find(INGRESS, NAMESPACE, "front") or {"metadata": {}}
        listed = (front["metadata"].get("annotations") or {}).get(DENY_LIST, "")
        return bool(self.rig.redis.there(f"blocked_client:{address}")) or address in str(policy.get("spec")) + listed

    async def look(self, _context: Any) -> dict[str, Any]:
        floods = [a for a in self.flooding if not (self.block_helps and self.kept_out(a))]
        share = self.share / len(self.flooding) if self.flooding else 0.0
        clients = [{"client": a, "requests": 1000, "percent": share, "refused": 900} for a in floods]
        clients.append({"client": HONEST, "requests": 50, "percent": 10.0, "refused": 0})
        return {"clients": clients, "refusedPercent": 80.0 if floods else 0.0, "summary": ""}


class World(Watch):
    """A Stack whose api is flooded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, blocking: JSON | None, **options: Any) -> None:
        rig = Rig(
            detection={"interval": "5s", "timeout": "1s", "failures": 2, "recoveries": 2, "openIncidents": False}, **options
        )
        rig.with_redis()
        if blocking is not None:
            rig.edit_stack(lambda s: s["spec"]["components"]["api"].update(blocking=blocking))
        rig.server.put(RUNBOOK, {"metadata": {"name": "flood", "namespace": NAMESPACE}, "spec": RUNBOOK_SPEC})
        super().__init__(rig)
        self.flood = Flood(rig)
        monkeypatch.setitem(PROBES, "apiTraffic", self.flood)

    async def healed(self, seconds: float = 300) -> JSON:
        if not self.incidents():
            self.rig.incident("flood", type="Flood")
        await self.live(seconds, lambda: self.over("flood"))
        return self.status("flood")

    async def tried(self, seconds: float = 120) -> JSON:
        self.rig.incident("flood", type="Flood")
        await self.live(seconds)
        return self.status("flood")

    def blocks(self) -> list[JSON]:
        found: list[JSON] = (self.rig.server.find(STACK, NAMESPACE, "docuquery") or {}).get("status", {}).get("blocks", [])
        return found

    def ingress(self, **meta: Any) -> None:
        self.rig.server.put(INGRESS, {"metadata": {"name": "front", "namespace": NAMESPACE, **meta}, "spec": {}})


BLOCKING: dict[str, JSON] = {
    "set": {"enforcer": "ApiDenySet"},
    "policy": {"enforcer": "NetworkPolicy"},
    "ingress": {"enforcer": "IngressNginx", "ingress": "front"},
}


@pytest.mark.parametrize("how", BLOCKING)
async def test_the_abuser_is_kept_out_and_let_in_again(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    world = World(monkeypatch, BLOCKING[how])
    world.ingress(annotations={DENY_LIST: "192.0.2.0/24"})
    status = await world.healed()
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("blockClients", "Healed")])
    assert [(b["addresses"], b["component"]) for b in world.blocks()] == [([ABUSER], "api")]
    assert world.flood.kept_out(ABUSER)
    assert not world.flood.kept_out(HONEST)
    world.flood.flooding = []
    await world.live(600)
    assert world.blocks() == []
    assert not world.flood.kept_out(ABUSER)
    assert "BlockEnded" in world.rig.all_events()
    front = world.rig.server.find(INGRESS, NAMESPACE, "front") or {}
    assert front["metadata"]["annotations"] == {DENY_LIST: "192.0.2.0/24"}


@pytest.mark.parametrize("how", BLOCKING)
async def test_a_block_ends_though_the_operator_was_away(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Redis ends its keys alone; a policy or a deny list ends with the first look of the next process."""
    world = World(monkeypatch, BLOCKING[how])
    world.ingress()
    await world.healed()
    world.flood.flooding = []
    world.rig.clock.advance(3600)
    assert world.flood.kept_out(ABUSER) is (how != "set")
    world.begin()
    await world.live(5)
    assert not world.flood.kept_out(ABUSER)
    assert world.blocks() == []
    policy = world.rig.server.find(NETWORK_POLICY, NAMESPACE, POLICY)
    assert policy is None or HELD not in (policy["metadata"]["annotations"] or {})


@pytest.mark.parametrize("how", ["policy", "ingress"])
async def test_a_block_whose_record_is_lost_is_found_and_ended(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    world = World(monkeypatch, BLOCKING[how])
    world.ingress()
    await world.healed()
    world.flood.flooding = []
    world.rig.server.edit(STACK, NAMESPACE, "docuquery", lambda s: s["status"].pop("blocks"))
    await world.live(20)
    assert [b["addresses"] for b in world.blocks()] == [[ABUSER]]
    await world.live(600)
    assert not world.flood.kept_out(ABUSER)


async def test_what_does_not_help_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, BLOCKING["set"])
    world.flood.block_helps = False
    status = await world.tried(180)
    assert steps(status) == [("blockClients", "NotHealed")]
    assert (condition(status, "NeedsHuman"), world.blocks()) == ("RemedyUsedUp", [])
    assert not world.flood.kept_out(ABUSER)


async def test_a_flood_that_has_just_begun_is_blocked_when_it_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, BLOCKING["set"])
    world.flood.grows = 60
    status = await world.tried(40)
    assert (condition(status, "HealBlocked"), world.blocks()) == ("NotBusyEnough", [])
    status = await world.healed()
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("blockClients", "Healed")])


REFUSED: dict[str, tuple[JSON | None, list[str], str]] = {
    "not set up": (None, [ABUSER], "BlockingNotSet"),
    "allowed": ({"enforcer": "ApiDenySet", "allow": ["203.0.113.0/24"]}, [ABUSER], "OneAbuser"),
    "private": ({"enforcer": "ApiDenySet"}, [PRIVATE], "OneAbuser"),
    "mapped": ({"enforcer": "ApiDenySet", "allowPrivate": True}, ["::ffff:203.0.113.7"], "OneAbuser"),
    "loopback": ({"enforcer": "ApiDenySet", "allowPrivate": True}, ["127.0.0.1"], "OneAbuser"),
    "no address": ({"enforcer": "ApiDenySet"}, ["evil.example.org"], "OneAbuser"),
    "no ingress": ({"enforcer": "IngressNginx", "ingress": "gone"}, [ABUSER], "IngressMissing"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    blocking, flooding, reason = REFUSED[case]
    world = World(monkeypatch, blocking)
    world.flood.flooding = flooding
    status = await world.tried()
    blocked = condition(status, "HealBlocked") or condition(status, "NeedsHuman")
    assert blocked == reason, status["conditions"]
    assert (world.blocks(), world.rig.redis.set_keys) == ([], {})
    assert any(d.get("message") for d in status["decisions"])


async def test_a_private_client_may_be_blocked_where_the_stack_says_so_but_no_pod_and_no_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, {"enforcer": "ApiDenySet", "allowPrivate": True})
    pod = world.rig.simulator.pods("api")[0]
    world.rig.server.edit(POD, NAMESPACE, pod["metadata"]["name"], lambda p: p["status"].update(hostIP="10.60.0.9"))
    world.flood.flooding = [PRIVATE, pod["status"]["podIP"], "10.60.0.9"]
    await world.tried(40)
    assert [b["addresses"] for b in world.blocks()] == [[PRIVATE]]
    assert set(world.rig.redis.set_keys) == {f"blocked_client:{PRIVATE}"}


async def test_an_only_client_is_taken_for_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, {"enforcer": "ApiDenySet"})
    monkeypatch.setattr("tests.controllers.test_blocking.HONEST", PRIVATE)
    status = await world.tried()
    assert condition(status, "NeedsHuman") == "OneAbuser"
    assert "may be a proxy" in str(status["decisions"])
    assert world.blocks() == []


async def test_where_another_policy_selects_the_pods_ours_is_not_made_and_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other: JSON = {
        "metadata": {"name": "strict", "namespace": NAMESPACE},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []},
    }
    world = World(monkeypatch, BLOCKING["policy"])
    world.rig.server.put(NETWORK_POLICY, other)
    status = await world.tried()
    assert condition(status, "HealBlocked") == "OtherPolicies"
    assert world.rig.server.find(NETWORK_POLICY, NAMESPACE, POLICY) is None
    world.rig.server.remove(NETWORK_POLICY, NAMESPACE, "strict")
    await world.healed()
    world.rig.server.put(NETWORK_POLICY, other)
    world.flood.flooding = []
    await world.live(30)
    assert (world.blocks(), world.flood.kept_out(ABUSER)) == ([], False), "it would let in whom the other keeps out"


@pytest.mark.parametrize(
    "meta",
    [{"annotations": {"argocd.argoproj.io/tracking-id": "x:y"}}, {"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}],
)
async def test_an_ingress_that_git_owns_is_left_alone(monkeypatch: pytest.MonkeyPatch, meta: JSON) -> None:
    world = World(monkeypatch, BLOCKING["ingress"])
    world.ingress(**meta)
    status = await world.tried()
    assert condition(status, "HealBlocked") == "GitOwnsField"
    assert not world.flood.kept_out(ABUSER)


async def test_the_allow_list_lets_in_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, BLOCKING["set"])
    await world.healed()
    world.flood.flooding = []
    world.rig.edit_stack(lambda s: s["spec"]["components"]["api"]["blocking"].update(allow=[f"{ABUSER}/32"]))
    await world.live(20)
    assert (world.blocks(), world.flood.kept_out(ABUSER)) == ([], False)


async def test_what_a_person_takes_out_is_not_put_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, BLOCKING["set"])
    await world.healed()
    world.flood.flooding = []
    world.rig.redis.set_keys.clear()
    await world.live(BEGINS_WITHIN + 20)
    assert (world.blocks(), world.rig.redis.set_keys) == ([], {})
    assert "BlockGone" in world.rig.all_events()


async def test_a_block_of_a_persons_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, BLOCKING["set"])
    world.rig.redis.set_keys[f"blocked_client:{ABUSER}"] = ("mine", 1e12)
    world.flood.block_helps = False
    await world.tried(180)
    assert world.rig.redis.set_keys[f"blocked_client:{ABUSER}"] == ("mine", 1e12)


@pytest.mark.parametrize("how", BLOCKING)
async def test_killed_at_any_call_it_ends_the_same(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A sample: each seventh call of the incident's passes."""
    reference = World(monkeypatch, BLOCKING[how])
    reference.ingress()
    await reference.healed()
    calls = reference.rig.life.faults.count
    different = []
    for n in range(2, calls, 37):
        world = World(monkeypatch, BLOCKING[how])
        world.ingress()
        world.rig.incident("flood", type="Flood")
        world.rig.start(Faults(kill_before=n))
        status = await world.rig.run(INCIDENT_KEY, seconds=400)
        end = (condition(status, "Resolved"), [b["addresses"] for b in world.blocks()], world.flood.kept_out(ABUSER))
        if end != ("Healed", [[ABUSER]], True):
            different.append((n, end))
    assert different == []
