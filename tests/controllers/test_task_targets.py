"""Tasks and runbooks on one target: one acts, the other waits or is refused in words, and both count in the same ledger."""

from __future__ import annotations

from datetime import timedelta

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.controllers.ledgers import ANNOTATION, ledger_of
from docuquery_operator.controllers.task_targets import TaskTargets
from docuquery_operator.domain.ledger import Attempt, Ledger, encode
from docuquery_operator.ports import LEASE, Key, Transient
from tests.controllers.test_update_images import World, _stack
from tests.fakes.rig import NAMESPACE, condition, steps

pytestmark = pytest.mark.timeout(240)
LIMIT = timedelta(minutes=10)


class Shared(World):
    """An incident beside the task, each with its turn."""

    key: Key | None = None
    reasons: frozenset[str] = frozenset()

    async def beside(self) -> None:
        if self.key is None:
            return
        await self.rig.once(self.key)
        self.reasons |= {d["reason"] for d in self.rig.status(self.key).get("decisions", [])}

    def incident(self) -> Key:
        self.key = self.rig.incident()
        return self.key

    def templates(self) -> list[str]:
        """Writers of postgres' pod template: T the task, I the incident."""
        writes = [w for w in self.rig.server.writes if w.name == "postgres" and "template" in (w.body.get("spec") or {})]
        return ["T" if "spec" in w.body["spec"]["template"] else "I" for w in writes]


async def test_no_runbook_acts_while_a_task_is_at_work_on_the_target() -> None:
    world = Shared("postgres")
    world.rig.simulator.bad_digests.add("sha256:" + "b" * 64)
    key = world.incident()
    found = await world.run()
    assert found.summary == "1 put back"
    # Without the ledger the runbook restarts what the task is watching.
    assert world.templates() == ["T", "T"]
    assert "TargetBusy" in world.reasons
    decision = next(d for d in world.rig.status(key)["decisions"] if d["reason"] == "TargetBusy")
    assert decision["message"] == "a maintenance task is working on postgres"
    assert world.ledger("postgres") == ([("restartWorkload", "Regressed")], "")
    status = await world.rig.run(key)
    assert (status["phase"], world.templates()) == ("Resolved", ["T", "T"])


async def test_a_runbook_counts_what_a_task_has_just_done() -> None:
    world = Shared("postgres")
    assert (await world.run()).summary == "1 updated"
    world.rig.freeze()
    key = world.incident()
    status = await world.rig.run(key, seconds=120)
    assert (steps(status), condition(status, "HealBlocked")) == ([], "Cooldown")
    await world.rig.run(key, seconds=1200, until=lambda s: s.get("phase") == "Resolved")
    assert world.templates() == ["T", "I"]


async def healing(world: Shared) -> Key:
    """Until its runbook's step has had its effect, and has no verdict yet."""
    world.rig.freeze()
    key = world.incident()
    await world.rig.run(key, until=lambda s: bool(s.get("steps")) and (world.running("postgres") == {"sha256:" + "a" * 64}))
    for _ in range(60):
        health = await world.rig.life.prober.health(_stack(world))
        if health["postgres"].healthy and health["api"].healthy:
            break
        await world.rig.once(key)
        world.rig.clock.advance(2)
    assert steps(world.rig.status(key)) == [("restartWorkload", "Running")]
    return key


async def test_a_task_waits_for_the_verdict_of_a_runbook_and_for_its_cooldown() -> None:
    world = Shared("postgres")
    key = await healing(world)
    world.began = world.rig.clock.now()
    found = await world.run(timeout=3600)
    assert (found.summary, world.templates()) == ("1 updated", ["I", "T"])
    assert any("it waits: another incident is working on postgres" in text for text in world.said)
    assert any("restartWorkload of an incident ended on postgres" in text for text in world.said)
    lease = world.rig.ledger()
    assert lease is not None
    first, second = ledger_of(lease).attempts
    assert (first.outcome, second.outcome) == ("Healed", "Healed")
    assert first.finished is not None
    assert second.at - first.finished >= LIMIT
    assert world.rig.status(key)["phase"] == "Resolved"


