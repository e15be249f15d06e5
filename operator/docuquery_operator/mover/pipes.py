"""A stream through blocking work in a thread: little of it is in memory, and an error on either side ends both."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from .chunks import CHUNK, closing
from .cipher import Sink

WAITING = 4

# Takes all of the chunks and writes to the sink. It runs in a thread.
Work = Callable[[Iterator[bytes], Sink], None]


class _Stopped(BaseException):
    """Nobody wants the output any more."""


class _Feed:
    """From the event loop into the thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free = asyncio.Semaphore(WAITING)
        self._items: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()

    async def pump(self, source: AsyncIterator[bytes]) -> None:
        """Everything of the source, then its end or its error."""
        try:
            async with closing(source):
                async for chunk in source:
                    await self._put(chunk)
        except asyncio.CancelledError:
            self.stop()
            raise
        except Exception as error:  # noqa: BLE001 it is raised again in the thread, and from there by `through`
            self._items.put(error)
        else:
            self._items.put(None)

    async def _put(self, chunk: bytes) -> None:
        for start in range(0, len(chunk), CHUNK):
            await self._free.acquire()
            self._items.put(chunk[start : start + CHUNK] if len(chunk) > CHUNK else chunk)

    def stop(self) -> None:
        """Let the thread end."""
        self._items.put(_Stopped())

    def chunks(self) -> Iterator[bytes]:
        """For the thread."""
        while (item := self._items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            with suppress(RuntimeError):  # the loop is closed: then nobody waits
                self._loop.call_soon_threadsafe(self._free.release)
            yield item


class _Drain:
    """From the thread to the event loop, in pieces of about CHUNK."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free = threading.Semaphore(WAITING)
        self._items: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._gathered = bytearray()
        self._closed = False

    def write(self, data: bytes) -> int:
        """For the thread; blocks while nobody takes."""
        self._gathered += data
        if len(self._gathered) >= CHUNK:
            self._push()
        return len(data)

    def flush(self) -> None:
        """Only the end pushes a smaller piece."""

    def _push(self) -> None:
        piece = bytes(self._gathered)
        self._gathered.clear()
        self._free.acquire()
        if self._closed:
            raise _Stopped
        self._put(piece)

    def finish(self, error: BaseException | None) -> None:
        """The end."""
        if error is None and self._gathered:
            self._push()
        self._put(error)

    def _put(self, item: bytes | BaseException | None) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def chunks(self) -> AsyncIterator[bytes]:
        """For the event loop."""
        while (item := await self._items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._free.release()
            yield item

    def close(self) -> None:
        """Nobody takes any more."""
        self._closed = True
        self._free.release()


def _run(work: Work, feed: _Feed, drain: _Drain) -> None:
    try:
        work(feed.chunks(), drain)
        drain.finish(None)
    except _Stopped:
        return
    except BaseException as error:  # noqa: BLE001 raised again by `through`
        drain.finish(error)


async def through(source: AsyncIterator[bytes], work: Work) -> AsyncIterator[bytes]:
    """What the work makes of the source. An error of source or work is raised here, before the end."""
    loop = asyncio.get_running_loop()
    feed, drain = _Feed(loop), _Drain(loop)
    thread = threading.Thread(target=_run, args=(work, feed, drain), daemon=True, name="stream")
    thread.start()
    pump = asyncio.create_task(feed.pump(source))
    try:
        async for chunk in drain.chunks():
            yield chunk
    finally:
        pump.cancel()
        feed.stop()
        drain.close()
        with suppress(asyncio.CancelledError):
            await pump
        await asyncio.to_thread(thread.join)
