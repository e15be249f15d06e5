"""Silences in a real Alertmanager (Debian's): made, renewed, found again, ended; whoever dies between which two calls."""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import pytest
from aiohttp import web

from docuquery_operator.adapters.alertmanager import AlertmanagerRest
from docuquery_operator.api.common import format_time
from docuquery_operator.api.stack import Stack
from docuquery_operator.controllers.silencer import OrphanScan
from docuquery_operator.domain.maintenance.silences import Seen
from docuquery_operator.ports import MAINTENANCE_WINDOW, STACK, AlertmanagerTarget
from tests.controllers.test_maintenance_window import put, seen
from tests.controllers.test_silences import EFFECTS, finalizers, lived, with_alertmanager
from tests.fakes.clock import ManualClock
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig
from tests.stack.services import Process, free_port, need, prepared, running, wait_up

pytestmark = pytest.mark.timeout(120)
LABEL = ("namespace", NAMESPACE)


@pytest.fixture(scope="module")
def target(folder: pathlib.Path) -> Iterator[AlertmanagerTarget]:
    """A server with nothing but a receiver that tells nobody."""
    port, home = free_port(), prepared(folder / "alertmanager")
    (home / "alertmanager.yml").write_text(
        json.dumps({"route": {"receiver": "none", "group_wait": "0s", "group_by": ["..."]}, "receivers": [{"name": "none"}]})
    )
    command = [
        *(need("prometheus-alertmanager", "prometheus-alertmanager"), f"--config.file={home}/alertmanager.yml"),
        *(f"--storage.path={home}/data", f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
    ]
    process = Process(command, home / "log", cwd=home)
    with running(process):
        wait_up(process, lambda: _get(port, "/-/ready") is not None, 30)
        yield AlertmanagerTarget("127.0.0.1", port)


def _get(port: int, path: str, body: Any = None) -> str | None:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}), timeout=3) as a:
            return str(a.read().decode())
    except OSError:
        return None


async def living(target: AlertmanagerTarget) -> list[Seen]:
    found = await AlertmanagerRest().silences(target, LABEL, 3.0)
    assert not isinstance(found, str), found
    return [s for s in found if s.state != "expired"]


def body(minutes: float = 20, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    matcher = {"name": "namespace", "value": NAMESPACE, "isRegex": False, "isEqual": True}
    return {
        "matchers": [matcher],
        "startsAt": format_time(now),
        "endsAt": format_time(now + timedelta(minutes=minutes)),
        "createdBy": "docuquery-operator",
        "comment": "by a test",
        **changes,
    }


def silenced(target: AlertmanagerTarget, labels: dict[str, str]) -> list[str]:
    """Ids of what silences an alert, by Alertmanager's own word."""
    assert _get(target.port, "/api/v2/alerts", [{"labels": labels}]) is not None
    for _ in range(50):
        alerts = json.loads(_get(target.port, "/api/v2/alerts") or "[]")
        found = [a["status"] for a in alerts if a["labels"] == labels]
        if found and found[0]["state"] != "unprocessed":
            return [str(i) for i in found[0]["silencedBy"]]
        time.sleep(0.1)
    raise AssertionError("the alert was never processed")


async def test_make_renew_and_end(target: AlertmanagerTarget) -> None:
    server = AlertmanagerRest()
    assert await server.put(target, body(), 3.0) == ""
    (one,) = await living(target)
    assert (one.created_by, one.comment, one.matchers) == (
        "docuquery-operator",
        "by a test",
        (("namespace", NAMESPACE, False),),
    )
    assert await server.put(target, body(30, id=one.id), 3.0) == ""
    (renewed,) = await living(target)
    assert renewed.ends_at - one.ends_at > timedelta(minutes=9)
    assert await server.expire(target, renewed.id, 3.0) == ""
    assert await living(target) == []
    assert await server.expire(target, renewed.id, 3.0) == "", "what has ended already is fine"
    assert await server.expire(target, "00000000-0000-0000-0000-000000000000", 3.0) == ""


async def test_others_labels_are_not_asked_for_and_what_is_wrong_is_said(target: AlertmanagerTarget) -> None:
    server = AlertmanagerRest()
    other = body(matchers=[{"name": "namespace", "value": "elsewhere", "isRegex": False, "isEqual": True}])
    assert await server.put(target, other, 3.0) == ""
    assert await living(target) == []
    assert "HTTP 422" in await server.put(target, body(matchers=[]), 3.0)
    gone = AlertmanagerTarget("127.0.0.1", free_port())
    assert "Connect" in str(await server.silences(gone, LABEL, 3.0))
    assert "Connect" in await server.put(gone, body(), 3.0)
    assert "Connect" in await server.expire(gone, "x", 3.0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (web.Response(text="<html>"), "not an answer"),
        (web.Response(text='[{"id": 1}]'), "not an answer"),
        (web.Response(text="x" * 5_000_000), "too long"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "HTTP 302"),
        (web.Response(status=500, text="password=hunter2hunter2"), "HTTP 500"),
        (None, "no answer within"),
    ],
)
async def test_a_server_that_misbehaves_is_no_answer(answer: web.Response | None, said: str) -> None:
    async def handle(_request: web.Request) -> web.Response:
        if answer is None:
            await asyncio.sleep(3)
        return answer or web.Response()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found = await AlertmanagerRest().silences(AlertmanagerTarget("127.0.0.1", runner.addresses[0][1]), LABEL, 0.5)
    await runner.cleanup()
    assert isinstance(found, str)
    assert said in found
    assert "hunter2" not in found


