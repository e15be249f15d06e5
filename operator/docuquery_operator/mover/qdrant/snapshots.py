"""Snapshots of shards on a server: made once, read whole, always removed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...domain.backups.manifest import IntentNote
from ...domain.backups.request import Server
from ..contracts import MoverError
from .archive import Ending
from .client import AnswerError, Client, UnclearError, connected, path

TRIES = 3
POLL = 1.0
# A snapshot without a name of ours is taken for ours only when it was begun this soon after our note.
WINDOW = timedelta(seconds=15)
REMOVAL = 60.0
RUNNING = re.compile(rb"^snapshot_creation_running(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
STAMP = re.compile(r"-(\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2})\.snapshot$")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A snapshot on the server. sha256: '' where the server keeps none, as with snapshots in S3."""

    name: str
    size: int
    sha256: str


class Notes(Protocol):
    """Where the janitor reads what he may have to remove; an ObjectWriter is one."""

    async def note(self, note: IntentNote) -> None:
        """Write one down."""
        ...


@asynccontextmanager
async def taken(client: Client, collection: str, shard: int, notes: Notes) -> AsyncIterator[Made]:
    """A snapshot of a shard for as long as the block lasts; its notes for the janitor are written before and after."""
    folder = _folder(collection, shard)
    listed, at = await _listing(client, folder)
    note = IntentNote(
        collection=collection,
        shard=shard,
        snapshot="",
        url=client.url,
        known=sorted(made.name for made in listed),
        not_before=at,
    )
    await notes.note(note)
    try:
        made = await _created(client, folder, note)
    except BaseException:
        await _quietly(_remove_new(client, folder, note))
        raise
    try:
        await notes.note(note.model_copy(update={"snapshot": made.name}))
        yield made
    finally:
        await _quietly(_remove(client, folder, made.name))


async def content(client: Client, collection: str, shard: int, made: Made) -> AsyncIterator[bytes]:
    """The archive; MoverError before the end when length, checksum or the tar's own end are not as they must be."""
    digest, ending = hashlib.sha256(), Ending()
    async with client.download(_folder(collection, shard) + path(made.name)) as (length, stream):
        if length is not None and length != made.size:
            raise _short(made, f"the server offers {length} bytes of {made.size}")
        async for chunk in stream:
            digest.update(chunk)
            ending.feed(chunk)
            yield chunk
    if ending.total != made.size:
        raise _short(made, f"{ending.total} bytes of {made.size} came")
    if made.sha256 and digest.hexdigest() != made.sha256:
        raise _short(made, f"its SHA-256 is {digest.hexdigest()}, the server said {made.sha256}")
    if not ending.whole:
        raise _short(made, "it does not end as a tar does")


async def remove_noted(note: IntentNote, secrets: Path) -> list[str]:
    """What a mover that has died left on the server; the names removed. MoverError when the server cannot be asked."""
    parts = urlsplit(note.url)
    server = Server(host=parts.hostname or "", port=parts.port or 6333, tls=parts.scheme == "https")
    async with connected(server, secrets, REMOVAL) as client:
        if note.shard is None:
            return []
        folder = _folder(note.collection, note.shard)
        if not note.snapshot:
            return await _remove_new(client, folder, note)
        return [note.snapshot] if await _remove(client, folder, note.snapshot) else []


def pending(notes: Sequence[IntentNote]) -> list[IntentNote]:
    """Notes of one set without those whose snapshot has got a name in a later one."""
    named = {(note.url, note.collection, note.shard, *note.known) for note in notes if note.snapshot}
    return [note for note in notes if note.snapshot or (note.url, note.collection, note.shard, *note.known) not in named]


async def _created(client: Client, folder: str, note: IntentNote) -> Made:
    last: MoverError | None = None
    for _ in range(TRIES):
        try:
            return _parsed(await client.send("POST", f"{folder}?wait=true"))
        except UnclearError as error:
            # The server works on without us: a second order at once would make two.
            last = error
            found = await _settled(client, folder, note)
            if found is not None:
                return found
    assert last is not None
    raise last


async def _settled(client: Client, folder: str, note: IntentNote) -> Made | None:
    """After an answer was lost: the snapshot that came of it, or None once none is being made."""
    loop = asyncio.get_running_loop()
    until = loop.time() + client.timeout
    while loop.time() < until:
        listed, _ = await _listing(client, folder)
        ours = _ours(listed, note)
        if len(ours) == 1:
            # The checksum is put beside the archive in a step of its own.
            await asyncio.sleep(POLL)
            again, _ = await _listing(client, folder)
            return next((made for made in again if made.name == ours[0].name), None)
        if not await _running(client):
            return None
        await asyncio.sleep(POLL)
    raise MoverError("SnapshotRunning", f"a snapshot at {client.url} is still being made after {client.timeout:.0f} s")


def _ours(listed: Sequence[Made], note: IntentNote) -> list[Made]:
    """New since the note, and begun right after it."""
    new = [made for made in listed if made.name not in note.known]
    return [made for made in new if note.not_before and _soon(made.name, note.not_before)]


def _soon(name: str, not_before: datetime) -> bool:
    stamp = STAMP.search(name)
    if stamp is None:
        return False
    began = datetime.strptime(stamp[1], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)
    return not_before - timedelta(seconds=1) <= began <= not_before + WINDOW


async def _running(client: Client) -> bool:
    """Whether the server makes snapshots now; one that does not tell makes none."""
    body, _ = await client.plain("GET", "/metrics")
    return any(float(value) > 0 for value in RUNNING.findall(body))


async def _listing(client: Client, folder: str) -> tuple[list[Made], datetime | None]:
    """Snapshots, and the server's time."""
    import json

    body, headers = await client.plain("GET", folder)
    date = headers.get("Date")
    listed = json.loads(body)["result"]
    return [_parsed(each) for each in listed], parsedate_to_datetime(date) if date else None


def _parsed(told: Any) -> Made:
    try:
        return Made(str(told["name"]), int(told["size"]), str(told.get("checksum") or ""))
    except (KeyError, TypeError, ValueError) as error:
        raise UnclearError(f"the server's description of a snapshot makes no sense: {str(told)[:200]}") from error


async def _remove_new(client: Client, folder: str, note: IntentNote) -> list[str]:
    """Only when there is no doubt which it is."""
    try:
        listed, _ = await _listing(client, folder)
    except AnswerError as error:
        if error.status == 404:
            return []
        raise
    ours = _ours(listed, note)
    if len(ours) != 1:
        return []
    return [ours[0].name] if await _remove(client, folder, ours[0].name) else []


async def _remove(client: Client, folder: str, name: str) -> bool:
    try:
        await client.send("DELETE", f"{folder}{path(name)}?wait=true", timeout=REMOVAL)
    except AnswerError as error:
        if error.status == 404:
            return False
        raise
    return True


async def _quietly(work: Any) -> None:
    """Cleaning up goes on when we are cancelled, and its failure does not hide the first one: the janitor has the note."""
    try:
        await asyncio.shield(asyncio.ensure_future(work))
    except MoverError as error:
        log.warning("a snapshot stays on the server until the janitor removes it: %s", error.message)


def _folder(collection: str, shard: int) -> str:
    return path("collections", collection, "shards", shard, "snapshots")


def _short(made: Made, why: str) -> MoverError:
    return MoverError("SnapshotDamaged", f"snapshot {made.name} has not come whole: {why}")
