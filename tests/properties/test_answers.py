"""Answers from Slack and PagerDuty: whoever has no secret changes nothing; replays, skewed clocks and races neither."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.paging.buttons import Button
from docuquery_operator.ports import INCIDENT, JSON
from docuquery_operator.ports.speaker import Silence
from docuquery_operator.web.receiver.answers import Answers
from docuquery_operator.web.receiver.metrics import ReceiverMetrics
from docuquery_operator.web.receiver.pagerduty import PagerDuty
from docuquery_operator.web.receiver.secrets import SecretFiles
from docuquery_operator.web.receiver.signatures import slack_signed
from docuquery_operator.web.receiver.slack import Slack
from tests.fakes.alerting import NAMESPACE, place, secrets
from tests.fakes.clock import ManualClock
from tests.fakes.cluster import FakeCluster, FakeServer
from tests.fakes.sinks import signed_pagerduty, signed_slack

NEW, OLD, WRONG = "new-signing-secret-1", "old-signing-secret-1", "somebody-elses-secret"
ANA, BEN, EVE = "U0ANA0001", "U0BEN0002", "U0EVE0003"
DIGEST, UID = "0123456789ab", "uid-of-db-down"
STEP: JSON = {"name": "restartWorkload", "kind": "restartWorkload", "state": "AwaitingApproval", "planDigest": DIGEST}
BUTTON = Button(NAMESPACE, "db-down", UID, 1, "restartWorkload", DIGEST)


class Fixed(SecretFiles):
    """Two secrets, as while one is exchanged for the other."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))

    def lines(self, name: str) -> tuple[str, ...]:
        return NEW, OLD


@dataclass
class World:
    """One incident that waits for an approval, and several replicas of the receiver."""

    replicas: int = 2
    server: FakeServer = field(init=False)
    clock: ManualClock = field(init=False)

    def __post_init__(self) -> None:
        people = [{"id": f"slack:{ANA}", "user": "ana"}, {"id": f"slack:{BEN}", "user": "ben"}]
        at = place(approvers=people)
        self.server, self.clock = at.server, at.clock
        status = {"phase": "Identified", "round": 1, "steps": [STEP], "times": {"openedAt": format_time(self.clock.now())}}
        meta = {"name": "db-down", "namespace": NAMESPACE, "uid": UID}
        spec = {"stackRef": {"name": "docuquery"}, "type": "DatabaseConnectionFailure"}
        self.server.put(INCIDENT, {"metadata": meta, "spec": spec, "status": status})
        self.clock.jump(600)
        self.metrics = ReceiverMetrics()
        self.slack, self.duty = [], []
        for _ in range(self.replicas):
            answers = Answers(FakeCluster(self.server), [NAMESPACE])
            self.slack.append(Slack(Fixed(), answers, self.clock, self.metrics, Silence()))
            self.duty.append(PagerDuty(Fixed(), answers, self.clock, self.metrics))

    @property
    def spec(self) -> JSON:
        found = self.server.find(INCIDENT, NAMESPACE, "db-down")
        assert found is not None
        return dict(found["spec"])

    @property
    def untouched(self) -> bool:
        return not {"acknowledged", "approvals", "resolved"} & set(self.spec)

    def press(self, user: str, action: str, button: Button | str = BUTTON, at: float | None = None) -> bytes:
        """The body of a press; at: seconds since 1970."""
        value = button if isinstance(button, str) else button.value()
        stamp = self.clock.now().timestamp() if at is None else at
        entry = {"action_id": action, "value": value, "action_ts": f"{stamp:.6f}", "type": "button"}
        payload = {"type": "block_actions", "user": {"id": user, "username": "x"}, "actions": [entry], "team": {"id": "T1"}}
        return urlencode({"payload": json.dumps(payload)}).encode()

    def headers(self, body: bytes, secret: str = NEW, skew: float = 0.0) -> dict[str, str]:
        return signed_slack(secret, body, int(self.clock.now().timestamp() + skew))

    async def send(self, body: bytes, replica: int = 0, **more: Any) -> int:
        answer = await self.slack[replica].answer(body, self.headers(body, **more))
        return answer.status

    def event(self, kind: str, user: str = "PLH1HKV", key: str = UID, name: str = "01ABC", **more: Any) -> bytes:
        event = {
            "id": name, "event_type": f"incident.{kind}", "occurred_at": format_time(self.clock.now()),
            "agent": {"id": user, "type": "user_reference"}, "data": {"id": "PGR0VU2", "incident_key": key},
        }  # fmt: skip
        return json.dumps({"event": event | more}).encode()


def answered(world: World) -> list[tuple[str, str]]:
    return [(a["by"], a["decision"]) for a in world.spec.get("approvals", [])]