def real_rig(target: AlertmanagerTarget) -> Rig:
    """The simulated world beside the real server: its clock begins now, and is ahead by what is lived through."""
    rig = Rig(mode="Off", clock=ManualClock(datetime.now(UTC)))
    rig.clock.ignore(rig.simulator.tick)
    with_alertmanager(rig, AlertmanagerRest(), target.host, target.port)
    return rig


async def test_a_windows_silence_silences_its_alerts_and_no_others(target: AlertmanagerTarget) -> None:
    rig = real_rig(target)
    put(rig, 0, "20m", effects=EFFECTS, components=["postgres"])
    await lived(rig, 2)
    (one,) = await living(target)
    assert (seen(rig)["silence"]["id"], seen(rig)["silence"]["state"]) == (one.id, "Active")
    # What was lived through in the simulated world has not passed in the real one.
    time.sleep(max(0.0, (rig.clock.now() - datetime.now(UTC)).total_seconds()) + 0.1)
    assert silenced(target, {"alertname": "Down", "namespace": NAMESPACE, "component": "postgres"}) == [one.id]
    assert silenced(target, {"alertname": "Down", "namespace": NAMESPACE, "component": "postgres-2"}) == []
    assert silenced(target, {"alertname": "Down", "namespace": "nowhere", "component": "postgres"}) == []
    await lived(rig, 21 * 60)
    assert await living(target) == []


async def test_a_silence_whose_window_was_torn_away_is_ended_by_the_scan(target: AlertmanagerTarget) -> None:
    """The operator died with it, and somebody has removed the finalizer by hand."""
    rig = real_rig(target)
    put(rig, 0, "20m", effects=EFFECTS)
    await lived(rig, 2)
    assert len(await living(target)) == 1
    rig.server.remove(MAINTENANCE_WINDOW, NAMESPACE, "w")
    rig.start()
    await OrphanScan(rig.life.ports).scan(Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery")))
    assert await living(target) == []


async def test_killed_between_every_two_calls_nothing_is_left_behind(target: AlertmanagerTarget) -> None:
    calls = 0
    while await killed(target, calls):
        calls += 1
    assert calls > 40


async def killed(target: AlertmanagerTarget, calls: int) -> bool:
    """False when there was no such call any more."""
    rig = real_rig(target)
    put(rig, 0, "1m", effects=EFFECTS)
    number, died = calls // 2 + 1, False
    rig.start(Faults(kill_after=number) if calls % 2 else Faults(kill_before=number))
    try:
        await lived(rig, 30)
        assert len(await living(target)) == 1
        await lived(rig, 40)
    except KilledError:
        died = True
        rig.start()
        await lived(rig, 4)
        assert len(await living(target)) == ("active" in seen(rig)), f"call {calls}"
        await lived(rig, 70)
    assert await living(target) == [], f"call {calls}"
    assert (finalizers(rig), seen(rig).get("silence")) == ([], None), f"call {calls}"
    return died
