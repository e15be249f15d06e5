"""Counting the keys of the limit, in a process of its own: `ours`, `scan_iter` or `keys`, and `ping`, who asks beside it."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator"))

PATTERN = "*rate_limit*"
BETWEEN = 0.0005


def ours(port: int) -> dict[str, float]:
    """As the operator does, with the highest of the first 20000."""
    from docuquery_operator.adapters.redis_keys import ScannedKeys
    from docuquery_operator.ports import RedisTarget

    began = time.monotonic()
    found = asyncio.run(ScannedKeys().count(RedisTarget("127.0.0.1", port), PATTERN, 10, 300.0))
    assert not found.at_least
    return {"keys": found.keys, "seconds": time.monotonic() - began, "calls": found.calls}


def peer(kind: str, port: int) -> dict[str, float]:
    """redis-py as most would use it."""
    from redis import Redis

    client = Redis(port=port)
    began = time.monotonic()
    keys = len(client.keys(PATTERN)) if kind == "keys" else sum(1 for _ in client.scan_iter(match=PATTERN))
    return {"keys": keys, "seconds": time.monotonic() - began}


def ping(port: int) -> dict[str, float]:
    """Until the input is closed: milliseconds of the answers."""
    took = []
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], BETWEEN)[0]:
            began = time.monotonic()
            wire.sendall(b"PING\r\n")
            wire.recv(64)
            took.append((time.monotonic() - began) * 1000)
    took.sort()
    return {"pings": len(took), "p50": took[len(took) // 2], "p999": took[int(len(took) * 0.999)], "max": took[-1]}


def main() -> None:
    """Do it and tell."""
    kind, port = sys.argv[1], int(sys.argv[2])
    print(json.dumps(ping(port) if kind == "ping" else ours(port) if kind == "ours" else peer(kind, port)))


if __name__ == "__main__":
    main()
