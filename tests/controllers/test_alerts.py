"""What alerts do to incidents: an end is a fact and no proof, one that fires on contradicts the probes, silence is a fault."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.api.stack import Stack
from docuquery_operator.controllers.watchdog import WatchdogKeeper
from docuquery_operator.ports import INCIDENT, JSON, LEASE, SECRET, STACK, Key
from docuquery_operator.web.receiver.payload import parse
from tests.controllers.test_detector import KEY, NAME, Watch
from tests.fakes.alerting import alert, message, receiver
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
DATABASE = {"docuquery_type": "DatabaseConnectionFailure", "docuquery_component": "postgres"}
API = {"docuquery_type": "ServiceLevelBreach", "docuquery_component": "api"}
CERTIFICATE = {"docuquery_type": "CertificateExpires"}
TYPES = ["DatabaseConnectionFailure", "ServiceLevelBreach", "CertificateExpires"]
CHANNELS = {"slack": {"secretRef": {"secretName": "slack"}}}
LEASE_NAME = "docuquery-watchdog"


class Alerting:
    """A world with a receiver, and what Alertmanager says to it."""

    def __init__(self, alerts: JSON | None = None, watch: bool = False) -> None:
        self.rig = Rig()
        self.rig.edit_stack(lambda s: s["spec"].update(alerts=alerts or {"types": TYPES}))
        self.store, self.metrics = receiver(self.rig.server, self.rig.clock)
        self.watch = Watch(self.rig) if watch else None
        self.began: dict[str, Any] = {}

    async def fire(self, name: str, labels: JSON) -> None:
        self.began[name] = self.rig.clock.now()
        await self._send(alert(name, self.began[name], labels=labels))

    async def end(self, name: str, labels: JSON) -> None:
        await self._send(alert(name, self.began[name], self.rig.clock.now(), labels=labels))

    async def _send(self, one: JSON) -> None:
        await self.store.store(parse(message([one]), False))

    def key(self, name: str = NAME) -> Key:
        return Key(INCIDENT.plural, NAMESPACE, name)

    def names(self) -> list[str]:
        return [i["metadata"]["name"] for i in self.rig.server.all(INCIDENT, NAMESPACE)]


async def test_an_alert_that_ends_does_not_end_what_the_probes_still_see() -> None:
    at = Alerting()
    at.rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Observe"))
    at.rig.freeze()
    await at.fire("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 60)
    assert status["phase"] == "Identified"
    await at.end("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 300)
    assert status["phase"] == "Identified"
    assert condition(status, "Resolved") == ""


async def test_a_healed_fault_whose_alert_fires_on_is_not_called_over() -> None:
    at = Alerting()
    at.rig.freeze()
    await at.fire("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 600)
    assert steps(status) == [("restartWorkload", "Healed")]
    assert status["phase"] == "Monitoring"
    assert "alerts still fire: PostgresDown" in status["summary"]
    assert condition(status, "NeedsHuman") != "AlertsStillFire"
    status = await at.rig.run(at.key(), 700)
    assert (status["phase"], condition(status, "NeedsHuman")) == ("Monitoring", "AlertsStillFire")
    await at.end("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 60)
    assert status["phase"] == "Resolved"
    assert condition(status, "Resolved") == "Healed"
    assert steps(status) == [("restartWorkload", "Healed")]
    assert at.rig.crashes == []


async def test_an_alert_that_ends_first_leaves_the_end_to_the_healing() -> None:
    at = Alerting()
    at.rig.freeze()
    await at.fire("PostgresDown", DATABASE)
    await at.end("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 600)
    assert (status["phase"], condition(status, "Resolved")) == ("Resolved", "Healed")


async def test_an_alert_alone_restarts_nothing() -> None:
    """Whoever can send alerts cannot have anything restarted: the probes see no symptom."""
    at = Alerting()
    await at.fire("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 600)
    assert (status["phase"], status.get("steps", [])) == ("Monitoring", [])
    assert at.rig.simulator.created == []
    await at.end("PostgresDown", DATABASE)
    status = await at.rig.run(at.key(), 60)
    assert (status["phase"], condition(status, "Resolved")) == ("Resolved", "Recovered")


async def test_the_detector_and_alerts_have_one_incident_for_one_fault() -> None:
    at = Alerting(watch=True)
    assert at.watch is not None
    at.rig.freeze()
    await at.watch.live(200, until=lambda: at.names() == [NAME])
    await at.fire("PostgresDown", DATABASE)
    await at.fire("ApiErrors", API)
    assert at.names() == [NAME]
    spec = at.watch.incidents()[0]["spec"]
    assert {a["name"]: a.get("component") for a in spec["alerts"]} == {"PostgresDown": None, "ApiErrors": "api"}
    await at.end("PostgresDown", DATABASE)
    await at.watch.live(120)
    assert at.watch.status()["phase"] == "Monitoring"
    await at.end("ApiErrors", API)
    await at.watch.live(120, until=at.watch.over)
    assert at.names() == [NAME]


async def test_the_detector_opens_nothing_beside_the_incident_of_an_alert() -> None:
    at = Alerting(watch=True)
    assert at.watch is not None
    at.rig.freeze()
    await at.fire("PostgresDown", DATABASE)
    await at.watch.live(40)
    assert at.names() == [NAME]


async def test_without_a_runbook_people_are_told_and_the_last_end_is_the_end() -> None:
    at = Alerting()
    at.rig.edit_stack(lambda s: s["spec"].update(communication={"channels": CHANNELS}))
    at.rig.server.put(SECRET, {"metadata": {"name": "slack", "namespace": NAMESPACE}, "data": {}})
    key = at.key("docuquery-certificate-expires-1")
    await at.fire("CertA", CERTIFICATE)
    await at.fire("CertB", CERTIFICATE | {"instance": "b"})
    assert at.names() == [key.name]
    status = await at.rig.run(key, 30)
    assert (status["severity"], status["escalation"][0]["to"]) == ("P2", "onCall")
    assert "Alerts: firing: CertA, CertB" in at.rig.channels.accepted("slack")[0][2].text
    await at.end("CertA", CERTIFICATE)
    assert (await at.rig.run(key, 60))["phase"] != "Resolved"
    await at.end("CertB", CERTIFICATE | {"instance": "b"})
    status = await at.rig.run(key, 60)
    assert (status["phase"], condition(status, "Resolved")) == ("Resolved", "AlertsEnded")
    # Fired again soon: the same incident, opened again; its end ends it again.
    at.rig.clock.advance(60)
    await at.fire("CertA", CERTIFICATE)
    status = await at.rig.run(key, 30, until=lambda s: s.get("round") == 2)
    assert status["phase"] != "Resolved"
    await at.end("CertA", CERTIFICATE)
    assert (await at.rig.run(key, 60))["phase"] == "Resolved"
    assert at.names() == [key.name]


async def test_closed_by_hand_stays_closed_until_the_alert_begins_anew() -> None:
    at = Alerting()
    key = at.key("docuquery-certificate-expires-1")
    await at.fire("CertA", CERTIFICATE)
    await at.rig.run(key, 20)
    closed = {"resolved": {"by": "ana", "note": "known"}}
    at.rig.server.edit(INCIDENT, NAMESPACE, key.name, lambda i: i["spec"].update(closed))
    assert (await at.rig.run(key, 60))["phase"] == "Resolved"
    at.rig.clock.jump(3600)
    began = at.began["CertA"]
    await at._send(alert("CertA", began, labels=CERTIFICATE))
    assert at.names() == [key.name]
    await at.fire("CertA", CERTIFICATE)
    assert at.names() == [key.name, "docuquery-certificate-expires-2"]


class Silence(Alerting):
    """A Stack that waits for an alert that always fires."""

    def __init__(self) -> None:
        super().__init__({"types": [], "watchdog": {"after": "4m"}})
        self.begin()

    def begin(self) -> None:
        """A process of the operator; what an earlier one remembered is lost."""
        self.keeper = WatchdogKeeper(self.rig.start().ports)

    async def live(self, minutes: int, heard: bool) -> None:
        for _ in range(minutes):
            if heard:
                await self.fire("Watchdog", {})
            for _ in range(6):
                stack = Stack.model_validate(self.rig.server.find(STACK, NAMESPACE, "docuquery"))
                await self.keeper.look(KEY, stack)
                for name in self.names():
                    await self.rig.once(self.key(name))
                self.rig.clock.advance(10)

    def phase(self) -> str:
        found = self.rig.server.find(INCIDENT, NAMESPACE, "docuquery-watchdog")
        return ((found or {}).get("status") or {}).get("phase", "") if found else ""


async def test_silence_of_the_watchdog_is_an_incident_that_ends_with_it() -> None:
    at = Silence()
    await at.live(8, heard=True)
    assert at.phase() == ""
    await at.live(3, heard=False)
    assert at.phase() == ""
    await at.live(3, heard=False)
    found = at.rig.server.find(INCIDENT, NAMESPACE, "docuquery-watchdog")
    assert found is not None
    assert (found["spec"]["type"], found["status"]["severity"]) == ("WatchdogSilent", "P1")
    assert condition(found["status"], "NeedsHuman") == "WatchdogSilent"
    await at.live(2, heard=True)
    assert at.phase() == "Resolved"
    await at.live(6, heard=False)
    assert at.phase() != "Resolved"
    await at.live(2, heard=True)
    assert (at.phase(), at.names()) == ("Resolved", ["docuquery-watchdog"])
    leases = [w for w in at.rig.server.writes if w.plural == "leases" and w.name == LEASE_NAME]
    assert len(leases) <= 16, "noted more often than needed"


async def test_a_watchdog_that_was_never_heard_is_silent_too() -> None:
    at = Silence()
    await at.live(6, heard=False)
    assert at.phase() not in ("", "Resolved")


async def test_the_time_in_which_nobody_looked_is_no_silence_and_a_restart_forgets_nothing() -> None:
    at = Silence()
    await at.live(5, heard=True)
    at.rig.clock.jump(3600)
    at.begin()
    await at.live(3, heard=False)
    assert at.phase() == ""
    await at.live(3, heard=False)
    assert at.phase() not in ("", "Resolved")


async def test_who_does_not_lead_opens_nothing() -> None:
    at = Silence()
    at.rig.leader.leads = False
    await at.live(6, heard=False)
    assert at.names() == []
    assert at.rig.server.find(LEASE, NAMESPACE, LEASE_NAME) is None


@pytest.mark.parametrize("noted", ["", "yesterday", "2026-99-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
async def test_a_note_that_cannot_be_read_is_written_anew(noted: str) -> None:
    at = Silence()
    annotations = {"watchdog.ops.docuquery.ai/docuquery": noted}
    at.rig.server.put(LEASE, {"metadata": {"name": LEASE_NAME, "namespace": NAMESPACE, "annotations": annotations}})
    await at.live(1, heard=False)
    assert at.phase() == ""
    lease = at.rig.server.find(LEASE, NAMESPACE, LEASE_NAME)
    assert lease is not None
    written = lease["metadata"]["annotations"]["watchdog.ops.docuquery.ai/docuquery"]
    assert written == format_time(at.rig.clock.now() - timedelta(minutes=1))
