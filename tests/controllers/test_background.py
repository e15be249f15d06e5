"""Background tasks in a simulated world: workers are restarted where that helps, and messages are only moved when a person asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.ports import INCIDENT, CeleryFacts, CeleryTask, Key, TaskResult
from tests.controllers.test_detector import Watch
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

# Each lives through minutes of a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
PARTS = 8
NAME = "docuquery-background-task-failure-1"
DATABASE = "docuquery-database-connection-failure-1"
KEY = Key(INCIDENT.plural, NAMESPACE, NAME)
Status = dict[str, Any]


def rig_with_worker(**options: Any) -> Rig:
    rig = Rig(**options)
    rig.with_worker()
    return rig


def restarts(rig: Rig, workload: str = "worker") -> int:
    """Pods that were made after the first ones."""
    return sum(name.startswith(workload) for name, _ in rig.simulator.created)


def worker_pod(rig: Rig) -> str:
    name: str = rig.simulator.pods("worker")[0]["metadata"]["name"]
    return name


async def known(rig: Rig, seconds: float = 20) -> Watch:
    """The Stack was watched while all was well."""
    watch = Watch(rig)
    await watch.live(seconds)
    assert watch.names() == []
    return watch


def stuck(rig: Rig, age: float = 700.0) -> None:
    """Tasks that do not end, until the worker is another."""
    old = worker_pod(rig)
    began = rig.clock.now().timestamp() - age

    def overlay(facts: CeleryFacts) -> CeleryFacts:
        tasks = tuple(CeleryTask(f"t{n}", "tasks.stuck", rig.clock.now().timestamp() - began) for n in range(2))
        nodes = tuple(replace(n, active=tasks) if n.name.endswith(old) else n for n in facts.nodes)
        return replace(facts, nodes=nodes)

    rig.celery_overlay = overlay
    rig.celery.queue = ["one", "two", "three"]


async def test_a_frozen_worker_is_found_and_restarted_once() -> None:
    rig = rig_with_worker()
    watch = await known(rig)
    rig.freeze(worker_pod(rig))
    await watch.live(60, watch.names)
    assert watch.names() == [NAME]
    await watch.live(300, lambda: watch.over(NAME))
    status = watch.status(NAME)
    assert (condition(status, "Resolved"), restarts(rig), restarts(rig, "redis")) == ("Healed", 1, 0)
    assert steps(status)[-1] == ("restartWorkload", "Healed")
    await watch.live(60)
    assert watch.names() == [NAME]


async def test_a_worker_stuck_on_tasks_is_restarted_only_while_others_wait() -> None:
    rig = rig_with_worker()
    stuck(rig)
    rig.celery.queue = []
    watch = await known(rig, 180)
    rig.celery.queue = ["one", "two", "three"]
    await watch.live(120, watch.names)

    def drained() -> bool:
        if restarts(rig):
            rig.celery.queue = []
        return watch.over(NAME)

    await watch.live(400, drained)
    status = watch.status(NAME)
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("StuckTask", "Healed")
    assert (steps(status), restarts(rig)) == ([("restartWorkload", "Healed")], 1)


async def test_a_worker_that_lives_and_takes_nothing_is_restarted() -> None:
    rig = rig_with_worker()
    watch = await known(rig)
    rig.celery.queue = ["one", "two"]
    await watch.live(120, lambda: restarts(rig) > 0)
    assert (watch.names(), watch.status(NAME)["cause"]["name"]) == ([NAME], "Wedged")
    rig.celery.queue = []
    status = await rig.run(KEY)
    assert (condition(status, "Resolved"), restarts(rig)) == ("Healed", 1)


async def test_says_healed_only_when_the_messages_are_worked_on() -> None:
    """The restart is complete and nothing has changed: that is no heal."""
    rig = rig_with_worker()
    watch = await known(rig)
    rig.celery.queue = ["one", "two"]
    await watch.live(120, lambda: restarts(rig) > 0)
    status = await rig.run(KEY, seconds=900, until=lambda s: condition(s, "NeedsHuman") != "")
    assert (condition(status, "NeedsHuman"), restarts(rig)) == ("RemedyUsedUp", 1)
    assert steps(status) == [("restartWorkload", "NotHealed")]


async def test_a_worker_of_one_process_is_let_work() -> None:
    rig = rig_with_worker()
    rig.celery_overlay = lambda f: replace(f, nodes=tuple(replace(n, pool="solo") for n in f.nodes))
    watch = await known(rig)
    rig.celery.queue = ["one", "two"]
    rig.celery_overlay = lambda f: replace(f, nodes=(), complete=False, waiting=replace(f.waiting, held=1, held_oldest=90.0))
    await watch.live(300)
    assert (watch.names(), restarts(rig)) == ([], 0)


async def test_redis_down_is_the_root_and_the_worker_its_symptom() -> None:
    rig = rig_with_worker()
    watch = await known(rig, 30)
    rig.freeze("redis-0")
    await watch.live(60, watch.names)
    assert watch.names() == ["docuquery-redis-connection-1"]
    assert "Only its symptoms: worker" in watch.incidents()[0]["spec"]["description"]
    await watch.live(400, lambda: watch.over("docuquery-redis-connection-1"))
    await watch.live(120)
    assert watch.names() == ["docuquery-redis-connection-1"]
    assert (restarts(rig, "redis"), restarts(rig)) == (1, 0)


async def test_a_person_who_asks_about_the_worker_is_told_that_redis_is_down() -> None:
    rig = rig_with_worker()
    rig.freeze("redis-0")
    status = await rig.run(rig.worker_incident(), seconds=120)
    assert status["cause"]["name"] == "BrokerDown"
    assert (restarts(rig), rig.ledger("worker")) == (0, None)


async def test_failing_tasks_are_counted_and_left_to_a_person() -> None:
    rig = rig_with_worker()
    now = rig.clock.now().timestamp()
    rig.celery.results = [TaskResult(f"r{n}", n % 3 > 0, now, "tasks.fail", "OddError") for n in range(60)]
    status = await rig.run(rig.worker_incident(), seconds=60)
    assert (status["cause"]["name"], condition(status, "NeedsHuman")) == ("TasksFail", "TasksFail")
    assert any("40 of 60" in line and "40 OddError" in line for line in status["cause"]["evidence"])
    assert restarts(rig) == 0


def on_the_database() -> Rig:
    """The worker's tasks need the database."""
    rig = rig_with_worker()
    rig.edit_stack(lambda s: s["spec"]["components"]["worker"].update(dependsOn=["redis", "postgres"]))
    return rig


