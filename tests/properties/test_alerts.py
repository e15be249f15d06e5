"""Messages of alerts that come twice, late, in another order, or not at all: the same end, one incident a fault, nothing lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from docuquery_operator.ports import JSON, ApiError, Unavailable
from docuquery_operator.web.receiver.payload import GarbageError, parse
from tests.fakes.alerting import Place, alert, message, place, receiver
from tests.fakes.clock import START
from tests.fakes.cluster import FakeCluster

DATABASE = {"docuquery_type": "DatabaseConnectionFailure", "docuquery_component": "postgres"}
LABELS = [
    DATABASE,
    DATABASE | {"instance": "b"},
    DATABASE | {"severity": "critical"},
    {"docuquery_type": "DatabaseConnectionFailure"},
]
MIXED = [
    *LABELS,
    {"docuquery_type": "ServiceLevelBreach", "docuquery_component": "api"},
    {"docuquery_type": "RedisConnection", "docuquery_component": "redis"},
    {"docuquery_type": "NotAllowed", "docuquery_component": "redis"},
    {"docuquery_component": "api"},
]


@dataclass(frozen=True)
class Story:
    """What happened: at each instant which alerts changed, as the numbers of the alerts; a change begins or ends one."""

    changes: tuple[int, ...]

    def messages(self, labels: list[dict[str, str]]) -> list[list[JSON]]:
        """A message after each change, with everything that has ever fired."""
        began: dict[int, datetime] = {}
        ended: dict[int, datetime | None] = {}
        found = []
        for step, number in enumerate(self.changes):
            now, which = START + timedelta(seconds=step + 1, microseconds=1234), number % len(labels)
            if which not in began or ended[which] is not None:
                began[which], ended[which] = now, None
            else:
                ended[which] = now
            found.append([alert(f"a{n}", began[n], ended[n], labels[n]) for n in began])
        return found


STORIES = st.lists(st.integers(0, 7), min_size=1, max_size=8).map(lambda c: Story(tuple(c)))


def seen(at: Place) -> dict[str, tuple[str, bool]]:
    return {f: (a["startsAt"], "endsAt" in a) for f, a in at.held().items()}


async def _told(messages: list[list[JSON]], at: Place | None = None) -> Place:
    at = at or place()
    for alerts in messages:
        await at.send(message(alerts))
    return at


@settings(max_examples=80, deadline=None)
@given(STORIES, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=8))
def test_messages_that_come_twice_or_late_change_nothing(story: Story, again: list[tuple[int, int]]) -> None:
    messages = story.messages(LABELS)
    order = list(range(len(messages)))
    for which, where in again:
        number = which % len(messages)
        # Only after it was first told: a copy is late, never early.
        first = order.index(number)
        order.insert(first + 1 + where % (len(order) - first), number)

    async def both() -> tuple[Place, Place]:
        return await _told(messages), await _told([messages[n] for n in order])

    once, often = asyncio.run(both())
    assert seen(once) == seen(often)
    assert [i["metadata"]["name"] for i in often.incidents()] == ["docuquery-database-connection-failure-1"]
    last = {a["fingerprint"]: a["status"] == "resolved" for a in messages[-1]}
    assert {f: ended for f, (_, ended) in seen(often).items()} == last


@settings(max_examples=60, deadline=None)
@given(STORIES, st.sets(st.integers(0, 8)))
@example(Story((0, 0, 1, 1, 1, 1)), {0, 1, 3, 4})
def test_the_last_message_is_enough(story: Story, lost: set[int]) -> None:
    """Whatever was lost on the way: each alert that still fires is in one open incident, and what it knew and has ended, ended."""
    messages = story.messages(MIXED)
    kept = [m for n, m in enumerate(messages) if n == len(messages) - 1 or n not in lost]
    at = asyncio.run(_told(kept))
    held = seen(at)
    for one in messages[-1]:
        type_, component = one["labels"].get("docuquery_type"), one["labels"].get("docuquery_component")
        if one["status"] == "resolved" and one["fingerprint"] in held:
            assert held[one["fingerprint"]][1]
        elif one["status"] == "firing" and type_ not in (None, "NotAllowed"):
            assert held[one["fingerprint"]][1] is False, (type_, component)
    pairs = [(i["spec"]["type"], i["spec"].get("component")) for i in at.open()]
    assert len(pairs) == len(set(pairs))
    assert not [i for i in at.incidents() if i["spec"]["type"] == "NotAllowed"]


class _Slow(FakeCluster):
    """Gives way at each call, so that two receivers take turns anywhere."""

    async def list(self, *args: Any, **more: Any) -> Any:
        found = await super().list(*args, **more)
        await asyncio.sleep(0)
        return found

    async def create(self, *args: Any, **more: Any) -> Any:
        await asyncio.sleep(0)
        return await super().create(*args, **more)

    async def patch(self, *args: Any, **more: Any) -> Any:
        await asyncio.sleep(0)
        return await super().patch(*args, **more)


@settings(max_examples=60, deadline=None)
@given(STORIES, st.integers(1, 3), st.data())
def test_several_receivers_and_an_api_server_that_fails(story: Story, many: int, data: st.DataObject) -> None:
    """An HA pair sends everything twice; what a receiver could not store is sent again."""
    messages = story.messages(LABELS)
    failing = data.draw(st.sets(st.integers(1, 30), max_size=6))
    failures: list[str] = []

    async def run() -> Place:
        at = place()
        calls = 0

        def fails(_call: str) -> BaseException | None:
            nonlocal calls
            calls += 1
            return Unavailable("503") if calls in failing else None

        stores = [receiver(at.server, at.clock, _Flaky(at.server, fails))[0] for _ in range(many)]
        for alerts in messages:
            await asyncio.gather(*(_until_stored(s, message(alerts), failures) for s in stores))
        return at

    at = asyncio.run(run())
    assert seen(at) == seen(asyncio.run(_told(messages)))
    assert len(at.incidents()) == 1


class _Flaky(_Slow):
    """Some calls fail before they have an effect, and some after it."""

    def __init__(self, server: Any, fails: Any) -> None:
        super().__init__(server)
        self._fails = fails

    async def create(self, *args: Any, **more: Any) -> Any:
        problem = self._fails("create")
        made = await super().create(*args, **more)
        if problem is not None:
            raise problem
        return made

    async def list(self, *args: Any, **more: Any) -> Any:
        problem = self._fails("list")
        if problem is not None:
            raise problem
        return await super().list(*args, **more)

    async def patch(self, *args: Any, **more: Any) -> Any:
        problem = self._fails("patch")
        made = await super().patch(*args, **more)
        if problem is not None:
            raise problem
        return made


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=2, max_size=4))
def test_different_messages_at_once_overwrite_nothing(groups: list[list[int]]) -> None:
    """Groups of alerts about one fault, each by its own receiver at the same time."""

    async def run() -> Place:
        at = place()
        stores = [receiver(at.server, at.clock, _Slow(at.server))[0] for _ in groups]
        bodies = [message([alert(f"a{n}", START, labels=DATABASE | {"n": str(n)}) for n in set(g)]) for g in groups]
        await asyncio.gather(*(_until_stored(s, b, []) for s, b in zip(stores, bodies, strict=True)))
        return at

    at = asyncio.run(run())
    assert {a["name"] for a in at.held().values()} == {f"a{n}" for g in groups for n in g}
    assert len(at.incidents()) == 1


async def _until_stored(store: Any, body: bytes, failures: list[str]) -> None:
    for _ in range(20):
        try:
            await store.store(parse(body, False))
        except ApiError as problem:
            failures.append(str(problem))
            continue
        return
    raise AssertionError(failures)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["status", "labels", "annotations", "startsAt", "endsAt", "fingerprint", "generatorURL"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(FIELDS, JSONS), st.integers(0, 3), st.lists(JSONS, max_size=3))
def test_what_cannot_be_read_keeps_nothing_else_from_being_stored(
    odd: dict[str, Any], where: int, others: list[Any]
) -> None:
    """Alerts of any shape beside a good one."""
    good = alert("good", START, labels=DATABASE)
    alerts = [*others, alert("odd", START, labels=DATABASE) | odd]
    alerts.insert(where % (len(alerts) + 1), good)

    async def run() -> Place:
        at = place()
        await at.send(message([good]) if not alerts else _raw(alerts))
        return at

    at = asyncio.run(run())
    assert good["fingerprint"] in at.held()


def _raw(alerts: list[Any]) -> bytes:
    return message([alert("x", START)]).replace(b'"alerts": [', b'"alerts": ' + _dump(alerts) + b', "old": [', 1)


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | JSONS.map(_dump))
def test_garbage_is_told_and_never_crashes(body: bytes) -> None:
    for truncated in (False, True):
        try:
            parse(body, truncated)
        except GarbageError:
            continue


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.data())
def test_a_body_that_is_cut_anywhere_gives_the_alerts_that_stand_whole(count: int, data: st.DataObject) -> None:
    alerts = [alert(f"a{n}", START, labels={**DATABASE, "n": str(n), "text": '\\"]}é'}) for n in range(count)]
    body = message(alerts)
    cut = data.draw(st.integers(0, len(body)))
    try:
        found = parse(body[:cut], True)
    except GarbageError:
        # Nothing was whole.
        assert cut < len(message(alerts[:1]))
        return
    assert [a.name for a in found.alerts] == [f"a{n}" for n in range(len(found.alerts))]
    assert (found.left_out, found.truncated, found.bad) == (1, True, 0)
    whole = sum(len(_dump(a)) + 2 for a in alerts[: len(found.alerts)])
    assert cut >= whole
