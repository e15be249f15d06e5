"""A restore from its plan to its end, on a real PostgreSQL, Qdrant's double and a store on disk, by the mover's own phases."""

from __future__ import annotations

import asyncio
import json
import pathlib
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pyrage
import pytest

from docuquery_operator.domain.backups.manifest import CatalogueEntry, Document
from docuquery_operator.domain.backups.report import RestoreStepReport, Result
from docuquery_operator.domain.backups.request import BackupRequest, RestoreRequest
from docuquery_operator.mover import application as looked_at
from docuquery_operator.mover.backup import back_up
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.restore import restore
from tests.mover.postgres.conftest import BACKUP, DATABASE, RESTORE, World, folder, initialise, server
from tests.mover.qdrant.memory import asked, count, fill
from tests.stack.services import Postgres, QdrantDouble, http, open_folder, prepared, running

__all__ = ["folder", "initialise", "server"]
pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
SET, SAFETY = "20261125T020000Z-1a2b3c4d.1", "20261126T020000Z-5e6f7a8b.1"
ID, ALIAS = "1a2b3c4d", "live"
SOURCE = {"namespace": "n", "stack": "demo", "backupJob": "nightly"}
POINTS = 600


def quiet(_step: str, _done: int, _total: int) -> None:
    """No progress."""


@dataclass
class Scene:
    """Servers with what the set holds and with what came later, and the set."""

    world: World
    qdrant: QdrantDouble
    store: pathlib.Path
    secrets: pathlib.Path
    entry: CatalogueEntry | None = None
    said: list[Document] = field(default_factory=list)

    def base(self, user: str) -> dict[str, Any]:
        secrets = self.world.secrets(user)
        for name in ("identity", "store"):
            place = prepared(secrets / name)
            for file in (self.secrets / name).iterdir():
                (place / file.name).write_text(file.read_text())
        return {
            "source": SOURCE,
            "destination": {"volume": {"claimName": "c"}},
            "secretsDir": str(secrets),
            "scratchDir": str(self.world.scratch),
            "volumeDir": str(self.store),
            "attemptId": "a",
        }

    def parts(self, **more: Any) -> dict[str, Any]:
        return {"postgres": self.world.request(**more).model_dump(), "qdrant": asked(self.qdrant).model_dump()}

    async def phase(self, name: str, **more: Any) -> Result:
        request = {**self.base(RESTORE), "phase": name, "restoreId": ID, "setId": SET, **self.parts(), **more}
        return await restore(RestoreRequest.model_validate(request), quiet, self.said.append)

    async def apply(self, digest: str, **more: Any) -> Result:
        safety = {**self.base(RESTORE), "setId": SAFETY, "source": {**SOURCE, "backupJob": "r-safety"}, "allowEmpty": True}
        return await self.phase("apply", planDigest=digest, safety={**safety, **self.parts()}, **more)

    def steps(self) -> list[tuple[str, str]]:
        lines = [line for line in self.said if isinstance(line, RestoreStepReport)]
        return [(line.name, line.state) for line in lines if line.state != "Running"]

    def documents(self) -> tuple[int, bool]:
        """How many, and whether the one that came later is there."""
        with self.world.connect() as client:
            found = client.execute("select count(*), bool_or(title = 'later') from documents").fetchone()
        assert found
        return int(found[0]), bool(found[1])

    def points(self) -> int:
        return count(self.qdrant, ALIAS)

    def sets(self) -> list[str]:
        return sorted(path.stem for path in (self.store / "demo" / "catalogue").iterdir())


@pytest.fixture
def qdrant() -> Iterator[QdrantDouble]:
    with open_folder("restore-qdrant") as place:
        double = QdrantDouble(prepared(place / "double"))
        with running(double):
            fill(double, count=POINTS)
            aliases = {"actions": [{"create_alias": {"collection_name": "documents", "alias_name": ALIAS}}]}
            assert http("POST", f"{double.url}/collections/aliases", aliases).status == 200
            yield double


@pytest.fixture
async def scene(server: Postgres, folder: pathlib.Path, qdrant: QdrantDouble) -> Scene:
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    scratch.chmod(0o755)
    world = World(server, folder, scratch)
    world.anew()
    secrets = pathlib.Path(tempfile.mkdtemp(prefix="keys-", dir=folder))
    key = pyrage.x25519.Identity.generate()
    (prepared(secrets / "identity") / "key.txt").write_text(str(key))
    prepared(secrets / "store")
    made = Scene(world, qdrant, pathlib.Path(tempfile.mkdtemp(prefix="store-", dir=folder)), secrets)
    request = {**made.base(BACKUP), "setId": SET, "recipients": [str(key.to_public())], **made.parts()}
    made.entry = (await back_up(BackupRequest.model_validate(request), quiet)).entry
    assert made.entry
    world.app("delete from documents where id <= 100", "insert into documents (title) values ('later')")
    gone = {"points": list(range(50))}
    assert http("POST", f"{qdrant.url}/collections/documents/points/delete?wait=true", gone).status == 200
    return made


