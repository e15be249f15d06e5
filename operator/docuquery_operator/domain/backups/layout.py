"""Keys of a backup store: where what lies, and what makes a set exist.

`<prefix>/<stack>/` holds

- `sets/<set>/…` the objects of a set and its `manifest.json`; each key is written once, by one try of one run
- `catalogue/<set>.json` the commit: a set exists only if this entry does and names the hash of its manifest. `{"givenUp":
  true}` holds the place of a dead try, so that it can no longer commit
- `intents/<set>.json` who is at work, until when; `intents/<set>/<n>.json` what he has made elsewhere and must remove
- `verdicts/<set>/<UTC>.json` results of checks
- `deleted/<set>.json` entries taken out of the catalogue; their objects go after a time of grace
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

MANIFEST = "manifest.json"
RESTORE_TEXT = "RESTORE.txt"
_TIME = "%Y%m%dT%H%M%SZ"
_SET = re.compile(r"^(?P<run>(?P<time>\d{8}T\d{6}Z)-[0-9a-f]{8})\.(?P<attempt>\d{1,2})$")


def run_id(job_uid: str, due: datetime) -> str:
    """The run of a BackupJob that was due at this instant: always the same name, such as 20261125T020000Z-1a2b3c4d."""
    digest = hashlib.sha256(f"{job_uid}/{due.astimezone(UTC):{_TIME}}".encode()).hexdigest()[:8]
    return f"{due.astimezone(UTC):{_TIME}}-{digest}"


def set_id(run: str, attempt: int) -> str:
    """The set that one try of a run makes; tries count from 1 and never share a key."""
    return f"{run}.{attempt}"


def run_of(set_id: str) -> str:
    """The run of a set; ValueError for what is not a set's name."""
    return _parsed(set_id)["run"]


def due_of(set_id: str) -> datetime:
    """The instant at which its run was due."""
    return datetime.strptime(_parsed(set_id)["time"], _TIME).replace(tzinfo=UTC)


def _parsed(text: str) -> dict[str, str]:
    match = _SET.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not the name of a set, such as 20261125T020000Z-1a2b3c4d.1")
    return match.groupdict()


def safe_name(text: str) -> str:
    """Any text as one part of an object's name, and no two the same: bytes that are not plain become =XX."""
    kept = re.sub(rb"[^A-Za-z0-9._-]", lambda m: b"=%02X" % m[0][0], text.encode())
    return (b"=2E" + kept[1:] if kept.startswith(b".") else kept).decode()


@dataclass(frozen=True)
class Layout:
    """Keys below one Stack's folder."""

    prefix: str
    stack: str

    @property
    def root(self) -> str:
        """With a slash at its end."""
        return f"{self.prefix}/{self.stack}/" if self.prefix else f"{self.stack}/"

    def object(self, set_id: str, name: str) -> str:
        """An object of a set by its name within the set."""
        return f"{self.root}sets/{set_id}/{name}"

    def folder(self, set_id: str) -> str:
        """What all keys of the set begin with, and no other set's."""
        return f"{self.root}sets/{set_id}/"

    def manifest(self, set_id: str) -> str:
        """The set's manifest."""
        return self.object(set_id, MANIFEST)

    def catalogue(self, set_id: str = "") -> str:
        """The set's commit, or the folder of all."""
        return f"{self.root}catalogue/{set_id}.json" if set_id else f"{self.root}catalogue/"

    def deleted(self, set_id: str = "") -> str:
        """The entry after it left the catalogue, or the folder of all."""
        return f"{self.root}deleted/{set_id}.json" if set_id else f"{self.root}deleted/"

    def intent(self, set_id: str = "", number: int | None = None) -> str:
        """The intent of a set, one of its notes, or the folder of all."""
        if not set_id:
            return f"{self.root}intents/"
        return f"{self.root}intents/{set_id}.json" if number is None else f"{self.root}intents/{set_id}/{number}.json"

    def verdict(self, set_id: str, at: datetime | None = None) -> str:
        """A verdict on the set, or the folder of all its verdicts."""
        folder = f"{self.root}verdicts/{set_id}/"
        return folder if at is None else f"{folder}{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.json"
