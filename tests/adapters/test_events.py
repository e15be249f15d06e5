"""Events: one a transition, counted up where it repeats, bounded, and never a reason to fail."""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from docuquery_operator.adapters.access import Access
from docuquery_operator.adapters.events import PER_HOUR, REMEMBERED, EventRecorder
from docuquery_operator.adapters.kubernetes import KubernetesCluster
from docuquery_operator.ports import EVENT, INCIDENT, JSON, POD, ApiError, Conflict, Kind, Refused, Unavailable
from tests.adapters import misbehaving as m
from tests.fakes.clock import ManualClock
from tests.stack.services import free_port

pytestmark = pytest.mark.timeout(30)
OBJECT: JSON = {"metadata": {"name": "db-down", "namespace": "docuquery", "uid": "u-1"}}


class Server:
    """The part of an API server that takes Events, with the rules of events.k8s.io/v1."""

    def __init__(self) -> None:
        self.events: dict[str, JSON] = {}
        self.problem: ApiError | None = None
        self.calls = 0

    async def create(self, kind: Kind, namespace: str, body: JSON) -> JSON:
        self._called(kind)
        name = body["metadata"]["name"]
        if name in self.events:
            raise Conflict(f"{name} exists")
        assert namespace == body["metadata"]["namespace"] == body["regarding"]["namespace"]
        assert len(name) <= 253
        assert all(part and part.strip("-") == part for part in name.split(".")), name
        assert len(body["note"].encode()) <= 1024
        assert 0 < len(body["reason"]) <= 128
        assert 0 < len(body["action"]) <= 128
        assert 0 < len(body["reportingInstance"]) <= 128
        assert body["type"] in ("Normal", "Warning")
        datetime.strptime(body["eventTime"], "%Y-%m-%dT%H:%M:%S.%fZ")
        self.events[name] = copy.deepcopy(body)
        return body

    async def patch(self, kind: Kind, namespace: str, name: str, body: JSON, subresource: str = "") -> JSON | None:
        self._called(kind)
        if name not in self.events:
            return None
        assert set(body) == {"series"}
        assert body["series"]["count"] >= 2
        self.events[name].update(copy.deepcopy(body))
        return self.events[name]

    def _called(self, kind: Kind) -> None:
        assert kind is EVENT
        self.calls += 1
        if self.problem is not None:
            raise self.problem

    async def get(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        raise NotImplementedError

    async def list(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[JSON]:
        raise NotImplementedError

    async def served(self, kind: Kind, namespace: str) -> bool:
        raise NotImplementedError

    async def evict(self, namespace: str, pod: str, uid: str, dry_run: bool = False) -> str:
        raise NotImplementedError

    async def logs(self, namespace: str, pod: str, container: str, previous: bool, lines: int) -> str:
        raise NotImplementedError


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recorder(server: Server, clock: ManualClock) -> EventRecorder:
    return EventRecorder(server, clock, "docuquery-operator", "pod-" + "x" * 200)


def named(name: str = "db-down", uid: str = "u-1") -> JSON:
    return {"metadata": {"name": name, "namespace": "docuquery", "uid": uid}}


async def test_what_is_said(recorder: EventRecorder, server: Server) -> None:
    await recorder.post(INCIDENT, OBJECT, "Warning", "Opened", "the database refuses connections")
    (event,) = server.events.values()
    assert event["metadata"]["name"].startswith("db-down.")
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "Opened", "Opened")
    assert event["note"] == "the database refuses connections"
    assert event["reportingController"] == "docuquery-operator"
    assert event["regarding"] == {
        "apiVersion": "ops.docuquery.ai/v1alpha1",
        "kind": "Incident",
        "name": "db-down",
        "namespace": "docuquery",
        "uid": "u-1",
    }
    assert "series" not in event


async def test_about_a_kind_of_the_core(recorder: EventRecorder, server: Server) -> None:
    await recorder.post(POD, OBJECT, "Normal", "Evicted", "gone")
    (event,) = server.events.values()
    assert event["regarding"]["apiVersion"] == "v1"


async def test_each_transition_is_an_event(recorder: EventRecorder, server: Server) -> None:
    for reason, message in (("Opened", "a"), ("Diagnosed", "a"), ("Diagnosed", "b"), ("Healed", "c")):
        await recorder.post(INCIDENT, OBJECT, "Normal", reason, message)
    await recorder.post(INCIDENT, named(uid="u-2"), "Normal", "Opened", "a")
    assert len(server.events) == 5
    assert all("series" not in e for e in server.events.values())


async def test_a_repetition_is_counted(recorder: EventRecorder, server: Server, clock: ManualClock) -> None:
    """The count is how often it happened, the first time included."""
    for times in range(1, 6):
        await recorder.post(INCIDENT, OBJECT, "Warning", "Refused", "the budget is used up")
        (event,) = server.events.values()
        assert event.get("series", {}).get("count", 1) == times
        clock.advance(60)
    assert event["series"]["lastObservedTime"] > event["eventTime"]


async def test_after_ten_minutes_it_is_said_anew(recorder: EventRecorder, server: Server, clock: ManualClock) -> None:
    await recorder.post(INCIDENT, OBJECT, "Warning", "Refused", "no")
    clock.jump(601)
    await recorder.post(INCIDENT, OBJECT, "Warning", "Refused", "no")
    assert len(server.events) == 2


async def test_an_event_that_was_removed_is_said_anew(recorder: EventRecorder, server: Server, clock: ManualClock) -> None:
    await recorder.post(INCIDENT, OBJECT, "Warning", "Refused", "no")
    server.events.clear()
    clock.advance(1)
    await recorder.post(INCIDENT, OBJECT, "Warning", "Refused", "no")
    assert len(server.events) == 1


async def test_a_new_process_says_it_once_more_and_goes_on(server: Server, clock: ManualClock) -> None:
    for _ in range(2):
        clock.advance(1)
        await EventRecorder(server, clock, "c", "i").post(INCIDENT, OBJECT, "Warning", "Refused", "no")
    assert len(server.events) == 2


@pytest.mark.parametrize("message", ["x" * 5000, "ü" * 5000, "漢" * 5000, "x" + "🌊" * 5000, "\ud800" * 2000, ""])
async def test_a_message_is_capped_in_bytes(recorder: EventRecorder, server: Server, message: str) -> None:
    """The API server counts bytes, and refuses the whole Event above 1024."""
    await recorder.post(INCIDENT, OBJECT, "Normal", "Opened", message)
    (event,) = server.events.values()
    assert len(event["note"].encode()) <= 1024
    assert len(event["note"].encode()) >= min(len(message.encode(errors="replace")), 990)


@pytest.mark.parametrize("name", ["a" * 253, "a" * 199 + "-b", "a" * 199 + ".b", "a" * 198 + "--b", "a.b.c", "x"])
async def test_any_name_of_an_object_gives_a_valid_name(recorder: EventRecorder, server: Server, name: str) -> None:
    await recorder.post(INCIDENT, named(name), "Normal", "Opened", "m")
    (event,) = server.events.values()
    assert event["regarding"]["name"] == name


async def test_no_secret_is_posted(recorder: EventRecorder, server: Server) -> None:
    message = "connect to postgresql://docuquery:hunter2-marker@postgres failed, password=hunter2-marker " + "x" * 2000
    await recorder.post(INCIDENT, OBJECT, "Warning", "Opened", message)
    assert "hunter2" not in repr(server.events)


async def test_a_storm_is_cut_and_ends(recorder: EventRecorder, server: Server, clock: ManualClock) -> None:
    """At most 20 an object and hour, and again 20 in the next hour, although it never paused."""
    for number in range(3 * 60):
        await recorder.post(INCIDENT, OBJECT, "Normal", "Probed", f"round {number}")
        clock.jump(60)
    assert 2 * PER_HOUR < len(server.events) <= 3 * PER_HOUR
    before = len(server.events)
    await recorder.post(INCIDENT, named(uid="other"), "Normal", "Opened", "not this one's fault")
    assert len(server.events) == before + 1


async def test_what_it_remembers_is_bounded(recorder: EventRecorder, server: Server) -> None:
    for number in range(REMEMBERED + 50):
        await recorder.post(INCIDENT, named(uid=f"u-{number}"), "Normal", "Opened", "m")
    assert len(recorder._seen) <= REMEMBERED
    assert len(recorder._budget) <= REMEMBERED


@pytest.mark.parametrize(
    "problem", [Unavailable("away"), Refused(403, "no rights"), Conflict("exists")], ids=lambda p: type(p).__name__
)
async def test_never_raises(
    recorder: EventRecorder, server: Server, clock: ManualClock, problem: ApiError, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither for the first time nor when counting; it is logged, and later ones are posted."""
    server.problem = problem
    await recorder.post(INCIDENT, OBJECT, "Normal", "Opened", "m")
    assert [r.message for r in caplog.records] == ["event not posted"]
    server.problem = None
    clock.advance(1)
    await recorder.post(INCIDENT, OBJECT, "Normal", "Opened", "m")
    assert len(server.events) == 1, "what was not posted is not remembered as posted"
    server.problem = problem
    await recorder.post(INCIDENT, OBJECT, "Normal", "Opened", "m")
    server.problem = None
    await recorder.post(INCIDENT, OBJECT, "Normal", "Opened", "m")
    (event,) = server.events.values()
    assert event["series"]["count"] == 3


@asynccontextmanager
async def against(behaviour: m.Behaviour) -> AsyncIterator[tuple[EventRecorder, m.Peer]]:
    """A recorder with the real client."""
    async with m.serving(behaviour) as peer, KubernetesCluster(Access(f"http://127.0.0.1:{peer.port}"), "c", 0.2) as cluster:
        yield EventRecorder(cluster, ManualClock(), "c", "i"), peer


SICK: dict[str, Any] = {
    "silent": m.silent,
    "closes": m.closes,
    "RST": m.resets,
    "garbage": m.answers(b"\xff" * 100),
    "not JSON": m.answers(m.http_answer(b"201 Created", b"<html>")),
    "half a body": m.answers(m.http_answer(b"201 Created", b'{"metadata": {}}')[:-5]),
    "no such kind": m.answers(m.http_answer(b"404 Not Found", b"404 page not found")),
    "namespace ends": m.answers(m.http_answer(b"403 Forbidden", b"it is being terminated")),
    "too old": m.answers(m.http_answer(b"500 Oops", b"")),
}


@pytest.mark.parametrize("name", SICK)
async def test_never_raises_with_the_real_client(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with against(SICK[name]) as (recorder, peer):
        await recorder.post(INCIDENT, OBJECT, "Normal", "Opened", "m")
        assert peer.connections
    assert "event not posted" in caplog.text


async def test_never_raises_when_nobody_listens() -> None:
    async with KubernetesCluster(Access(f"http://127.0.0.1:{free_port()}"), "c", 0.5) as cluster:
        await EventRecorder(cluster, ManualClock(), "c", "i").post(INCIDENT, OBJECT, "Normal", "Opened", "m")