BEFORE, AFTER = (2901, True), (3000, False)


@contextmanager
def application(status: int, **dependencies: str) -> Iterator[str]:
    """An api that says this of itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"dependencies": dependencies}).encode()
            self.send_response(status if self.path == "/health" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    api = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=api.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{api.server_port}"
    finally:
        api.shutdown()
        thread.join()
        api.server_close()


async def planned(scene: Scene) -> str:
    told = (await scene.phase("plan")).plan
    assert told
    return told.digest


async def test_a_key_that_does_not_fit_is_told_by_the_plan_and_before_anything_is_saved(scene: Scene) -> None:
    digest, key = await planned(scene), scene.secrets / "identity" / "key.txt"
    right = key.read_text()
    key.write_text(str(pyrage.x25519.Identity.generate()))
    for work in (lambda: scene.phase("plan"), lambda: scene.apply(digest)):
        with pytest.raises(MoverError, match="give the one that belongs to age1") as caught:
            await work()
        assert (caught.value.reason, caught.value.retry) == ("WrongKey", False)
    key.unlink()
    with pytest.raises(MoverError, match="no private key was given") as caught:
        await scene.phase("plan")
    assert caught.value.reason == "KeyMissing"
    assert (scene.documents(), scene.points(), len(scene.sets())) == (BEFORE, POINTS - 50, 1)
    key.write_text(right)
    assert await planned(scene) == digest


async def test_planned_applied_and_put_back(scene: Scene) -> None:
    told = (await scene.phase("plan")).plan
    assert told
    assert scene.entry
    text = "\n".join(told.lines)
    assert f"{DATABASE}: public.documents has 2901 rows live and 3000 in the set" in text
    assert "Qdrant alias live will lead to" in text
    assert told.manifest_sha256 == scene.entry.manifest_sha256
    assert (scene.documents(), scene.points()) == (BEFORE, POINTS - 50)
    with application(200, database="up", qdrant="up") as url:
        done = await scene.apply(told.digest, apiUrl=url)
    assert (done.ok, done.reason) == (True, "Restored"), done
    assert (scene.documents(), scene.points()) == (AFTER, POINTS)
    assert scene.steps() == [
        ("safety", "Done"),
        (f"postgres/{DATABASE}/restore", "Done"),
        ("qdrant/restore", "Done"),
        (f"postgres/{DATABASE}/swap", "Done"),
        ("qdrant/swap", "Done"),
        ("application", "Done"),
    ]
    assert scene.sets() == [SET, SAFETY]
    with scene.world.connect() as client:
        client.execute("insert into documents (title) values ('after the restore')")
    back = await scene.phase("rollback")
    assert (back.ok, back.reason) == (True, "RolledBack")
    assert (scene.documents(), scene.points()) == (BEFORE, POINTS - 50)


async def test_started_again_after_the_exchange_it_changes_nothing_more(scene: Scene) -> None:
    digest = await planned(scene)
    assert (await scene.apply(digest)).ok
    scene.world.app("insert into documents (title) values ('since then')")
    assert (await scene.apply(digest)).ok
    assert scene.documents() == (3001, False)
    assert scene.sets() == [SET, SAFETY]
    assert (await scene.phase("dropPrevious")).ok
    assert scene.documents() == (3001, False)
    assert [name for name in scene.world.names() if ID in name] == []


async def test_another_plan_than_the_approved_one_touches_nothing(scene: Scene) -> None:
    with pytest.raises(MoverError) as refused:
        await scene.apply("0123456789ab")
    assert refused.value.reason == "PlanChanged"
    assert (scene.documents(), scene.points(), scene.sets()) == (BEFORE, POINTS - 50, [SET])


async def test_a_set_that_is_spoiled_touches_nothing(scene: Scene) -> None:
    digest = await planned(scene)
    dump = scene.store / "demo" / "sets" / SET / "postgres" / f"{DATABASE}.dump"
    data = bytearray(dump.read_bytes())
    data[len(data) // 2] ^= 1
    dump.write_bytes(data)
    with pytest.raises(MoverError) as refused:
        await scene.apply(digest)
    assert refused.value.reason == "Damaged"
    assert (scene.documents(), scene.points()) == (BEFORE, POINTS - 50)
    assert scene.steps()[-1] == (f"postgres/{DATABASE}/restore", "Failed")


@pytest.mark.parametrize("action", ["Report", "DeleteOrphans", "RunSql"])
async def test_the_difference_of_both_stores_is_listed_exactly_and_mended_on_request(scene: Scene, action: str) -> None:
    scene.world.app("create table asked (id bigint)")
    wish = {
        "database": DATABASE,
        "query": "select id from documents where id between 10 and 609",
        "collection": ALIAS,
        "action": action,
    }
    if action == "RunSql":
        wish["sql"] = "update documents set title = 'no points' where id = any($1::bigint[])"
    done = await scene.apply(await planned(scene), reconcile=wish)
    assert done.reconciled
    # Points are 0 to 599, documents 10 to 609.
    assert (done.reconciled.missing, done.reconciled.orphans) == (10, 10)
    assert sorted(map(int, done.reconciled.missing_ids)) == list(range(600, 610))
    assert sorted(map(int, done.reconciled.orphan_ids)) == list(range(10))
    assert scene.points() == (POINTS - 10 if action == "DeleteOrphans" else POINTS)
    with scene.world.connect() as client:
        found = client.execute("select count(*) from documents where title = 'no points'").fetchone()
    assert found == (10 if action == "RunSql" else 0,)


async def test_an_application_that_is_not_well_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "problem", partial(looked_at.problem, tries=2, pause=0.1))
    with application(503, database="up", qdrant="down") as url:
        done = await scene.apply(await planned(scene), apiUrl=url)
    assert (done.ok, done.reason) == (True, "RestoredUnverified")
    assert "GET /health: 503, down: qdrant" in done.message
    assert scene.documents() == AFTER


async def test_into_empty_servers(scene: Scene) -> None:
    """Both stores are lost: there is nothing to save and nothing to put back."""
    scene.world.postgres.run(f'drop database "{DATABASE}" with (force)')
    for name in ("documents",):
        assert http("DELETE", f"{scene.qdrant.url}/collections/{name}").status == 200
    done = await scene.apply(await planned(scene))
    assert done.ok
    assert (scene.documents(), scene.points()) == (AFTER, POINTS)


async def test_a_throwaway_copy_leaves_the_servers_alone(scene: Scene) -> None:
    done = await scene.phase("scratch", postgres={**scene.parts()["postgres"], "server": {"host": "", "port": 0}})
    assert done.ok, done
    assert done.verdict
    # The stack's extension that only a superuser creates is there in a server of our own.
    assert done.verdict.verdict in ("Verified", "Unverifiable")
    assert (scene.documents(), scene.points(), scene.sets()) == (BEFORE, POINTS - 50, [SET])


async def test_killed_before_each_step_it_comes_to_the_same_end(scene: Scene) -> None:
    """The process ends when a step is announced; the next one begins at the beginning."""
    digest = await planned(scene)
    names = ["safety", f"postgres/{DATABASE}/restore", "qdrant/restore", f"postgres/{DATABASE}/swap", "qdrant/swap"]
    for name in names:

        def say(line: Document, name: str = name) -> None:
            if isinstance(line, RestoreStepReport) and (line.name, line.state) == (name, "Running"):
                raise asyncio.CancelledError

        request = {
            **scene.base(RESTORE),
            "phase": "apply",
            "restoreId": ID,
            "setId": SET,
            **scene.parts(),
            "planDigest": digest,
        }
        with pytest.raises(asyncio.CancelledError):
            await restore(RestoreRequest.model_validate(request), quiet, say)
        assert scene.documents() == (AFTER if name == "qdrant/swap" else BEFORE), name
    assert (await scene.apply(digest)).ok
    assert (scene.documents(), scene.points()) == (AFTER, POINTS)


async def test_what_the_set_has_not_is_a_clear_error(scene: Scene) -> None:
    with pytest.raises(MoverError, match=f"it has: {DATABASE}"):
        await scene.phase("plan", postgres={**scene.parts()["postgres"], "databases": ["other"]})
    with pytest.raises(MoverError, match="holds no configuration"):
        await scene.phase("plan", configuration={})
    with pytest.raises(MoverError) as missing:
        await scene.phase("plan", setId="20261125T030000Z-1a2b3c4d.1")
    assert missing.value.reason == "SetMissing"
