"""B10: counting the keys of the rate limit in a Redis of its own, beside redis-py and redis-cli, with a client that pings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from redis import Redis as Client

from tests.stack.services import Redis, prepared, running

from .log_rounds import row
from .report import Row

HERE = Path(__file__).resolve().parent
KEYS_GOAL, SCAN_GOAL, PING_GOAL = 1.3, 10.0, 3.0
STEP_GOAL = 1000.0
QUIET_SECONDS = 5.0


@dataclass(frozen=True)
class Sweep:
    """One sweep: keys seen, seconds, and what the pinger saw beside it, ms. step: the server's time a SCAN, µs."""

    keys: int
    seconds: float
    p999: float
    longest: float
    step: float = 0.0


def measure(keys: int, rounds: int, folder: Path) -> list[Row]:
    """All subjects in turn, so often."""
    redis = Redis(prepared(folder / "redis"))
    redis.process.command += ["--appendonly", "no", "--save", "", "--enable-debug-command", "local", "--loglevel", "warning"]
    limits, others = 2 * keys // 3, keys - 2 * keys // 3
    by: dict[str, list[Sweep]] = {}
    with running(redis), Client(port=redis.port, socket_timeout=120) as client:
        client.execute_command("DEBUG", "POPULATE", limits, "rate_limit:198.51.100.7", 8)
        client.execute_command("DEBUG", "POPULATE", others, "session", 64)
        for n in range(1, rounds + 1):
            print(f"keys: round {n} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
            names = ("quiet", "ours", "keys", "scan_iter", "redis-cli")
            for name in names if n % 2 else reversed(names):
                by.setdefault(name, []).append(_sweep(name, redis.port, client, limits))
    return _rows(by, limits)


def _sweep(name: str, port: int, client: Client, expected: int) -> Sweep:
    client.config_resetstat()
    with _pinging(port) as pings:
        if name == "quiet":
            time.sleep(QUIET_SECONDS)
            found: dict[str, float] = {"keys": expected, "seconds": QUIET_SECONDS}
        elif name == "redis-cli":
            began = time.monotonic()
            command = f"redis-cli -p {port} --scan --pattern '*rate_limit*' | wc -l"
            told = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout
            found = {"keys": int(told), "seconds": time.monotonic() - began}
        else:
            found = json.loads(_subject(name, port))
    if found["keys"] != expected:
        raise RuntimeError(f"{name} has seen {found['keys']:.0f} of {expected} keys")
    stats = client.info("commandstats").get("cmdstat_scan", {})
    step = float(stats.get("usec_per_call", 0.0))
    sweep = Sweep(int(found["keys"]), found["seconds"], pings["p999"], pings["max"], step)
    print(
        f"  {name:10} {sweep.seconds:6.2f} s, ping p99.9 {sweep.p999:8.2f} ms, longest {sweep.longest:8.2f} ms", flush=True
    )
    return sweep


def _subject(name: str, port: int) -> str:
    command = [sys.executable, str(HERE / "key_subjects.py"), name, str(port)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def _pinging(port: int) -> Iterator[dict[str, float]]:
    """What the pinger has seen is there at the end."""
    found: dict[str, float] = {}
    command = [sys.executable, str(HERE / "key_subjects.py"), "ping", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the pinger did not start; see its message above")
        try:
            yield found
        finally:
            told, _ = process.communicate(timeout=30)
    found |= json.loads(told)


def _rows(by: dict[str, list[Sweep]], keys: int) -> list[Row]:
    ours, limit = by["ours"], median(s.seconds for s in by["keys"])
    mine = [s.seconds for s in ours]
    found = []
    goals = (("keys", KEYS_GOAL, "KEYS by redis-py"), ("scan_iter", 1 / SCAN_GOAL, "scan_iter of redis-py as it comes"),
             ("redis-cli", None, "redis-cli --scan | wc -l"))  # fmt: skip
    for name, goal, words in goals:
        theirs = [s.seconds for s in by[name]]
        worst = max(a / b for a, b in zip(mine, theirs, strict=True))
        text = "" if goal is None else f"<= {goal:g} x"
        met = None if goal is None else worst <= goal
        found.append(
            row(
                f"keys-{name}", f"seconds to count {keys} keys of the limit, to {words}", mine, theirs, limit, text, met, "s"
            )
        )
    pings, quiet = [s.p999 for s in ours], median(s.p999 for s in by["quiet"])
    stalled = [s.longest for s in by["keys"]]
    found.append(row("keys-ping", "99.9th percentile of a PING beside it; limit: with nothing beside it; peer: the longest beside KEYS",
                     pings, stalled, quiet, f"<= {PING_GOAL:g} ms", max(pings) <= PING_GOAL, "ms"))  # fmt: skip
    steps = [s.step for s in ours]
    found.append(row("keys-step", "the server's mean time for one SCAN; peer: scan_iter", steps,
                     [s.step for s in by["scan_iter"]], None, f"<= {STEP_GOAL:g} µs", max(steps) <= STEP_GOAL, "µs"))  # fmt: skip
    return found
