"""An HTTP server that says it is well; signals make it slow, or make it close all connections. Keeps idle ones for 5 s, as uvicorn."""

from __future__ import annotations

import asyncio
import signal
import sys

ANSWER = b'{"dependencies": {"database": "up", "redis": "up"}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
IDLE = 5.0


class Stub:
    """Its delay and its connections."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Close all."""
        for writer in self.writers:
            writer.close()

    def set_delay(self, seconds: float) -> None:
        """Of all answers from now on."""
        self.delay = seconds

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.add(writer)
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.delay)
                writer.write(HEAD if head.startswith(b"HEAD") else HEAD + ANSWER)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()


async def main(port: int) -> None:
    """For ever."""
    stub, loop = Stub(), asyncio.get_running_loop()
    for number, delay in ((signal.SIGHUP, 0.0), (signal.SIGUSR2, 0.5), (signal.SIGUSR1, 5.0)):
        loop.add_signal_handler(number, stub.set_delay, delay)
    loop.add_signal_handler(signal.SIGURG, stub.cut)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
