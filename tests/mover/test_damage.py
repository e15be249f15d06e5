"""Ways to spoil a whole set, found or not by our check, by `pg_restore --list`, and by a plain restore that just looks at its exit code.

The peers get the same damage in what a script keeps: the file of `pg_dump -Fc` and the snapshot of Qdrant's shard, both in clear.
Damage from before our hashes is in their dump as well. '-': it does not exist there.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyrage
import pytest

from docuquery_operator.domain.backups.layout import Layout
from docuquery_operator.domain.backups.manifest import CatalogueEntry, Manifest, Verdict, sha256
from docuquery_operator.domain.backups.request import BackupRequest, VerifyRequest
from docuquery_operator.mover.backup import back_up
from docuquery_operator.mover.chunks import once, whole
from docuquery_operator.mover.objects import SetReader, SetWriter
from docuquery_operator.mover.verify import verify
from docuquery_operator.mover.volume import Volume
from tests.mover.postgres.conftest import BACKUP, DATABASE, World, folder, initialise, server
from tests.mover.qdrant import damage
from tests.mover.qdrant.memory import asked, fill
from tests.stack.services import Postgres, QdrantDouble, http, open_folder, prepared, running

__all__ = ["folder", "initialise", "server"]
pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]
OLD, SET = "20261101T020000Z-1a2b3c4d.1", "20261125T020000Z-1a2b3c4d.1"
LAYOUT = Layout("", "demo")
SOURCE = {"namespace": "n", "stack": "demo", "backupJob": "b"}
DUMP, SHARD, OTHER = f"postgres/{DATABASE}.dump", "qdrant/documents/0.tar", "qdrant/documents/1.tar"


CONFIGURATION = {
    "configMaps": [{"manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"a": "b"}}}],
    "secrets": [{"manifest": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}}}],
}


def quiet(_step: str, _done: int, _total: int) -> None:
    """No report."""


@dataclass
class Kit:
    """Two sets of a real PostgreSQL and of Qdrant's double in a folder, to be copied and spoiled."""

    world: World
    secrets: pathlib.Path
    store: pathlib.Path
    recipient: str
    sound: CatalogueEntry

    def request(self, **more: Any) -> dict[str, Any]:
        return {
            "source": SOURCE,
            "destination": {"volume": {"claimName": "c"}},
            "secretsDir": str(self.secrets),
            "scratchDir": str(self.world.scratch),
            "volumeDir": str(self.store),
            "attemptId": "a",
            **more,
        }

    def copy(self, to: pathlib.Path) -> Kit:
        shutil.copytree(self.store, to)
        return Kit(self.world, self.secrets, to, self.recipient, self.sound)

    def file(self, name: str, set_id: str = SET) -> pathlib.Path:
        return self.store / LAYOUT.object(set_id, name)

    def manifest(self, set_id: str = SET) -> Manifest:
        return Manifest.model_validate_json(self.file("manifest.json", set_id).read_bytes())

    async def plain(self, name: str, set_id: str = SET) -> bytes:
        reader = SetReader(Volume(self.store), LAYOUT, set_id, self.secrets / "identity", quiet)
        return await whole(reader.read(self.manifest(set_id).entry(name)), 1 << 30)

    async def replace(self, name: str, data: bytes) -> None:
        """As if the bytes had been wrong before they came to us: all hashes are made anew and agree."""
        writer = SetWriter(Volume(self.store), LAYOUT, SET, [self.recipient], quiet)
        before = self.manifest()
        entry = await writer.write(name, before.entry(name).kind, once(data))
        raw = json.loads(before.to_json())
        raw["objects"] = [json.loads(entry.to_json()) if o["name"] == name else o for o in raw["objects"]]
        for collection in raw["qdrant"]["collections"]:
            for shard in collection["shards"]:
                if shard["object"] == name:
                    shard["serverSha256"] = entry.plain_sha256
        self.sign(raw)

    def sign(self, raw: dict[str, Any]) -> None:
        """A manifest and the entry that names its hash."""
        data = Manifest.model_validate(raw).to_json()
        self.file("manifest.json").write_bytes(data)
        path = self.store / LAYOUT.catalogue(SET)
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "manifestSha256": sha256(data)}))

    async def check(self, level: str) -> Verdict:
        known = self.sound.manifest_sha256 if level == "Known" else ""
        level = "Checksum" if level == "Known" else level
        request = VerifyRequest.model_validate(self.request(setId=SET, level=level, manifestSha256=known))
        told = (await verify(request, quiet)).verdict
        assert told
        return told


