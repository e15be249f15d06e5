"""Tasks of a MaintenanceWindow in the simulated world: killed at every call, each is done once and told once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.maintenance_window import TaskType
from docuquery_operator.catalogue.tasks import TASKS, health_check
from docuquery_operator.catalogue.tasks.base import Heavy, JobWanted, Light, TaskContext
from docuquery_operator.controllers.ledgers import LedgerStore
from docuquery_operator.controllers.maintenance_window import MaintenanceWindowController
from docuquery_operator.controllers.task_runner import TaskRunner
from docuquery_operator.domain.backups.manifest import Document
from docuquery_operator.domain.ledger import Attempt
from docuquery_operator.domain.maintenance.task_outcome import Finding, Series, Table, TaskOutcome
from docuquery_operator.domain.reports.kept import outcomes
from docuquery_operator.ports import (
    BACKUP_JOB,
    CONFIG_MAP,
    JOB,
    MAINTENANCE_WINDOW,
    Conflict,
    Key,
    Ports,
    Refused,
    Transient,
    Unavailable,
)
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_jobs import TaskJobs

pytestmark = pytest.mark.timeout(240)
KEY = Key(MAINTENANCE_WINDOW.plural, NAMESPACE, "w")


class Order(Document):
    """What the Job of these tests is asked."""

    what: str = "vacuum"


@dataclass
class Story:
    """One window with tasks, and the operator processes that serve it one after the other."""

    rig: Rig = field(default_factory=Rig)
    takes: float = 20.0
    ran: list[str] = field(default_factory=list)
    hang: bool = False

    def __post_init__(self) -> None:
        self.jobs = TaskJobs(self.rig.server, self.takes)
        self.rig.clock.listen(self.jobs.tick)
        self.start()

    def start(self, faults: Faults | None = None) -> None:
        self.rig.start(faults)
        life = self.rig.life
        kinds = {
            TaskType.HEALTH_CHECK: health_check.KIND,
            TaskType.ERROR_RATE: Light(TaskType.ERROR_RATE, "a light one", self._light, changes=True),
            TaskType.VACUUM_DATABASE: Heavy(TaskType.VACUUM_DATABASE, "a heavy one", self._heavy),
        }
        runner = TaskRunner(life.ports, life.prober, "image:1", self.rig.nudged.append, kinds)
        self.controller = MaintenanceWindowController(life.ports, runner)

    async def _light(self, context: TaskContext) -> TaskOutcome:
        self.ran.append(context.attempt_id)
        await context.ports.cluster.get(CONFIG_MAP, NAMESPACE, "anything")
        while self.hang and not context.stopping():
            await asyncio.sleep(0)
        return TaskOutcome(state="Aborted" if self.hang else "Succeeded", summary=context.stopping() or "looked")

    async def _heavy(self, context: TaskContext) -> JobWanted:
        return JobWanted(Order(), {"postgres": "postgres-operator"})

    def put(self, *tasks: str, minutes: float = 0.1, **spec: Any) -> None:
        at = (self.rig.clock.now() + timedelta(minutes=minutes)).replace(microsecond=0)
        body = {"stackRef": {"name": "docuquery"}, "schedule": {"at": at.isoformat()}, "duration": "30m", **spec}
        body["tasks"] = [{"type": t, "timeout": "10m"} for t in tasks]
        self.rig.server.put(MAINTENANCE_WINDOW, {"metadata": {"name": "w", "namespace": NAMESPACE}, "spec": body})

    @property
    def status(self) -> Any:
        found = self.rig.server.find(MAINTENANCE_WINDOW, NAMESPACE, "w")
        return (found or {}).get("status") or {}

    @property
    def states(self) -> list[str]:
        return [t["state"] for t in self.status.get("tasks", [])]

    def report(self) -> dict[TaskType, TaskOutcome]:
        found = [c for c in self.rig.server.all(CONFIG_MAP, NAMESPACE) if c["metadata"]["name"].endswith("-report")]
        return outcomes(found[0]["data"]) if found else {}

    def pages(self) -> tuple[str, Any]:
        """The page for people, and its figures."""
        found = [c for c in self.rig.server.all(CONFIG_MAP, NAMESPACE) if c["metadata"]["name"].endswith("-report")]
        return found[0]["data"]["report.html"], json.loads(found[0]["data"]["report.json"])

    async def lived(self, seconds: float) -> None:
        end = self.rig.clock.now() + timedelta(seconds=seconds)
        while self.rig.clock.now() < end:
            again = await self.once()
            for _ in range(20):
                await asyncio.sleep(0)
            if self.rig.life.faults.dead:
                self.start()
            wait = 0.05 if KEY in self.rig.nudged else again if again is not None else seconds
            self.rig.clock.advance(min(wait, max(0.05, (end - self.rig.clock.now()).total_seconds())))

    async def once(self) -> float | None:
        self.rig.nudged[:] = [k for k in self.rig.nudged if k != KEY]
        try:
            return await self.controller.reconcile(KEY)
        except KilledError:
            self.start()
            return 1.0
        except Transient as problem:
            return problem.after
        except (Conflict, Unavailable):
            return 1.0

    def end(self) -> dict[str, Any]:
        """What must be the same however often the process died."""
        return {
            "tasks": [(t["type"], t["state"], t["summary"], t.get("evidence")) for t in self.status["tasks"]],
            "history": [(p["outcome"], p.get("report")) for p in self.status["history"]],
            "jobs": len(self.rig.server.all(JOB)),
            "ran": len(self.jobs.ran),
            "kept": sorted(t.value for t in self.report()),
            "active": self.status.get("active"),
        }


async def test_light_and_heavy_ones_have_their_turn_and_their_figures_are_kept() -> None:
    story = Story()
    story.put("HealthCheck", "VacuumDatabase", "ErrorRate", "CapacityPlan")
    await story.lived(120)
    assert story.states == ["Succeeded", "Succeeded", "Succeeded", "Skipped"]
    first, second, third, _ = story.status["tasks"]
    assert first["summary"] == "2 of 2 components are healthy"
    assert second["evidence"] == ["dead rows before: 9", "dead rows after: 0"]
    assert third["summary"] == "looked"
    job = story.rig.server.all(JOB)[0]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "MaintenanceWindow"
    assert job["spec"]["activeDeadlineSeconds"] in range(655, 661)
    assert sorted(t.value for t in story.report()) == ["ErrorRate", "HealthCheck", "VacuumDatabase"]
    assert story.report()[TaskType.HEALTH_CHECK].tables[0].rows[0][:2] == ("api", "healthy")
    page, figures = story.pages()
    assert [t["type"] for t in figures["tasks"]] == ["HealthCheck", "VacuumDatabase", "ErrorRate"]
    assert all(f'id="task-{t["type"]}"' in page and t["outcome"]["summary"] in page for t in figures["tasks"])
    told = [e.reason for e in story.rig.life.events.posted]
    assert told == ["WindowOpened", *["TaskStarted", "TaskSucceeded"] * 3]
    await story.lived(40 * 60)
    assert [p["report"] for p in story.status["history"]] == [
        c["metadata"]["name"] for c in story.rig.server.all(CONFIG_MAP, NAMESPACE) if "report" in c["metadata"]["name"]
    ]
    writes = [w for w in story.rig.server.writes if w.plural == "maintenancewindows"]
    assert len(writes) <= 12


async def killed(when: str = "", number: int = 0) -> Story:
    """A short window with a heavy task and a light one, whose operator is killed at one call."""
    story = Story(Rig(verify=None), takes=4)
    if when:
        story.start(Faults(**{when: number}))
    story.put("VacuumDatabase", "ErrorRate", minutes=0.01, duration="40s")
    await story.lived(60)
    return story


@pytest.mark.parametrize("when", ["kill_before", "kill_after"])
async def test_killed_at_every_call_each_is_done_once_and_the_end_is_the_same(when: str) -> None:
    calm = await killed()
    expected, calls = calm.end(), calm.rig.life.faults.count
    assert (expected["ran"], expected["kept"]) == (1, ["ErrorRate", "VacuumDatabase"])
    assert calls > 40
    for number in range(1, calls + 1):
        story = await killed(when, number)
        assert story.end() == expected, (when, number, story.rig.lives[-2].faults.calls[-1:])
        assert len(story.ran) <= 2, "a light one is run again at most once for each kill"


async def test_a_backup_that_begins_at_the_same_time_is_waited_for() -> None:
    story = Story()
    story.put("VacuumDatabase")
    spec = {"stackRef": {"name": "docuquery"}}
    body = {"metadata": {"name": "nightly", "namespace": NAMESPACE}, "spec": spec, "status": {"work": {"kind": "Backup"}}}
    story.rig.server.put(BACKUP_JOB, body)
    await story.lived(120)
    assert story.states == ["Pending"]
    assert story.jobs.ran == []
    assert story.status["tasks"][0]["summary"] == "BackupJob nightly saves the data of the same Stack; it waits"
    story.rig.server.edit(BACKUP_JOB, NAMESPACE, "nightly", lambda b: b.update(status={}))
    await story.lived(60)
    assert story.states == ["Succeeded"]
    assert len(story.jobs.ran) == 1


async def test_a_backup_that_is_seen_only_after_the_intent_is_stepped_back_from() -> None:
    story = Story()
    story.put("VacuumDatabase")
    spec = {"stackRef": {"name": "docuquery"}}
    body = {"metadata": {"name": "nightly", "namespace": NAMESPACE}, "spec": spec, "status": {"work": {"kind": "Backup"}}}
    faults = Faults()

    def begun(name: str, _number: int) -> None:
        if name == "event TaskStarted":
            story.rig.server.put(BACKUP_JOB, body)

    faults.raise_for = begun
    story.start(faults)
    await story.lived(60)
    assert (story.states, story.jobs.ran) == (["Pending"], [])


@pytest.mark.parametrize(("component", "waits"), [("postgres", True), ("redis", False)])
async def test_a_store_that_is_being_healed_is_worked_on_after_that(component: str, waits: bool) -> None:
    story = Story()
    ledgers, now = LedgerStore(story.rig.life.ports.cluster), story.rig.clock.now
    restart = Attempt("a-1", now(), "restartWorkload", "ProcessDown", "uid-of-an-incident")
    await ledgers.keep(NAMESPACE, "docuquery", component, restart, now())
    story.put("VacuumDatabase")
    # Nobody renews what is held: the process may be away for longer than a Lease lasts.
    await story.lived(90)
    told = story.status["tasks"][0].get("summary")
    assert (told == "postgres is being healed; it waits", len(story.jobs.ran)) == (waits, 0 if waits else 1)
    await ledgers.finish(NAMESPACE, "docuquery", component, "a-1", "Healed", now())
    await story.lived(60)
    assert (story.states, len(story.jobs.ran)) == (["Succeeded"], 1)


async def test_a_paused_stack_is_looked_at_and_not_changed() -> None:
    story = Story()
    story.rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="by hand"))
    story.put("HealthCheck", "ErrorRate")
    await story.lived(60)
    assert story.states == ["Succeeded", "Pending"]
    assert "paused" in story.status["tasks"][1]["summary"]


@pytest.mark.parametrize("kind", ["VacuumDatabase", "ErrorRate"])
async def test_when_the_window_is_over_abort_stops_the_one_at_work_at_its_safe_point(kind: str) -> None:
    story = Story(takes=3600, hang=True)
    story.put(kind, "HealthCheck", duration="2m", overrun="Abort")
    await story.lived(60)
    assert story.states == ["Running", "Pending"]
    await story.lived(120)
    assert story.states == ["Aborted", "Skipped"]
    expected = "stopped between two tables" if kind == "VacuumDatabase" else "the window is over and overrun is Abort"
    assert expected in story.status["tasks"][0]["summary"]
    assert story.status["tasks"][1]["summary"] == "the window closed before its turn"


async def test_without_abort_the_one_at_work_goes_on_after_the_end() -> None:
    story = Story(takes=180)
    story.put("VacuumDatabase", "HealthCheck", duration="2m")
    await story.lived(150)
    assert story.states[0] == "Running"
    await story.lived(120)
    assert story.states == ["Succeeded", "Skipped"]


async def test_what_cannot_be_started_fails_in_words_and_the_next_one_has_its_turn() -> None:
    story = Story()
    refused = Refused(403, "jobs.batch is forbidden")
    story.start(Faults(raise_for=lambda name, _: refused if name.startswith("create jobs") else None))
    story.put("VacuumDatabase", "HealthCheck")
    await story.lived(60)
    assert story.states == ["Failed", "Succeeded"]
    assert story.status["tasks"][0]["summary"] == "its Job cannot be made: 403: jobs.batch is forbidden"


async def test_one_that_is_taken_up_again_has_the_same_end_of_its_time() -> None:
    rig, ends = Rig(), list[float]()

    async def waits(context: TaskContext) -> TaskOutcome:
        ends.append(context.since.timestamp() + context.timeout)
        await asyncio.Event().wait()
        raise AssertionError

    story = Story(rig)
    kinds = {TaskType.HEALTH_CHECK: Light(TaskType.HEALTH_CHECK, "waits", waits)}
    for _ in range(3):
        life = rig.start()
        runner = TaskRunner(life.ports, life.prober, "", rig.nudged.append, kinds)
        story.controller = MaintenanceWindowController(life.ports, runner)
        if not ends:
            story.put("HealthCheck")
        await story.lived(100)
    assert len(ends) == 3
    assert len(set(ends)) == 1, "each process has moved the end of its time"


@pytest.mark.parametrize("words", ["configmaps is forbidden: exceeded quota", "data: Too long"])
async def test_a_report_that_the_api_server_does_not_take_holds_up_nothing(words: str) -> None:
    story = Story()

    def refused(name: str, _number: int) -> BaseException | None:
        report = name.startswith(("create configmaps", "patch configmaps")) and name.endswith("-report")
        return Refused(403, words) if report else None

    story.start(Faults(raise_for=refused))
    story.put("VacuumDatabase", "ErrorRate", "HealthCheck")
    await story.lived(120)
    assert story.states == ["Succeeded"] * 3
    assert all(t["summary"].endswith(f"; its report could not be kept: 403: {words}") for t in story.status["tasks"])
    assert (len(story.ran), len(story.jobs.ran)) == (1, 1)


async def test_all_that_can_be_found_fits_into_one_config_map() -> None:
    """Eleven tasks that find more of everything than can be kept; the simulated API server refuses above 1 MiB."""
    story = Story()

    async def much(_context: TaskContext) -> TaskOutcome:
        rows = tuple((f"row é {n}", n, "x" * 300) for n in range(3_000))
        points = tuple((story.rig.clock.now() + timedelta(seconds=n), float(n)) for n in range(500))
        return TaskOutcome(
            state="Succeeded",
            summary="é" * 512,
            evidence=("é" * 512,) * 12,
            figures={f"figure é {n} {'x' * 100}": "é" * 600 for n in range(400)},
            tables=(Table(title="t", columns=("a", "b", "c"), rows=rows),) * 4,
            series=(Series(name="s", unit="s", points=points),) * 8,
            findings=tuple(Finding(rank="Warning", text=f"{n:03}{'é' * 509}") for n in range(500)),
        )

    kinds = {t: Light(t, "finds much", much) for t in TaskType}
    runner = TaskRunner(story.rig.life.ports, story.rig.life.prober, "", story.rig.nudged.append, kinds)
    story.controller = MaintenanceWindowController(story.rig.life.ports, runner)
    story.put(*(t.value for t in TaskType if t is not TaskType.ROTATE_LOGS))
    await story.lived(200)
    assert story.states == ["Succeeded"] * 10
    assert not [t for t in story.status["tasks"] if "could not be kept" in t["summary"]]
    page, figures = story.pages()
    assert len(figures["tasks"]) == 10
    assert all(f'id="task-{t["type"]}"' in page for t in figures["tasks"])
    assert all("left out" in " ".join(f["text"] for f in t["outcome"]["findings"]) for t in figures["tasks"])


async def test_a_light_one_that_breaks_is_a_failure_and_no_crash() -> None:
    rig = Rig()

    async def broken(_context: TaskContext) -> TaskOutcome:
        raise ZeroDivisionError

    story = Story(rig)
    kinds = {TaskType.HEALTH_CHECK: Light(TaskType.HEALTH_CHECK, "broken", broken)}
    ports: Ports = rig.life.ports
    story.controller = MaintenanceWindowController(ports, TaskRunner(ports, rig.life.prober, "", rig.nudged.append, kinds))
    story.put("HealthCheck")
    await story.lived(30)
    assert story.states == ["Failed"]
    assert "ZeroDivisionError" in story.status["tasks"][0]["summary"]


def test_each_kind_stands_under_its_own_name() -> None:
    assert all(type_ is kind.type and kind.doc for type_, kind in TASKS.items())
