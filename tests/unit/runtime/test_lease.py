"""The leader Lease: never two leaders at once, whatever clocks, lines and processes do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest import mock

import pytest

from docuquery_operator.ports import JSON, LEASE, Conflict, Refused, Unavailable
from docuquery_operator.runtime import lease as module
from docuquery_operator.runtime.lease import LeaderLease
from tests.unit.runtime.hosts import DEADLINE, DURATION, NAME, NAMESPACE, RETRY, Host, HostTime, new_server, spec_of
from tests.unit.runtime.virtual import now, run


@pytest.fixture(autouse=True)
def own_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", HostTime)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls never time out: the answer of a call that a stopped process waited for is there when it goes on."""
    monkeypatch.setattr(module, "CALL_SECONDS", 1e6)


async def until(holds: Callable[[], bool], limit: float = 120.0) -> float:
    """Seconds until it holds."""
    began = now()
    while not holds():
        assert now() - began < limit, "it never came true"
        await asyncio.sleep(0.05)
    return now() - began


def leads(host: Host, elector: LeaderLease) -> bool:
    return host.ask(elector.leading)


async def led_by(host: Host) -> LeaderLease:
    elector = host.elector()
    await host.start(elector.acquire())
    return elector


def test_a_fresh_lease_is_taken_at_once() -> None:
    async def story() -> None:
        server = new_server()
        host = Host("one", server)
        elector = host.elector()
        assert not leads(host, elector)
        await host.start(elector.acquire())
        assert leads(host, elector)
        assert elector.term == 1
        assert elector.reached is not None
        spec = spec_of(server)
        assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("one", 1, 15)

    run(story())


def test_of_two_that_start_at_the_same_instant_one_leads() -> None:
    async def story() -> None:
        server = new_server()
        hosts = [Host(name, server, offset=1e4 * n) for n, name in enumerate("ab")]
        electors = [h.elector() for h in hosts]
        tasks = [h.start(e.acquire()) for h, e in zip(hosts, electors, strict=True)]
        await asyncio.sleep(1.0)
        assert sorted(t.done() for t in tasks) == [False, True]
        assert sum(leads(h, e) for h, e in zip(hosts, electors, strict=True)) == 1
        for host in hosts:
            host.kill()

    run(story())


@pytest.mark.parametrize("offset", [-5e5, 0.0, 5e5])
def test_a_dead_holder_is_replaced_after_its_duration_by_the_takers_own_clock(offset: float) -> None:
    """Neither the holder's clock nor the time written in the Lease counts, only how long nothing has changed."""

    async def story() -> float:
        server = new_server()
        dead = Host("dead", server, offset=offset)
        await led_by(dead)
        dead.kill()
        await asyncio.sleep(300.0)
        server.edit(LEASE, NAMESPACE, NAME, lambda o: o["spec"].update(renewTime="2001-01-01T00:00:00.000000Z"))
        taker = Host("taker", server)
        began = now()
        elector = await led_by(taker)
        assert elector.term == 2
        return now() - began

    waited = run(story())
    assert DURATION < waited <= DURATION + 2 * RETRY


def test_the_longer_duration_of_the_two_counts() -> None:
    """During a change of the setting the holder may rely on more than the taker was told."""

    async def story() -> float:
        server = new_server()
        await led_by(Host("holder", server))
        server.edit(LEASE, NAMESPACE, NAME, lambda o: o["spec"].update(leaseDurationSeconds=40))
        began = now()
        await led_by(Host("taker", server))
        return now() - began

    assert run(story()) > 40.0


def test_a_fraction_of_a_second_is_not_cut_off_the_duration() -> None:
    async def story() -> int:
        server = new_server()
        host = Host("one", server)
        await host.start(LeaderLease(host, NAMESPACE, NAME, "one", 15.6, 15.5, 2.0).acquire())  # type: ignore[arg-type]
        return int(spec_of(server)["leaseDurationSeconds"])

    assert run(story()) == 16


def test_a_holder_that_renews_is_never_replaced_and_keeps_its_term() -> None:
    async def story() -> None:
        server = new_server()
        one, two = Host("one", server, rate=0.9), Host("two", server, rate=1.1)
        elector = await led_by(one)
        keeper = one.start(elector.keep())
        waiting = two.start(two.elector().acquire())
        for _ in range(1800):
            await asyncio.sleep(2.0)
            assert leads(one, elector)
        assert not keeper.done()
        assert not waiting.done()
        assert elector.term == 1
        one.kill()
        two.kill()

    run(story())


