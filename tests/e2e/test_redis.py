"""Faults of Redis, made in the running stack; what the operator says is held against a client of our own and the api's word.

Run them side by side: pytest tests/e2e/test_redis.py -n 3
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.checks import Deploy, asks_for_a_person
from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace, condition, holds, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TYPE = "RedisConnection"
WATCHED = stackns.DETECTION | {"openIncidents": True}
NAME = "docuquery-redis-connection-1"
MAX_CLIENTS, LEFT = 100, 3
# By the id that the server itself gives: nothing else may be stopped. The first process of a container
# cannot be stopped from inside it; a pause of all clients is as silent.
FREEZE = """pid=$(redis-cli -h 127.0.0.1 info server | sed -n 's/^process_id:\\([0-9]*\\).*/\\1/p')
if [ "$pid" = 1 ]; then redis-cli -h 127.0.0.1 client pause 3600000 all; else kill -STOP "$pid"; fi"""


def test_redis_frozen(stack: Deploy) -> None:
    ns = stack()
    before = uids(ns)
    freeze(ns)
    ns.open("frozen", type=TYPE)
    status = healed(ns, "frozen", "Healed", "ProcessDown")
    assert steps(status) == [("restartWorkload", "Healed")]
    attempt = status["steps"][0]["attemptId"]
    assert ns.restarts_ordered("redis") == [attempt]
    assert [(a["id"], a["outcome"]) for a in ns.attempts("redis")] == [(attempt, "Healed")]
    after = uids(ns)
    assert after["redis-0"] != before["redis-0"]
    assert after["postgres-0"] == before["postgres-0"]
    evidence = [part for name, part in ns.report("frozen").items() if name.startswith("evidence-")]
    assert ["redis_info" in json.loads(part) for part in evidence] == [True]


def test_redis_too_many_clients(stack: Deploy) -> None:
    """Clients that hold a connection and forget it: they are ended, and neither Redis nor the api is restarted."""
    ns = stack(edit_redis=lambda runbook: sooner(runbook, "10s"))
    before = uids(ns)
    with forgotten_clients(ns) as clients:
        ns.open("crowded", type=TYPE)
        status = healed(ns, "crowded", "Healed", "TooManyClients")
        assert steps(status) == [("killIdleClients", "Healed")]
        ended = sum(not alive(c) for c in clients)
        # The api's own pool may hold a few that are idle as well; what is ended of it is made anew.
        assert 40 <= ended <= 50, "more or fewer were ended than planned"
    check_left_alone(ns, before)
    assert [(a["action"], a["outcome"]) for a in ns.attempts("redis")] == [("killIdleClients", "Healed")]


def test_redis_cannot_save(stack: Deploy) -> None:
    """A full volume: a restart would lose what is not written yet, so a person is asked and nothing is done."""
    ns = stack()
    before = uids(ns)
    ns.api.exec("redis-0", "dd", "if=/dev/zero", "of=/data/fill", "bs=64k", check=False)
    wait_for("a Redis that refuses writes", lambda: "MISCONF" in ns.redis_problem(), 60)
    ns.open("full", type=TYPE)
    status = ns.wait_incident("full", "a person is asked for", asks_for_a_person("PersistenceFailed"), 90)
    assert status["cause"]["name"] == "PersistenceFailed"
    time.sleep(5)
    check_left_alone(ns, before)
    assert (steps(ns.incident("full")), ns.attempts("redis")) == ([], [])
    ns.api.exec("redis-0", "rm", "/data/fill")
    assert steps(healed(ns, "full", "Recovered", "PersistenceFailed")) == []
    check_left_alone(ns, before)


def test_redis_detected(stack: Deploy) -> None:
    """Nobody applies an incident: one is opened, for Redis alone, though the api feels it as well."""
    ns = stack(detection=WATCHED)
    before = uids(ns)
    freeze(ns)
    wait_for("an incident", lambda: ns.api.get("incidents", NAME), 60)
    assert steps(healed(ns, NAME, "Healed", "ProcessDown")) == [("restartWorkload", "Healed")]
    time.sleep(10)
    assert [i["metadata"]["name"] for i in ns.api.list("incidents")] == [NAME]
    assert uids(ns)["postgres-0"] == before["postgres-0"]


def freeze(ns: StackNamespace) -> None:
    """Redis listens and answers nobody."""
    ns.api.exec("redis-0", "sh", "-c", FREEZE)
    wait_for("a Redis that answers nobody", lambda: ns.redis_problem() or None, 20)


def sooner(runbook: dict[str, Any], min_idle: str) -> None:
    """Take clients for forgotten after seconds, for a test does not wait for five minutes."""
    cause = next(c for c in runbook["spec"]["causes"] if c["name"] == "TooManyClients")
    for step in cause["remediate"]:
        if step["action"] == "killIdleClients":
            step["parameters"]["minIdle"] = min_idle


@contextlib.contextmanager
def forgotten_clients(ns: StackNamespace) -> Iterator[list[socket.socket]]:
    """Connections that have asked something once, until only a few of those that the server allows are left."""
    ns.redis_cli("config", "set", "maxclients", str(MAX_CLIENTS))
    address = ns.api.read("services", "redis")["spec"]["clusterIP"], 6379
    clients: list[socket.socket] = []
    try:
        # redis-cli is a client of its own, and gone when it has answered.
        while (missing := MAX_CLIENTS - LEFT - (connected(ns) - 1)) > 0:
            assert len(clients) < MAX_CLIENTS, "the server takes clients without end"
            for _ in range(missing):
                client = socket.create_connection(address, 5)
                clients.append(client)
                client.sendall(b"PING\r\n")
                assert client.recv(64) == b"+PONG\r\n"
        yield clients
    finally:
        for client in clients:
            client.close()


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
    assert status["cause"]["name"] == cause, stackns.brief(status)
    assert not any(holds(status, c) for c in ("NeedsHuman", "NeedsApproval", "HealBlocked"))
    wait_for("the report", lambda: ns.incident(name).get("report"), 15)
    text = ns.report(name)["report.md"]
    assert text.startswith(f"# Incident {name}")
    assert f"**{cause}**" in text
    return ns.incident(name)
