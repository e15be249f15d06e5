"""Moves the beginning of open log files into compressed archives, byte for byte, under a writer that goes on.

A copy of whole blocks is made, is on the volume under its final name, and only then are they taken out of the open file. The
writer keeps its descriptor and needs no signal. Killed at any step, the next run finds the note beside the file and finishes
it or begins anew: no byte is in two places or in none. The cut is at a block, so a line may begin in an archive and end in
the next one, or in the file: all of them after one another are what was written.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard

from . import journal, space

CHUNK = 1 << 20
PREFIX = ".docuquery-"
SUFFIX = ".zst"
Step = Callable[[str], None]


class LeftAloneError(Exception):
    """A file that is not touched, and why."""


@dataclass(frozen=True)
class Rotated:
    """One file. archive: '' where nothing was moved; before, after: bytes on the volume; moved: bytes of log."""

    file: str
    before: int
    after: int
    moved: int = 0
    archived: int = 0
    archive: str = ""
    way: str = ""
    why: str = ""


def logs_in(folder: Path, pattern: str) -> list[Path]:
    """Regular files of this folder that match; no links, no archives, nothing of ours."""
    found = []
    for entry in os.scandir(folder):
        ours = entry.name.startswith(PREFIX) or entry.name.endswith((SUFFIX, ".partial"))
        if not ours and fnmatch.fnmatchcase(entry.name, pattern) and entry.is_file(follow_symlinks=False):
            found.append(folder / entry.name)
    return sorted(found)


def rotate(log: Path, stamp: str, step: Step = lambda _name: None) -> Rotated:
    """One file; LeftAloneError when it cannot be done safely. step: called before each step: a place to stop, or to die."""
    descriptor = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LeftAloneError("it is no regular file")
        note = journal.read(log)
        if note is not None:
            _finished(log, descriptor, note, step)
        return _rotated(log, descriptor, stamp, step)
    finally:
        os.close(descriptor)


def _rotated(log: Path, descriptor: int, stamp: str, step: Step) -> Rotated:
    before = os.fstat(descriptor)
    begin, block = space.data_from(descriptor) or 0, space.block_size(descriptor)
    # One byte at least stays behind the cut: where it lies tells later whether the collapse was done.
    end = (before.st_size - 1) // block * block
    stored = before.st_blocks * 512
    if end <= begin:
        return Rotated(str(log), stored, stored, why=f"smaller than a block of {block} bytes")
    first, following = (space.physical(descriptor, 0), space.physical(descriptor, end)) if begin == 0 else (None, None)
    way = "collapse" if None not in (first, following) else "punch"
    archive = _free_name(log, stamp)
    note = journal.Note(before.st_ino, begin, end, archive.name, way, first, following)
    step("note")
    journal.write(log, note)
    _copy(descriptor, note, archive, step)
    way = _taken(log, descriptor, note, step)
    after = os.fstat(descriptor)
    size = archive.stat().st_size
    return Rotated(str(log), stored, after.st_blocks * 512, end - begin, size, archive.name, way)


def _copy(descriptor: int, note: journal.Note, archive: Path, step: Step) -> None:
    """Whole and on the volume before it has its final name."""
    partial = archive.with_name(f"{archive.name}.partial")
    step("copy")
    with partial.open("wb") as file:
        # The owner and mode of the log: who could not read it cannot read its archive.
        info = os.fstat(descriptor)
        os.fchmod(file.fileno(), stat.S_IMODE(info.st_mode))
        with zstandard.ZstdCompressor(level=6, write_checksum=True).stream_writer(file, closefd=False) as packed:
            at = note.begin
            while at < note.end:
                step("chunk")
                chunk = os.pread(descriptor, min(CHUNK, note.end - at), at)
                if not chunk:
                    raise LeftAloneError("somebody has cut it short meanwhile")
                packed.write(chunk)
                at += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    step("rename")
    partial.replace(archive)
    journal.synced(archive.parent)


def _taken(log: Path, descriptor: int, note: journal.Note, step: Step) -> str:
    """Take out of the file what is in the archive; the way in which it was done."""
    step("take")
    if os.fstat(descriptor).st_size < note.end:
        raise LeftAloneError("somebody has cut it short meanwhile; its archive holds what was copied")
    way = "collapse"
    if note.way != "collapse" or not space.collapse(descriptor, note.end):
        if note.way == "collapse":
            # From now on a later run must not take the file for one that was not collapsed.
            journal.write(log, journal.Note(note.inode, note.begin, note.end, note.archive, "punch"))
        way = "punch"
        if not space.punch(descriptor, note.end):
            (log.parent / note.archive).unlink()
            journal.remove(log)
            raise LeftAloneError("its file system can neither collapse nor punch; let the application rotate it")
    os.fsync(descriptor)
    step("forget")
    journal.remove(log)
    return way


def _finished(log: Path, descriptor: int, note: journal.Note, step: Step) -> None:
    """What a run that died has left: finished where the archive is whole, else forgotten."""
    archive = log.parent / note.archive
    archive.with_name(f"{archive.name}.partial").unlink(missing_ok=True)
    step("resume")
    if not archive.exists():
        # Nothing was taken out before the archive was whole.
        journal.remove(log)
        return
    if os.fstat(descriptor).st_ino != note.inode:
        # Somebody has put another file in its place: what is archived stays archived.
        journal.remove(log)
        return
    if note.way == "punch":
        _taken(log, descriptor, note, step)
        return
    first = space.physical(descriptor, 0)
    if first == note.next:
        journal.remove(log)
    elif first == note.first:
        _taken(log, descriptor, note, step)
    else:
        raise LeftAloneError(
            f"whether {note.archive} was taken out of it cannot be told, as its blocks were moved; compare the two "
            f"and remove {journal.path_of(log).name}"
        )


def _free_name(log: Path, stamp: str) -> Path:
    for number in range(1, 1000):
        more = "" if number == 1 else f".{number}"
        found = log.with_name(f"{log.name}.{stamp}{more}{SUFFIX}")
        if not found.exists():
            return found
    raise LeftAloneError(f"there are a thousand archives of {stamp}")


def expired(log: Path, keep: int, oldest: float, most_bytes: int) -> list[Path]:
    """Archives of this file that may go, oldest first. oldest: epoch seconds, 0: any age; most_bytes of all, 0: any size."""
    note = journal.read(log)
    found = [p for p in log.parent.glob(f"{_escaped(log.name)}.*{SUFFIX}") if p.is_file() and not p.is_symlink()]
    known = sorted(((p, p.stat()) for p in found if note is None or p.name != note.archive), key=lambda e: -e[1].st_mtime_ns)
    kept, total = list[Path](), 0
    for path, info in known:
        total += info.st_size
        if len(kept) < keep and info.st_mtime >= oldest and not (most_bytes and total > most_bytes):
            kept.append(path)
    return [path for path, _ in reversed(known) if path not in kept]


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
