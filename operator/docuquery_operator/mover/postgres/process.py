"""Children whose failure is never overheard: each exit code is read, and what was said on stderr goes into the error."""

from __future__ import annotations

import asyncio
import fcntl
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from subprocess import DEVNULL
from typing import Any, TypeVar

from ..chunks import CHUNK, whole
from ..contracts import MoverError
from .session import Login, passfile
from .words import explain

STDERR_KEPT = 16 << 10
SMALL = 64 << 20
STOP_SECONDS = 10.0
Value = TypeVar("Value")
Other = TypeVar("Other")


class ToolError(MoverError):
    """A tool has failed by itself, not for want of its input. said: its words."""

    def __init__(self, told: MoverError, said: str) -> None:
        super().__init__(told.reason, told.message, told.retry)
        self.said = said


@dataclass
class Child:
    """A running tool of PostgreSQL, and what it has said on stderr so far."""

    process: Process
    name: str
    said: str = ""

    async def listen(self) -> None:
        """Read stderr to its end, keeping both ends of what is long."""
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(4096):
            self.said += data.decode(errors="replace")
            if len(self.said) > STDERR_KEPT:
                half = STDERR_KEPT // 2
                self.said = f"{self.said[:half]}\n{self.said[-half:]}"


@asynccontextmanager
async def started(
    command: Sequence[str],
    name: str,
    environment: dict[str, str],
    *,
    feed: bool = False,
    descriptors: Sequence[int] = (),
    identity: tuple[int, int] | None = None,
) -> AsyncIterator[tuple[Child, Awaitable[None]]]:
    """A child with its listener; it is ended with the block, however that ends. identity: uid and gid to run as."""
    account: dict[str, Any] = {}
    if identity is not None:
        account = {"user": identity[0], "group": identity[1], "extra_groups": []}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE if feed else DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        pass_fds=tuple(descriptors),
        limit=CHUNK,
        **account,
    )
    child = Child(process, name)
    listener = asyncio.create_task(child.listen())
    try:
        yield child, listener
    finally:
        await _ended(process)
        await asyncio.wait([listener], timeout=STOP_SECONDS)
        listener.cancel()


async def _ended(process: Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _checked(child: Child, listener: Awaitable[None], otherwise: str = "Failed") -> None:
    await listener
    code = await child.process.wait()
    if code != 0:
        said = f"{child.said.strip()} (exit code {code})"
        raise ToolError(explain(child.name, said, otherwise), said)


async def streamed(
    command: Sequence[str],
    name: str,
    environment: dict[str, str],
    *,
    descriptors: Sequence[int] = (),
    warn: Callable[[str], None] | None = None,
    identity: tuple[int, int] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Standard output as it comes. An exit code other than 0 raises before the end, so that no failure looks like one."""
    async with started(command, name, environment, descriptors=descriptors, identity=identity) as (child, listener):
        assert child.process.stdout is not None
        _wide(child.process)
        while chunk := await child.process.stdout.read(CHUNK):
            yield chunk
        await _checked(child, listener)
        if warn is not None and child.said.strip():
            warn(child.said.strip())


def _wide(process: Process) -> None:
    """A larger pipe means fewer turns of the loop; where it may not grow, all goes on as before."""
    transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
    pipe = transport.get_extra_info("pipe")
    # ValueError: the child is over already, and its pipe closed.
    with suppress(OSError, ValueError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, CHUNK)


async def output(
    command: Sequence[str],
    name: str,
    environment: dict[str, str],
    *,
    limit: int = SMALL,
    descriptors: Sequence[int] = (),
    identity: tuple[int, int] | None = None,
) -> bytes:
    """All of a short output."""
    try:
        return await whole(streamed(command, name, environment, descriptors=descriptors, identity=identity), limit)
    except ValueError as problem:
        raise MoverError("TooLarge", f"{name} wrote {problem}", retry=False) from None


async def ended(
    command: Sequence[str], name: str, environment: dict[str, str], *, descriptors: Sequence[int] = ()
) -> tuple[int, str]:
    """Exit code and all that was said, on both outputs, for tools whose exit code is an answer."""
    async with started(command, name, environment, descriptors=descriptors) as (child, listener):
        assert child.process.stdout is not None
        text = b""
        while data := await child.process.stdout.read(CHUNK):
            text = (text + data)[:STDERR_KEPT]
        await listener
        return await child.process.wait(), f"{text.decode(errors='replace')}\n{child.said}".strip()


async def fed(
    command: Sequence[str],
    name: str,
    environment: dict[str, str],
    source: AsyncIterator[bytes],
    *,
    descriptors: Sequence[int] = (),
) -> str:
    """Pour a stream into a child; what it said on stderr. The source's own error is passed on; the child is ended then."""
    async with started(command, name, environment, feed=True, descriptors=descriptors) as (child, listener):
        assert child.process.stdin is not None
        drain = asyncio.create_task(_discarded(child.process))
        try:
            await _poured(child, source)
            # A child that stops reading before the end has a reason, which its exit code tells.
            await _checked(child, listener)
        finally:
            drain.cancel()
        return child.said.strip()


async def _poured(child: Child, source: AsyncIterator[bytes]) -> None:
    assert child.process.stdin is not None
    broken = False
    async for chunk in source:
        if broken:
            # Read on: only the end of the source tells whether its bytes are those that were written.
            continue
        try:
            child.process.stdin.write(chunk)
            await child.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            broken = True
    with suppress(BrokenPipeError, ConnectionResetError):
        child.process.stdin.close()
        await child.process.stdin.wait_closed()


async def _discarded(process: Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(CHUNK):
        pass


class Kit:
    """Tools with a login: commands run with the password in a file that exists in memory only."""

    def __init__(self, who: Login) -> None:
        self._who = who

    async def stream(
        self, command: Sequence[str], name: str, warn: Callable[[str], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """process.streamed."""
        with passfile(self._who) as (path, descriptors):
            source = streamed(command, name, self._who.environment(path), descriptors=descriptors, warn=warn)
            async with aclosing(source):
                async for chunk in source:
                    yield chunk

    async def output(self, command: Sequence[str], name: str, limit: int = SMALL, descriptors: Sequence[int] = ()) -> bytes:
        """process.output; descriptors: more that the child inherits."""
        with passfile(self._who) as (path, own):
            environment = self._who.environment(path)
            return await output(command, name, environment, limit=limit, descriptors=(*own, *descriptors))

    async def ended(self, command: Sequence[str], name: str) -> tuple[int, str]:
        """process.ended."""
        with passfile(self._who) as (path, descriptors):
            return await ended(command, name, self._who.environment(path), descriptors=descriptors)

    async def feed(
        self, command: Sequence[str], name: str, source: AsyncIterator[bytes], descriptors: Sequence[int] = ()
    ) -> str:
        """process.fed; descriptors: more that the child inherits."""
        with passfile(self._who) as (path, own):
            environment = self._who.environment(path)
            return await fed(command, name, environment, source, descriptors=(*own, *descriptors))


async def beside(first: Coroutine[Any, Any, Value], second: Coroutine[Any, Any, Other]) -> tuple[Value, Other]:
    """Both at once; when one fails the other is ended, and the failure passed on as it is."""
    one, two = asyncio.create_task(first), asyncio.create_task(second)
    try:
        await asyncio.wait([one, two], return_when=asyncio.FIRST_EXCEPTION)
        for task in (one, two):
            if task.done() and (problem := task.exception()) is not None:
                raise problem
        return one.result(), two.result()
    finally:
        for task in (one, two):
            task.cancel()
        await asyncio.gather(one, two, return_exceptions=True)
