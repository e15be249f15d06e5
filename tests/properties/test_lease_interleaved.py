"""Two or three replicas through random troubles: stopped and killed processes, cut and slow lines, errors, clocks that drift."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.ports import Unavailable
from docuquery_operator.runtime import lease as module
from docuquery_operator.runtime.lease import LeaderLease
from tests.unit.runtime.hosts import DURATION, RETRY, Host, HostTime, new_server
from tests.unit.runtime.virtual import now, run

# Many simulated minutes; two seconds are for single stories.
pytestmark = pytest.mark.timeout(60)
TICK = 0.13
TROUBLES = ("stop", "kill", "cut", "errors", "slow there", "slow back", "release", "skip")
Trouble = tuple[int, str, float, float]


class Replica:
    """A pod of the operator: whenever its process ends it is started anew."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.elector: LeaderLease
        self.terms: list[tuple[int, str]] = []
        self._lives = 0
        self.begin()

    def begin(self) -> None:
        self._lives += 1
        self.elector = self.host.elector()
        self.host.start(self._live(self.elector, f"{self.host.name}/{self._lives}"))

    async def _live(self, elector: LeaderLease, life: str) -> None:
        await elector.acquire()
        self.terms.append((elector.term, life))
        await elector.keep()
        self.begin()

    async def replace(self) -> None:
        """SIGTERM, then a new process."""
        await self.elector.release()
        self.host.kill()
        self.begin()

    def leads(self) -> bool:
        return self.host.ask(self.elector.leading)


@contextmanager
def own_clocks(call_seconds: float) -> Iterator[None]:
    with mock.patch.object(module, "time", HostTime), mock.patch.object(module, "CALL_SECONDS", call_seconds):
        yield


async def suffer(replica: Replica, what: str, seconds: float) -> None:
    """One trouble and its end."""
    host = replica.host
    if what == "stop":
        host.stop()
        await asyncio.sleep(seconds)
        host.go_on()
    elif what == "kill":
        host.kill()
        replica.begin()
    elif what == "cut":
        host.cut = True
        await asyncio.sleep(seconds)
        host.cut = False
    elif what == "errors":
        host.problem = Unavailable("away")
        await asyncio.sleep(seconds)
        host.problem = None
    elif what.startswith("slow"):
        part = "there" if what.endswith("there") else "back"
        setattr(host, part, seconds / 10)
        await asyncio.sleep(seconds)
        setattr(host, part, 0.01)
    elif what == "release":
        host.start(replica.replace())


async def story(rates: list[float], troubles: list[Trouble]) -> None:
    server = new_server()
    replicas = [Replica(Host("abc"[n], server, n * 7e4, rate)) for n, rate in enumerate(rates)]
    sufferings: list[asyncio.Task[None]] = []

    async def watch(seconds: float) -> None:
        end = now() + seconds
        while now() < end:
            assert sum(r.leads() for r in replicas) <= 1, "two leaders at the same instant"
            await asyncio.sleep(TICK)

    for which, what, pause, seconds in troubles:
        sufferings.append(asyncio.create_task(suffer(replicas[which % len(replicas)], what, seconds)))
        await watch(pause)
    await asyncio.gather(*sufferings)
    for replica in replicas:
        replica.host.go_on()
        replica.host.cut, replica.host.problem = False, None
        replica.host.there = replica.host.back = 0.01
    await watch(2 * DURATION + 4 * RETRY)
    # All is well again: exactly one leads, and each term was led by one life of one process only.
    assert sum(r.leads() for r in replicas) == 1
    lives: dict[int, set[str]] = {}
    for term, life in (entry for r in replicas for entry in r.terms):
        lives.setdefault(term, set()).add(life)
    assert [owners for owners in lives.values() if len(owners) > 1] == []
    for replica in replicas:
        assert replica.terms == sorted(replica.terms)
        replica.host.kill()


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    rates=st.lists(st.sampled_from([1.0, 1.0, 1.0, 0.95, 1.05]), min_size=2, max_size=3),
    troubles=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(TROUBLES), st.floats(0.0, 20.0), st.floats(0.0, 40.0)),
        min_size=1,
        max_size=12,
    ),
    call_seconds=st.sampled_from([3.0, 3.0, 1e4]),
)
def test_never_two_leaders_and_in_the_end_one(rates: list[float], troubles: list[Trouble], call_seconds: float) -> None:
    with own_clocks(call_seconds):
        run(story(rates, troubles))
