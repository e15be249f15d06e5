"""Faults of Redis with nobody who applies an incident; what the operator says is held against a client of our own and the api's word.

Run them side by side: pytest tests/e2e/test_redis.py -n 3
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.checks import Deploy, asks_for_a_person, watched
from tests.e2e.faults import freeze_redis, redis_signal, starts
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace, condition, decisions, holds, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TYPE = "RedisConnection"
MAX_CLIENTS, LEFT = 100, 3
# Far below the bound, and from this long ago: connections leak one by one.
EARLY, IDLE_SECONDS = 60, 10


def test_redis_frozen(stack: Deploy) -> None:
    """One incident, for Redis alone, though the api feels it as well; one restart, and the evidence that it destroys."""
    ns = watched(stack)
    before = uids(ns)
    fault = Fault(ns, "redis: SIGSTOP", TYPE)
    freeze_redis(ns)
    name = fault.opened()
    status = healed(ns, name, "Healed", "ProcessDown")
    assert steps(status) == [("restartWorkload", "Healed")]
    attempt = status["steps"][0]["attemptId"]
    assert ns.restarts_ordered("redis") == [attempt]
    assert [(a["id"], a["outcome"]) for a in ns.attempts("redis")] == [(attempt, "Healed")]
    after = uids(ns)
    assert after["redis-0"] != before["redis-0"]
    assert after["postgres-0"] == before["postgres-0"]
    evidence = [part for part_name, part in ns.report(name).items() if part_name.startswith("evidence-")]
    assert ["redis_info" in json.loads(part) for part in evidence] == [True]
    time.sleep(10)
    fault.ended()


def test_redis_killed(stack: Deploy) -> None:
    """kill -9: the kubelet starts it anew, and what was written is still there; nothing is restarted on top."""
    ns = watched(stack)
    ns.redis_cli("set", "kept", "yes")
    before, count = uids(ns), starts(ns, "redis-0")
    fault = Fault(ns, "redis: kill -9", TYPE)
    redis_signal(ns, signal.SIGKILL)
    wait_for("the container's new start", lambda: starts(ns, "redis-0") > count, 60)
    wait_for("a Redis that is well", lambda: ns.redis_problem() == "" or None, 60)
    back = time.time()
    name = fault.noticed()
    if name:
        # How far its successor is at the first sight, and whether the api still says that all is well, is chance.
        first = ns.wait_incident(name, "a cause", lambda status: status.get("cause"), 60)["cause"]["name"]
        status = healed(ns, name, "Recovered", first)
        assert first in ("ProcessDown", "Starting", "ConnectionRefused")
        assert [s for s in status.get("steps") or [] if s.get("attemptId")] == []
    assert ns.redis_cli("get", "kept") == "yes"
    time.sleep(8)
    check_left_alone(ns, before)
    assert ns.attempts("redis") == []
    if name:
        fault.ended()
    else:
        fault.short("redis", back)


def test_redis_too_many_clients(stack: Deploy) -> None:
    """Clients that hold a connection and forget it: they are ended, and neither Redis nor the api is restarted."""
    ns = watched(stack, edit_redis=lambda runbook: sooner(runbook, f"{IDLE_SECONDS}s"))
    before = uids(ns)
    fault = Fault(ns, "redis: maxclients reached", TYPE)
    with forgotten_clients(ns) as clients:
        status = healed(ns, fault.opened(), "Healed", "TooManyClients")
        assert steps(status) == [("killIdleClients", "Healed")]
        ended = sum(not alive(c) for c in clients)
        # The api's own pool may hold a few that are idle as well; what is ended of it is made anew.
        assert 40 <= ended <= 50, "more or fewer were ended than planned"
    check_left_alone(ns, before)
    assert [(a["action"], a["outcome"]) for a in ns.attempts("redis")] == [("killIdleClients", "Healed")]
    fault.ended()


def test_redis_cannot_save(stack: Deploy) -> None:
    """A full volume: a restart would lose what is not written yet, so a person is asked and nothing is done."""
    ns = watched(stack)
    before = uids(ns)
    fault = Fault(ns, "redis: MISCONF, the volume is full", TYPE)
    ns.api.exec("redis-0", "dd", "if=/dev/zero", "of=/data/fill", "bs=64k", check=False)
    wait_for("a Redis that refuses writes", lambda: "MISCONF" in ns.redis_problem(), 60)
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("PersistenceFailed"), 90)
    assert status["cause"]["name"] == "PersistenceFailed"
    time.sleep(5)
    check_left_alone(ns, before)
    assert (steps(ns.incident(name)), ns.attempts("redis")) == ([], [])
    ns.api.exec("redis-0", "rm", "/data/fill")
    assert steps(healed(ns, name, "Recovered", "PersistenceFailed")) == []
    check_left_alone(ns, before)
    fault.ended()


def test_redis_flapping(stack: Deploy) -> None:
    """It hangs again and again: after the first restart the operator stands still, says why, and calls a person."""
    ns = watched(stack)
    fault = Fault(ns, "redis: SIGSTOP three times", TYPE)
    freeze_redis(ns)
    name = fault.opened()
    assert steps(healed(ns, name, "Healed", "ProcessDown")) == [("restartWorkload", "Healed")]
    pod = uids(ns)["redis-0"]
    for round_, reason in ((2, "Cooldown"), (3, "Flapping")):
        fault.again()
        freeze_redis(ns)
        status = ns.wait_incident(name, f"round {round_}: a person is called", lambda s, n=round_, r=reason: called(s, n, r))
        assert decisions(status)[-1] == reason, stackns.brief(status)
        time.sleep(8)
        assert uids(ns)["redis-0"] == pod
        redis_signal(ns, signal.SIGCONT)
        status = healed(ns, name, "Recovered", "ProcessDown")
    assert holds(status, "Flapping", "OpenedAgain")
    assert len(ns.restarts_ordered("redis")) == len(ns.attempts("redis")) == 1
    fault.ended()


def called(status: dict[str, Any], round_: int, reason: str) -> bool:
    """In this round, for this reason, and nothing is begun any more."""
    return bool(status.get("round") == round_ and holds(status, "NeedsHuman", reason))


def sooner(runbook: dict[str, Any], min_idle: str) -> None:
    """Take clients for forgotten after seconds, for a test does not wait for five minutes."""
    cause = next(c for c in runbook["spec"]["causes"] if c["name"] == "TooManyClients")
    for step in cause["remediate"]:
        if step["action"] == "killIdleClients":
            step["parameters"]["minIdle"] = min_idle


@contextlib.contextmanager
def forgotten_clients(ns: StackNamespace) -> Iterator[list[socket.socket]]:
    """Connections that have asked something once; only a few of those that the server allows are left in the end."""
    ns.redis_cli("config", "set", "maxclients", str(MAX_CLIENTS))
    address = ns.api.read("services", "redis")["spec"]["clusterIP"], 6379
    clients: list[socket.socket] = []
    try:
        clients += [forgotten(address) for _ in range(EARLY)]
        time.sleep(IDLE_SECONDS)
        # redis-cli is a client of its own, and gone when it has answered.
        while (missing := MAX_CLIENTS - LEFT - (connected(ns) - 1)) > 0:
            assert len(clients) < MAX_CLIENTS, "the server takes clients without end"
            clients += [forgotten(address) for _ in range(missing)]
        yield clients
    finally:
        for client in clients:
            client.close()


def forgotten(address: tuple[str, int]) -> socket.socket:
    """A connection that is of no use any more."""
    client = socket.create_connection(address, 5)
    client.sendall(b"PING\r\n")
    assert client.recv(64) == b"+PONG\r\n"
    return client


def connected(ns: StackNamespace) -> int:
    """Clients that Redis counts, with the one that asks."""
    lines = ns.redis_cli("info", "clients").splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("connected_clients:"))


def alive(client: socket.socket) -> bool:
    """Whether the server still knows it."""
    try:
        client.settimeout(2)
        client.sendall(b"PING\r\n")
        return client.recv(64) == b"+PONG\r\n"
    except OSError:
        return False


def uids(ns: StackNamespace) -> dict[str, str]:
    """Identity of each pod of the stores."""
    return {name: ns.api.read("pods", name)["metadata"]["uid"] for name in ("redis-0", "postgres-0")}


def check_left_alone(ns: StackNamespace, before: dict[str, str]) -> None:
    """The pods of both stores are the very same, and nobody ordered a restart of them or of the api."""
    assert uids(ns) == before
    assert ns.restarts_ordered("redis") == ns.restarts_ordered() == []
    assert ns.api.read("deployments", "api")["metadata"]["generation"] == 1


def healed(ns: StackNamespace, name: str, reason: str, cause: str) -> dict[str, Any]:
    """Resolved for this reason, and true: a client of our own can write, the api is well, and the report tells the story."""
    status = ns.wait_resolved(name, 180)
    assert ns.redis_problem() == ""
    wait_for("an api that is well", ns.healthy, 30)
    assert condition(status, "Resolved")["reason"] == reason, stackns.brief(status)
    assert (status.get("cause") or {}).get("name") == cause, stackns.brief(status)
    assert not any(holds(status, c) for c in ("NeedsHuman", "NeedsApproval", "HealBlocked"))
    wait_for("the report", lambda: ns.incident(name).get("report"), 15)
    text = ns.report(name)["report.md"]
    assert text.startswith(f"# Incident {name}")
    assert f"**{cause}**" in text
    return ns.incident(name)
