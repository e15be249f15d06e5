"""Cleans up after movers that died. Never by age alone, and never what no intent names.

A try is given up only when its lease is over and its Job is known to be gone. First its place in the catalogue is taken, by
the same kind of write as its commit: of the two only one succeeds, so no set is ever committed without its objects.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from pydantic import ValidationError

from ..domain.backups import retention
from ..domain.backups.layout import due_of, run_id, run_of
from ..domain.backups.manifest import Intent, IntentNote
from ..domain.backups.request import CatalogueRequest
from .contracts import MoverError, Report
from .sets import GIVEN_UP, Place, parsed_entry

# A place that was taken is held for so long after; by then no mover lives that might still commit.
HELD = timedelta(days=1)


class Janitor:
    """One run over the intents of one BackupJob."""

    def __init__(self, place: Place, request: CatalogueRequest, committed: set[str], report: Report) -> None:
        self._place, self._request, self._committed, self._report = place, request, committed, report
        self._store, self._layout = place.store, place.layout
        self.warnings: list[str] = []

    async def run(self, given_up: list[str], at: datetime) -> list[str]:
        """What was cleaned, in words. at: the earlier of the two clocks."""
        prefix = self._layout.intent()
        keys = sorted([s.key async for s in self._store.list(prefix)])
        sets = [k.removeprefix(prefix).removesuffix(".json") for k in keys if "/" not in k.removeprefix(prefix)]
        cleaned: list[str] = []
        for set_id in sets:
            notes = [k for k in keys if k.startswith(f"{prefix}{set_id}/")]
            cleaned += await self._intent(set_id, notes, at)
        for folder in (prefix, self._layout.catalogue(), self._layout.deleted(), self._layout.verdict("")[:-1]):
            await self._store.sweep(folder, at - HELD)
        for set_id in given_up:
            if set_id not in sets:
                cleaned += await self._let_go(set_id, at)
        return cleaned

    async def _intent(self, set_id: str, notes: list[str], at: datetime) -> list[str]:
        intent = await self._read(set_id)
        if intent is None or not self._is_ours(intent):
            return []
        if set_id in self._committed:
            return [f"intent of {set_id}"] if await self._forget(set_id, notes) else []
        if not self._is_dead(intent, at):
            return []
        self._report(f"clean {set_id}", 0, 0)
        if not await self._take_place(set_id, at):
            return []  # it was committed just now
        from .catalogue import removed

        count = await removed(self._place, [self._layout.folder(set_id)])
        done = await self._forget(set_id, notes)
        return [f"{count} objects of {set_id}, which was never complete"] if done or count else []

    async def _read(self, set_id: str) -> Intent | None:
        data = await self._store.get(self._layout.intent(set_id))
        try:
            intent = Intent.model_validate_json(data or b"")
            run_of(intent.set_id)
        except (ValidationError, ValueError):
            self.warnings.append(f"{self._layout.intent(set_id)} is no intent; it stays")
            return None
        return intent if intent.set_id == set_id else None

    def _is_ours(self, intent: Intent) -> bool:
        if intent.source is not None:
            return retention.same_source(intent.source, self._request.source)
        uid = self._request.source.backup_job_uid
        return bool(uid) and run_id(uid, due_of(intent.set_id)) == run_of(intent.set_id)

    def _is_dead(self, intent: Intent, at: datetime) -> bool:
        known = intent.set_id in self._request.dead_attempts
        over = intent.lease_until < at or (self._request.delete_all and known)
        if over and not known:
            self.warnings.append(
                f"{intent.set_id} was begun and never completed; it stays until its Job is known to be over"
            )
        return known and over

    async def _take_place(self, set_id: str, at: datetime) -> bool:
        key = self._layout.catalogue(set_id)
        mark = json.dumps({GIVEN_UP: True, "setId": set_id, "at": at.isoformat()}, sort_keys=True).encode()
        if await self._store.create(key, mark):
            return True
        data = await self._store.get(key)
        return data is not None and parsed_entry(data, set_id) is None

    async def _forget(self, set_id: str, notes: list[str]) -> bool:
        """Notes and intent, once what they name on other servers is gone."""
        if not await self._withdrawn(set_id, notes):
            return False
        await self._store.delete([*notes, self._layout.intent(set_id)])
        return True

    async def _withdrawn(self, set_id: str, keys: list[str]) -> bool:
        """A server that does not answer keeps the intent, and the next run asks it again."""
        notes: list[IntentNote] = []
        for key in keys:
            try:
                notes.append(IntentNote.model_validate_json(await self._store.get(key) or b""))
            except ValidationError:
                self.warnings.append(f"{key} is no note; it goes with its intent")
        if not notes:
            return True
        from .qdrant.snapshots import pending, remove_noted

        for note in pending(notes):
            try:
                await remove_noted(note, self._place.secrets)
            except MoverError as error:
                name = note.snapshot or f"of {note.collection}"
                self.warnings.append(f"{set_id} left the snapshot {name} on {note.url}: {error.message}")
                return False
        return True

    async def _let_go(self, set_id: str, at: datetime) -> list[str]:
        """A place that was taken long ago. What a mover wrote after that goes first."""
        data = await self._store.get(self._layout.catalogue(set_id))
        try:
            raw = json.loads(data or b"{}")
            taken = datetime.fromisoformat(raw["at"])
        except (ValueError, KeyError, TypeError):
            return []
        if at - taken < HELD or set_id not in self._request.dead_attempts:
            return []
        from .catalogue import removed

        await removed(self._place, [self._layout.folder(set_id)])
        await self._store.delete([self._layout.catalogue(set_id)])
        return []
