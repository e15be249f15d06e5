"""SIGKILL of a restoring mover at each of its steps, on real PostgreSQL, Qdrant's double and a store on disk."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from docuquery_operator.domain.backups.request import BackupRequest, RestoreRequest
from docuquery_operator.mover.sets import GIVEN_UP
from tests.mover.postgres.conftest import BACKUP, DATABASE, RESTORE, World, folder, initialise, server
from tests.mover.qdrant.memory import asked, left_on
from tests.stack.services import Postgres, QdrantDouble, open_folder, prepared, running

from .conftest import forking
from .restore_live import ALIAS, BEHIND, NAMED, OTHER, SOURCES, Live, Witness
from .zygote_client import Zygote

__all__ = ["folder", "initialise", "server"]
pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]
SET, SAFETY = "20261125T020000Z-1a2b3c4d.1", "20261126T020000Z-5e6f7a8b"
ID = "1a2b3c4d"
SOURCE = {"namespace": "n", "stack": "demo", "backupJob": "nightly"}
NOW, RESTORED = dict.fromkeys(SOURCES, "now"), {**dict.fromkeys(SOURCES, "set"), ALIAS: "mended"}
# Reading is no step: what a kill there leaves is what the change before it has left. Nor is the time after a change: it is
# the time before the next one. Of the statements that give rights, and of the second database's, one stands for all.
READS = (
    r"^after|^before (get|head|check|list|stream|fsync|write|link)\b|pg_dump --version|Done #|Done$"
    r"|sql (select|show|set|begin|declare|fetch|lock|grant|analyze)"
    r"|sql (revoke|comment|alter database \"reports[^ ]*\" allow).*reports"
)
# So many tries of one restore are killed before one is left alone.
EACH = 16
EXCHANGE = re.compile(r"step \S+/swap Running")


@dataclass
class Stage:
    """Servers, the set, and the process that forks movers."""

    live: Live
    store: pathlib.Path
    secrets: dict[str, pathlib.Path]
    zygote: Zygote
    points: int = 0
    digest: str = ""
    story: list[str] = field(default_factory=list)

    def base(self, user: str) -> dict[str, Any]:
        return {
            "source": SOURCE,
            "destination": {"volume": {"claimName": "c"}},
            "secretsDir": str(self.secrets[user]),
            "scratchDir": str(self.live.world.scratch),
            "volumeDir": str(self.store),
            "attemptId": "a",
            "postgres": self.live.world.request(databases=[DATABASE, OTHER]).model_dump(),
            "qdrant": asked(self.live.double, sample=20, canaries=2).model_dump(),
        }

    def backup(self) -> None:
        request = BackupRequest.model_validate({**self.base(BACKUP), "setId": SET, "reread_limit_bytes": 0})
        assert self.zygote.result(json.loads(request.to_json()))["ok"]

    def request(self, phase: str, attempt: int = 1) -> dict[str, Any]:
        given: dict[str, Any] = {**self.base(RESTORE), "phase": phase, "restoreId": ID, "setId": SET}
        if phase != "plan":
            safety = {**self.base(RESTORE), "setId": f"{SAFETY}.{attempt}", "allowEmpty": True, "reread_limit_bytes": 0}
            wish = {
                "database": DATABASE,
                "query": "select id from documents",
                "collection": ALIAS,
                "action": "DeleteOrphans",
            }
            given |= {"planDigest": self.digest, "safety": safety, "reconcile": wish}
        return json.loads(RestoreRequest.model_validate(given).to_json())  # type: ignore[no-any-return]

    @staticmethod
    def skip(phase: str) -> str:
        """A plan only reads."""
        return "^$" if phase == "plan" else READS

    def run(self, phase: str, attempt: int = 1) -> dict[str, Any]:
        """To its end."""
        told = self.zygote.run(self.request(phase, attempt), skip=self.skip(phase))
        assert told["code"] == 0, (phase, self.story, told)
        return told

    def kill(self, phase: str, where: str, attempt: int = 1) -> None:
        """At that point of it."""
        assert self.killed(phase, where, attempt), self.story

    def killed(self, phase: str, where: str, attempt: int = 1) -> bool:
        """False where the tries before have left nothing to do there."""
        self.story = [phase, where, f"try {attempt}"]
        told = self.zygote.run(self.request(phase, attempt), where, skip=self.skip(phase))
        assert told["code"] in (-9, 0), (self.story, told)
        self.points += told["code"] == -9
        return bool(told["code"] == -9)

    def steps(self, phase: str, attempt: int = 1) -> list[str]:
        """Its points, by a run that comes to its end."""
        return list(self.run(phase, attempt)["calls"])

    def files(self) -> set[str]:
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}

    def sets(self) -> list[str]:
        """Those that are committed."""
        listed = (self.store / "demo" / "catalogue").iterdir()
        return sorted(path.stem for path in listed if GIVEN_UP not in json.loads(path.read_text()))

    def whole(self) -> dict[str, str]:
        """What each source holds now: one of the two, never something between."""
        found = self.live.state()
        absent = {NAMED} & {name for name, kind in found.items() if kind == "absent"}
        # Qdrant knows no renaming: between two requests the name leads nowhere, and a kill may fall there.
        assert not absent or f"{NAMED}__p_{ID}" in self.live.names()[1], (self.story, found)
        assert all(kind in ("now", "set", "mended") for name, kind in found.items() if name not in absent), (
            self.story,
            found,
        )
        return found

    def rolled_back(self) -> None:
        """What was live is live, under the names that it had; the checked copies stay, so that the next story is short."""
        self.run("rollback")
        assert self.live.state() == NOW, self.story
        assert left_on(self.live.double) == [], self.story
        assert not [name for name in self.files() if f"intents/{SAFETY}" in name], self.story
        self.live.uncover(ID)

    def put_back(self) -> None:
        """Rolled back and cleaned up: exactly the beginning, but for the safety set, which a person may want."""
        self.rolled_back()
        self.run("dropPrevious")
        assert self.live.names() == ({DATABASE, OTHER}, {BEHIND, NAMED}, {ALIAS: BEHIND}), self.story
        assert self.live.state() == NOW, self.story
        folders = {name.split("/")[2] for name in self.files() if name.startswith("demo/sets/")}
        assert folders == set(self.sets()), self.story
        assert len(list((self.store / "demo" / "catalogue").iterdir())) == len(folders), self.story
        self.forget()

    def forget(self) -> None:
        """The safety set goes, as the next story makes its own."""
        for place in ("sets", "catalogue", "intents"):
            for path in (self.store / "demo" / place).glob(f"{SAFETY}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def stage(server: Postgres, folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    scratch.chmod(0o755)
    world = World(server, folder, scratch)
    with open_folder("kill-qdrant") as place, forking(tmp_path_factory.mktemp("zygote"), "whole") as zygote:
        double = QdrantDouble(prepared(place / "double"))
        with running(double):
            live = Live(world, double)
            secrets = {user: world.secrets(user) for user in (BACKUP, RESTORE)}
            for each in secrets.values():
                prepared(each / "store")
            made = Stage(live, pathlib.Path(tempfile.mkdtemp(prefix="store-", dir=folder)), secrets, zygote)
            live.create()
            live.fill("set")
            made.backup()
            live.fill("now")
            yield made


@pytest.fixture(autouse=True)
def witness(stage: Stage) -> Iterator[Witness]:
    """It may see either data and, of the name that cannot be exchanged at once, none."""
    stage.points = 0
    assert stage.live.state() == NOW
    with Witness(stage.live) as watching:
        yield watching
    assert {kind for _, kind in watching.seen} <= {"now", "set", "mended", "absent"}, watching.seen
    assert {name for name, kind in watching.seen if kind == "absent"} <= {NAMED}, watching.seen
    print(f"\n{stage.points} kill points; {sum(watching.seen.values())} reads beside them, none torn: {dict(watching.seen)}")


def test_a_plan_killed_anywhere_has_touched_nothing(stage: Stage) -> None:
    names, files = stage.live.names(), stage.files()
    assert len(stage.steps("plan")) > 40
    for where in stage.steps("plan"):
        stage.kill("plan", where)
        assert (stage.live.names(), stage.files()) == (names, files), where
    assert stage.live.state() == NOW
    stage.digest = stage.run("plan")["lines"][-1]["plan"]["digest"]


def test_a_restore_killed_before_the_exchange_has_touched_nothing_live(stage: Stage) -> None:
    """Safety set, copies and checks. Tries are killed one after another, and every few the next comes to the end."""
    plan(stage)
    steps = stage.steps("apply")
    assert stage.live.state() == RESTORED
    end = stage.live.names()
    stage.put_back()
    attempt = 1

    def finished(attempt: int) -> None:
        stage.run("apply", attempt)
        assert (stage.live.state(), stage.live.names()) == (RESTORED, end), stage.story
        assert [each.rpartition(".")[0] for each in stage.sets()] == [SET[:-2], SAFETY], stage.story
        stage.put_back()

    for where in steps[: exchange_of(steps) + 1]:
        if attempt > EACH or not stage.killed("apply", where, attempt):
            finished(attempt)
            attempt = 1
            stage.kill("apply", where)
        assert stage.live.state() == NOW, where
        attempt += 1
    finished(attempt)


def test_a_try_killed_while_it_cleans_up_after_another(stage: Stage) -> None:
    plan(stage)
    commit = f"before create demo/catalogue/{SAFETY}.N.json #0"
    stage.kill("apply", commit)
    steps = [where for where in stage.steps("apply", 2) if re.search(r"before (delete|create demo/catalogue)", where)]
    stage.put_back()
    # The place of its commit, an object, and the intent, which goes last.
    kinds = ("catalogue", "dump", r"intents/\S+N\.json")
    chosen = [next(where for where in steps if re.search(kind, where)) for kind in kinds]
    for where in chosen:
        stage.kill("apply", commit)
        stage.kill("apply", where, 2)
        stage.run("apply", 3)
        assert stage.live.state() == RESTORED, where
        stage.put_back()


def plan(stage: Stage) -> None:
    if not stage.digest:
        stage.digest = stage.run("plan")["lines"][-1]["plan"]["digest"]


def exchange_of(steps: list[str]) -> int:
    return next(number for number, where in enumerate(steps) if EXCHANGE.search(where))


def applied(stage: Stage) -> None:
    plan(stage)
    stage.run("apply")
    assert stage.live.state() == RESTORED, stage.story


def test_an_exchange_killed_anywhere(stage: Stage) -> None:
    """Each name leads to the old or the new data. The next try finishes it; and a person may give up instead."""
    applied(stage)
    end = stage.live.names()
    stage.rolled_back()
    # The copies are checked already, so the first steps are short.
    steps = stage.steps("apply")
    assert (stage.live.state(), stage.live.names()) == (RESTORED, end)
    stage.rolled_back()
    for where in steps[exchange_of(steps) :]:
        stage.kill("apply", where)
        stage.whole()
        stage.run("apply", 2)
        assert (stage.live.state(), stage.live.names()) == (RESTORED, end), where
        stage.rolled_back()
        if "sql" not in where:
            stage.kill("apply", where)
            stage.rolled_back()
    stage.put_back()


def test_a_rollback_killed_anywhere_is_finished_by_the_next(stage: Stage) -> None:
    applied(stage)
    steps = stage.steps("rollback")
    assert stage.live.state() == NOW
    end = stage.live.names()
    stage.live.uncover(ID)
    for where in steps:
        applied(stage)
        stage.kill("rollback", where)
        stage.whole()
        stage.run("rollback")
        assert (stage.live.state(), stage.live.names()) == (NOW, end), where
        stage.live.uncover(ID)
    stage.put_back()


def test_a_clean_up_killed_anywhere_is_finished_by_the_next(stage: Stage) -> None:
    applied(stage)
    steps = stage.steps("dropPrevious")
    end = stage.live.names()
    restored = {f"{BEHIND}__r_{ID}", f"{NAMED}__r_{ID}"}
    assert (end[0], {name for name in end[1] if ID in name}) == ({DATABASE, OTHER}, restored)
    begin_anew(stage)
    for where in steps:
        applied(stage)
        stage.kill("dropPrevious", where)
        assert stage.live.state() == RESTORED, where
        stage.run("dropPrevious")
        assert (stage.live.state(), stage.live.names()) == (RESTORED, end), where
        begin_anew(stage)


def begin_anew(stage: Stage) -> None:
    """After the way back is gone."""
    with stage.live.scenery:
        # The mark of the restore is in the comment of the database that it left.
        stage.live.create()
        stage.live.fill("now")
    stage.forget()