@pytest.fixture(scope="session")
def qdrant() -> Iterator[QdrantDouble]:
    with open_folder("damage-qdrant") as place:
        double = QdrantDouble(prepared(place / "double"))
        with running(double):
            fill(double)
            aliases = {"actions": [{"create_alias": {"collection_name": "documents", "alias_name": "live"}}]}
            assert http("POST", f"{double.url}/collections/aliases", aliases).status == 200
            yield double


@pytest.fixture
async def kit(server: Postgres, folder: pathlib.Path, qdrant: QdrantDouble) -> Kit:
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    scratch.chmod(0o755)
    world = World(server, folder, scratch)
    world.anew()
    secrets = world.secrets(BACKUP)
    key = pyrage.x25519.Identity.generate()
    (prepared(secrets / "identity") / "key.txt").write_text(str(key))
    prepared(secrets / "store")
    (secrets / "saved" / "app").mkdir(parents=True)
    (secrets / "saved" / "app" / "password").write_text("marker-in-a-secret")
    store = pathlib.Path(tempfile.mkdtemp(prefix="store-", dir=folder))
    recipient = str(key.to_public())
    made = Kit(world, secrets, store, recipient, None)  # type: ignore[arg-type]
    for set_id in (OLD, SET):
        parts = {
            "postgres": world.request().model_dump(),
            "qdrant": asked(qdrant).model_dump(),
            "configuration": CONFIGURATION,
        }
        told = await back_up(
            BackupRequest.model_validate(made.request(setId=set_id, recipients=[recipient], **parts)), quiet
        )
        assert told.entry
        made.sound = told.entry
        world.app("insert into documents (title) values ('after the first set')")
    return made


def flip(data: bytes, at: float = 0.5) -> bytes:
    place = int(len(data) * at)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def spoil(name: str, change: Callable[[bytes], bytes]) -> Callable[[Kit], Awaitable[None]]:
    """The stored bytes of one object."""

    async def act(kit: Kit) -> None:
        kit.file(name).write_bytes(change(kit.file(name).read_bytes()))

    return act


def before(name: str, change: Callable[[bytes], bytes]) -> Callable[[Kit], Awaitable[None]]:
    """What went into one object, before it was hashed."""

    async def act(kit: Kit) -> None:
        await kit.replace(name, change(await kit.plain(name)))

    return act


async def swap_shards(kit: Kit) -> None:
    one, two = kit.file(SHARD).read_bytes(), kit.file(OTHER).read_bytes()
    kit.file(SHARD).write_bytes(two)
    kit.file(OTHER).write_bytes(one)


async def missing(kit: Kit) -> None:
    kit.file(OTHER).unlink()


async def replay(kit: Kit) -> None:
    """An old set, whole and genuine, under the newest one's name, with all names inside rewritten."""
    for path in kit.file("", OLD).rglob("*"):
        if path.is_file():
            shutil.copy(path, kit.file(str(path.relative_to(kit.file("", OLD)))))
    raw = json.loads(kit.file("manifest.json").read_bytes())
    kit.sign({**raw, "setId": SET, "run": SET[:-2]})


