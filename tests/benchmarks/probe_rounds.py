"""B6: what one look at a service costs, ours beside a new connection with the usual client and beside the tool that is exec'd."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp
import psycopg
from redis import Redis as RedisClient

from docuquery_operator.adapters.network import SystemNetwork
from docuquery_operator.adapters.postgres import PsycopgDatabase
from docuquery_operator.adapters.redis import RedisPy
from docuquery_operator.ports import DatabaseTarget, RedisTarget
from tests.adapters.conftest import APP, DATABASE, OPERATOR, OPERATOR_PASSWORD

from .detect_rounds import p95
from .figures import TICKS
from .report import Row, short
from .services import Server, Servers

EXEC_GOAL, CONNECT_GOAL, P99_GOAL = 0.05, 0.2, 5.0
HOST = "127.0.0.1"
Look = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Cost:
    """Of one look: processor time of prober and server, seconds; times, ms."""

    cpu: float
    times: Sequence[float]

    @property
    def p50(self) -> float:
        """Median, ms."""
        return median(self.times)

    @property
    def p99(self) -> float:
        """99th percentile, ms."""
        return sorted(self.times)[min(len(self.times) - 1, int(0.99 * len(self.times)))]


async def measure(servers: Servers, looks: int, execs: int, rounds: int) -> list[Row]:
    """Each service, all subjects in turn."""
    made: list[Row] = []
    async with SystemNetwork() as network:
        for server, subjects in _subjects(servers, network).items():
            by: dict[str, list[Cost]] = {}
            for n in range(1, rounds + 1):
                print(f"probes: {server.name} {n} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
                for name, look in subjects.items():
                    by.setdefault(name, []).append(await _cost(server, look, execs if name == "exec" else looks))
            made += _rows(server, by, looks)
    return made


def _subjects(servers: Servers, network: SystemNetwork) -> dict[Server, dict[str, Look]]:
    database, cache, api = servers.database.port, servers.cache.port, servers.api.port
    postgres, redis = PsycopgDatabase(), RedisPy()
    target = DatabaseTarget(HOST, database, DATABASE, OPERATOR, OPERATOR_PASSWORD, (APP,))
    line = {"host": HOST, "port": database, "user": OPERATOR, "password": OPERATOR_PASSWORD, "dbname": DATABASE}
    kept = psycopg.connect(**line, autocommit=True)  # type: ignore[arg-type]
    held = RedisClient(port=cache)

    async def connect_postgres() -> None:
        async with await psycopg.AsyncConnection.connect(**line) as connection:  # type: ignore[arg-type]
            await connection.execute("select 1")

    async def connect_redis() -> None:
        with RedisClient(port=cache) as client:
            client.ping()

    async def connect_api() -> None:
        async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{api}/health") as answer:
            await answer.read()

    async def trip_postgres() -> None:
        kept.execute("select 1")

    async def trip_redis() -> None:
        held.ping()

    return {
        servers.database: {
            "ours": lambda: postgres.look(target, 3.0),
            "connect": connect_postgres,
            "exec": lambda: _exec(["pg_isready", "-q", "-h", HOST, "-p", str(database)]),
            "trip": trip_postgres,
        },
        servers.cache: {
            "ours": lambda: redis.look(RedisTarget(HOST, cache), 3.0),
            "connect": connect_redis,
            "exec": lambda: _exec(["redis-cli", "-h", HOST, "-p", str(cache), "ping"]),
            "trip": trip_redis,
        },
        servers.api: {
            "ours": lambda: network.http_get(HOST, api, "/health", 3.0),
            "connect": connect_api,
            "exec": lambda: _exec(["curl", "-sf", "-o", "/dev/null", f"http://{HOST}:{api}/health"]),
        },
    }


async def _exec(command: list[str]) -> None:
    """As an exec probe does: a process for each look, and its end waited for."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


async def _cost(server: Server, look: Look, count: int) -> Cost:
    for _ in range(3):
        await look()
    server_before, ours_before = _server_cpu(server), _own_cpu()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await look()
        times.append(1000 * (time.perf_counter() - began))
    # Backends of PostgreSQL are counted when they have ended and were waited for.
    await asyncio.sleep(0.3)
    return Cost((_own_cpu() - ours_before + _server_cpu(server) - server_before) / count, times)


def _own_cpu() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _server_cpu(server: Server) -> float:
    """Of its processes, and of those that the first one has waited for."""
    total, pids = 0, server.pids()
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13] if pid != pids[0] else fields[11:15]))
    return total / TICKS


def _rows(server: Server, by: dict[str, list[Cost]], looks: int) -> list[Row]:
    cpu = {name: median([c.cpu for c in costs]) * 1000 for name, costs in by.items()}
    p50 = {name: median([c.p50 for c in costs]) for name, costs in by.items()}
    p99 = [c.p99 for c in by["ours"]]
    trip, made = by.get("trip"), []
    limit = cpu["trip"] if trip else None
    what = "processor time of prober and server for 1000 looks; ours asks for all facts of a diagnosis by a new connection, as being "
    what += "let in is one of them; peer: "
    for peer, goal in (("connect", CONNECT_GOAL), ("exec", EXEC_GOAL)):
        ratio = cpu["ours"] / cpu[peer]
        words = what + {"connect": "a new connection and the smallest question", "exec": "the tool, exec'd"}[peer]
        made.append(Row(f"probe-cpu-{server.name}-{peer}", words, short(cpu["ours"]), short(cpu[peer]),
                        None if limit is None else short(limit), short(ratio), f"<= {goal} of the peer", ratio <= goal, "CPU-s",
                        looks, {}))  # fmt: skip
    made.append(Row(f"probe-p50-{server.name}", "median of a look; peer: a new connection and the smallest question",
                    short(p50["ours"]), short(p50["connect"]), short(p50["trip"]) if trip else None,
                    short(p50["ours"] / p50["connect"]), "", None, "ms", looks, {}))  # fmt: skip
    made.append(Row(f"probe-p99-{server.name}", "99th percentile of a look, the worst round", short(max(p99)), None,
                    short(p95([c.p99 for c in trip])) if trip else None, None, f"<= {P99_GOAL:g} ms", max(p99) <= P99_GOAL, "ms",
                    looks, {}))  # fmt: skip
    made.append(Row(f"probe-connections-{server.name}", "connections that one look opens", 1.0, 1.0, 0.0, 1.0, "", None,
                    "connections", 1, {}))  # fmt: skip
    return made
