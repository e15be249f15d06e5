"""A press that does not count is explained to whoever pressed: signed presses alone, once, in time, and only by Slack's own addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web

from docuquery_operator.adapters.slack_reply import SlackReply
from docuquery_operator.domain.paging.buttons import Button
from docuquery_operator.domain.paging.replies import REASONS, reason
from docuquery_operator.ports import INCIDENT, JSON
from docuquery_operator.web.receiver import slack as receiver_slack
from docuquery_operator.web.receiver.app import Receiver, serve
from docuquery_operator.web.receiver.settings import ReceiverSettings
from tests.fakes.alerting import NAMESPACE, place, secrets
from tests.fakes.cluster import FakeCluster
from tests.fakes.sinks import certificate, signed_slack

pytestmark = pytest.mark.timeout(30)
SECRET, WRONG = "the-signing-secret-of-it", "somebody-elses-secret"
ANA, EVE = "U0ANA0001", "U0EVE0003"
DIGEST, UID = "0123456789ab", "uid-of-db-down"
STEP: JSON = {"name": "restartWorkload", "kind": "restartWorkload", "state": "AwaitingApproval", "planDigest": DIGEST}
BUTTON = Button(NAMESPACE, "db-down", UID, 1, "restartWorkload", DIGEST)


class Hook:
    """Slack's end of response_url; hanging: seconds before it answers."""

    def __init__(self) -> None:
        self.url, self.hanging, self.status = "", 0.0, 200
        self.told: list[JSON] = []
        self.other = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.path != "/actions/T1/2/three":
            self.other += 1
            return web.Response()
        self.told.append(await request.json())
        await asyncio.sleep(self.hanging)
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    @property
    def texts(self) -> list[str]:
        return [body["text"] for body in self.told]


class World:
    """The receiver over HTTP, one incident that waits for an approval, and the hook."""

    def __init__(self, hook: Hook, url: str, receiver: Receiver, session: aiohttp.ClientSession, at: Any) -> None:
        self.hook, self.url, self.receiver, self._session, self.at = hook, url, receiver, session, at

    def body(self, user: str, action: str, button: Button | str = BUTTON, address: str | None = None) -> bytes:
        value = button if isinstance(button, str) else button.value()
        entry = {"action_id": action, "value": value, "action_ts": f"{self.at.clock.now().timestamp():.6f}"}
        payload = {"type": "block_actions", "user": {"id": user}, "actions": [entry]}
        payload["response_url"] = self.hook.url if address is None else address
        return urlencode({"payload": json.dumps(payload)}).encode()

    async def send(self, body: bytes, secret: str = SECRET, skew: float = 0.0, **headers: str) -> int:
        signed = signed_slack(secret, body, int(self.at.clock.now().timestamp() + skew)) | headers
        async with self._session.post(f"{self.url}/slack/actions", data=body, headers=signed) as answer:
            return answer.status

    async def press(self, *what: Any, **more: Any) -> int:
        status = await self.send(self.body(*what, **more))
        await self.receiver.ended()
        return status

    def edit(self, change: Any) -> None:
        self.at.server.edit(INCIDENT, NAMESPACE, "db-down", change)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def world(tmp_path: Path, tls: Any) -> AsyncIterator[World]:
    hook = Hook()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hook.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls[0]).start()
    hook.url = f"https://localhost:{runner.addresses[0][1]}/actions/T1/2/three"
    at = place(approvers=[{"id": f"slack:{ANA}", "user": "ana"}])
    meta = {"name": "db-down", "namespace": NAMESPACE, "uid": UID}
    spec = {"stackRef": {"name": "docuquery"}, "type": "DatabaseConnectionFailure"}
    at.server.put(INCIDENT, {"metadata": meta, "spec": spec, "status": {"phase": "Identified", "round": 1, "steps": [STEP]}})
    given = ReceiverSettings(receiver_secrets=secrets(tmp_path, slackSigningSecrets=SECRET), watch_namespaces=[NAMESPACE])
    receiver = Receiver(given, FakeCluster(at.server), at.clock, SlackReply(["127.0.0.0/8"], ca=tls[1]))
    served, port = await serve(receiver.app(), "127.0.0.1", 0, 0.0)
    async with aiohttp.ClientSession() as session:
        yield World(hook, f"http://127.0.0.1:{port}", receiver, session, at)
    await served.cleanup()
    await receiver.ended()
    await runner.cleanup()


