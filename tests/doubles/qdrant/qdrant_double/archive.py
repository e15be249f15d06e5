"""Snapshot archives in the real server's layout: an outer tar whose segments are tars of their own."""

import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import uuid

from qdrant_edge import EdgeShard, UpdateOperation

from qdrant_double import VERSION
from qdrant_double.errors import QdrantError

# The engine's files are mostly preallocated zeros: without --sparse an archive of 300 kB would have 130 MB.
_TAR = ("tar", "--create", "--sparse", "--format=gnu")


def pack_shard(shard: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a flushed shard into `target` as the server's snapshot holds it: without the log, each segment as a tar."""
    (target / "segments").mkdir(parents=True)
    for segment in sorted((shard / "segments").iterdir()):
        if segment.is_dir():
            _run(
                [
                    *_TAR,
                    "--file",
                    str(target / "segments" / f"{segment.name}.tar"),
                    "--transform",
                    r"s,^\.,snapshot/files,",
                    "-C",
                    str(segment),
                    ".",
                ]
            )
    # The engine's own; a real server's shard has none, and opens without it.
    if (shard / "edge_config.json").exists():
        shutil.copy2(shard / "edge_config.json", target / "edge_config.json")


def pack_collection(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a flushed collection into `target`: its configuration and one folder for each shard."""
    target.mkdir(parents=True)
    shutil.copy2(folder / "config.json", target / "config.json")
    (target / "version.info").write_text(VERSION)
    for shard in shard_folders(folder):
        pack_shard(shard, target / shard.name)


def write(folder: pathlib.Path, archive: pathlib.Path) -> None:
    """Make `archive` of everything in `folder`; it appears under its name only when complete."""
    temporary = archive.with_name(f"{archive.name}.{uuid.uuid4().hex[:8]}.part")
    archive.parent.mkdir(parents=True, exist_ok=True)
    _run([*_TAR, "--file", str(temporary), "-C", str(folder), *sorted(path.name for path in folder.iterdir())])
    temporary.rename(archive)


def unpack_collection(archive: pathlib.Path, target: pathlib.Path) -> None:
    """Turn a collection snapshot into a folder that can be opened."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as work:
        content = pathlib.Path(work) / "content"
        _extract(archive, content)
        shards = shard_folders(content)
        if not shards or not (content / "config.json").exists():
            raise QdrantError(f'Service internal error: Failed to restore snapshot from "{archive}": no shards in it')
        target.mkdir()
        for shard in shards:
            unpack_shard(shard, target / shard.name, pathlib.Path(work))
        settings = json.loads((content / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(settings))


def unpack_shard(content: pathlib.Path, target: pathlib.Path, work: pathlib.Path) -> None:
    """The engine opens a shard only from an archive of that shard alone, so the folder is packed once more."""
    # The log of a real server is not the engine's: it starts a new one.
    shutil.rmtree(content / "wal", ignore_errors=True)
    single = work / f"shard-{content.name}.snapshot"
    write(content, single)
    try:
        EdgeShard.unpack_snapshot(str(single), str(target))
    except Exception as error:  # the engine raises no narrower class
        raise QdrantError(f'Service internal error: Failed to restore snapshot from "{single}": {error}') from error
    finally:
        single.unlink()
    _number_on(target)


def _number_on(shard: pathlib.Path) -> None:
    """Let the new log count on from where the segments are: the engine passes over what bears a number they have seen.

    A real server's log does so by itself; deleting a point that nobody has is a number and nothing else.
    """
    states = [json.loads(path.read_text()) for path in (shard / "segments").glob("*/segment.json")]
    seen = max((int(state.get("version") or 0) for state in states), default=0)
    opened = EdgeShard.load(str(shard))
    try:
        for _ in range(seen + 1):
            opened.update(UpdateOperation.delete_points([str(uuid.uuid4())]))
    finally:
        opened.close()


def unpack_single(snapshot: pathlib.Path, target: pathlib.Path) -> None:
    """Turn a shard snapshot into a folder that can be opened."""
    with tempfile.TemporaryDirectory(dir=snapshot.parent) as work:
        content = pathlib.Path(work) / "content"
        _extract(snapshot, content)
        if not any((content / "segments").glob("*.tar")):
            raise QdrantError(f'Service internal error: Failed to restore snapshot from "{snapshot}": no segments in it')
        unpack_shard(content, target, pathlib.Path(work))


def shard_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The numbered folders, in order."""
    return sorted(
        (path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()), key=lambda path: int(path.name)
    )


def _extract(archive: pathlib.Path, target: pathlib.Path) -> None:
    try:
        with tarfile.open(archive) as content:
            content.extractall(target, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise QdrantError(
            f'Service internal error: Failed to restore snapshot from "{archive}": Service runtime error: IO Error: Malformed tar archive, {error}'
        ) from error


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise QdrantError(f"Service internal error: tar failed: {done.stderr.strip()[:300]}")