async def wrong_key(kit: Kit) -> None:
    """The manifest names our key, and the objects are for somebody else's."""
    stranger = str(pyrage.x25519.Identity.generate().to_public())
    plain = await kit.plain(DUMP)
    ours = kit.recipient
    kit.recipient = stranger
    await kit.replace(DUMP, plain)
    raw = json.loads(kit.manifest().to_json())
    kit.recipient = ours
    for entry in raw["objects"]:
        entry["recipients"] = [ours]
    kit.sign(raw)


async def stale_alias(kit: Kit) -> None:
    """An alias that leads to two collections: which one was live is lost."""
    raw = json.loads(kit.manifest().to_json())
    raw["qdrant"]["collections"][0]["aliases"] = ["live", "live"]
    kit.sign(raw)


async def no_shard(kit: Kit) -> None:
    """A shard that nobody saved: the manifest does not know that it is missing."""
    raw = json.loads(kit.manifest().to_json())
    raw["qdrant"]["collections"][0]["shards"].pop()
    raw["objects"] = [o for o in raw["objects"] if o["name"] != OTHER]
    kit.sign(raw)


async def other_moment(kit: Kit) -> None:
    """The dump of the older set: whole, genuine, one row short."""
    await kit.replace(DUMP, await kit.plain(DUMP, OLD))


def flip_in_row(data: bytes) -> bytes:
    """One letter of one title in an uncompressed dump."""
    place = data.index(b"title 1500\t") + 4
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@dataclass(frozen=True)
class Case:
    """One way. level: the least that finds it; Known: by the hash that the cluster remembers. peer: the same to a dump (bytes) or a shard."""

    level: str
    act: Callable[[Kit], Awaitable[None]]
    dump: Callable[[bytes], bytes] | None = None
    shard: Callable[[bytes], bytes] | None = None


def of(change: Callable[[pathlib.Path], None]) -> Callable[[bytes], bytes]:
    return lambda data: damage.repacked(data, change)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


CASES: dict[str, Case] = {
    "dump cut to half": Case("Checksum", spoil(DUMP, half), dump=half),
    "dump, one bit flipped in the store": Case("Checksum", spoil(DUMP, flip), dump=flip),
    "dump, last byte missing": Case("Checksum", spoil(DUMP, lambda d: d[:-1]), dump=lambda d: d[:-1]),
    "dump empty": Case("Checksum", spoil(DUMP, lambda _: b""), dump=lambda _: b""),
    "dump zeros of the same size": Case("Checksum", spoil(DUMP, lambda d: bytes(len(d))), dump=lambda d: bytes(len(d))),
    "globals, one bit flipped": Case("Checksum", spoil("postgres/globals.sql", flip)),
    "ConfigMaps, one bit flipped": Case("Checksum", spoil("configuration/config-maps.json", flip)),
    "Secrets, one bit flipped": Case("Checksum", spoil("configuration/secrets.json", flip)),
    "shard cut to half": Case("Checksum", spoil(SHARD, half), shard=half),
    "shard, one bit flipped in the store": Case("Checksum", spoil(SHARD, flip), shard=flip),
    "manifest, one bit flipped": Case("Checksum", spoil("manifest.json", flip)),
    "shards swapped": Case("Checksum", swap_shards),
    "shard missing": Case("Checksum", missing),
    "old set replayed as the newest": Case("Known", replay),
    "dump encrypted for another key": Case("Read", wrong_key),
    "letter of a row changed before the dump was hashed": Case("Restore", before(DUMP, flip_in_row), dump=flip_in_row),
    "dump of another moment": Case("Restore", other_moment, dump=lambda d: d),
    "all vectors zero": Case("Restore", before(SHARD, of(damage.zero_vectors)), shard=of(damage.zero_vectors)),
    "one vector flipped in each segment": Case(
        "Restore", before(SHARD, of(damage.flip_one_vector)), shard=of(damage.flip_one_vector)
    ),
    "half of the ids forgotten": Case("Restore", before(SHARD, of(damage.half_ids)), shard=of(damage.half_ids)),
    "shard never saved": Case("Restore", no_shard),
    "alias leads to two collections": Case("Restore", stale_alias),
}


