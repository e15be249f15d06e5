"""Snapshots of collections, shards and the whole store: make, list, remove, bring back."""

import dataclasses
import hashlib
import pathlib
import shutil
import tempfile
from datetime import UTC, datetime
from typing import Any

from qdrant_double import archive
from qdrant_double.collection import Collection
from qdrant_double.errors import NotFoundError, QdrantError, WrongInputError
from qdrant_double.store import Store

PEER_ID = 1


@dataclasses.dataclass
class Counters:
    """What /metrics tells about snapshots."""

    created: int = 0
    creating: int = 0
    recovering: int = 0


class Snapshots:
    """Files under the snapshots folder, each with its checksum beside it."""

    def __init__(self, store: Store, folder: pathlib.Path) -> None:
        """Keep the archives of `store` in `folder`."""
        self._store = store
        self._folder = folder
        self.counters = Counters()
        folder.mkdir(parents=True, exist_ok=True)

    def folder(self, collection: str | None = None, shard: int | None = None) -> pathlib.Path:
        """Where the archives of the store, a collection or a shard lie."""
        if collection is None:
            return self._folder
        opened = self._store.get(collection)
        if shard is None:
            return self._folder / opened.name
        if not 0 <= shard < opened.config["params"]["shard_number"]:
            raise NotFoundError(f"Not found: Shard {shard} not found")
        return self._folder / opened.name / "shards" / str(shard)

    def create(self, collection: str | None = None, shard: int | None = None) -> dict[str, Any]:
        """Make an archive and describe it."""
        target = self.folder(collection, shard)
        self.counters.creating += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as work:
                content = pathlib.Path(work) / "content"
                name = self._collect(content, collection, shard)
                archive.write(content, target / name)
        finally:
            self.counters.creating -= 1
        self.counters.created += 1
        try:
            checksum = hashlib.sha256((target / name).read_bytes()).hexdigest()
            (target / f"{name}.checksum").write_text(checksum)
            return describe(target / name)
        except FileNotFoundError as error:
            # Another client has got the same name in the same second, and removed it.
            raise NotFoundError(f"Not found: Snapshot {name} not found") from error

    def _collect(self, content: pathlib.Path, collection: str | None, shard: int | None) -> str:
        stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S")
        if collection is None:
            content.mkdir()
            for opened in self._store.all():
                _pack(opened, content / opened.name)
            return f"full-snapshot-{stamp}.snapshot"
        opened = self._store.get(collection)
        if shard is None:
            _pack(opened, content)
            return f"{opened.name}-{PEER_ID}-{stamp}.snapshot"
        opened.flushed(lambda folder: archive.pack_shard(folder / str(shard), content))
        return f"{opened.name}-shard-{shard}-{stamp}.snapshot"

    def listing(self, collection: str | None = None, shard: int | None = None) -> list[dict[str, Any]]:
        """The archives, oldest first."""
        folder = self.folder(collection, shard)
        return [describe(path) for path in sorted(folder.glob("*.snapshot"))] if folder.exists() else []

    def find(self, name: str, collection: str | None = None, shard: int | None = None) -> pathlib.Path:
        """The file of one archive."""
        path = self.folder(collection, shard) / pathlib.PurePath(name).name
        if not path.is_file() or path.suffix != ".snapshot":
            raise NotFoundError(f"Not found: Snapshot {name} not found")
        return path

    def delete(self, name: str, collection: str | None = None, shard: int | None = None) -> None:
        """Remove one archive and its checksum."""
        path = self.find(name, collection, shard)
        path.unlink()
        path.with_name(f"{path.name}.checksum").unlink(missing_ok=True)

    def local_file(self, location: str) -> pathlib.Path:
        """The file behind a `file://` location; only those under the snapshots folder may be read."""
        if not location.startswith("file://"):
            raise WrongInputError("Wrong input: the double reads file:// locations only")
        path = pathlib.Path(location.removeprefix("file://")).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise WrongInputError(f"Wrong input: Snapshot file {path} must be inside the snapshots directory")
        if not path.is_file():
            raise WrongInputError(f"Wrong input: Snapshot file {path} does not exist")
        return path

    def recover(self, collection: str, path: pathlib.Path, checksum: str | None) -> None:
        """Make `collection` what the archive holds; the old content goes away only when the new one opens."""
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if checksum and checksum != actual:
            raise WrongInputError(f"Checksum mismatch: expected {actual}, actual {checksum}")
        self._store.folder_for(collection)
        self.counters.recovering += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as work:
                prepared = pathlib.Path(work) / "prepared"
                archive.unpack_collection(path, prepared)
                _try_open(collection, prepared)
                self._store.replace(collection, prepared)
        finally:
            self.counters.recovering -= 1

    def recover_shard(self, collection: str, shard: int, path: pathlib.Path, checksum: str | None) -> None:
        """Make one shard of an existing collection what the archive holds."""
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if checksum and checksum != actual:
            raise WrongInputError(f"Checksum mismatch: expected {actual}, actual {checksum}")
        self.folder(collection, shard)
        self.counters.recovering += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as work:
                prepared = pathlib.Path(work) / "prepared"
                archive.unpack_single(path, prepared)
                self._store.get(collection).replace_shard(shard, prepared)
        except QdrantError:
            raise
        except Exception as error:  # the engine raises no narrower class
            raise QdrantError(f"Service internal error: Failed to restore snapshot: {error}") from error
        finally:
            self.counters.recovering -= 1


def describe(path: pathlib.Path) -> dict[str, Any]:
    """Name, time, size and checksum as the server lists them."""
    facts = path.stat()
    sidecar = path.with_name(f"{path.name}.checksum")
    return {
        "name": path.name,
        "creation_time": datetime.fromtimestamp(facts.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "size": facts.st_size,
        "checksum": sidecar.read_text() if sidecar.exists() else None,
    }


def _pack(opened: Collection, target: pathlib.Path) -> None:
    opened.flushed(lambda folder: archive.pack_collection(folder, target))


def _try_open(name: str, folder: pathlib.Path) -> None:
    copy = folder.with_name("trial")
    shutil.copytree(folder, copy)
    try:
        Collection(name, copy).close()
    except Exception as error:  # the engine raises no narrower class
        raise QdrantError(f"Service internal error: Failed to restore snapshot: {error}") from error
