"""UpdateImages in the simulated world: a new digest is rolled out and watched, a broken one is put back, nothing is fought over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.api.maintenance_window import MaintenanceWindow, Task
from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.tasks import update_images
from docuquery_operator.catalogue.tasks.base import TaskContext
from docuquery_operator.controllers.ledgers import ledger_of
from docuquery_operator.controllers.task_targets import TaskTargets
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.domain.workloads.images import Image, images_of, record_of
from docuquery_operator.ports import DEPLOYMENT, JSON, POD, STACK, STATEFUL_SET, Conflict, TagAnswer, Unavailable
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(240)
OLD, NEW, NEXT = (f"sha256:{c * 64}" for c in "abc")
KINDS = {"api": DEPLOYMENT, "postgres": STATEFUL_SET}


class FakeRegistry:
    """ports.Registry."""

    def __init__(self, digests: dict[str, TagAnswer], faults: Faults | None = None) -> None:
        self.digests, self.faults = digests, faults

    async def tag(self, image: Image, timeout: float) -> TagAnswer:
        async def effect() -> TagAnswer:
            return self.digests.get(image.name, TagAnswer(OLD))

        return await self.faults.around(f"tag {image.name}", effect) if self.faults else await effect()


class World:
    """A Stack whose pods run an old digest, and a registry where the tag of one image means a new one."""

    def __init__(self, *newer: str) -> None:
        self.rig = Rig(verify=None)
        self.digests = {name: TagAnswer(NEW) for name in newer}
        self.rig.simulator.tags = {"api:1": OLD, "postgres:1": OLD}
        for pod in self.rig.server.all(POD, NAMESPACE):
            self.rig.server.remove(POD, NAMESPACE, pod["metadata"]["name"])
        self.rig.clock.advance(20)
        self.rig.simulator.created.clear()
        self.began = self.rig.clock.now()
        self.said: list[str] = []

    async def beside(self) -> None:
        """What else the operator does meanwhile."""

    def start(self, faults: Faults | None = None) -> None:
        self.rig.start(faults)

    async def run(self, timeout: float = 1800.0, stop: str = "", attempt: str = "t-1", **parameters: Any) -> TaskOutcome:
        life = self.rig.life
        ports = replace(life.ports, registry=FakeRegistry(self.digests, life.faults))
        stack = Stack.model_validate(self.rig.server.find(STACK, NAMESPACE, "docuquery"))
        task = Task.model_validate({"type": "UpdateImages", "updateImages": parameters})
        spec = {"stackRef": {"name": "docuquery"}, "schedule": {"cron": "0 3 * * *"}, "duration": "1h"}
        window = MaintenanceWindow.model_validate({"metadata": {"name": "w", "namespace": NAMESPACE}, "spec": spec})
        calls = 0

        async def pause(seconds: float) -> None:
            await self.beside()
            self.rig.clock.advance(seconds)

        def stopping() -> str:
            nonlocal calls
            calls += 1
            return stop if calls > 2 else ""

        context = TaskContext(
            ports,
            stack,
            window,
            task,
            attempt,
            self.began,
            timeout,
            lambda: life.prober.health(stack),
            TaskTargets(ports, stack, attempt),
            stopping,
            self.said.append,
            pause=pause,
        )
        return await update_images.run(context)

    def workload(self, name: str) -> JSON:
        found = self.rig.server.find(KINDS[name], NAMESPACE, name)
        assert found is not None
        return found

    def image(self, name: str) -> str:
        return images_of(self.workload(name))[name]

    def running(self, name: str) -> set[str]:
        pods = self.rig.simulator.pods(name)
        return {p["status"]["containerStatuses"][0]["imageID"].partition("@")[2] for p in pods}

    def ledger(self, name: str) -> tuple[list[tuple[str, str]], str]:
        """Actions with their verdicts, and who holds it."""
        found = self.rig.ledger(name)
        if found is None:
            return [], ""
        ledger = ledger_of(found)
        return [(a.action, a.outcome) for a in ledger.attempts], ledger.holder

    def rollouts(self, name: str) -> int:
        """Writes of the workload's pod template."""
        writes = [w for w in self.rig.server.writes if w.name == name and w.plural == KINDS[name].plural]
        return sum("template" in (w.body.get("spec") or {}) for w in writes)


