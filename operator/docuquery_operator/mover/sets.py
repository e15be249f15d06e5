"""Sets as a reader meets them: the entry of the catalogue, then the manifest whose hash it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..domain.backups.layout import Layout
from ..domain.backups.manifest import FORMAT, CatalogueEntry, Manifest, sha256
from ..domain.backups.request import RequestBase
from .contracts import DamagedError, MoverError
from .store import Store, open_store, prefix_of

# Stands in the catalogue in place of a set that was given up: its maker, should it still live, cannot commit it.
GIVEN_UP = "givenUp"


@dataclass(frozen=True)
class Place:
    """Where a request's sets are."""

    store: Store
    layout: Layout
    secrets: Path


def place_of(request: RequestBase) -> Place:
    """The store is not asked yet."""
    secrets = Path(request.secrets_dir)
    store = open_store(request.destination, secrets / "store", Path(request.volume_dir))
    return Place(store, Layout(prefix_of(request.destination), request.source.stack), secrets)


def parsed_entry(data: bytes, set_id: str) -> CatalogueEntry | None:
    """The entry; None where a set was given up. DamagedError for what is no entry of this set."""
    try:
        raw = json.loads(data)
        if isinstance(raw, dict) and raw.get(GIVEN_UP):
            return None
        entry = CatalogueEntry.model_validate(raw)
    except (ValueError, ValidationError) as error:
        raise DamagedError(f"catalogue/{set_id}.json is not an entry of a catalogue: {_first_line(error)}") from None
    if entry.format > FORMAT:
        raise _too_new(f"catalogue/{set_id}.json", entry.format)
    if entry.set_id != set_id:
        raise DamagedError(f"catalogue/{set_id}.json is the entry of {entry.set_id}")
    return entry


async def entry_of(place: Place, set_id: str) -> CatalogueEntry:
    """The commit of a set; MoverError SetMissing when it was never committed, or is deleted."""
    data = await place.store.get(place.layout.catalogue(set_id))
    entry = None if data is None else parsed_entry(data, set_id)
    if entry is None:
        text = f"{place.store.where} has no set {set_id} in {place.layout.catalogue()}; list the sets that there are"
        raise MoverError("SetMissing", text, retry=False)
    return entry


async def manifest_of(place: Place, entry: CatalogueEntry, expected: str = "") -> Manifest:
    """The manifest that the entry names, and the caller expects; else DamagedError."""
    set_id = entry.set_id
    data = await place.store.get(place.layout.manifest(set_id))
    if data is None:
        raise DamagedError(f"the manifest of {set_id} is missing")
    found = sha256(data)
    if found != entry.manifest_sha256:
        raise DamagedError(f"the manifest of {set_id} is not the one that was committed: its SHA-256 is {found[:16]}…")
    if expected and found != expected:
        raise DamagedError(f"the set {set_id} is not the one that is known: its manifest was replaced with its entry")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise DamagedError(f"the manifest of {set_id} cannot be read: {_first_line(error)}") from None
    if manifest.format > FORMAT:
        raise _too_new(f"the manifest of {set_id}", manifest.format)
    if (manifest.set_id, manifest.run) != (entry.set_id, entry.run):
        raise DamagedError(f"the manifest of {set_id} is that of {manifest.set_id}")
    return manifest


def _too_new(what: str, number: int) -> MoverError:
    text = f"{what} has format {number}, this release reads up to {FORMAT}; use a newer one"
    return MoverError("FormatTooNew", text, retry=False)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
