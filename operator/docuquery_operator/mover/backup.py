"""One try of one run, R1 to R7. Nothing is a set before its entry is in the catalogue, and that is the last write."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from ..domain.backups.layout import RESTORE_TEXT, run_of
from ..domain.backups.manifest import (
    CatalogueEntry,
    ConfigurationPart,
    Intent,
    Manifest,
    PostgresPart,
    QdrantPart,
    sha256,
)
from ..domain.backups.report import Result
from ..domain.backups.request import BackupRequest
from . import restore_text
from .chunks import once
from .clock import now
from .contracts import DamagedError, MoverError, Report
from .objects import SetReader, SetWriter
from .sets import Place, parsed_entry, place_of

SKEW = timedelta(minutes=1)
# A set below this share of the median of the last good ones is suspicious.
SMALL = 0.5
# Of each part, in the result; the manifest has all.
WARNINGS = 10
HEADS_AT_ONCE = 8
PARTS: tuple[Literal["postgres", "qdrant", "configuration"], ...] = ("postgres", "qdrant", "configuration")


async def back_up(request: BackupRequest, report: Report) -> Result:
    """The set of this try; or the one that an earlier try of the same run has committed."""
    place = place_of(request)
    report("preflight", 0, 0)
    await place.store.check(place.layout.catalogue())
    done = await _committed(place, request)
    if done is not None:
        return Result(ok=True, reason="AlreadyComplete", at=now(), entry=done)
    work = _Try(request, place, report)
    await work.preflight()
    await work.intend()
    entry = await work.make()
    return Result(ok=True, reason=entry.state, message=entry.reason, at=now(), entry=entry, warnings=work.warnings)


async def _committed(place: Place, request: BackupRequest) -> CatalogueEntry | None:
    """A mover may die between the commit and its last word, and Kubernetes may start the same work twice."""
    run = run_of(request.set_id)
    for number in range(1, int(request.set_id.rpartition(".")[2]) + 1):
        set_id = f"{run}.{number}"
        data = await place.store.get(place.layout.catalogue(set_id))
        entry = parsed_entry(data, set_id) if data is not None else None
        if entry is not None:
            return entry
    return None


class _Try:
    """One try under way."""

    def __init__(self, request: BackupRequest, place: Place, report: Report) -> None:
        self._request, self._place, self._report = request, place, report
        self._store, self._layout, self._set = place.store, place.layout, request.set_id
        self._started = now()
        self._lease = self._started + timedelta(seconds=request.lease_seconds)
        self._writer = SetWriter(self._store, self._layout, self._set, request.recipients, report, self._lease)
        self._seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    async def preflight(self) -> None:
        """R1: what can be known before anything is written. Versions and rights are the parts' own first questions."""
        if self._request.postgres is None and self._request.qdrant is None and self._request.configuration is None:
            raise MoverError("NothingToSave", "the request names no part; include at least one", retry=False)
        told = await self._store.clock()
        if told is None:
            self.warnings.append(f"{self._store.where} does not tell its time; clocks were not compared")
        elif abs(told - now()) > SKEW:
            seconds = round((told - now()).total_seconds())
            self.warnings.append(f"the clock of {self._store.where} differs by {seconds} s; correct one")
        room, last = await self._store.room(), max(self._request.previous_bytes[:1], default=0)
        if room is not None and room < last * 1.1:
            text = f"{self._store.where} has {room} bytes free and the last set took {last}; enlarge it, or keep fewer sets"
            raise MoverError("StoreFull", text, retry=False)

    async def intend(self) -> None:
        """R2: who is at work; a second process of the same try ends here."""
        # A process of the same try has the same attempt id, so each has a mark of its own.
        holder = f"{self._request.attempt_id}/{secrets.token_hex(4)}"
        intent = Intent(
            set_id=self._set,
            holder=holder,
            started_at=self._started,
            lease_until=self._lease,
            source=self._request.source,
        )
        key = self._layout.intent(self._set)
        if not await self._store.create(key, intent.to_json()):
            text = f"{self._set} was begun by another process, which may still run; another try makes a set of its own"
            raise MoverError("SetTaken", text, retry=True)
        # Commits rest on this refusal, and some stores that speak S3 have it not.
        if await self._store.create(key, intent.model_copy(update={"holder": "nobody"}).to_json()):
            text = f"{self._store.where} overwrites what may only be created (If-None-Match); use a store that refuses"
            raise MoverError("StoreUnfit", text, retry=False)

    async def make(self) -> CatalogueEntry:
        """R3 to R7."""
        parts = await self._parts()
        async with self._timed("check"):
            await self._look_again()
            await self._read_again()
        manifest = self._manifest(parts)
        text = restore_text.text_of(manifest, self._store.where, self._layout.root)
        await self._store.put(self._layout.object(self._set, RESTORE_TEXT), once(text.encode()))
        return await self._commit(manifest)

    async def _parts(self) -> dict[str, Any]:
        """R3, in this order: Qdrant is cut after PostgreSQL, so that it misses no point which PostgreSQL knows."""
        made: dict[str, Any] = {}
        for name, work in self._wanted().items():
            self._report(name, 0, 0)
            async with self._timed(name):
                made[name] = await work()
            _demand_content(made[name], self._request.allow_empty)
            self.warnings += [f"{name}: {text}" for text in getattr(made[name], "warnings", [])[:WARNINGS]]
            self.warnings += [f"not in the set: {left.what}: {left.reason}" for left in made[name].skipped[:WARNINGS]]
        return made

    def _wanted(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        request, folder = self._request, self._place.secrets
        wanted: dict[str, Callable[[], Awaitable[Any]]] = {}
        if (postgres := request.postgres) is not None:
            from .postgres import backup as of_postgres

            scratch = Path(request.scratch_dir)
            wanted["postgres"] = lambda: of_postgres.back_up(postgres, folder, self._writer, self._report, scratch)
        if (qdrant := request.qdrant) is not None:
            from .qdrant import backup as of_qdrant

            wanted["qdrant"] = lambda: of_qdrant.back_up(qdrant, folder, self._writer, self._report)
        if (configuration := request.configuration) is not None:
            from . import configuration as of_configuration

            wanted["configuration"] = lambda: of_configuration.back_up(configuration, folder, self._writer, self._report)
        return wanted

    @asynccontextmanager
    async def _timed(self, step: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self._seconds[step] = round(time.monotonic() - began, 3)

    async def _look_again(self) -> None:
        """R4: every object is there with its size, by the store's own word."""
        gate = asyncio.Semaphore(HEADS_AT_ONCE)

        async def look(name: str, size: int) -> None:
            async with gate:
                found = await self._store.head(self._layout.object(self._set, name))
            if found is None or found.size != size:
                have = "is missing" if found is None else f"has {found.size} bytes"
                raise DamagedError(f"{name} {have} after it was written with {size}")

        await asyncio.gather(*(look(entry.name, entry.stored_bytes) for entry in self._writer.entries))

    async def _read_again(self) -> None:
        """R5: objects below the limit are read back and hashed."""
        reader = SetReader(self._store, self._layout, self._set, None, self._report)
        for entry in self._writer.entries:
            if entry.stored_bytes <= self._request.reread_limit_bytes:
                self._writer.check_lease()
                await reader.check_stored(entry)

    def _manifest(self, parts: dict[str, Any]) -> Manifest:
        request = self._request
        return Manifest(
            set_id=self._set,
            run=run_of(self._set),
            source=request.source,
            operator_version=version("docuquery-operator"),
            image=request.image,
            started_at=self._started,
            finished_at=now(),
            objects=self._writer.entries,
            durations=self._seconds,
            **parts,
        )

    async def _commit(self, manifest: Manifest) -> CatalogueEntry:
        """R6 and R7; never after the lease, when others may already clean up."""
        data = manifest.to_json()
        self._writer.check_lease()
        if not await self._store.create(self._layout.manifest(self._set), data):
            raise MoverError("SetTaken", f"another process has written the manifest of {self._set}")
        entry = self._entry(manifest, sha256(data))
        self._writer.check_lease()
        if not await self._store.create(self._layout.catalogue(self._set), entry.to_json()):
            text = f"{self._set} was given up by a clean-up before it was complete; another try makes a set of its own"
            raise MoverError("GivenUp", text)
        return entry

    def _entry(self, manifest: Manifest, digest: str) -> CatalogueEntry:
        stored = sum(entry.stored_bytes for entry in manifest.objects)
        reason = suspicion(stored, self._request.previous_bytes)
        return CatalogueEntry(
            set_id=manifest.set_id,
            run=manifest.run,
            source=manifest.source,
            state="Suspicious" if reason else "Complete",
            reason=reason,
            started_at=manifest.started_at,
            finished_at=manifest.finished_at,
            manifest_sha256=digest,
            stored_bytes=stored,
            plain_bytes=sum(entry.plain_bytes for entry in manifest.objects),
            parts=[name for name in PARTS if getattr(manifest, name) is not None],
        )


def suspicion(stored: int, previous: list[int]) -> str:
    """Why a set of this size does not count as good; '' when it does."""
    if not previous:
        return ""
    usual = statistics.median(previous[:5])
    if stored >= SMALL * usual:
        return ""
    return f"{stored} bytes, less than half of the usual {round(usual)}; look whether data is gone"


def _demand_content(part: PostgresPart | QdrantPart | ConfigurationPart, allow_empty: bool) -> None:
    """Nothing to save is more often a wrong address or lost data than the truth."""
    what = ""
    if isinstance(part, PostgresPart):
        empty = [d.name for d in part.databases if not d.tables]
        what = f"database {', '.join(empty)} has no table" if empty or not part.databases else ""
    elif isinstance(part, QdrantPart):
        what = "" if part.collections else "Qdrant has no collection"
    if what and not allow_empty:
        raise MoverError("NothingSaved", f"{what}; set allowEmpty: true if that is right", retry=False)