def test_release_lets_the_other_in_at_its_next_try() -> None:
    async def story() -> None:
        server = new_server()
        one, two = Host("one", server), Host("two", server)
        first = await led_by(one)
        keeper = one.start(first.keep())
        second = two.elector()
        two.start(second.acquire())
        await asyncio.sleep(60.0)
        await one.start(first.release())
        assert not leads(one, first)
        assert await until(lambda: leads(two, second)) <= RETRY + 0.2
        assert second.term == 2
        await asyncio.sleep(10.0)
        assert keeper.done()
        two.kill()

    run(story())


@pytest.mark.parametrize("moment", [n * 0.01 for n in range(0, 240, 5)])
def test_what_is_given_back_is_not_taken_again(moment: float) -> None:
    """The keeper still runs when the process gives the Lease back: between two renewals, or in the middle of one."""

    async def story() -> None:
        server = new_server()
        one = Host("one", server)
        one.there = one.back = 0.1
        elector = await led_by(one)
        one.start(elector.keep())
        await asyncio.sleep(moment)
        await one.start(elector.release())
        for _ in range(100):
            assert not leads(one, elector)
            await asyncio.sleep(0.1)
        assert spec_of(server)["holderIdentity"] == ""

    run(story())


def test_a_start_that_is_broken_off_leaves_no_lease_behind() -> None:
    """SIGTERM while the Lease is being taken: the write may have arrived though nobody has read the answer."""

    async def story() -> None:
        server = new_server()
        one = Host("one", server)
        one.back = 1.0
        elector = one.elector()
        task = one.start(elector.acquire())
        await until(lambda: server.find(LEASE, NAMESPACE, NAME) is not None)
        task.cancel()
        await asyncio.wait([task])
        assert not leads(one, elector)
        one.back = 0.01
        await one.start(elector.release())
        assert spec_of(server)["holderIdentity"] == ""

    run(story())


def test_release_leaves_the_lease_of_another_alone() -> None:
    async def story() -> None:
        server = new_server()
        one, two = Host("one", server), Host("two", server)
        first = await led_by(one)
        second = await led_by(two)
        assert await two.start(_and_then(second, first.release()))
        assert spec_of(server)["holderIdentity"] == "two"

    async def _and_then(elector: LeaderLease, work: Awaitable[None]) -> bool:
        await work
        return elector.leading()

    run(story())


def test_the_term_grows_at_each_change_and_only_then() -> None:
    async def story() -> list[int]:
        server = new_server()
        hosts = [Host(name, server) for name in "ab"]
        terms = []
        for turn in range(6):
            host = hosts[turn % 2]
            elector = await led_by(host)
            keeper = host.start(elector.keep())
            terms.append(elector.term)
            await asyncio.sleep(30.0)
            assert elector.term == terms[-1]
            if turn % 3:
                await host.start(elector.release())
            keeper.cancel()
        return terms

    assert run(story()) == [1, 2, 3, 4, 5, 6]


def test_a_restarted_container_leads_again_at_once_with_a_new_term() -> None:
    """Its name is the pod's, so the Lease is its own; what its earlier life ordered must be told apart all the same."""

    async def story() -> None:
        server = new_server()
        host = Host("pod-1", server)
        await led_by(host)
        host.kill()
        began = now()
        elector = await led_by(host)
        assert now() - began < 1.0
        assert elector.term == 2

    run(story())


PROBLEMS = [Unavailable("away"), Refused(403, "rights were taken"), Conflict("409"), None]


@pytest.mark.parametrize("problem", PROBLEMS, ids=["away", "refused", "conflict", "no answer"])
def test_without_renewals_it_stops_leading_at_the_deadline_and_keep_ends(problem: Exception | None) -> None:
    async def story() -> None:
        server = new_server()
        host = Host("one", server)
        elector = await led_by(host)
        keeper = host.start(elector.keep())
        await asyncio.sleep(61.0)
        host.problem, host.cut = problem, problem is None
        began = now()
        stopped = await until(lambda: not leads(host, elector))
        assert DEADLINE - RETRY - 0.5 <= stopped <= DEADLINE
        await asyncio.wait([keeper], timeout=DURATION)
        assert keeper.done()
        assert now() - began <= DURATION + 3.0
        host.kill()

    run(story())


@pytest.mark.parametrize("problem", PROBLEMS, ids=["away", "refused", "conflict", "no answer"])
def test_a_short_trouble_costs_nothing(problem: Exception | None) -> None:
    async def story() -> None:
        server = new_server()
        host = Host("one", server)
        elector = await led_by(host)
        keeper = host.start(elector.keep())
        for _ in range(5):
            await asyncio.sleep(20.0)
            host.problem, host.cut = problem, problem is None
            await asyncio.sleep(3.0)
            host.problem, host.cut = None, False
            for _ in range(50):
                assert leads(host, elector)
                await asyncio.sleep(0.1)
        assert elector.term == 1
        assert not keeper.done()
        host.kill()

    run(story())


