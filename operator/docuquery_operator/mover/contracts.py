"""What the parts of a mover need of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from ..domain.backups.manifest import IntentNote, ObjectEntry, ObjectKind


class MoverError(Exception):
    """The work has failed and a person can read why. reason: CamelCase; retry: whether another try may help."""

    def __init__(self, reason: str, message: str, retry: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry


class DamagedError(MoverError):
    """Bytes in the store are not those that were written."""

    def __init__(self, message: str) -> None:
        super().__init__("Damaged", message, retry=False)


class ObjectWriter(Protocol):
    """Writes the objects of one set."""

    async def write(
        self, name: str, kind: ObjectKind, plain: AsyncIterator[bytes], *, compress: bool = True, encrypt: bool | None = None
    ) -> ObjectEntry:
        """Stream one object to the store; nothing is visible before the iterator has ended well.

        plain raises when its source has failed: then no object is made and the error is passed on. encrypt: None follows the
        set (encrypted when it has recipients); True with no recipients is a MoverError.
        """
        ...

    async def note(self, note: IntentNote) -> None:
        """Write down something made elsewhere, before or as soon as it exists, for the janitor."""
        ...


class ObjectReader(Protocol):
    """Reads the objects of one set."""

    def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        """Plain bytes; DamagedError, at the latest at the end, when a size or hash is not the recorded one."""
        ...


# Step, plain bytes so far, of about how many (0: not known). Cheap: called for each chunk, it limits its own lines.
Report = Callable[[str, int, int], None]


def silent(_step: str, _done: int, _total: int) -> None:
    """A Report where nobody listens."""