@settings(max_examples=120, deadline=None)
@given(st.integers(-900, 900))
def test_a_timestamp_holds_for_five_minutes_and_hardly_ahead(skew: int) -> None:
    world = World()
    status = asyncio.run(world.send(world.press(ANA, "acknowledge"), skew=skew))
    fine = -300 <= skew <= 60
    assert (status, world.untouched) == ((200, False) if fine else (401, True))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_not_a_byte_may_differ(data: st.DataObject) -> None:
    world = World()
    body = world.press(ANA, "approve")
    headers = world.headers(body, data.draw(st.sampled_from([NEW, OLD])))
    what = data.draw(st.sampled_from(["body", "signature", "timestamp", "secret", "nothing"]))
    if what == "body":
        at = data.draw(st.integers(0, len(body) - 1))
        body = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    elif what == "signature":
        headers["X-Slack-Signature"] = data.draw(st.text(max_size=80) | st.just(headers["X-Slack-Signature"][:-1]))
    elif what == "timestamp":
        headers["X-Slack-Request-Timestamp"] = data.draw(st.text(max_size=14) | st.integers().map(str))
    elif what == "secret":
        headers = world.headers(body, WRONG)
    status = asyncio.run(world.slack[0].answer(body, headers)).status
    assert (status, world.untouched) == ((200, False) if what == "nothing" else (401, True))


PRESSES = st.lists(
    st.tuples(
        st.sampled_from([ANA, BEN, EVE]),
        st.sampled_from(["approve", "reject", "acknowledge"]),
        st.integers(0, 1),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(PRESSES, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 1)), max_size=8))
def test_replays_change_nothing(presses: list[tuple[str, str, int, int]], again: list[tuple[int, int]]) -> None:
    """Whoever records requests and sends them again within their five minutes, to any replica, changes nothing."""
    world = World()

    async def run() -> None:
        sent = []
        for user, action, replica, wait in presses:
            world.clock.jump(wait / 10)
            body = world.press(user, action)
            headers = world.headers(body)
            sent.append((body, headers))
            assert (await world.slack[replica].answer(body, headers)).status == 200
        before = world.spec
        for number, replica in again:
            world.clock.jump(5)
            body, headers = sent[number % len(sent)]
            answer = await world.slack[replica].answer(body, headers | {"X-Slack-Retry-Num": "1"})
            assert answer.status == 200
        assert world.spec == before

    asyncio.run(run())
    mine = answered(world)
    assert len(mine) == len(set(mine))
    assert f"slack:{EVE}" not in {by for by, _ in mine}
    for user in (ANA, BEN):
        decisions = [d for by, d in mine if by == f"slack:{user}"]
        # No yes after a no.
        assert decisions in ([], ["Approve"], ["Reject"], ["Approve", "Reject"])


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        replace,
        st.just(BUTTON),
        namespace=st.sampled_from([NAMESPACE, "kube-system", "../x"]),
        incident=st.sampled_from(["db-down", "other"]),
        uid=st.sampled_from([UID, "uid-of-another"]),
        round=st.integers(0, 2),
        step=st.sampled_from(["restartWorkload", "other", ""]),
        digest=st.sampled_from([DIGEST, "ba9876543210", ""]),
    ),
    st.sampled_from([ANA, EVE]),
)
def test_an_answer_is_for_exactly_one_plan(button: Button, user: str) -> None:
    world = World()
    assert asyncio.run(world.send(world.press(user, "approve", button))) == 200
    meant = button == BUTTON and user == ANA
    assert answered(world) == ([(f"slack:{ANA}", "Approve")] if meant else [])


VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=20), lambda i: st.lists(i, max_size=3) | st.dictionaries(
    st.sampled_from(["namespace", "incident", "uid", "round", "step", "digest", "x"]), i, max_size=4), max_leaves=8)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES, VALUES)
def test_signed_nonsense_is_answered_and_changes_nothing(value: Any, user: Any, actions: Any) -> None:
    world = World()
    payloads = [
        {"type": "block_actions", "user": user, "actions": actions},
        {"type": "block_actions", "user": {"id": user}, "actions": [{"action_id": "approve", "value": value}]},
        {"type": "block_actions", "user": {"id": ANA}, "actions": [{"action_id": "approve", "value": json.dumps(value)}]},
        value,
    ]
    for payload in payloads:
        assert asyncio.run(world.send(urlencode({"payload": json.dumps(payload)}).encode())) == 200
    assert asyncio.run(world.send(json.dumps(value).encode())) == 200
    assert world.untouched


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ANA, BEN]), st.sampled_from(["approve", "reject", "acknowledge"])), max_size=6))
def test_answers_at_once_lose_none(presses: list[tuple[str, str]]) -> None:
    """And none that people write by kubectl beside them."""
    world = World()

    async def by_hand() -> None:
        await asyncio.sleep(0)

        def add(obj: JSON) -> None:
            given = {"step": "restartWorkload", "planDigest": DIGEST, "by": "kim", "decision": "Approve"}
            obj["spec"].setdefault("approvals", []).append(given)

        world.server.edit(INCIDENT, NAMESPACE, "db-down", add)

    async def run() -> None:
        bodies = [world.press(user, action) for user, action in presses]
        sends = [world.send(body, replica=n % 2) for n, body in enumerate(bodies)]
        assert set(await asyncio.gather(*sends, by_hand())) <= {200, None}

    asyncio.run(run())
    mine = answered(world)
    assert ("kim", "Approve") in mine
    for user in (ANA, BEN):
        wanted = {d for u, d in presses if u == user and d != "acknowledge"}
        given = {d.lower() for by, d in mine if by == f"slack:{user}"}
        # A no may have come first; then there is no yes.
        assert given in (wanted, wanted - {"approve"} or wanted)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from([NEW, OLD, WRONG]), max_size=4), st.booleans(), st.text(max_size=20))