def test_a_slow_answer_does_not_stretch_the_leadership() -> None:
    """The renewal counts from before the question, not from the answer: the other's clock may have begun in between."""

    async def story() -> None:
        server = new_server()
        host = Host("one", server)
        elector = await led_by(host)
        host.there, host.back = 0.5, 2.0
        assert await host.start(elector._try()) is False
        host.there, host.back = 0.5, 0.9
        asked = now()
        assert await host.start(elector._try())
        assert now() - asked == pytest.approx(2.8)
        await asyncio.sleep(DEADLINE - (now() - asked) - 0.01)
        assert leads(host, elector)
        await asyncio.sleep(0.02)
        assert not leads(host, elector)

    run(story())


def test_who_sees_another_in_the_lease_stops_leading_at_once() -> None:
    """Somebody deleted the Lease and the other replica made the new one: waiting for the deadline would be two leaders."""

    async def story() -> None:
        server = new_server()
        one, two = Host("one", server), Host("two", server)
        first = await led_by(one)
        keeper = one.start(first.keep())
        second = two.elector()
        two.start(second.acquire())
        await asyncio.sleep(31.0)
        server.remove(LEASE, NAMESPACE, NAME)
        await two.start(second._try())
        assert leads(two, second)
        assert await until(lambda: not leads(one, first)) <= RETRY + 0.2
        await asyncio.wait([keeper], timeout=RETRY)
        assert keeper.done()
        two.kill()

    run(story())


def test_a_deleted_lease_does_not_bring_old_terms_back() -> None:
    """A step that was intended in term 3 would else wait for ever for a leader of at least that term."""

    async def story() -> int:
        server = new_server()
        for name in ("a", "b"):
            before = Host(name, server)
            await before.start((await led_by(before)).release())
        host = Host("c", server)
        elector = await led_by(host)
        assert elector.term == 3
        keeper = host.start(elector.keep())
        await asyncio.sleep(5.0)
        server.remove(LEASE, NAMESPACE, NAME)
        await asyncio.sleep(5.0)
        assert leads(host, elector)
        keeper.cancel()
        return elector.term

    assert run(story()) > 3


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("stopped_after", ["get", "patch"])
def test_a_process_that_was_stopped_is_not_the_leader_when_it_goes_on(stopped_after: str) -> None:
    """Stopped before its write: the write is refused. Stopped after it: the renewal is as old as its question."""

    async def story() -> None:
        server = new_server()
        one, two = Host("one", server), Host("two", server)
        first = await led_by(one)
        one.start(first.keep())
        second = two.elector()
        two.start(second.acquire())
        await asyncio.sleep(30.0)
        one.after_call = lambda name: one.stop() if name == stopped_after else None
        await until(lambda: leads(two, second))
        assert not leads(one, first)
        held = spec_of(server)
        one.after_call = lambda _name: None
        one.go_on()
        for _ in range(200):
            assert not leads(one, first)
            await asyncio.sleep(0.01)
        assert held["holderIdentity"] == spec_of(server)["holderIdentity"] == "two"
        assert spec_of(server)["leaseTransitions"] == second.term == 2
        two.kill()

    run(story())


@pytest.mark.usefixtures("patient")
def test_the_write_of_a_stopped_process_is_refused_by_the_resource_version() -> None:
    async def story() -> None:
        server = new_server()
        one, two = Host("one", server), Host("two", server)
        first = await led_by(one)
        one.after_call = lambda name: one.stop() if name == "get" else None
        late = one.start(first._try())
        await led_by(two)
        one.after_call = lambda _name: None
        one.go_on()
        assert await late is False
        assert one.calls[-1] == "patch"
        assert spec_of(server)["holderIdentity"] == "two"

    run(story())


def test_a_renewal_that_arrives_late_starts_the_others_wait_anew() -> None:
    """The request was on its way for longer than the caller waited for it; the Lease is renewed all the same."""

    async def story() -> None:
        server = new_server()
        one, two = Host("one", server), Host("two", server)
        first = await led_by(one)
        second = two.elector()
        two.start(second.acquire())
        await asyncio.sleep(5.0)
        one.there = 2.9
        one.start(first._try())
        renewed_at = spec_of(server)["renewTime"]
        await until(lambda: spec_of(server)["renewTime"] != renewed_at)
        assert await until(lambda: leads(two, second)) > DURATION
        two.kill()

    run(story())