async def test_a_task_without_the_time_to_wait_is_refused_in_words() -> None:
    world = Shared("postgres")
    await healing(world)
    world.began = world.rig.clock.now()
    found = await world.run(timeout=300)
    assert (found.state, found.summary, world.templates()) == ("Succeeded", "1 only reported", ["I"])
    assert "not updated: 6-cooldown/Cooldown: restartWorkload of an incident ended on postgres at " in found.findings[0].text
    assert world.rig.life.metrics.refusals == {"Cooldown": 1}
    assert world.ledger("postgres")[0] == [("restartWorkload", "Healed")]


def entered(world: World, *ages: int, outcome: str = "Healed") -> None:
    now = world.rig.clock.now()
    attempts = [
        Attempt(f"a-{m}", now - timedelta(minutes=m), "restartWorkload", "X", "i", outcome, now - timedelta(minutes=m))
        for m in ages
    ]
    labels = {"ops.docuquery.ai/stack": "docuquery", "ops.docuquery.ai/component": "postgres"}
    meta = {"name": "docuquery-target-docuquery-postgres", "namespace": NAMESPACE, "labels": labels}
    meta["annotations"] = {ANNOTATION: encode(Ledger(tuple(attempts)))}  # type: ignore[assignment]
    world.rig.server.put(LEASE, {"metadata": meta, "spec": {}})


@pytest.mark.parametrize(
    ("ages", "outcome", "words"),
    [((50, 40, 30), "Healed", "5-budget/BudgetUsedUp"), ((40, 30, 20), "NotHealed", "8-circuit-breaker/CircuitOpen")],
)
async def test_the_budget_and_the_breaker_of_a_target_hold_for_tasks_too(
    ages: tuple[int, ...], outcome: str, words: str
) -> None:
    world = World("postgres")
    entered(world, *ages, outcome=outcome)
    found = await world.run(timeout=300)
    assert (found.summary, world.rollouts("postgres")) == ("1 only reported", 0)
    assert words in found.findings[0].text
    assert "not before" in found.findings[0].text


async def test_a_budget_of_nothing_is_not_waited_for() -> None:
    world = World("api")
    world.rig.edit_stack(lambda s: s["spec"]["healing"].update(budget={"perTarget": "0/1h"}))
    began = world.rig.clock.now()
    found = await world.run(timeout=1800)
    assert (found.summary, world.rollouts("api")) == ("1 only reported", 0)
    assert "5-budget/BudgetUsedUp: 0 actions on api within 60m, the limit is 0" in found.findings[0].text
    assert world.rig.clock.now() - began < timedelta(seconds=30)


async def test_a_spoilt_ledger_is_no_leave_to_act() -> None:
    world = World("postgres")
    entered(world)
    world.rig.server.edit(LEASE, NAMESPACE, "docuquery-target-docuquery-postgres",
                          lambda o: o["metadata"]["annotations"].update({ANNOTATION: "{"}))  # fmt: skip
    found = await world.run(timeout=300)
    assert (found.summary, world.rollouts("postgres")) == ("1 only reported", 0)
    assert "28-lookup/LookupFailed" in found.findings[0].text


async def test_a_target_that_was_taken_meanwhile_is_not_written_and_one_that_is_left_is_free() -> None:
    world = World("postgres")
    life, stack = world.rig.life, _stack(world)
    mine = TaskTargets(life.ports, stack, "t-1")
    assert await mine.take("postgres", "restartWorkload", LIMIT) is None
    world.rig.clock.advance(61)
    now = world.rig.clock.now()

    def take(lease: dict[str, dict[str, str]]) -> None:
        lease["spec"].update(holderIdentity="uid-2", renewTime=format_time(now))

    world.rig.server.edit(LEASE, NAMESPACE, "docuquery-target-docuquery-postgres", take)
    with pytest.raises(Transient, match="another incident works on postgres"):
        await mine.keep("postgres")
    await mine.leave()
    assert world.ledger("postgres") == ([("restartWorkload", "Inconclusive")], "uid-2")
    other = TaskTargets(life.ports, stack, "t-2")
    refused = await other.take("postgres", "restartWorkload", LIMIT)
    assert refused is not None
    assert refused.reason == "TargetBusy"
    await other.finish("api", "Healed")
    assert world.rig.ledger("api") is None
