"""One pass over a log, in a process of its own: `ours FILE`, or `re FILE`, the usual loop of re and Counter.

Both print JSON: requests, the counts of all clients above 0.05 %, and the highest RSS in MiB.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator"))

PIECE = 1 << 20
COMBINED = re.compile(
    r'(\S+) \S+ (\S+) \[([^:]+:\d\d:\d\d:\d\d) [^\]]+\] "(\S+) (\S+) [^"]*" (\d{3}) (\S+) "([^"]*)" "([^"]*)"'
)
JSON_LINE = re.compile(
    r'\{"ts":"([^".]+)[^"]*","event":"[^"]*","client":"([^"]*)","user":(?:"([^"]*)"|null),"method":"([^"]*)",'
    r'"path":"([^"]*)","status":(\d+),"durationMs":[^,]*,"userAgent":(?:"([^"]*)"|null)'
)


def ours(path: str) -> tuple[int, dict[str, int]]:
    """Everything that the runbook is told: also who is refused, retries, folded paths."""
    from docuquery_operator.domain.traffic.figures import report
    from docuquery_operator.domain.traffic.log_reader import LogReader

    reader = LogReader()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            reader.feed(piece)
    traffic = reader.finish()
    report(traffic)
    return traffic.requests, traffic.clients.counts


def usual(path: str) -> tuple[int, dict[str, int]]:
    """Six counters, exact and without bound; no refused ones apart, no retries, paths as they are."""
    clients, users, paths, statuses, agents, seconds = (Counter[str]() for _ in range(6))
    combined = not path.endswith(".json")
    with open(path) as file:
        for line in file:
            found = (COMBINED if combined else JSON_LINE).match(line)
            if found is None:
                continue
            if combined:
                client, user, at, _, asked, status, _, _, agent = found.groups()
            else:
                at, client, user, _, asked, status, agent = found.groups()
            clients[client] += 1
            users[user] += 1
            paths[asked.partition("?")[0]] += 1
            statuses[status] += 1
            agents[agent] += 1
            seconds[at] += 1
    return clients.total(), clients


def main() -> None:
    """Count and tell."""
    requests, clients = (ours if sys.argv[1] == "ours" else usual)(sys.argv[2])
    told = {client: n for client, n in clients.items() if n > requests / 2000}
    print(json.dumps({"requests": requests, "clients": told, "rss": _peak()}))


def _peak() -> float:
    """Highest RSS in MiB since this program began; what wait4 tells holds also that of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
