"""The benchmark: our operator beside a naive kopf operator on a real, bare API server, in turns, in one run.

`make bench`, or `python tests/benchmarks/run.py [--quick] [--rounds N]`. Counts and memory decide the exit code, time never does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import report, subjects
from tests.benchmarks.api import Client
from tests.benchmarks.limit import bare_patches
from tests.benchmarks.rounds import Phase, Round, run_round
from tests.harness.apiserver import CHECKOUT, ApiServer, install_crds, start_apiserver

RESULT = CHECKOUT / "build" / "bench.json"
QUIET_SECONDS = 60.0
QUICK_QUIET_SECONDS = 30.0


@dataclass
class _Seen:
    """What the rounds have given so far."""

    ours: list[Round] = field(default_factory=list)
    peer: list[Round] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)


async def measure(server: ApiServer, rounds: int, quiet: float, logs: Path) -> report.Rounds:
    """Ours, peer, limit; ours, peer, limit; …"""
    seen = _Seen()
    floor = subjects.floor()
    async with Client(server) as client:
        for n in range(1, rounds + 1):
            print(f"round {n} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
            for name, subject, into in (("ours", subjects.ours, seen.ours), ("peer", subjects.peer, seen.peer)):
                found = await run_round(server, client, subject, f"{name}-{n}", logs / f"{name}-{n}.log", quiet)
                into.append(found)
                _tell(name, found)
            seen.limit.append(await bare_patches(client, f"limit-{n}"))
    return report.Rounds(seen.ours, seen.peer, seen.limit, floor)


def _tell(name: str, found: Round) -> None:
    parts = (("created", found.created), ("acknowledged", found.flipped), ("quiet", found.quiet))
    for part, phase in parts:
        print(f"  {name:5} {part:13} {phase.seconds:6.1f} s  {_counted(phase)}", flush=True)


def _counted(phase: Phase) -> str:
    kinds = Counter(phase.writes).most_common()
    listed = ", ".join(f"{verb} {resource} {n}" for (verb, resource), n in kinds) or "none"
    return f"{phase.changes} changes; writes: {listed}; Lease {phase.lease}"


def main() -> int:
    """1 when a goal on counts or memory is missed, also where only one round missed it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, and a shorter quiet time")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each side (default 2)")
    options = parser.parse_args()
    rounds, quiet = (1, QUICK_QUIET_SECONDS) if options.quick else (max(1, options.rounds), QUIET_SECONDS)
    with subjects.temporary() as logs, start_apiserver() as server:
        install_crds(server)
        found = report.rows(asyncio.run(measure(server, rounds, quiet, logs)))
    report.write(RESULT, found)
    print(report.table(found))
    print(f"written to {RESULT.relative_to(CHECKOUT)}")
    missed = [row.id for row in found if row.met is False]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
