"""Faults of the worker, made in the running stack with nobody there; what the operator says is held against the queue itself.

Run them side by side: pytest tests/e2e/test_background.py -n 2
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import background
from tests.e2e.checks import WATCHED, Deploy, asks_for_a_person
from tests.e2e.faults import freeze_redis
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace, condition, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TYPE = "BackgroundTaskFailure"
NAME = "docuquery-background-task-failure-1"
REDIS = "docuquery-redis-connection-1"


def watched(stack: Deploy) -> StackNamespace:
    """A stack with a worker, watched, and well for a while."""
    ns = stack(detection=WATCHED)
    background.deploy_worker(ns)
    assert background.works(ns)
    assert ns.api.list("incidents") == []
    return ns


def ended(ns: StackNamespace, name: str, reason: str, cause: str) -> dict[str, Any]:
    """Resolved for this reason, and true: the worker takes tasks."""
    status = ns.wait_resolved(name, 180)
    assert condition(status, "Resolved")["reason"] == reason, stackns.brief(status)
    assert status["cause"]["name"] == cause, stackns.brief(status)
    assert background.works(ns)
    assert (ns.restarts_ordered("redis"), ns.restarts_ordered()) == ([], [])
    return status


def test_background_killed(stack: Deploy) -> None:
    """kill -9 of the main process: the kubelet starts it anew, and the operator waits for that."""
    ns = watched(stack)
    fault = Fault(ns, "worker: kill -9", TYPE)
    background.send_signal(ns, signal.SIGKILL)
    wait_for("no worker", lambda: not background.listens(ns), 10)
    fault.opened(90)
    status = ns.wait_resolved(NAME, 180)
    assert (condition(status, "Resolved")["reason"], status["cause"]["name"]) == ("Recovered", "WorkerDead")
    assert background.works(ns)
    assert [s for s in status.get("steps") or [] if s.get("attemptId")] == []
    assert background.restarts_ordered(ns) == []
    time.sleep(8)
    fault.ended()


def test_background_frozen(stack: Deploy) -> None:
    """SIGSTOP: the pod stays ready, the connection stays open, and no task is taken."""
    ns = watched(stack)
    (before,) = background.pods(ns)
    fault = Fault(ns, "worker: SIGSTOP", TYPE)
    background.send_signal(ns, signal.SIGSTOP)
    fault.opened(90)
    wait_for("a worker that is called down", lambda: background.state(ns, "worker") == "MajorOutage", 30)
    status = ended(ns, NAME, "Healed", "WorkerFrozen")
    assert steps(status) == [("restartWorkload", "Healed")]
    assert background.restarts_ordered(ns) == [status["steps"][0]["attemptId"]]
    (after,) = background.pods(ns)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    time.sleep(8)
    fault.ended()


def test_background_stuck(stack: Deploy) -> None:
    """Two tasks that never end take both places: no fault while nobody waits, and then one restart."""
    ns = watched(stack)
    background.send(ns, "scenario.stuck", [3600.0, 3600.0])
    wait_for("both to be taken", lambda: background.waiting(ns) == 0, 20)
    time.sleep(25)
    assert ns.api.list("incidents") == []
    fault = Fault(ns, "worker: two tasks that never end", TYPE)
    background.send(ns, "scenario.note", [0.0] * 5)
    fault.opened(90)
    status = ended(ns, NAME, "Healed", "StuckTask")
    assert steps(status) == [("restartWorkload", "Healed")]
    # They are not lost: whoever killed them with their worker has left them to the broker.
    assert int(ns.redis_cli("hlen", "unacked")) + background.waiting(ns) >= 2
    time.sleep(8)
    fault.ended()


def test_background_flood(stack: Deploy) -> None:
    """More comes than one worker can do, and less than two: it gets a second one, and the queue shrinks."""
    ns = watched(stack)
    (before,) = background.pods(ns)
    fault = Fault(ns, "worker: a flood of messages", TYPE)
    with flooded(ns):
        fault.opened(120)
        status = ns.wait_resolved(NAME, 180)
        assert (condition(status, "Resolved")["reason"], status["cause"]["name"]) == ("Healed", "QueueFlood"), stackns.brief(
            status
        )
        assert steps(status) == [("scaleWorkload", "Healed")]
        uids = [p["metadata"]["uid"] for p in background.pods(ns)]
        assert (len(uids), before["metadata"]["uid"] in uids) == (2, True)
        most = background.waiting(ns)
        wait_for("a queue that shrinks", lambda: background.waiting(ns) < most - 5, 30)
    fault.ended()
    set_aside_and_give_back(ns)


def set_aside_and_give_back(ns: StackNamespace) -> None:
    """Counted by Redis itself, and told by the incidents."""
    ns.api.patch("stacks", "docuquery", {"spec": {"detection": {"openIncidents": False}}})
    # Nobody takes any meanwhile, so that all counts are of the same messages.
    background.scale(ns, 0)
    count = background.waiting(ns)
    assert count > 100
    ns.open("set-aside", type=TYPE, parameters={"quarantine": "Move"})
    wait_for("an empty queue", lambda: background.waiting(ns) == 0, 60)
    keys = ns.redis_cli("--scan", "--pattern", "docuquery:quarantine:*:celery").split()
    assert [int(ns.redis_cli("llen", key)) for key in keys] == [count]
    background.scale(ns, 1)
    status = ns.wait_resolved("set-aside", 180)
    assert steps(status) == [("quarantineQueue", "Healed")], stackns.brief(status)
    assert any(f"{count} messages moved" in t["message"] for t in status["timeline"])
    background.scale(ns, 0)
    ns.open("give-back", type=TYPE, parameters={"quarantine": "PutBack"})
    wait_for("the messages", lambda: background.waiting(ns) == count, 60)
    assert ns.redis_cli("exists", "docuquery:quarantine") == "0"
    background.scale(ns, 1)
    status = ns.wait_resolved("give-back", 180)
    assert steps(status) == [("putBackQuarantine", "Healed")], stackns.brief(status)
    assert any(f"{count} of {count} messages put back" in t["message"] for t in status["timeline"])
    assert background.restarts_ordered(ns) == []


@contextlib.contextmanager
def flooded(ns: StackNamespace) -> Iterator[None]:
    """Tasks of half a second: a heap of them, and then six a second, where two processes can do four and four can do eight."""
    stop = threading.Event()
    background.send(ns, "scenario.note", [0.5] * 300)

    def flood() -> None:
        while not stop.wait(0.5):
            background.send(ns, "scenario.note", [0.5] * 3)

    sender = threading.Thread(target=flood)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def test_background_idle(stack: Deploy) -> None:
    """The worker was told to take nothing more: it is well, and a restart would only hide who has told it."""
    ns = watched(stack)
    (before,) = background.pods(ns)
    fault = Fault(ns, "worker: idle, its consumer was cancelled", TYPE)
    background.control(ns, "cancel_consumer", "celery")
    background.send(ns, "scenario.note", [0.0] * 5)
    fault.opened(90)
    ns.wait_incident(NAME, "a person is asked for", asks_for_a_person("QueueNotConsumed"), 60)
    time.sleep(8)
    background.control(ns, "add_consumer", "celery")
    status = ended(ns, NAME, "Recovered", "QueueNotConsumed")
    assert [s for s in status.get("steps") or [] if s.get("attemptId")] == []
    assert [p["metadata"]["uid"] for p in background.pods(ns)] == [before["metadata"]["uid"]]
    fault.ended()


def test_background_tasks_fail(stack: Deploy) -> None:
    """Nobody may log in to the database: one P0, though all tasks fail as well, and none for failures that still count when it is over."""
    ns = watched(stack)
    fault = Fault(ns, "postgres: password changed, and all tasks fail of it", stackns.INCIDENT_TYPE)
    ns.psql("alter role docuquery password 'changed-by-somebody'")
    background.send(ns, "scenario.query", [0.0] * 40)
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("AuthFailed"))
    assert status["severity"] == "P0"
    wait_for("tasks that have failed", lambda: background.failed(ns) == 40, 60, 0.5)
    time.sleep(8)
    ns.psql("alter role docuquery password 'local-only-app'")
    status = ns.wait_resolved(name, 120)
    assert (condition(status, "Resolved")["reason"], status["cause"]["name"]) == ("Recovered", "AuthFailed")
    assert background.works(ns)
    time.sleep(15)
    assert background.failed(ns) == 40
    assert background.restarts_ordered(ns) == []
    fault.ended()


def test_background_redis_down(stack: Deploy) -> None:
    """Redis hangs: it alone is the cause, and worker and api are its symptoms."""
    ns = watched(stack)
    (before,) = background.pods(ns)
    fault = Fault(ns, "redis: SIGSTOP, with a worker that waits for it", "RedisConnection")
    freeze_redis(ns)
    fault.opened(90)
    assert "worker" in ns.api.read("incidents", REDIS)["spec"]["description"].partition("Only its symptoms")[2]
    status = ns.wait_resolved(REDIS, 180)
    assert (condition(status, "Resolved")["reason"], status["cause"]["name"]) == ("Healed", "ProcessDown")
    wait_for("a worker that is back", lambda: background.listens(ns), 60, 0.5)
    assert background.works(ns)
    assert background.restarts_ordered(ns) == []
    assert [p["metadata"]["uid"] for p in background.pods(ns)] == [before["metadata"]["uid"]]
    time.sleep(8)
    fault.ended()
