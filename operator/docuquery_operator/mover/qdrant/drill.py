"""Proof of Qdrant's part of a set: every shard is opened by the embedded engine and asked what the server was asked."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...domain.backups.manifest import Check, CollectionFacts, Manifest, QdrantPart, ShardFacts
from ..contracts import DamagedError, ObjectReader
from .archive import spool, unpack_shard
from .compare import compared
from .engine import Answer, Question
from .facts import TOP, dense_vectors

# Snapshots of servers of this minor version are known to open; one of another that does not open may be sound.
KNOWN = "1.18."
LONGEST = 3600.0


class UnverifiableError(Exception):
    """The question cannot be asked here; nothing is said against the set."""


@dataclass(frozen=True)
class _Failed(Exception):
    """The archive or the shard is not sound."""

    text: str


async def drill(
    part: QdrantPart, reader: ObjectReader, manifest: Manifest, scratch: Path, assertions: Sequence[object] = ()
) -> list[Check]:
    """Checks of all collections; `scratch` is left empty. Assertions are SQL and not for this part.

    Errors of the store are passed on: they are no answer.
    """
    checks = [_aliases(part)]
    for collection in part.collections:
        folder = scratch / "qdrant"
        try:
            checks += await _collection(part, collection, reader, manifest, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
    return checks


def _aliases(part: QdrantPart) -> Check:
    """An alias leads to one collection, and never has a collection's name."""
    names = {each.name for each in part.collections}
    all_aliases = [alias for each in part.collections for alias in each.aliases]
    wrong = sorted({alias for alias in all_aliases if alias in names or all_aliases.count(alias) > 1})
    detail = f"aliases that lead to more than one collection: {', '.join(wrong)}" if wrong else f"{len(all_aliases)} aliases"
    return Check(name="qdrant/aliases", ok=not wrong, detail=detail)


async def _collection(
    part: QdrantPart, collection: CollectionFacts, reader: ObjectReader, manifest: Manifest, folder: Path
) -> list[Check]:
    name = f"qdrant/{collection.name}"
    began = time.monotonic()
    answers: list[Answer] = []
    try:
        for shard in collection.shards:
            answers.append(await _shard(part, collection, shard, reader, manifest, folder))
    except _Failed as error:
        return [_took(Check(name=f"{name}/shards", ok=False, detail=error.text[:512]), began)]
    except UnverifiableError as error:
        return [_took(Check(name=f"{name}/shards", ok=None, detail=str(error)[:512]), began)]
    opened = _took(Check(name=f"{name}/shards", ok=True, detail=f"{len(answers)} opened by the embedded engine"), began)
    return [opened, *compared(collection, answers)]


def _took(check: Check, began: float) -> Check:
    return check.model_copy(update={"seconds": round(time.monotonic() - began, 3)})


async def _shard(
    part: QdrantPart,
    collection: CollectionFacts,
    shard: ShardFacts,
    reader: ObjectReader,
    manifest: Manifest,
    folder: Path,
) -> Answer:
    """One after the other: the scratch space holds one shard at a time."""
    place = folder / str(shard.id)
    place.mkdir(parents=True)
    try:
        await _laid_out(shard, reader, manifest, place)
        question = Question(
            folder=str(place / "shard"),
            sample_ids=collection.sample_ids,
            canaries=collection.canaries,
            top=TOP,
            distances={name: str(each.get("distance")) for name, each in dense_vectors(collection.config).items()},
        )
        answer = await _asked(shard, question)
    except _Failed as error:
        raise _Failed(f"shard {shard.id}: {error.text}") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, place, True)
    if not answer.error:
        return answer
    if part.version.startswith(KNOWN):
        raise _Failed(f"shard {shard.id} does not open: {answer.error}")
    why = f"the embedded engine does not open shard {shard.id} of Qdrant {part.version}"
    raise UnverifiableError(f"{why}, and is only known to open {KNOWN}x: {answer.error}")


async def _laid_out(shard: ShardFacts, reader: ObjectReader, manifest: Manifest, place: Path) -> None:
    try:
        entry = manifest.entry(shard.object)
    except KeyError:
        raise _Failed(f"the set has no object {shard.object}") from None
    if shard.server_sha256 and shard.server_sha256 != entry.plain_sha256:
        raise _Failed(f"{shard.object} is not the snapshot that the server made: their SHA-256 differ")
    archive = place / "snapshot.tar"
    try:
        await spool(reader.read(entry), archive)
        await asyncio.to_thread(unpack_shard, archive, place / "shard")
        archive.unlink()
    except DamagedError as error:
        raise _Failed(error.message) from error
    except (ValueError, tarfile.TarError, EOFError) as error:
        raise _Failed(f"its archive cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UnverifiableError(f"the scratch volume is too small to unpack {shard.object}") from error
        raise


async def _asked(shard: ShardFacts, question: Question) -> Answer:
    command = [sys.executable, "-m", "docuquery_operator.mover.qdrant.engine"]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(LONGEST):
            out, words = await child.communicate(question.to_json())
    except TimeoutError:
        raise UnverifiableError(f"shard {shard.id} was not gone through within {LONGEST:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        # The last line of a panic names no data.
        last = words.decode(errors="replace").strip().rpartition("\n")[2]
        raise _Failed(f"the embedded engine died of it (exit {child.returncode}): {last[:200]}")
    try:
        return Answer.model_validate_json(out.strip().rpartition(b"\n")[2])
    except ValidationError as error:
        raise UnverifiableError(f"the embedded engine's answer makes no sense: {error.error_count()} errors") from error
