"""Programs of PostgreSQL in this image, by version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..contracts import MoverError
from .process import output

FOLDERS = "/usr/lib/postgresql/*/bin"
OLDEST = 14
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")


@dataclass(frozen=True)
class Tools:
    """One release of the programs. version: as server_version_num, such as 170002."""

    folder: Path
    version: int

    @property
    def major(self) -> int:
        """Such as 17."""
        return self.version // 10000

    def path(self, program: str) -> str:
        """Where a program lies; MoverError when this image lacks it."""
        found = self.find(program)
        if found is None:
            raise MoverError("NoTool", f"this image has no {program} of PostgreSQL {self.major}", retry=False)
        return found

    def find(self, program: str) -> str | None:
        """The same, None when it is missing."""
        file = self.folder / program
        return str(file) if file.is_file() else None


async def installed(program: str, folders: Iterable[Path] | None = None) -> list[Tools]:
    """All releases that have this program, oldest first."""
    found: dict[int, Tools] = {}
    for folder in _folders(program) if folders is None else folders:
        if not (folder / program).is_file():
            continue
        said = await output([str(folder / program), "--version"], f"{program} --version", {"LC_ALL": "C"})
        if match := _VERSION.search(said.decode(errors="replace")):
            version = int(match[1]) * 10000 + int(match[2] or 0)
            found.setdefault(version, Tools(folder, version))
    return [found[version] for version in sorted(found)]


def _folders(program: str) -> list[Path]:
    listed = sorted(Path("/").glob(FOLDERS.lstrip("/")))
    # Debian's wrapper in /usr/bin chooses a release by rules of its own; it is the last resort.
    on_path = shutil.which(program)
    return [*listed, *([Path(on_path).resolve().parent] if on_path and not listed else [])]


def chosen(have: Iterable[Tools], server: int, made_by: int = 0) -> Tools:
    """The client for a server of version `server`: of its major, else the next newer.

    made_by: version of the client that wrote the dump to be read, as older ones cannot read it. MoverError when none fits.
    """
    if server // 10000 < OLDEST:
        text = f"PostgreSQL {spelt(server)} is too old: {OLDEST} and newer are supported"
        raise MoverError("ServerTooOld", text, retry=False)
    least = max(server, made_by) // 10000
    known = sorted(have, key=lambda tools: tools.version)
    fit = [tools for tools in known if tools.major >= least]
    if not fit:
        newest = f"the newest client here is {spelt(known[-1].version)}" if known else "there is no client here"
        text = (
            f"PostgreSQL {spelt(max(server, made_by))} needs a client of its major version or newer, and {newest}: use an "
            f"image with postgresql-client-{least}"
        )
        raise MoverError("ServerTooNew", text, retry=False)
    major = fit[0].major
    return [tools for tools in fit if tools.major == major][-1]


async def client(server: int, made_by: int = 0) -> Tools:
    """pg_dump and pg_restore for this server."""
    return chosen(await installed("pg_dump"), server, made_by)


def spelt(version: int) -> str:
    """A server_version_num as people write it, such as 17.2."""
    return f"{version // 10000}.{version % 10000}"
