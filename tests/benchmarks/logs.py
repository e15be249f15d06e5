"""Access logs for the benchmark: skewed clients, folded identifiers, bursts, and a share of refused requests; the same each time."""

from __future__ import annotations

import bisect
import itertools
import json
import random
from datetime import UTC, datetime
from pathlib import Path

CLIENTS, USERS = 20_000, 3_000
START = datetime(2026, 11, 25, 4, tzinfo=UTC).timestamp()
USUAL, BURST = 900, 4000
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    *("docuquery-client/2.3.1", "python-requests/2.32.3", "okhttp/4.12.0", "curl/8.5.0"),
    *(f"app/{n}.0 (iOS)" for n in range(40)),
)


def write(lines: int, as_json: Path, combined: Path) -> None:
    """The same requests in both formats."""
    chance = random.Random(7)
    clients = [".".join(str(chance.randint(11, 250)) for _ in range(4)) for _ in range(CLIENTS)]
    weights = list(itertools.accumulate(1 / (n + 1) ** 1.1 for n in range(CLIENTS)))
    at = START
    with as_json.open("w") as one, combined.open("w") as other:
        for _ in range(lines):
            at += chance.expovariate(USUAL if (int(at) // 20) % 5 else BURST)
            client = clients[bisect.bisect(weights, chance.random() * weights[-1])]
            method, path = _request(chance)
            status, user = _status(chance), _user(chance)
            agent = AGENTS[min(len(AGENTS) - 1, int(chance.paretovariate(1)) - 1)]
            time = datetime.fromtimestamp(at, UTC)
            fields = {
                "ts": time.isoformat(timespec="milliseconds"), "event": "rate_limit" if status == 429 else "request",
                "client": client, "user": user, "method": method, "path": path.partition("?")[0], "status": status,
                "durationMs": round(chance.expovariate(0.05), 1), "userAgent": agent,
            }  # fmt: skip
            one.write(json.dumps(fields, separators=(",", ":")) + "\n")
            other.write(
                f'{client} - {user or "-"} [{time:%d/%b/%Y:%H:%M:%S +0000}] "{method} {path} HTTP/1.1" {status} '
                f'{chance.randint(20, 9000)} "-" "{agent}"\n'
            )


def _request(chance: random.Random) -> tuple[str, str]:
    kind = chance.random()
    if kind < 0.5:
        return "POST", "/query"
    if kind < 0.75:
        return "GET", f"/documents/{chance.randint(1, 400_000)}"
    if kind < 0.85:
        return "GET", f"/documents?page={chance.randint(1, 50)}"
    return ("POST", "/documents/batch") if kind < 0.95 else ("GET", "/info")


def _status(chance: random.Random) -> int:
    kind = chance.random()
    return 429 if kind < 0.12 else 500 if kind < 0.13 else 404 if kind < 0.15 else 200


def _user(chance: random.Random) -> str | None:
    return f"user-{min(USERS - 1, int(chance.paretovariate(0.6))):04d}" if chance.random() < 0.7 else None