def compressed_dump(kit: Kit) -> bytes:
    """As scripts make it, with gzip inside."""
    postgres = kit.world.postgres
    command = ["pg_dump", "-Fc", "-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", DATABASE]
    return subprocess.run(command, capture_output=True, check=True).stdout


def restores_dump(kit: Kit, data: bytes) -> tuple[bool, bool]:
    """Whether `pg_restore --list` and a restore with default options end with 0."""
    postgres = kit.world.postgres
    login = ["-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres"]
    with tempfile.TemporaryDirectory() as made:
        file = pathlib.Path(made) / "x.dump"
        file.write_bytes(data)
        listed = subprocess.run(["pg_restore", "--list", str(file)], capture_output=True, check=False).returncode == 0
        postgres.run("create database peer")
        try:
            command = ["pg_restore", *login, "-d", "peer", str(file)]
            restored = subprocess.run(command, capture_output=True, check=False).returncode == 0
        finally:
            postgres.run("drop database peer with (force)")
    return listed, restored


def opens_shard(data: bytes) -> bool:
    """Whether the engine takes it and tells a count, which is all that a plain restore looks at."""
    code = "import sys; from qdrant_edge import EdgeShard, CountRequest as C; EdgeShard.unpack_snapshot(sys.argv[1], sys.argv[2])"
    code += "; EdgeShard.load(sys.argv[2]).count(C(exact=True))"
    with tempfile.TemporaryDirectory() as made:
        file = pathlib.Path(made) / "x.tar"
        file.write_bytes(data)
        python = shutil.which("python", path=str(pathlib.Path(__import__("sys").executable).parent))
        command = [str(python), "-c", code, str(file), f"{made}/shard"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def mark(found: bool | None) -> str:
    return "-" if found is None else "found" if found else "not found"


async def test_every_way_to_spoil_a_set_is_found(kit: Kit, tmp_path: pathlib.Path) -> None:
    for level in ("Checksum", "Read", "Restore"):
        sound = await kit.check(level)
        assert sound.verdict == "Verified", sound.reason
    leaks = [p for p in kit.store.rglob("*") if p.is_file() and b"marker-in-a-secret" in p.read_bytes()]
    assert leaks == []
    assert b"marker-in-a-secret" not in await kit.plain("configuration/config-maps.json")
    dump, shard = await kit.plain(DUMP), await kit.plain(SHARD)
    assert restores_dump(kit, dump) == (True, True)
    assert opens_shard(shard)
    usual = compressed_dump(kit)
    assert restores_dump(kit, usual) == (True, True)
    rows, missed = [], []
    for number, (name, case) in enumerate(CASES.items()):
        spoiled = kit.copy(tmp_path / str(number))
        await case.act(spoiled)
        told = await spoiled.check(case.level)
        listed, restored = (
            (None, None) if case.dump is None else restores_dump(kit, case.dump(usual if case.level == "Checksum" else dump))
        )
        if case.shard is not None:
            restored = opens_shard(case.shard(shard))
        peers = [mark(None if seen is None else not seen) for seen in (listed, restored)]
        rows.append(f"| {name} | {mark(told.verdict == 'Failed')}, {case.level} | {peers[0]} | {peers[1]} |")
        if told.verdict != "Failed":
            missed.append(f"{name}: {told.verdict} {told.reason}")
        shutil.rmtree(spoiled.store)
    found = [sum(r.split("|")[column].strip().startswith("found") for r in rows) for column in (2, 3, 4)]
    table = ["| damage | our check, level | pg_restore --list | plain restore |", "|---|---|---|---|", *rows]
    table.append(f"| found of {len(rows)} | {found[0]} | {found[1]} | {found[2]} |")
    print("\n" + "\n".join(table))
    assert not missed, missed
    assert len(rows) >= 12