async def test_failures_of_an_outage_that_is_over_open_no_incident_of_their_own() -> None:
    rig = on_the_database()
    watch = await known(rig)
    rig.freeze()
    now = rig.clock.now().timestamp()
    rig.celery.results = [TaskResult(f"r{n}", True, now, "tasks.fail", "OperationalError") for n in range(40)]
    await watch.live(300, lambda: watch.over(DATABASE))
    await watch.live(240)
    assert watch.names() == [DATABASE]


async def test_failures_that_go_on_after_an_outage_are_told() -> None:
    rig = on_the_database()
    watch = await known(rig)
    rig.freeze()
    await watch.live(300, lambda: watch.over(DATABASE))
    for _ in range(20):
        now = rig.clock.now().timestamp()
        rig.celery.results = [TaskResult(f"r{n}", True, now, "tasks.fail", "OddError") for n in range(40)]
        await watch.live(20)
    assert watch.names() == [NAME, DATABASE]


async def test_a_worker_that_hangs_after_an_outage_is_told() -> None:
    rig = on_the_database()
    watch = await known(rig)
    rig.freeze()
    rig.celery.results = [
        TaskResult(f"r{n}", True, rig.clock.now().timestamp(), "tasks.fail", "OperationalError") for n in range(40)
    ]
    await watch.live(300, lambda: watch.over(DATABASE))
    stuck(rig)
    # Less than the failures are counted for.
    await watch.live(150, lambda: NAME in watch.names())


async def test_a_flood_gets_more_workers_for_a_while_and_the_former_number_after_it() -> None:
    rig = rig_with_worker()
    rig.edit_stack(lambda s: s["spec"]["components"]["worker"].update(scaling={"max": 3}))
    watch = await known(rig)
    flood(rig)
    seen: set[int] = set()

    def goes_on() -> bool:
        """One worker falls behind, two keep up."""
        pods = len(rig.simulator.pods("worker"))
        seen.add(pods)
        queue = rig.celery.queue
        rig.celery.queue = [f"n{len(queue)}", *queue] if pods < 2 else queue[: len(queue) // 2]
        return watch.over(NAME)

    await watch.live(400, goes_on)
    status = watch.status(NAME)
    assert (status["cause"]["name"], steps(status)) == ("QueueFlood", [("scaleWorkload", "Healed")])
    assert (condition(status, "Resolved"), max(seen)) == ("Healed", 2)
    assert len(rig.simulator.pods("worker")) == 2, "they stay for their time"
    rig.clock.advance(3700)
    await watch.live(60)
    assert len(rig.simulator.pods("worker")) == 1
    assert watch.names() == [NAME]


def flood(rig: Rig) -> None:
    """More messages than a worker, which is well and busy, can work on."""
    rig.celery.queue = [f"m{n}" for n in range(2000)]
    rig.celery_overlay = lambda f: replace(f, nodes=tuple(replace(n, active=(CeleryTask("t", "t", 1.0),)) for n in f.nodes))


async def test_a_flood_is_left_to_a_person_who_sets_it_aside_and_gives_it_back() -> None:
    rig = rig_with_worker()
    watch = await known(rig)
    flood(rig)

    def more() -> bool:
        rig.celery.queue = [f"n{len(rig.celery.queue)}", *rig.celery.queue]
        return bool(watch.names()) and condition(watch.status(NAME), "NeedsHuman") != ""

    await watch.live(200, more)
    status = watch.status(NAME)
    assert (status["cause"]["name"], condition(status, "NeedsHuman")) == ("QueueFlood", "ScalingNotAllowed")
    before = list(rig.celery.queue)
    rig.edit_incident(KEY, lambda i: i["spec"].update(resolved={"by": "me", "note": "set aside"}))
    await rig.run(KEY)
    moving = rig.worker_incident("set-aside", parameters={"quarantine": "Move"})
    status = await rig.run(moving)
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("QuarantineMove", "Healed")
    assert steps(status) == [("quarantineQueue", "Healed")]
    assert rig.celery.queue == []
    (held,) = rig.celery.held.values()
    assert held == before
    rig.celery.queue = ["since"]
    back = rig.worker_incident("give-back", parameters={"quarantine": "PutBack"})
    status = await rig.run(back, seconds=200, until=lambda _: not rig.celery.held)
    assert (rig.celery.queue, rig.celery.held) == (["since", *before], {})
    rig.celery.queue = []
    status = await rig.run(back)
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("putBackQuarantine", "Healed")])
    assert restarts(rig) == 0