@pytest.mark.parametrize("name", ["api", "postgres"])
async def test_a_new_digest_is_rolled_out_and_watched(name: str) -> None:
    world = World(name)
    found = await world.run()
    assert (found.state, found.summary) == ("Succeeded", "1 updated")
    assert world.image(name) == f"{name}:1@{NEW}"
    assert world.running(name) == {NEW}
    assert world.rollouts(name) == 1
    assert any("bbbbbbbbbbbb: healthy with it after" in line for line in found.evidence)
    assert world.image("api" if name == "postgres" else "postgres").endswith(":1")
    again = await world.run(attempt="t-2")
    assert again.summary == "everything is up to date or not known"
    assert world.rollouts(name) == 1


@pytest.mark.parametrize("name", ["api", "postgres"])
async def test_a_broken_version_is_put_back_by_digest_and_not_tried_again(name: str) -> None:
    world = World(name)
    world.rig.simulator.bad_digests.add(NEW)
    found = await world.run()
    assert (found.state, found.summary) == ("Failed", "1 put back")
    assert world.image(name) == f"{name}:1@{OLD}"
    assert world.running(name) == {OLD}
    assert world.rollouts(name) == 2
    assert "the former version was put back and is healthy" in found.findings[0].text
    assert all(n.healthy for n in (await world.rig.life.prober.health(_stack(world))).values())
    again = await world.run(attempt="t-2")
    assert (again.state, again.summary) == ("Succeeded", "1 only reported")
    assert "tried and put back" in again.findings[0].text
    world.digests[name] = TagAnswer(NEXT)
    third = await world.run(attempt="t-3", timeout=3600)
    assert (third.summary, world.running(name)) == ("1 updated", {NEXT})


async def test_what_is_not_well_after_the_way_back_is_not_told_as_put_back() -> None:
    world = World("api")
    world.rig.simulator.bad_digests |= {OLD, NEW}
    found = await world.run()
    assert (found.state, found.summary) == ("Failed", "1 not ended well")
    assert (found.figures["put back"], found.figures["not ended well"]) == (0, 1)
    assert world.image("api") == f"api:1@{OLD}"
    (finding,) = found.findings
    assert finding.rank == "Critical"
    assert "was put back and was not seen to be well in its time" in finding.text


def _stack(world: World) -> Stack:
    return Stack.model_validate(world.rig.server.find(STACK, NAMESPACE, "docuquery"))


async def test_one_workload_at_a_time_those_with_data_last() -> None:
    world = World("api", "postgres")
    found = await world.run()
    assert found.summary == "2 updated"
    templates = [w.name for w in world.rig.server.writes if "template" in (w.body.get("spec") or {})]
    assert templates == ["api", "postgres"]


async def test_what_may_not_be_changed_is_reported_with_the_reason() -> None:
    world = World("api", "postgres")

    def tracked(obj: JSON) -> None:
        obj["metadata"].setdefault("annotations", {})["argocd.argoproj.io/tracking-id"] = "shop:apps/Deployment:api"

    world.rig.server.edit(DEPLOYMENT, NAMESPACE, "api", tracked)
    world.digests["postgres"] = TagAnswer(problem="r.example tells postgres only to those who log in", credentials=True)
    found = await world.run()
    texts = " | ".join(f.text for f in found.findings)
    assert "Argo CD" in texts
    assert "only to those who log in; use imagePullSecrets by hand" in texts
    assert (world.rollouts("api"), world.rollouts("postgres")) == (0, 0)
    assert found.state == "Succeeded"


@pytest.mark.parametrize("case", ["reportOnly", "observe", "ill", "no time", "rollout"])
async def test_it_holds_back(case: str) -> None:
    name = "postgres" if case == "ill" else "api"
    world = World(name)
    parameters: dict[str, Any] = {"reportOnly": True} if case == "reportOnly" else {}
    if case == "observe":
        world.rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Observe"))
    if case == "ill":
        world.rig.simulator.break_process("postgres-0", world.rig.clock.now())
        world.rig.clock.advance(10)
    if case == "rollout":

        def edit(obj: JSON) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "LEVEL", "value": "debug"}]

        world.rig.server.edit(DEPLOYMENT, NAMESPACE, "api", edit)
        world.rig.clock.advance(60)
    found = await world.run(timeout=60 if case == "no time" else 1800, **parameters)
    assert (found.summary, world.rollouts(name)) == ("1 only reported", 0)


