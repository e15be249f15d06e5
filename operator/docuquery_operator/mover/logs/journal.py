"""What one rotation is about to take out of one file, written beside it before anything is changed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """Bytes [begin, end) of the file with this inode are in `archive`, once that has its final name.

    first, next: where begin and end lay on the volume; after a collapse the file begins at next. None: it was not told.
    """

    inode: int
    begin: int
    end: int
    archive: str
    way: str
    first: int | None = None
    next: int | None = None


def path_of(log: Path) -> Path:
    """Hidden, so that patterns do not meet it."""
    return log.with_name(f".docuquery-rotate-{log.name}.json")


def write(log: Path, note: Note) -> None:
    """On the volume when this returns."""
    partial = path_of(log).with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(note), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path_of(log))
    synced(log.parent)


def read(log: Path) -> Note | None:
    """None when nothing was begun; a note is whole, as it was renamed into place."""
    try:
        return Note(**json.loads(path_of(log).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def remove(log: Path) -> None:
    """The rotation of this file is over."""
    path_of(log).unlink(missing_ok=True)
    synced(log.parent)


def synced(folder: Path) -> None:
    """Names in this folder are on the volume when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