async def test_nothing_is_dropped_without_a_yes_to_exactly_this() -> None:
    rig = rig_with_worker()
    rig.celery.held, rig.celery.since = {"a1": ["one", "two"]}, {"a1": rig.clock.now().timestamp() - 4000}
    key = rig.worker_incident("drop", parameters={"quarantine": "Drop"})
    status = await rig.run(key, seconds=60, until=lambda s: condition(s, "NeedsApproval") != "")
    assert condition(status, "NeedsApproval") == "WaitingForApproval"
    await rig.run(key, seconds=60)
    assert rig.celery.held
    (step,) = status["steps"]
    assert (step["plan"]["messages"], step["plan"]["batches"][0]["attempt"]) == (2, "a1")
    # Somebody changes it before the answer comes: what was approved is not there any more.
    rig.celery.held["a1"] = ["one", "three"]
    answer = {"step": "dropQuarantine", "planDigest": step["planDigest"], "by": "me", "decision": "Approve"}
    rig.edit_incident(key, lambda i: i["spec"].update(approvals=[answer]))
    await rig.run(key, seconds=60)
    assert "two persons" in rig.status(key)["summary"] + str(rig.status(key)["conditions"]), "one yes is not enough"
    rig.edit_incident(key, lambda i: i["spec"].update(approvals=[answer, {**answer, "by": "another"}]))
    await rig.run(key, seconds=60)
    assert rig.celery.held == {"a1": ["one", "three"]}
    rig.celery.held["a1"] = ["one", "two"]
    status = await rig.run(key)
    assert (rig.celery.held, condition(status, "Resolved")) == ({}, "Healed")
    assert steps(status) == [("dropQuarantine", "Healed")]


async def test_a_move_in_observe_mode_moves_nothing() -> None:
    rig = rig_with_worker(mode="Observe")
    rig.celery.queue = ["one"]
    await rig.run(rig.worker_incident(parameters={"quarantine": "Move"}), seconds=120)
    assert (rig.celery.queue, rig.celery.held) == (["one"], {})


async def told(wish: str, faults: Faults | None = None) -> tuple[Rig, Status]:
    """A story of the quarantine to its end."""
    rig = rig_with_worker()
    if wish == "Move":
        rig.celery.queue = ["three", "two", "one"]
    else:
        rig.celery.held, rig.celery.since = {"a1": ["two", "one"]}, {"a1": rig.clock.now().timestamp() - 4000}
    if faults is not None:
        rig.start(faults)
    key = rig.worker_incident(parameters={"quarantine": wish})

    def worked(status: Status) -> bool:
        if wish == "PutBack" and rig.celery.queue:
            assert rig.celery.queue == ["two", "one"]
        return status.get("phase") == "Resolved" and "report" in status

    status = await rig.run(key, until=worked)
    assert rig.crashes == []
    end = {
        "reason": condition(status, "Resolved"),
        "steps": steps(status),
        "queue": rig.celery.queue,
        "held": list(rig.celery.held.values()),
        "restarts": restarts(rig),
    }
    return rig, end


@pytest.mark.parametrize("wish", ["Move"])
@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_any_call_it_ends_the_same(wish: str, part: int) -> None:
    reference, expected = await told(wish)
    assert expected["held"] == [["three", "two", "one"]]
    different = []
    for kill in ("kill_before", "kill_after"):
        for n in range(1 + part, reference.life.faults.count + 1, PARTS * 4):
            _, found = await told(wish, Faults(**{kill: n}))
            if found != expected:
                different.append((kill, n, found))
    assert different == []