def test_a_lost_race_for_an_expired_lease_is_not_a_leadership() -> None:
    """Two wait for the end of the same Lease with the same clock: the resource version lets one through."""

    async def story() -> None:
        server = new_server()
        dead = Host("dead", server)
        await led_by(dead)
        hosts = [Host(name, server) for name in "abc"]
        electors = [h.elector() for h in hosts]
        for host, elector in zip(hosts, electors, strict=True):
            host.start(elector.acquire())
        for _ in range(400):
            await asyncio.sleep(0.1)
            assert sum(leads(h, e) for h, e in zip(hosts, electors, strict=True)) <= 1
        assert spec_of(server)["leaseTransitions"] >= 2
        for host in hosts:
            host.kill()

    run(story())


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": None}, {"holderIdentity": "gone"}, None])
def test_a_lease_with_missing_fields_is_taken_in_the_end(spec: JSON | None) -> None:
    async def story() -> LeaderLease:
        server = new_server()
        server.put(LEASE, {"metadata": {"name": NAME, "namespace": NAMESPACE}, **({} if spec is None else {"spec": spec})})
        return await led_by(Host("one", server))

    assert run(story()).term == 1


class ThreadTime:
    """A clock that the test sets, for the guard's own thread."""

    now = 100.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now

    @staticmethod
    def sleep(_seconds: float) -> None:
        time.sleep(0.001)


@pytest.fixture
def thread_time() -> Iterator[type[ThreadTime]]:
    ThreadTime.now = 100.0
    with mock.patch.object(module, "time", ThreadTime):
        yield ThreadTime


def test_the_guard_ends_the_process_though_the_event_loop_hangs(thread_time: type[ThreadTime]) -> None:
    """No loop runs here at all: the guard must not need one."""
    ended = threading.Event()
    elector = LeaderLease(None, NAMESPACE, NAME, "one", DURATION, DEADLINE, RETRY)  # type: ignore[arg-type]
    thread = elector.guard(ended.set)
    assert thread.daemon
    assert not ended.wait(0.02)
    elector._renewed = 100.0
    thread_time.now = 100.0 + DURATION - 0.1
    assert not ended.wait(0.02)
    elector._renewed = thread_time.now
    thread_time.now += DURATION - 0.1
    assert not ended.wait(0.02)
    thread_time.now += 0.2
    assert ended.wait(1.0)
    thread.join(1.0)
    assert not thread.is_alive()


def test_the_guard_does_not_end_a_process_that_gave_the_lease_back(thread_time: type[ThreadTime]) -> None:
    ended = threading.Event()
    elector = LeaderLease(None, NAMESPACE, NAME, "one", DURATION, DEADLINE, RETRY)  # type: ignore[arg-type]
    elector._renewed = 100.0
    elector.guard(ended.set)
    asyncio.run(elector.release())
    thread_time.now += 10 * DURATION
    assert not ended.wait(0.02)


def test_nothing_in_the_lease_goes_back_in_time() -> None:
    """renewTime is for people; it moves on at each renewal."""

    async def story() -> list[str]:
        server = new_server()
        host = Host("one", server)
        elector = await led_by(host)
        keeper = host.start(elector.keep())
        seen = []
        for _ in range(10):
            seen.append(str(spec_of(server)["renewTime"]))
            await asyncio.sleep(2.5)
        keeper.cancel()
        return seen

    assert all(a < b for a, b in pairwise(run(story())))


def test_a_leader_learns_when_its_predecessor_looked_last() -> None:
    """Also over one that led and looked at nothing: time in between was seen by nobody."""

    async def story() -> None:
        server = new_server()
        first, looked = Host("one", server), datetime(2026, 11, 20, 12, tzinfo=UTC)
        elector = await led_by(first)
        assert elector.predecessor_looked is None
        elector.looked(looked)
        keeping = first.start(elector.keep())
        await asyncio.sleep(3 * RETRY)
        assert elector.predecessor_looked is None
        first.kill()
        keeping.cancel()
        hosts = [Host(name, server) for name in ("two", "three")]
        second = await led_by(hosts[0])
        assert second.predecessor_looked == looked
        await hosts[0].start(second.release())
        third = await led_by(hosts[1])
        assert third.predecessor_looked == looked
        third.looked(looked + timedelta(hours=1))
        await hosts[1].start(third.release())
        fourth = await led_by(Host("four", server))
        assert fourth.predecessor_looked == looked + timedelta(hours=1)

    run(story())
