"""Checks of a set, each level on top of the one before: L0 Committed, L1 Checksum, L2 Read, L3 Restore, L4 Assertions.

Bytes that are not those of the manifest are Failed. What cannot be asked here (no key, no room, another version) is
Unverifiable: it says nothing against the set. A store that does not answer gives no verdict at all.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from ..domain.backups.manifest import (
    CatalogueEntry,
    Check,
    Manifest,
    ObjectEntry,
    ObjectKind,
    Verdict,
    VerifyLevel,
)
from ..domain.backups.report import Result
from ..domain.backups.request import VerifyRequest
from .clock import now
from .contracts import DamagedError, MoverError, Report
from .objects import SetReader
from .sets import Place, entry_of, manifest_of, place_of

LEVELS = list(VerifyLevel)
# Of these errors the set is not guilty.
UNASKED = {"KeyMissing", "WrongKey", "NoTool", "ServerTooNew", "ServerTooOld", "FormatTooNew", "NoRoom"}
DETAIL = 512
REASON = 300


async def verify(request: VerifyRequest, report: Report) -> Result:
    """The verdict, which is also written into the store."""
    place = place_of(request)
    await place.store.check(place.layout.catalogue())
    entry = await _entry(place, request)
    if isinstance(entry, Verdict):
        return _result(entry, [])
    began, at = time.monotonic(), now()
    checks = await _Checks(request, place, report).run(entry)
    verdict = _verdict(request, checks, at, time.monotonic() - began)
    warnings = await _write(place, verdict)
    return _result(verdict, warnings)


async def _entry(place: Place, request: VerifyRequest) -> CatalogueEntry | Verdict:
    try:
        return await entry_of(place, request.set_id)
    except DamagedError as error:
        verdict = _verdict(request, [Check(name="committed", ok=False, detail=error.message)], now(), 0.0)
        await _write(place, verdict)
        return verdict


def _result(verdict: Verdict, warnings: list[str]) -> Result:
    return Result(
        ok=verdict.verdict != "Failed",
        reason=f"Check{verdict.verdict}",
        message=verdict.reason,
        retry=False,
        at=now(),
        verdict=verdict,
        warnings=warnings,
    )


def _verdict(request: VerifyRequest, checks: list[Check], at: object, seconds: float) -> Verdict:
    wrong = [c for c in checks if c.ok is False]
    unasked = [c for c in checks if c.ok is None]
    first = next(iter(wrong or unasked), None)
    return Verdict.model_validate(
        {
            "set_id": request.set_id,
            "at": at,
            "level": request.level,
            "verdict": "Failed" if wrong else "Unverifiable" if unasked else "Verified",
            "reason": f"{first.name}: {first.detail}"[:REASON] if first else "",
            "checks": [c.model_copy(update={"detail": c.detail[:DETAIL], "seconds": round(c.seconds, 3)}) for c in checks],
            "seconds": round(seconds, 3),
            "rto_seconds": recovery_seconds(checks) if request.level in LEVELS[3:] and not wrong else None,
            "tools": {"docuquery-operator": version("docuquery-operator")},
        }
    )


def recovery_seconds(checks: list[Check]) -> float | None:
    """From nothing to restored servers, without the comparisons; None when nothing was restored."""
    restored = [
        c.seconds for c in checks if c.name == "postgres/server" or c.name.endswith("/restore") or c.name.endswith("/shards")
    ]
    return round(sum(restored), 3) if restored else None


async def _write(place: Place, verdict: Verdict) -> list[str]:
    """Kept beside the set. Where it cannot be written it is still told, once."""
    for number in range(3):
        dated = verdict.at + timedelta(microseconds=number)
        try:
            if await place.store.create(place.layout.verdict(verdict.set_id, dated), verdict.to_json()):
                return []
        except MoverError as error:
            return [f"the verdict could not be written into the store: {error.message}"]
    return ["the verdict could not be written into the store: others have its time"]


class _Checks:
    """All questions of one level, in order of cost; the first answer that is no ends a level's own list."""

    def __init__(self, request: VerifyRequest, place: Place, report: Report) -> None:
        self._request, self._place, self._report = request, place, report
        identity = place.secrets / "identity"
        self._reader = _Watched(SetReader(place.store, place.layout, request.set_id, identity, report))
        self._reached = LEVELS.index(request.level)

    async def run(self, entry: CatalogueEntry) -> list[Check]:
        """Answers."""
        found: list[Manifest] = []
        checks = [await asked("committed", lambda: self._committed(entry, found))]
        if not found or checks[-1].ok is not True:
            return checks
        manifest = found[0]
        if self._reached >= LEVELS.index(VerifyLevel.RESTORE):
            checks += await self._drill(manifest)
        # What a drill has not read to its end is read now, so that each level holds those below it.
        rest = [o for o in manifest.objects if o.name not in self._reader.whole]
        if self._reached == LEVELS.index(VerifyLevel.CHECKSUM):
            checks += [await asked(f"checksum/{o.name}", lambda o=o: self._checksum(o)) for o in rest]  # type: ignore[misc]
        elif self._reached >= LEVELS.index(VerifyLevel.READ):
            checks += [await asked(f"read/{o.name}", lambda o=o: self._read(o, manifest)) for o in rest]  # type: ignore[misc]
        return checks

    async def _committed(self, entry: CatalogueEntry, found: list[Manifest]) -> str:
        """L0: entry, manifest and sizes agree, and every object that a part names is in the list."""
        manifest = await manifest_of(self._place, entry, self._request.manifest_sha256)
        listed = {o.name for o in manifest.objects}
        lacking = sorted(named_objects(manifest) - listed)
        if lacking:
            raise DamagedError(f"the manifest names {', '.join(lacking[:5])} without size and hash")
        for known in manifest.objects:
            stored = await self._place.store.head(self._place.layout.object(entry.set_id, known.name))
            if stored is None or stored.size != known.stored_bytes:
                have = "is missing" if stored is None else f"has {stored.size} bytes instead of {known.stored_bytes}"
                raise DamagedError(f"{known.name} {have}")
        found.append(manifest)
        return f"{len(listed)} objects"

    async def _checksum(self, entry: ObjectEntry) -> str:
        await self._reader.check_stored(entry)
        return f"{entry.stored_bytes} bytes"

    async def _read(self, entry: ObjectEntry, manifest: Manifest) -> str:
        if entry.kind is ObjectKind.POSTGRES_DUMP and manifest.postgres is not None:
            from .postgres.process import fed
            from .postgres.tools import chosen, installed

            tools = chosen(await installed("pg_restore"), manifest.postgres.server_version, manifest.postgres.client_version)
            command = [tools.path("pg_restore"), "--exit-on-error", "--file=/dev/null"]
            await _judged(fed(command, "pg_restore", {"LC_ALL": "C"}, self._reader.read(entry)))
            return f"{entry.plain_bytes} bytes, read by pg_restore {tools.major}"
        async for _chunk in self._reader.read(entry):
            pass
        return f"{entry.plain_bytes} bytes"

    async def _drill(self, manifest: Manifest) -> list[Check]:
        """L3 and L4: each part restores into servers of its own, and compares."""
        scratch = Path(self._request.scratch_dir)
        checks: list[Check] = []
        if (postgres := manifest.postgres) is not None:
            from .postgres.drill import drill as of_postgres

            assertions = self._request.assertions if self._request.level is VerifyLevel.ASSERTIONS else []
            place = scratch / "postgres-drill"
            work = lambda: of_postgres(postgres, self._reader, manifest, place, assertions, self._report)  # noqa: E731
            checks += await several("postgres", work)
        if (qdrant := manifest.qdrant) is not None:
            from .qdrant.drill import drill as of_qdrant

            folder = scratch / "qdrant-drill"
            checks += await several("qdrant", lambda: of_qdrant(qdrant, self._reader, manifest, folder))
        return checks


