"""Where sets are kept: one interface before S3, GCS, Azure and a mounted volume.

MoverError
├── BucketMissing, AccessDenied, StoreUnreachable, StoreFull, StoreError   from any call; the message says what to do
└── MissingError    an object that has to be there is not
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ..api.backup_job import Destination
from .contracts import MoverError

DOCUMENT_LIMIT = 64 << 20


class MissingError(MoverError):
    """No object has this key."""

    def __init__(self, key: str, where: str) -> None:
        super().__init__("ObjectMissing", f"{key} is not in {where}", retry=False)


@dataclass(frozen=True)
class Stored:
    """One object as the store lists it; size in bytes."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """One destination. Keys are whole, without a slash at their ends; each call may raise MoverError."""

    @property
    def where(self) -> str:
        """For people, such as s3://bucket."""
        ...

    async def check(self, prefix: str) -> None:
        """Fail soon, with what to do, when the store cannot be used."""
        ...

    async def put(self, key: str, stream: AsyncIterator[bytes]) -> int:
        """Write one object; it is visible only after the stream has ended well. Returns its bytes."""
        ...

    async def create(self, key: str, data: bytes) -> bool:
        """Write a small object unless the key is taken: then False, and what is there stays."""
        ...

    async def get(self, key: str, limit: int = DOCUMENT_LIMIT) -> bytes | None:
        """All of a small object; None when there is none; MoverError above the limit."""
        ...

    async def head(self, key: str) -> Stored | None:
        """Its size; None when there is none."""
        ...

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """Its bytes, a few MiB at a time; MissingError."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Stored]:
        """All objects whose keys begin with the prefix, which ends with a slash."""
        ...

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""
        ...

    async def sweep(self, prefix: str, before: datetime | None = None) -> int:
        """Remove what broken writes have left below the prefix, all or those older; how many.

        On a bucket its lifecycle rule does that.
        """
        ...

    async def room(self) -> int | None:
        """Free bytes; None where there is no such limit, or it cannot be known."""
        ...

    async def clock(self) -> datetime | None:
        """The time by the store itself, exact to a second; None when it does not tell."""
        ...


def prefix_of(destination: Destination) -> str:
    """What all keys begin with, without a slash at its ends."""
    for bucket in (destination.s3, destination.gcs, destination.azure):
        if bucket is not None:
            return bucket.prefix
    return destination.volume.path if destination.volume else ""


def open_store(destination: Destination, secrets: Path, volume_dir: Path) -> Store:
    """The store of a request; `secrets` is the folder of the store's own Secret. It is not asked yet."""
    if destination.volume is not None:
        from .volume import Volume

        return Volume(volume_dir)
    from . import bucket

    return bucket.opened(destination, secrets)


async def document(store: Store, key: str) -> bytes:
    """A small object that has to be there; MissingError."""
    data = await store.get(key)
    if data is None:
        raise MissingError(key, store.where)
    return data
