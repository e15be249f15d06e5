"""What earlier tries of a restore have left: half a safety set in the store, snapshots on Qdrant that nobody will ask for.

No BackupJob answers for a safety set, so nobody else would clean up. Whoever holds the restore is the only one at work: the
operator starts a try, or a way back, only when the one before it is over.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from datetime import timedelta

from ..domain.backups.layout import run_of
from ..domain.backups.manifest import Intent, IntentNote
from ..domain.backups.request import BackupRequest, CatalogueRequest
from .clock import now
from .contracts import MoverError, Report
from .janitor import Janitor
from .sets import parsed_entry, place_of

log = logging.getLogger(__name__)


class Leftovers:
    """Of one restore, by the name of its safety set. Without one there is nothing to leave."""

    def __init__(self, safety: BackupRequest | None, report: Report) -> None:
        self._safety, self._report = safety, report
        self._place = place_of(safety) if safety is not None else None
        self._notes = 0

    async def note(self, note: IntentNote) -> None:
        """Write down what the next try has to remove; qdrant.snapshots.Notes."""
        safety, place = self._safety, self._place
        if safety is None or place is None:
            return
        until = now() + timedelta(seconds=safety.lease_seconds)
        holder = f"{safety.attempt_id}/{secrets.token_hex(4)}"
        intent = Intent(set_id=safety.set_id, holder=holder, started_at=now(), lease_until=until, source=safety.source)
        # The safety set itself may have one already, with notes of its own.
        await place.store.create(place.layout.intent(safety.set_id), intent.to_json())
        while True:
            self._notes += 1
            if await place.store.create(place.layout.intent(safety.set_id, self._notes), note.to_json()):
                return

    async def clean(self, but: str = "") -> list[str]:
        """Remove what is left of all tries, but of this set, which another pod of the same try may be making. Warnings."""
        safety, place = self._safety, self._place
        if safety is None or place is None:
            return []
        prefix, run = place.layout.intent(), run_of(safety.set_id)
        try:
            keys = [found.key.removeprefix(prefix) async for found in place.store.list(prefix)]
            begun = {key.removesuffix(".json") for key in keys if "/" not in key and key.startswith(f"{run}.")}
            dead = sorted(begun - {but})
            committed = {each for each in dead if await self._committed(each)}
            asked = CatalogueRequest(
                source=safety.source,
                destination=safety.destination,
                attempt_id=safety.attempt_id,
                dead_attempts=dead,
                # Their Jobs are over, so nobody waits for the end of their leases.
                delete_all=True,
            )
            janitor = Janitor(place, asked, committed, self._report)
            if dead:
                log.info("cleaned up: %s", await janitor.run([], now()))
            return janitor.warnings
        except MoverError as error:
            return [f"what earlier tries have left could not be removed: {error.message}"]

    async def forget(self) -> None:
        """At the very end: the places in the catalogue that were taken from tries that died."""
        safety, place = self._safety, self._place
        if safety is None or place is None:
            return
        prefix, run = place.layout.catalogue(), run_of(safety.set_id)
        with suppress(MoverError):
            keys = [found.key async for found in place.store.list(prefix)]
            ours = [key for key in keys if key.removeprefix(prefix).startswith(f"{run}.")]
            gone = [key for key in ours if not await self._committed(key.removeprefix(prefix).removesuffix(".json"))]
            await place.store.delete(gone)

    async def _committed(self, set_id: str) -> bool:
        assert self._place is not None
        data = await self._place.store.get(self._place.layout.catalogue(set_id))
        return data is not None and parsed_entry(data, set_id) is not None
