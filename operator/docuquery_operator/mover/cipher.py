"""Encryption to recipients in the form of age, streamed. All calls block; they belong in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

import pyrage

from .contracts import DamagedError, MoverError

# Stub-less library: one name for its keys.
Identity: TypeAlias = pyrage.x25519.Identity


class _CipherError(Exception):
    """The library's own complaint about bytes; it comes as an OSError, as those of a source do."""


class Sink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes) -> int:
        """All of them; how many."""
        ...

    def flush(self) -> None:
        """Called at the end."""
        ...


class Source:
    """Chunks behind the `read` that the library asks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most so many; b'' at the end. The library turns errors into texts, so the error is kept."""
        try:
            while not self._rest:
                self._rest = memoryview(next(self._chunks))
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


class _Kept:
    """A sink that keeps its own error, for the same reason."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._sink.write(data)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._sink.flush()


def encrypt(plain: Iterator[bytes], sink: Sink, recipients: list[str]) -> None:
    """All of it, to each of the recipients."""
    try:
        keys = [pyrage.x25519.Recipient.from_str(text) for text in recipients]
    except pyrage.RecipientError as error:
        text = f"encryption.recipients has a key that is not one of age (age1…): {error}"
        raise MoverError("BadRecipient", text, retry=False) from None
    _run(lambda source, kept: pyrage.encrypt_io(source, kept, keys), plain, sink)


def decrypt(stored: Iterator[bytes], sink: Sink, identities: list[Identity]) -> None:
    """All of it; MoverError WrongKey when none of the identities fits, DamagedError for cut or changed bytes."""
    _some(identities, "this object")
    try:
        _run(lambda source, kept: pyrage.decrypt_io(source, kept, identities), stored, sink)
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            text = "none of the private keys given opens this object; give the one of a recipient named in its manifest"
            raise MoverError("WrongKey", text, retry=False) from None
        raise DamagedError(f"the encryption header is not whole: {error}") from None
    except _CipherError as error:
        raise DamagedError(f"the encrypted bytes are cut or changed: {error}") from None


def check(identities: list[Identity], recipients: list[str], what: str) -> None:
    """MoverError KeyMissing or WrongKey where none of the identities belongs to a recipient of the object named."""
    _some(identities, what)
    if not {str(each.to_public()) for each in identities} & set(recipients):
        text = f"none of the private keys given opens {what}; give the one that belongs to {' or '.join(recipients)}"
        raise MoverError("WrongKey", text, retry=False)


def _some(identities: list[Identity], what: str) -> None:
    if not identities:
        text = f"{what} is encrypted and no private key was given: the identity Secret, or --identity FILE"
        raise MoverError("KeyMissing", text, retry=False)


def _run(call: Callable[[Source, _Kept], None], chunks: Iterator[bytes], sink: Sink) -> None:
    source, kept = Source(chunks), _Kept(sink)
    try:
        call(source, kept)
    except Exception as error:
        cause = source.error or kept.error
        if cause is not None:
            raise cause from None
        if isinstance(error, OSError):
            raise _CipherError(str(error)) from None
        raise


def identities(folder: Path) -> list[Identity]:
    """The private keys of all files of a folder, or of one file, in the form that age-keygen writes."""
    found: list[Identity] = []
    for path in [folder] if folder.is_file() else sorted(folder.glob("*")) if folder.is_dir() else []:
        if path.is_file() and not path.name.startswith("."):
            found += _keys_of(path)
    return found


def _keys_of(path: Path) -> list[Identity]:
    keys = []
    for line in path.read_text(errors="replace").splitlines():
        if not line.strip().startswith("AGE-SECRET-KEY-"):
            continue
        try:
            keys.append(Identity.from_str(line.strip()))
        except pyrage.IdentityError:
            # Never the line itself: it is nearly a key.
            raise MoverError("BadIdentity", f"{path.name} has a damaged AGE-SECRET-KEY line", retry=False) from None
    return keys