async def test_a_platform_s_own_digest_is_the_tag_s() -> None:
    world = World()
    world.digests["api"] = TagAnswer(NEW, (NEXT, OLD))
    assert (await world.run()).summary == "everything is up to date or not known"


async def test_an_image_that_no_registry_gave_is_not_taken_for_an_old_one() -> None:
    world = World("api")
    for pod in world.rig.simulator.pods("api"):
        name = pod["metadata"]["name"]
        world.rig.server.edit(POD, NAMESPACE, name, lambda p: p["status"]["containerStatuses"][0].update(imageID=OLD))
    found = await world.run()
    assert (found.summary, world.rollouts("api")) == ("everything is up to date or not known", 0)
    assert any("no pod says what it runs" in line for line in found.evidence)


async def test_stopped_before_its_verdict_it_is_put_back() -> None:
    world = World("api", "postgres")
    found = await world.run(stop="the window is over and overrun is Abort")
    assert found.state == "Aborted"
    assert (world.running("api"), world.rollouts("postgres")) == ({OLD}, 0)


async def test_somebody_else_s_images_are_left_alone() -> None:
    world = World("api")
    world.rig.simulator.bad_digests.add(NEW)
    faults = Faults()

    def meddle(name: str, _number: int) -> None:
        if name == "patch deployments/api":
            faults.raise_for = None
            world.rig.clock.advance(1)
            world.rig.timers.append((world.rig.clock.now().timestamp() + 20, change))

    def change() -> None:
        def edit(obj: JSON) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = "api:2"

        world.rig.server.edit(DEPLOYMENT, NAMESPACE, "api", edit)

    world.start(faults)
    faults.raise_for = meddle
    found = await world.run()
    assert world.image("api") == "api:2"
    assert "left alone" in found.findings[0].text


@pytest.mark.parametrize("broken", [False, True])
async def test_killed_at_every_call_it_ends_as_if_nothing_had_happened(broken: bool) -> None:
    calm = World("api")
    if broken:
        calm.rig.simulator.bad_digests.add(NEW)
    calm.start(Faults())
    expected = (await calm.run(timeout=120)).summary
    calls, image, rollouts = calm.rig.life.faults.count, calm.image("api"), calm.rollouts("api")
    ledger = calm.ledger("api")
    assert ledger == ([("restartWorkload", "Regressed" if broken else "Healed")], "")
    # Every write and what is around it, and some of the looks between.
    names = calm.rig.life.faults.calls
    near = {n + d for n, c in enumerate(names, 1) for d in (-1, 0, 1) if c.startswith(("patch", "create"))}
    chosen = sorted(n for n in near | set(range(1, calls, 61)) if 1 <= n <= calls)
    for number in chosen:
        for when in ("kill_before", "kill_after"):
            world = World("api")
            if broken:
                world.rig.simulator.bad_digests.add(NEW)
            world.start(Faults(**{when: number}))
            with pytest.raises(KilledError):
                await world.run(timeout=120)
            world.start()
            assert (await world.run(timeout=120)).summary == expected, (when, number, names[number - 1])
            assert (world.image("api"), world.rollouts("api")) == (image, rollouts), (when, number, names[number - 1])
            assert world.ledger("api") == ledger, (when, number, names[number - 1])


async def test_an_api_server_that_is_away_or_was_overtaken_is_asked_again() -> None:
    world = World("api")
    left = [Conflict("409"), Unavailable("503"), Conflict("409")]
    faults = Faults(raise_for=lambda name, _: left.pop() if name == "patch deployments/api" and left else None)
    world.start(faults)
    found = await world.run()
    assert (found.summary, record_of(world.workload("api")).state) == ("1 updated", "Done")  # type: ignore[union-attr]
