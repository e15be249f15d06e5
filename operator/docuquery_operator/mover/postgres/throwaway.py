"""A PostgreSQL server for a moment: in scratch, reached by its socket alone, gone with the block."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL

from ..contracts import MoverError
from .process import output
from .session import Login, connect
from .tools import Tools
from .words import shortened

START_SECONDS = 60.0
STOP_SECONDS = 20.0
SUPERUSER = "postgres"
# Nobody is going to keep these data.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "autovacuum": "off",
    "max_connections": "20",
    # A restore in one transaction holds a lock on all that it makes: room for 10 240.
    "max_locks_per_transaction": "512",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    # A pod's /dev/shm may be tiny.
    "dynamic_shared_memory_type": "mmap",
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "logging_collector": "off",
    "lc_messages": "C",
}


@asynccontextmanager
async def throwaway(scratch: Path, tools: Tools) -> AsyncIterator[Login]:
    """Start it; the login is that of its superuser. MoverError NoServer when it does not start."""
    identity = _identity()
    folder = _folder(scratch)
    try:
        if identity is not None:
            os.chown(folder, *identity)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(folder)}
        await _initialised(tools, folder, environment, identity)
        async with _running(tools, folder, environment, identity) as who:
            yield who
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(scratch: Path) -> Path:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="pg-", dir=scratch))
    except OSError as problem:
        text = f"a drill needs room in {scratch}, which cannot be written: {problem}"
        raise MoverError("NoScratch", text, retry=False) from problem


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _identity() -> tuple[int, int] | None:
    """The server refuses root; as root it runs as somebody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "docuquery", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    return 65534, 65534


async def _initialised(tools: Tools, folder: Path, environment: dict[str, str], identity: tuple[int, int] | None) -> None:
    command = [tools.path("initdb"), f"--pgdata={folder / 'data'}", f"--username={SUPERUSER}", "--encoding=UTF8"]
    command += ["--locale=C", "--auth=trust", "--no-sync", "--no-instructions"]
    await output(command, "initdb of the throwaway server", environment, identity=identity)


@asynccontextmanager
async def _running(
    tools: Tools, folder: Path, environment: dict[str, str], identity: tuple[int, int] | None
) -> AsyncIterator[Login]:
    log = folder / "log"
    settings = {**SETTINGS, "unix_socket_directories": str(folder)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    account = {} if identity is None else {"user": identity[0], "group": identity[1], "extra_groups": []}
    with log.open("ab") as written:
        process = await asyncio.create_subprocess_exec(
            tools.path("postgres"),
            "-D",
            str(folder / "data"),
            *options,
            stdin=DEVNULL,
            stdout=written,
            stderr=written,
            env=environment,
            cwd=folder,
            **account,  # type: ignore[arg-type]
        )
    who = Login(host=str(folder), port=5432, user=SUPERUSER, sslmode="disable", application="docuquery-drill")
    try:
        await _answering(who, process, log)
        yield who
    finally:
        await _stopped(process)


async def _answering(who: Login, process: asyncio.subprocess.Process, log: Path) -> None:
    last = "it did not answer"
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                try:
                    async with connect(who, "template1"):
                        return
                except MoverError as problem:
                    last = problem.message
                await asyncio.sleep(0.05)
    raise MoverError("NoServer", f"the throwaway server did not start: {shortened(_end_of(log)) or last}")


async def _stopped(process: asyncio.subprocess.Process) -> None:
    """Immediate shutdown, as nothing needs to be written; a killed postmaster takes its children with it."""
    for how in (signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(how)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