async def test_nobody_is_told_of_a_press_that_counts(world: World) -> None:
    for action in ("acknowledge", "approve"):
        assert await world.press(ANA, action) == 200
    assert world.hook.told == []
    assert world.at.server.find(INCIDENT, NAMESPACE, "db-down")["spec"]["approvals"][0]["by"] == f"slack:{ANA}"


async def test_whoever_is_no_approver_hears_it_alone_and_the_message_stays(world: World) -> None:
    assert await world.press(EVE, "approve") == 200
    (told,) = world.hook.told
    assert (told["response_type"], told["replace_original"]) == ("ephemeral", False)
    assert told["text"] == f"{NAMESPACE}/db-down: {REASONS['not_an_approver']}"


@pytest.mark.parametrize(
    ("button", "change", "outcome"),
    [
        (Button(NAMESPACE, "db-down", UID, 1, "restartWorkload", "ba9876543210"), None, "outdated"),
        (Button(NAMESPACE, "db-down", UID, 2, "restartWorkload", DIGEST), None, "outdated"),
        (Button(NAMESPACE, "db-down", "uid-of-another", 1, "restartWorkload", DIGEST), None, "gone"),
        (Button("kube-system", "db-down", UID, 1), None, "namespace_not_watched"),
        (BUTTON, lambda i: i["status"].update(phase="Resolved"), "over"),
        ("nonsense", None, "not_a_button"),
    ],
    ids=["another digest", "another round", "another uid", "another namespace", "over", "no button"],
)
async def test_each_reason_is_told(world: World, button: Any, change: Any, outcome: str) -> None:
    if change:
        world.edit(change)
    for action in ("approve", "acknowledge")[: 2 if outcome in ("gone", "over", "namespace_not_watched") else 1]:
        world.hook.told.clear()
        assert await world.press(ANA, action, button) == 200
        assert [REASONS[outcome].lower() in text.lower() for text in world.hook.texts] == [True], world.hook.texts


async def test_a_second_answer_of_the_same_person_is_told_to_be_known(world: World) -> None:
    await world.press(ANA, "reject")
    world.at.clock.jump(2)
    await world.press(ANA, "approve")
    assert world.hook.texts == [f"{NAMESPACE}/db-down: {REASONS['known']}"]


async def test_what_is_not_signed_or_too_old_makes_nothing_go_out(world: World) -> None:
    body = world.body(EVE, "approve")
    assert [await world.send(body, WRONG), await world.send(body, skew=-400), await world.send(body, skew=90)] == [401] * 3
    await world.receiver.ended()
    assert (world.hook.told, world.hook.other) == ([], 0)


async def test_a_replay_is_told_nothing_more(world: World) -> None:
    body = world.body(EVE, "approve")
    for _ in range(3):
        assert await world.send(body, **{"X-Slack-Retry-Num": "1"}) == 200
        await world.receiver.ended()
    assert len(world.hook.told) == 1
    # Another replica has stored it; Slack sends it to this one again.
    taken = world.body(ANA, "acknowledge")
    assert await world.send(taken) == 200
    world.receiver._slack._seen = receiver_slack.Seen()
    assert await world.send(taken, **{"X-Slack-Retry-Num": "1"}) == 200
    await world.receiver.ended()
    assert len(world.hook.told) == 1


