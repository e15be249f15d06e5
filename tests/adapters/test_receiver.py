"""The receiver over real HTTP: who may send, when it says no, and what it answers to what."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from docuquery_operator.ports import INCIDENT, JSON, LEASE, STACK, Refused, Unavailable
from docuquery_operator.ports.speaker import Silence
from docuquery_operator.web.receiver import app as receiver_app
from docuquery_operator.web.receiver.app import Receiver, serve
from docuquery_operator.web.receiver.settings import ReceiverSettings
from tests.fakes.alerting import NAMESPACE, Place, alert, message, place, secrets
from tests.fakes.clock import START
from tests.fakes.cluster import FakeCluster
from tests.fakes.faults import Faults

pytestmark = pytest.mark.timeout(30)
TOKEN, OLD = "t0ken-of-16-letters", "the-former-token-of-it"
LABELS = {"docuquery_type": "RedisConnection", "docuquery_component": "redis"}
BODY = message([alert("RedisDown", START, labels=LABELS)])


class Running:
    """One receiver that listens on loopback."""

    def __init__(self, at: Place, url: str, health: str, session: aiohttp.ClientSession, faults: Faults) -> None:
        self.at, self.url, self.health, self._session, self.faults = at, url, health, session, faults

    async def post(self, body: Any = BODY, path: str = "/alertmanager", token: str = f"Bearer {TOKEN}") -> tuple[int, str]:
        headers = {"Authorization": token} if token else {}
        async with self._session.post(f"{self.url}{path}", data=io.BytesIO(body), headers=headers) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(f"{self.health}{path}") as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def running(folder: Path, slow: float = 0.0, **settings: Any) -> AsyncIterator[Running]:
    at, faults = place(), Faults()

    class Slow(FakeCluster):
        async def list(self, *args: Any, **more: Any) -> Any:
            await asyncio.sleep(slow)
            return await super().list(*args, **more)

    given = ReceiverSettings(receiver_secrets=folder, watch_namespaces=[NAMESPACE], **settings)
    receiver = Receiver(given, Slow(at.server, faults), at.clock, Silence())
    runner, port = await serve(receiver.app(), "127.0.0.1", 0, 0.0)
    health, health_port = await serve(receiver.health(), "127.0.0.1", 0, 0.0)
    async with aiohttp.ClientSession() as session:
        yield Running(at, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{health_port}", session, faults)
    await runner.cleanup()
    await health.cleanup()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(secrets(tmp_path, tokens=f"{TOKEN}\n{OLD}\nshort\n\n")) as made:
        yield made


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {OLD}", 200),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer short", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer é€", 401),
    ],
)
async def test_only_a_token_opens(there: Running, header: str, status: int) -> None:
    assert (await there.post(token=header))[0] == status
    assert len(there.at.incidents()) == (1 if status == 200 else 0)


async def test_tokens_change_without_a_restart_and_none_takes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as there:
        assert (await there.post())[0] == 503
        assert (await there.get("/readyz"))[0] == 503
        secrets(tmp_path, tokens=TOKEN)
        assert (await there.post())[0] == 200
        assert (await there.get("/readyz"))[0] == 200
        secrets(tmp_path, tokens=f"{OLD}-and-longer")
        assert (await there.post())[0] == 401


async def test_stored_means_stored(there: Running) -> None:
    assert await there.post() == (200, "stored")
    (incident,) = there.at.incidents()
    assert incident["metadata"]["name"] == "docuquery-redis-connection-1"
    assert incident["metadata"]["labels"]["ops.docuquery.ai/opened-by"] == "alerts"
    assert incident["spec"] == {
        "stackRef": {"name": "docuquery"}, "type": "RedisConnection", "component": "redis",
        "description": "Alert RedisDown: RedisDown says so",
        "alerts": [{"fingerprint": json.loads(BODY)["alerts"][0]["fingerprint"], "name": "RedisDown",
                    "startsAt": "2026-03-29T00:30:00.000Z", "summary": "RedisDown says so"}],
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"alerts": {}}', b"\xff\xfe", b"null", b"[" * 100_000])
async def test_what_can_never_be_read_is_400(there: Running, body: bytes) -> None:
    assert (await there.post(body))[0] == 400


@pytest.mark.parametrize(
    ("problem", "status", "stored"),
    [
        (Unavailable("503: busy"), 503, False),
        (Refused(403, "forbidden"), 503, False),
        (Refused(401, "who"), 503, False),
        # It can never be stored; to send it again for ever would help nobody.
        (Refused(422, "invalid"), 200, False),
    ],
    ids=str,
)
async def test_what_could_not_be_stored_is_sent_again(
    there: Running, problem: BaseException, status: int, stored: bool
) -> None:
    there.faults.raise_for = lambda call, _n: problem if call.startswith("create incidents") else None
    assert (await there.post())[0] == status
    assert bool(there.at.incidents()) is stored
    there.faults.raise_for = None
    assert (await there.post())[0] == 200
    assert len(there.at.incidents()) == 1


@pytest.mark.parametrize(
    ("labels", "outcome"),
    [
        ({"docuquery_type": "Other"}, "type_not_allowed"),
        ({"docuquery_type": "not camel"}, "no_type"),
        ({}, "no_type"),
        ({"docuquery_stack": "elsewhere"} | LABELS, "stack_not_found"),
        ({"docuquery_stack": ""} | LABELS, "no_stack"),
        ({"docuquery_stack": "../secrets/x"} | LABELS, "stack_not_found"),
        ({"docuquery_namespace": "kube-system"} | LABELS, "namespace_not_watched"),
    ],
    ids=str,
)
async def test_labels_that_lead_nowhere_are_counted_and_answered(
    there: Running, labels: dict[str, str], outcome: str
) -> None:
    good = alert("RedisDown", START, labels=LABELS)
    assert (await there.post(message([alert("Odd", START, labels=labels), good])))[0] == 200
    assert len(there.at.held()) == 1
    assert f'docuquery_receiver_alerts_total{{outcome="{outcome}"}} 1.0' in (await there.get("/metrics"))[1]


async def test_the_path_names_the_stack_where_labels_do_not(there: Running) -> None:
    one = alert("RedisDown", START, labels=LABELS)
    del one["labels"]["docuquery_stack"], one["labels"]["docuquery_namespace"]
    assert (await there.post(message([one]), f"/alertmanager/{NAMESPACE}/docuquery"))[0] == 200
    assert len(there.at.incidents()) == 1


async def test_more_than_a_mebibyte_is_stored_as_far_as_it_goes(there: Running) -> None:
    """Alertmanager would end the try at 413, and the alerts would be lost until the group changes."""
    many = [alert(f"a{n}", START, labels=LABELS | {"n": str(n), "pad": "x" * 90_000}) for n in range(30)]
    status, text = await there.post(message(many))
    assert (status, "cut" in text) == (200, True)
    (incident,) = there.at.incidents()
    assert (len(incident["spec"]["alerts"]), incident["spec"]["alertsLeftOut"]) == (11, 1)


async def test_alerts_that_alertmanager_left_out_are_told(there: Running) -> None:
    one = [alert("RedisDown", START, labels=LABELS)]
    assert (await there.post(message(one, truncatedAlerts=7)))[0] == 200
    assert there.at.incidents()[0]["spec"]["alertsLeftOut"] == 7
    assert (await there.post(message(one, truncatedAlerts=2)))[0] == 200
    assert there.at.incidents()[0]["spec"]["alertsLeftOut"] == 7


async def test_a_flood_is_shed_with_503_and_nothing_else(tmp_path: Path) -> None:
    folder = secrets(tmp_path, tokens=TOKEN)
    async with running(folder, slow=0.3, receiver_parallel=2, receiver_waiting=3) as there:
        answers = await asyncio.gather(*(there.post() for _ in range(20)))
        assert sorted({status for status, _ in answers}) == [200, 503]
        assert [status for status, _ in answers].count(200) == 5
        assert (await there.post())[0] == 200
        assert len(there.at.incidents()) == 1


async def test_an_answer_comes_in_time_whatever_the_api_server_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_app, "ANSWER_SECONDS", 0.4)
    async with running(secrets(tmp_path, tokens=TOKEN), slow=30.0) as there:
        began = asyncio.get_running_loop().time()
        assert (await there.post())[0] == 503
        assert asyncio.get_running_loop().time() - began < 2.0
    assert receiver_app.SLACK_SECONDS < 3.0


async def test_the_watchdog_is_noted_now_and_then(there: Running) -> None:
    def awaited(stack: JSON) -> None:
        stack["spec"]["alerts"]["watchdog"] = {"after": "8m"}

    there.at.server.edit(STACK, NAMESPACE, "docuquery", awaited)
    beat = message([alert("Watchdog", START)])
    assert (await there.post(beat))[0] == 200
    there.at.server.put(LEASE, {"metadata": {"name": "docuquery-watchdog", "namespace": NAMESPACE}})
    for _ in range(8):
        assert (await there.post(beat))[0] == 200
        there.at.clock.advance(60)
    writes = [w for w in there.at.server.writes if w.plural == "leases"]
    assert len(writes) == 4
    noted = there.at.server.find(LEASE, NAMESPACE, "docuquery-watchdog")
    assert noted is not None
    assert noted["metadata"]["annotations"] == {"watchdog.ops.docuquery.ai/docuquery": "2026-03-29T00:36:00.000Z"}
    assert not there.at.server.all(INCIDENT, NAMESPACE)


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/alertmanager/", "/slack/actions", "/pagerduty"])
async def test_nothing_else_is_there(there: Running, path: str) -> None:
    """Without their secrets neither Slack nor PagerDuty are listened to; metrics are at another port."""
    assert (await there.post(path=path))[0] == 404
