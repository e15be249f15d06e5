"""Objects of a set: plain bytes → SHA-256 → zstd with a checksum → age → SHA-256 → store, and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import zstandard

from ..domain.backups.layout import Layout
from ..domain.backups.manifest import IntentNote, ObjectEntry, ObjectKind
from . import cipher, clock
from .chunks import closing
from .contracts import DamagedError, MoverError, Report
from .pipes import through
from .store import MissingError, Store

LEVEL = 3
# Larger windows than ours (2 MiB) are refused: a set from elsewhere must not make the reader take gigabytes.
WINDOW_LIMIT = 128 << 20
_NAME = re.compile(r"[A-Za-z0-9_=+-][A-Za-z0-9._=+-]{0,254}(/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]{0,254}){0,7}")


def is_name(name: str) -> bool:
    """Whether it can be an object of a set: a relative path of plain characters, without hidden parts."""
    return _NAME.fullmatch(name) is not None


class _Measured:
    """Size and SHA-256 of what passes by; above `limit` bytes it refuses."""

    def __init__(self, what: str = "", limit: int | None = None) -> None:
        self._digest = hashlib.sha256()
        self._what = what
        self._limit = limit
        self.bytes = 0

    def add(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.bytes += len(chunk)
        if self._limit is not None and self.bytes > self._limit:
            raise DamagedError(f"{self._what}: more than the {self._limit} bytes of the manifest")

    def each(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.add(chunk)
            yield chunk

    @property
    def hex(self) -> str:
        return self._digest.hexdigest()


class _Tap:
    """A sink that measures before it passes on."""

    def __init__(self, sink: cipher.Sink, measured: _Measured) -> None:
        self._sink = sink
        self._measured = measured

    def write(self, data: bytes) -> int:
        self._measured.add(data)
        return self._sink.write(data)

    def flush(self) -> None:
        self._sink.flush()


class SetWriter:
    """contracts.ObjectWriter; `entries` has what was written, in order."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        set_id: str,
        recipients: list[str],
        report: Report,
        lease_until: datetime | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._set = set_id
        self._recipients = recipients
        self._report = report
        self._lease_until = lease_until
        self._notes = 0
        self._names: set[str] = set()
        self.entries: list[ObjectEntry] = []

    async def write(
        self, name: str, kind: ObjectKind, plain: AsyncIterator[bytes], *, compress: bool = True, encrypt: bool | None = None
    ) -> ObjectEntry:
        """See contracts.ObjectWriter. The same name twice is a mistake of the caller: ValueError."""
        if not is_name(name) or name in self._names:
            raise ValueError(f"{name!r} is no name for a new object of a set; see layout.safe_name")
        self.check_lease()
        recipients = self._chosen(name, encrypt)
        self._names.add(name)
        before, after = _Measured(), _Measured()

        def work(chunks: Iterator[bytes], sink: cipher.Sink) -> None:
            made = before.each(chunks)
            made = _compressed(made) if compress else made
            tapped = _Tap(sink, after)
            if recipients:
                cipher.encrypt(made, tapped, recipients)
            else:
                for piece in made:
                    tapped.write(piece)

        async with closing(through(self._seen(name, plain), work)) as made:
            await self._store.put(self._layout.object(self._set, name), made)
        entry = ObjectEntry(
            name=name,
            kind=kind,
            plain_bytes=before.bytes,
            plain_sha256=before.hex,
            stored_bytes=after.bytes,
            stored_sha256=after.hex,
            compression="zstd" if compress else "none",
            recipients=recipients,
        )
        self.entries.append(entry)
        return entry

    async def _seen(self, name: str, plain: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        total = 0
        async with closing(plain):
            async for chunk in plain:
                self.check_lease()
                total += len(chunk)
                self._report(f"write {name}", total, 0)
                yield chunk

    def _chosen(self, name: str, encrypt: bool | None) -> list[str]:
        if encrypt and not self._recipients:
            text = f"{name} is stored only encrypted; set encryption.recipients"
            raise MoverError("RecipientsMissing", text, retry=False)
        return [] if encrypt is False else list(self._recipients)

    async def note(self, note: IntentNote) -> None:
        """See contracts.ObjectWriter."""
        self.check_lease()
        self._notes += 1
        key = self._layout.intent(self._set, self._notes)
        if not await self._store.create(key, note.to_json()):
            raise MoverError("SetTaken", f"{key} is there already: another process works on this set", retry=False)

    def check_lease(self) -> None:
        """MoverError LeaseLost when the time of this attempt is over: then leftovers may be cleaned up under it."""
        if self._lease_until is not None and clock.now() >= self._lease_until:
            raise MoverError(
                "LeaseLost", f"the time of this attempt was over at {self._lease_until:%H:%M:%S} UTC; raise timeout"
            )


class SetReader:
    """contracts.ObjectReader."""

    def __init__(self, store: Store, layout: Layout, set_id: str, identity: Path | None, report: Report) -> None:
        self._store = store
        self._layout = layout
        self._set = set_id
        self._identity = identity
        self._report = report

    async def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        """See contracts.ObjectReader."""
        identities = cipher.identities(self._identity) if entry.recipients and self._identity else []
        stored, plain = _Measured(entry.name, entry.stored_bytes), _Measured(entry.name, entry.plain_bytes)

        def work(chunks: Iterator[bytes], sink: cipher.Sink) -> None:
            incoming = stored.each(chunks)
            _opened(entry, incoming, _Tap(sink, plain), identities)
            for _rest in incoming:
                pass
            _compare(entry, "stored", stored, entry.stored_bytes, entry.stored_sha256)
            _compare(entry, "plain", plain, entry.plain_bytes, entry.plain_sha256)

        try:
            total = 0
            async with closing(through(self._raw(entry), work)) as made:
                async for chunk in made:
                    total += len(chunk)
                    self._report(f"read {entry.name}", total, entry.plain_bytes)
                    yield chunk
        except DamagedError as error:
            raise DamagedError(f"{entry.name}: {error.message}") from None

    async def check_stored(self, entry: ObjectEntry) -> None:
        """Read again what lies in the store and compare it; no key is needed. DamagedError."""
        stored = _Measured(entry.name, entry.stored_bytes)
        async for chunk in self._raw(entry):
            stored.add(chunk)
            self._report(f"check {entry.name}", stored.bytes, entry.stored_bytes)
        _compare(entry, "stored", stored, entry.stored_bytes, entry.stored_sha256)

    def check_keys(self, entries: Iterable[ObjectEntry]) -> None:
        """Whether the private keys fit those that the manifest names; nothing is read. MoverError KeyMissing, WrongKey."""
        locked = [entry for entry in entries if entry.recipients]
        if locked:
            keys = cipher.identities(self._identity) if self._identity else []
            for entry in locked:
                cipher.check(keys, entry.recipients, entry.name)

    async def _raw(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        try:
            async with closing(self._store.stream(self._layout.object(self._set, entry.name))) as raw:
                async for chunk in raw:
                    yield chunk
        except MissingError as error:
            raise DamagedError(error.message) from None


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    made = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    for chunk in chunks:
        if piece := made.compress(chunk):
            yield piece
    yield made.flush()


def _opened(entry: ObjectEntry, incoming: Iterator[bytes], plain: cipher.Sink, identities: list[cipher.Identity]) -> None:
    target = _Decompressing(plain) if entry.compression == "zstd" else plain
    if entry.recipients:
        _decrypt(entry, incoming, target, identities)
    else:
        for chunk in incoming:
            target.write(chunk)


def _decrypt(entry: ObjectEntry, incoming: Iterator[bytes], target: cipher.Sink, identities: list[cipher.Identity]) -> None:
    try:
        cipher.decrypt(incoming, target, identities)
    except MoverError as error:
        if error.reason == "WrongKey" and {str(key.to_public()) for key in identities} & set(entry.recipients):
            raise DamagedError("it is not encrypted to the recipients that the manifest names") from None
        raise


class _Decompressing:
    """A sink for compressed bytes; however much a small piece may hold, it passes on little at a time."""

    def __init__(self, sink: cipher.Sink) -> None:
        made = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT)
        self._writer = made.stream_writer(sink, closefd=False)  # type: ignore[arg-type]

    def write(self, data: bytes) -> int:
        try:
            self._writer.write(data)
        except zstandard.ZstdError as error:
            raise DamagedError(f"the compressed bytes are cut or changed: {error}") from None
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _compare(entry: ObjectEntry, which: str, found: _Measured, size: int, digest: str) -> None:
    if found.bytes != size:
        raise DamagedError(f"{which} size is {found.bytes} bytes, the manifest says {size}")
    if found.hex != digest:
        raise DamagedError(f"{which} SHA-256 is {found.hex[:16]}…, the manifest says {digest[:16]}…")