async def test_slack_has_its_answer_at_once_whatever_its_hook_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_slack, "TELL_SECONDS", 0.5)
    world.hook.hanging = 20.0
    began = asyncio.get_running_loop().time()
    assert await world.send(world.body(EVE, "approve")) == 200
    assert asyncio.get_running_loop().time() - began < 0.4
    await world.receiver.ended()
    assert asyncio.get_running_loop().time() - began < 2.0
    assert b'docuquery_receiver_reasons_total{outcome="failed"} 1.0' in world.receiver.metrics.text()


async def test_so_many_at_once_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_slack, "TELLING", 2)
    world.hook.hanging = 0.5
    for n in range(4):
        assert await world.send(world.body(f"{EVE}{n}", "approve")) == 200
    await world.receiver.ended()
    assert len(world.hook.told) == 2
    assert b'docuquery_receiver_reasons_total{outcome="too_many"} 2.0' in world.receiver.metrics.text()


async def test_a_redirect_is_not_followed(world: World) -> None:
    world.hook.status = 307
    await world.press(EVE, "approve")
    assert (len(world.hook.told), world.hook.other) == (1, 0)


ELSEWHERE = [
    "http://hooks.slack.com/actions/T/1/x", "https://hooks.slack.com.evil.example/actions/T/1/x", "https://hooks.slack.com@evil.example/actions/x",
    "https://evil.example/actions/hooks.slack.com", "https://hooks.slack.com:8443/actions/T/1/x", "https://hooks.slack.com/services/T/B/x",
    "https://xhooks.slack.com/actions/x", "https://slack.com/actions/x", "https://169.254.169.254/actions/x", "https://10.0.0.1/actions/x",
    "https://u:p@hooks.slack.com/actions/x", "https://hooks.slack.com\\@evil.example/actions/x", "https://hooks.slack.com#@evil.example/actions/x",
    "https://[::ffff:169.254.169.254]/actions/x", "https://hooks.slack.com/actions/\r\nHost: evil", "https://hooks.slack.com:x/actions/", "file:///actions/x",
    "//hooks.slack.com/actions/x", "", "https://", "https://hooks.slack.com./actions/x", "https://hооks.slack.com/actions/x", "https://hooks.slack.com/actions/" + "x" * 1100,
]  # fmt: skip
LOOPBACK = [
    "https://127.0.0.1:1/actions/x",
    "https://localhost:1/actions/x",
    "https://[::1]:1/actions/x",
    "https://127.9.9.9/actions/x",
]


@pytest.mark.parametrize("address", ELSEWHERE)
async def test_no_other_address_is_ever_used(world: World, address: str) -> None:
    reply = SlackReply(["127.0.0.0/8", "10.0.0.0/8"])
    assert not reply.fine(address)
    assert await reply.say(address, "x", 1.0) == "refused"
    await world.press(EVE, "approve", address=address)
    assert (world.hook.told, world.hook.other) == ([], 0)


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_only_where_the_administrator_allows_it(address: str) -> None:
    assert not SlackReply().fine(address)
    assert not SlackReply(["10.0.0.0/8"]).fine(address)
    assert SlackReply(["127.0.0.0/8", "::1/128"]).fine(address)


def test_slack_itself_is_fine() -> None:
    for host in ("hooks.slack.com", "HOOKS.slack.com", "hooks.slack.com:443", "hooks.slack-gov.com"):
        assert SlackReply().fine(f"https://{host}/actions/T0123/456/AbC")


@pytest.mark.parametrize("address", [17, None, ["x"], {"a": 1}])
async def test_an_address_of_another_kind_is_no_address(world: World, address: Any) -> None:
    assert await world.press(EVE, "approve", address=address or 0) == 200
    assert world.hook.told == []


def test_names_are_escaped_and_capped() -> None:
    assert reason("over", "a<b", "c&d>").startswith("a&lt;b/c&amp;d&gt;: it is over")
    assert len(reason("over", "n" * 400, "x")) < 300
    assert reason("not_a_button", "", "") == "This button is none that the operator can read."
    assert [reason(o, "n", "x") for o in ("acknowledged", "approved", "rejected", "replayed", "resolved")] == [""] * 5
