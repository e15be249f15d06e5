"""The store's own truth: which sets there are, what retention makes of them, what dead movers have left.

Order of a deletion: entry into `deleted/`, entry out of the catalogue, after a time of grace the objects, and last of all
the record of it. So wherever it is cut off, no entry is without its bytes and no bytes are without a record. The first error
of the store ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from ..api.common import Time
from ..domain.backups import retention
from ..domain.backups.manifest import CatalogueEntry, Document, Verdict
from ..domain.backups.report import CatalogueReport, Decision, Result
from ..domain.backups.request import CatalogueRequest
from .clock import now
from .contracts import DamagedError, Report
from .janitor import Janitor
from .sets import Place, parsed_entry, place_of

READS_AT_ONCE = 8
# The newest of a set's verdicts that are looked at.
VERDICTS = 20
WARNINGS = 50


class DeletedEntry(Document):
    """An entry that has left the catalogue; its objects may go after `purge_after`."""

    entry: CatalogueEntry
    deleted_at: Time
    purge_after: Time
    reason: str


async def catalogue(request: CatalogueRequest, report: Report) -> Result:
    """Read, clean up, delete."""
    work = _Run(request, place_of(request), report)
    told = await work.run()
    return Result(ok=True, reason="Read", message=told.refused, at=now(), catalogue=told, warnings=told.warnings)


@dataclass
class _Found:
    """What the catalogue holds for this BackupJob, oldest first. unsound: entries without their manifest."""

    entries: list[CatalogueEntry] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    unsound: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)


class _Run:
    """One run over the store."""

    def __init__(self, request: CatalogueRequest, place: Place, report: Report) -> None:
        self._request, self._place, self._report = request, place, report
        self._store, self._layout = place.store, place.layout
        self._warnings: list[str] = []
        self._deleted: list[str] = []
        self._cleaned: list[str] = []

    async def run(self) -> CatalogueReport:
        """In the order of its danger."""
        await self._store.check(self._layout.catalogue())
        self._report("list", 0, 0)
        here, there = now(), await self._store.clock()
        found = await self._found()
        plan = self._plan(found, here, there)
        if not self._request.dry_run:
            await self._clean(found, here, there)
            await self._delete(found, plan, here)
            await self._purge(found, here, there)
        gone = set(self._deleted)
        return CatalogueReport(
            entries=[e for e in found.entries if e.set_id not in gone],
            verdicts=[v for set_id, v in found.verdicts.items() if set_id not in gone],
            decisions=plan.decisions,
            deleted=self._deleted,
            cleaned=self._cleaned,
            warnings=self._warnings[:WARNINGS],
            refused=plan.refused,
        )

    # Reading

    async def _found(self) -> _Found:
        found = _Found()
        prefix = self._layout.catalogue()
        names = [s.key.removeprefix(prefix) async for s in self._store.list(prefix)]
        sets = sorted(n.removesuffix(".json") for n in names if n.endswith(".json") and "/" not in n)
        gate = asyncio.Semaphore(READS_AT_ONCE)
        others: set[str] = set()
        for read in await asyncio.gather(*(self._read(gate, set_id, found) for set_id in sets)):
            if read is not None and retention.same_source(read.source, self._request.source):
                found.entries.append(read)
            elif read is not None:
                others.add(f"{read.source.namespace}/{read.source.backup_job}")
        if others and not found.entries:
            # After the loss of a cluster a name that is not the old one looks like an empty store.
            own = f"{self._request.source.namespace}/{self._request.source.backup_job}"
            self._warnings.append(f"no set here is of BackupJob {own}; those that are here: {', '.join(sorted(others)[:5])}")
        found.entries.sort(key=lambda e: e.set_id)
        await asyncio.gather(*(self._look(gate, entry, found) for entry in found.entries))
        found.entries = [e for e in found.entries if e.set_id not in found.unsound]
        return found

    async def _read(self, gate: asyncio.Semaphore, set_id: str, found: _Found) -> CatalogueEntry | None:
        async with gate:
            data = await self._store.get(self._layout.catalogue(set_id))
        try:
            entry = None if data is None else parsed_entry(data, set_id)
        except DamagedError as error:
            self._warnings.append(error.message)
            return None
        if data is not None and entry is None:
            found.given_up.append(set_id)
        return entry

    async def _look(self, gate: asyncio.Semaphore, entry: CatalogueEntry, found: _Found) -> None:
        """Its manifest is there; and what was found out about it."""
        async with gate:
            manifest = await self._store.head(self._layout.manifest(entry.set_id))
            if manifest is None:
                found.unsound.append(entry.set_id)
                self._warnings.append(f"{entry.set_id} has an entry and no manifest; it does not count, look who removed it")
                return
            verdict = retention.standing(await self._verdicts(entry.set_id))
        if verdict is not None:
            found.verdicts[entry.set_id] = verdict

    async def _verdicts(self, set_id: str) -> list[Verdict]:
        keys = sorted([s.key async for s in self._store.list(self._layout.verdict(set_id))])
        verdicts = []
        for key in keys[-VERDICTS:]:
            try:
                verdicts.append(Verdict.model_validate_json(await self._store.get(key) or b""))
            except ValidationError:
                self._warnings.append(f"{key} is no verdict")
        return [v for v in verdicts if v.set_id == set_id]

    def _plan(self, found: _Found, here: datetime, there: datetime | None) -> retention.Plan:
        if self._request.delete_all:
            reason = "its BackupJob is deleted, with deletionPolicy: Delete"
            return retention.Plan([Decision(set_id=e.set_id, keep=False, reason=reason) for e in found.entries])
        if self._request.keep is None:
            return retention.Plan([])
        return retention.decide(found.entries, found.verdicts, self._request.keep, here, there)

    # Changing

    async def _clean(self, found: _Found, here: datetime, there: datetime | None) -> None:
        janitor = Janitor(self._place, self._request, {e.set_id for e in found.entries}, self._report)
        self._cleaned += await janitor.run(found.given_up, here if there is None else min(here, there))
        self._warnings += janitor.warnings

    async def _delete(self, found: _Found, plan: retention.Plan, here: datetime) -> None:
        """Entries into `deleted/`, then out of the catalogue."""
        known = {e.set_id: e for e in found.entries}
        reasons = {d.set_id: d.reason for d in plan.decisions}
        wanted = [e.set_id for e in found.entries] if self._request.delete_all else plan.deletions
        grace = timedelta(seconds=self._request.keep.grace_seconds if self._request.keep else 0)
        for set_id in wanted:
            self._report(f"delete {set_id}", 0, 0)
            due = here if self._request.delete_all else here + grace
            record = DeletedEntry(entry=known[set_id], deleted_at=here, purge_after=due, reason=reasons[set_id])
            await self._record_deletion(set_id, record)
            await self._store.delete([self._layout.catalogue(set_id)])
            self._deleted.append(set_id)

    async def _record_deletion(self, set_id: str, record: DeletedEntry) -> None:
        key = self._layout.deleted(set_id)
        if not await self._store.create(key, record.to_json()):
            # Of a run that was cut off, or of a set that was put back by hand: its grace begins anew.
            await self._store.delete([key])
            await self._store.create(key, record.to_json())

    async def _purge(self, found: _Found, here: datetime, there: datetime | None) -> None:
        """Objects whose grace is over, by both clocks."""
        prefix = self._layout.deleted()
        for key in sorted([s.key async for s in self._store.list(prefix)]):
            set_id = key.removeprefix(prefix).removesuffix(".json")
            record = await self._record(key, set_id)
            if record is None or not retention.same_source(record.entry.source, self._request.source):
                continue
            if await self._may_purge(record, here, there):
                await self._remove(set_id)
                await self._store.delete([key])
                self._cleaned.append(f"objects of {set_id}")

    async def _record(self, key: str, set_id: str) -> DeletedEntry | None:
        data = await self._store.get(key)
        try:
            record = DeletedEntry.model_validate_json(data or b"")
        except ValidationError:
            self._warnings.append(f"{key} is no record of a deletion; its objects stay")
            return None
        return record if record.entry.set_id == set_id else None

    async def _may_purge(self, record: DeletedEntry, here: datetime, there: datetime | None) -> bool:
        entry = record.entry
        if await self._store.head(self._layout.catalogue(entry.set_id)) is not None:
            return False  # cut off in the middle, or put back by hand: it is a set
        if self._request.delete_all:
            return True
        pinned = set(self._request.keep.pinned) if self._request.keep else set()
        clocks = there is not None and abs(there - here) <= retention.SKEW
        return clocks and record.purge_after <= here and not pinned & {entry.set_id, entry.run}

    async def _remove(self, set_id: str) -> None:
        """All bytes of a set; checked by a listing, before anybody forgets about them."""
        await removed(self._place, [self._layout.folder(set_id), self._layout.verdict(set_id)])


async def removed(place: Place, folders: Iterable[str]) -> int:
    """Delete all objects below these folders; how many. DamagedError when the store still lists some after that."""
    count = 0
    for folder in folders:
        keys = [s.key async for s in place.store.list(folder)]
        await place.store.delete(keys)
        count += len(keys) + await place.store.sweep(folder)
        async for left in place.store.list(folder):
            raise DamagedError(f"{place.store.where} still has {left.key} after it was deleted")
    return count