def named_objects(manifest: Manifest) -> set[str]:
    """All objects that the parts of a manifest refer to."""
    names: set[str] = set()
    if manifest.postgres is not None:
        names |= {name for database in manifest.postgres.databases for name in database.objects}
        names |= {manifest.postgres.globals_object} - {""}
    if manifest.qdrant is not None:
        names |= {shard.object for collection in manifest.qdrant.collections for shard in collection.shards}
    return names


async def asked(name: str, work: Callable[[], Awaitable[str]]) -> Check:
    """One question; its detail, or what was wrong. Errors of the store are passed on: they are no answer."""
    began = time.monotonic()
    try:
        detail, ok = await work(), True
    except DamagedError as error:
        return Check(name=name, ok=False, detail=error.message, seconds=time.monotonic() - began)
    except MoverError as error:
        if error.reason not in UNASKED:
            raise
        return Check(name=name, ok=None, detail=f"{error.reason}: {error.message}", seconds=time.monotonic() - began)
    return Check(name=name, ok=ok, detail=detail, seconds=time.monotonic() - began)


async def several(name: str, work: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """The same for a drill that asks many."""
    found: list[Check] = []

    async def run() -> str:
        found.extend(await work())
        return ""

    check = await asked(f"{name}/drill", run)
    return found if check.ok else [check]


async def _judged(work: Awaitable[str]) -> None:
    """A reader of dumps that refuses whole and genuine bytes says that they were no dump to begin with."""
    try:
        await work
    except DamagedError:
        raise
    except MoverError as error:
        if error.reason in UNASKED or error.reason.startswith(("Store", "Access", "Bucket")):
            raise
        raise DamagedError(error.message) from None


class _Watched:
    """A contracts.ObjectReader that remembers what was read to its end, and so compared."""

    def __init__(self, reader: SetReader) -> None:
        self._reader = reader
        self.whole: set[str] = set()

    async def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        """contracts.ObjectReader.read."""
        async for chunk in self._reader.read(entry):
            yield chunk
        self.whole.add(entry.name)

    async def check_stored(self, entry: ObjectEntry) -> None:
        """SetReader.check_stored."""
        await self._reader.check_stored(entry)