def test_pagerduty_signs_with_one_of_several(used: list[str], spoilt: bool, noise: str) -> None:
    world = World()
    body = world.event("acknowledged")
    header = ",".join([noise.replace(",", ""), *(signed_pagerduty(s, body) for s in used)])
    sent = body.replace(b"PLH1HKV", b"PLH1HKW") if spoilt else body
    status = asyncio.run(world.duty[0].answer(sent, {"X-PagerDuty-Signature": header})).status
    fine = bool({NEW, OLD} & set(used)) and not spoilt
    assert (status, world.untouched) == ((200, False) if fine else (401, True))


async def _event(world: World, body: bytes, replica: int = 0) -> None:
    answer = await world.duty[replica].answer(body, {"X-PagerDuty-Signature": signed_pagerduty(NEW, body)})
    assert answer.status == 200


async def test_pagerduty_acknowledges_and_resolves() -> None:
    world = World()
    taken = world.event("acknowledged", key=f"{UID}/teamLead")
    await _event(world, taken)
    at = format_time(world.clock.now())
    assert world.spec["acknowledged"] == {"by": "pagerduty:PLH1HKV", "at": at}
    world.clock.jump(60)
    await _event(world, world.event("acknowledged", user="PBEN123", name="02"))
    await _event(world, taken, replica=1)
    assert world.spec["acknowledged"]["by"] == "pagerduty:PBEN123"
    await _event(world, world.event("resolved", name="03"))
    assert world.spec["resolved"]["by"] == "pagerduty:PLH1HKV"


@pytest.mark.parametrize(
    "change",
    [
        {"agent": {"id": "PSVC123", "type": "service_reference"}},
        {"agent": {"id": "x'); drop", "type": "user_reference"}},
        {"agent": None},
        {"data": {"incident_key": "uid-of-another"}},
        {"data": {}},
        {"data": None},
        {"event_type": "incident.annotated"},
        {"occurred_at": "soon"},
        {"occurred_at": "2099-01-01T00:00:00Z"},
    ],
    ids=str,
)
async def test_only_what_a_user_did_to_our_alert_counts(change: JSON) -> None:
    world = World()
    for kind in ("acknowledged", "resolved"):
        await _event(world, world.event(kind, **change))
    assert world.untouched


async def test_what_was_said_before_it_was_opened_again_does_not_close_it() -> None:
    world = World()
    late = world.event("resolved", occurred_at=format_time(world.clock.now() - timedelta(hours=2)))
    await _event(world, late)
    assert world.untouched


async def test_an_older_press_does_not_take_it_from_whoever_has_it() -> None:
    world = World()
    early = world.press(BEN, "acknowledge")
    world.clock.jump(30)
    await world.send(world.press(ANA, "acknowledge"))
    await world.send(early, replica=1)
    assert world.spec["acknowledged"]["by"] == f"slack:{ANA}"


def test_secrets_that_are_too_short_are_none(tmp_path: Path) -> None:
    files = SecretFiles(secrets(tmp_path, slackSigningSecrets="\n short \nlong-enough-to-be-one\n"))
    assert files.lines("slackSigningSecrets") == ("long-enough-to-be-one",)
    assert files.lines("pagerdutySecrets") == ()


def test_the_signatures_are_those_of_the_documentation() -> None:
    """Slack's own example (api.slack.com/authentication/verifying-requests-from-slack)."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
        b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
        b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
        b"803a0bc887a14d10d2c447fce8b6703c"
    )
    secret, wanted = (
        "8f742231b10e8888abcd99yyyzzz85a5",
        "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    )
    assert slack_signed([secret], "1531420618", body, wanted)
    made = hmac.new(secret.encode(), b"v0:1531420618:" + body, hashlib.sha256).hexdigest()
    assert wanted == f"v0={made}"
