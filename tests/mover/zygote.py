"""Runs movers as processes that can be killed at each call to the store: one process has all modules and forks the others.

Arguments: a folder, and `whole` where the servers' own parts work and each change of a server counts as well.
A line in: {"request": {...}, "kill": number or name of a call, or null, "ahead": seconds, "skip": pattern of calls that
do not count}. A line out: {"code": exit code or -signal, "calls": [...], "lines": [...]}.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import types
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from docuquery_operator.mover import __main__ as main
from docuquery_operator.mover import (
    backup,
    bucket,
    catalogue,
    clock,
    configuration,
    janitor,
    objects,
    offline,
    sets,
    verify,
    volume,
)
from docuquery_operator.mover.postgres import backup as of_postgres
from docuquery_operator.mover.qdrant import backup as of_qdrant
from docuquery_operator.mover.qdrant import snapshots
from docuquery_operator.mover.store import Store, Stored
from tests.mover import parts, restore_points

# Where a call is asked for by its name, another try has another number and Qdrant's snapshot another time.
CHANGING, TRY = re.compile(r"\d{4}(-\d\d){5}|checksum=\w+"), re.compile(r"(?<=Z-5e6f7a8b)\.\d+")
WHOLE = sys.argv[2:] == ["whole"]
MODULES = (backup, bucket, catalogue, clock, janitor, objects, offline, sets, verify, volume)


class Calls:
    """Numbers the calls; at one of them the process dies."""

    def __init__(self, kill: int | str | None, skip: str = "") -> None:
        self.kill, self.skip = kill, skip
        self.seen: list[str] = []

    def here(self, what: str) -> None:
        if self.skip and re.search(self.skip, what):
            return
        what = TRY.sub(".N", CHANGING.sub("T", what))
        what += f" #{sum(each.startswith(f'{what} #') for each in self.seen)}" if self.skip else ""
        if self.kill in (len(self.seen), what):
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(what)


class Counted:
    """A store that says each call before it and after it, and each chunk of an object on its way."""

    def __init__(self, store: Store, calls: Calls, ahead: float) -> None:
        self._store, self._calls, self._ahead = store, calls, ahead

    @property
    def where(self) -> str:
        return self._store.where

    async def _around(self, name: str, work: Any) -> Any:
        self._calls.here(f"before {name}")
        done = await work
        self._calls.here(f"after {name}")
        return done

    async def check(self, prefix: str) -> None:
        await self._around("check", self._store.check(prefix))

    async def put(self, key: str, stream: AsyncIterator[bytes]) -> int:
        async def watched() -> AsyncIterator[bytes]:
            async for chunk in stream:
                yield chunk
                self._calls.here(f"during put {key}")

        return await self._around(f"put {key}", self._store.put(key, watched()))  # type: ignore[no-any-return]

    async def create(self, key: str, data: bytes) -> bool:
        return await self._around(f"create {key}", self._store.create(key, data))  # type: ignore[no-any-return]

    async def get(self, key: str, limit: int = 64 << 20) -> bytes | None:
        return await self._around(f"get {key}", self._store.get(key, limit))  # type: ignore[no-any-return]

    async def head(self, key: str) -> Stored | None:
        return await self._around(f"head {key}", self._store.head(key))  # type: ignore[no-any-return]

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        self._calls.here(f"before stream {key}")
        async for chunk in self._store.stream(key):
            yield chunk

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        self._calls.here(f"before list {prefix}")
        async for found in self._store.list(prefix):
            yield found

    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self._around(f"delete {key}", self._store.delete([key]))

    async def sweep(self, prefix: str, before: datetime | None = None) -> int:
        return await self._store.sweep(prefix, before)

    async def room(self) -> int | None:
        return await self._store.room()

    async def clock(self) -> datetime | None:
        told = await self._store.clock()
        return told and told + timedelta(seconds=self._ahead)


def replace_parts() -> None:
    """The servers' own parts by small ones."""
    of_postgres.back_up = parts.back_up_postgres  # type: ignore[assignment]
    of_qdrant.back_up = parts.back_up_qdrant
    snapshots.remove_noted = parts.remove_noted
    configuration.back_up = parts.back_up_configuration


def child(order: dict[str, Any], folder: Path) -> int:
    calls, ahead, now = Calls(order.get("kill"), order.get("skip", "")), float(order.get("ahead", 0)), clock.now
    opened = sets.open_store
    for module in MODULES:
        if hasattr(module, "now"):
            module.now = lambda: now() + timedelta(seconds=ahead)  # type: ignore[attr-defined]
    main.now = lambda: now() + timedelta(seconds=ahead)
    sets.open_store = lambda *given: Counted(opened(*given), calls, ahead)  # type: ignore[assignment]
    for name in ("fsync", "link", "write"):
        count(name, calls)
    if WHOLE:
        restore_points.arm(calls, reads=order["request"].get("phase") == "plan")
    with (folder / "lines").open("wb") as out, (folder / "errors").open("ab") as errors:
        os.dup2(out.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    (folder / "request.json").write_text(json.dumps(order["request"]))
    code = main.main(["--request", str(folder / "request.json")])
    (folder / "calls").write_text(json.dumps(calls.seen))
    return code


def count(name: str, calls: Calls) -> None:
    """Of a volume's store also what it asks of the kernel."""
    real = getattr(os, name)

    def counted(*given: Any) -> Any:
        if given[0] != 1:
            calls.here(f"before {name}")
        return real(*given)

    volume.os = types.SimpleNamespace(**{**vars(volume.os), name: counted})  # type: ignore[assignment]


def run(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    for name in ("lines", "calls"):
        (folder / name).unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child(order, folder)
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    calls = json.loads((folder / "calls").read_text()) if (folder / "calls").exists() else []
    lines = [json.loads(line) for line in (folder / "lines").read_text().splitlines() if line.startswith("{")]
    return {"code": os.waitstatus_to_exitcode(status), "calls": calls, "lines": lines}


if __name__ == "__main__":
    if WHOLE:
        # Else each child would read them from the disk anew.
        from docuquery_operator.mover import restore as _restore  # noqa: F401
        from docuquery_operator.mover.postgres import restore as _of_postgres  # noqa: F401
        from docuquery_operator.mover.qdrant import switch as _switch  # noqa: F401
    else:
        replace_parts()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), Path(sys.argv[1]))), flush=True)
