"""The benchmarks of much data: logs (B11), keys of a rate limit (B10), dumps (B7), a pod's memory, uploads (B8), restores and proofs of
shards (B9), beside their peers.

`make bench`, or `python tests/benchmarks/run_data.py [--quick] [--rounds N]`. Ratios, counts and memory are told as met or not;
they never decide the exit code, for all of them rest on time but memory and exactness.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import (
    dump_rounds,
    key_rounds,
    log_rounds,
    memory_rounds,
    proof_rounds,
    report,
    restore_rounds,
    store_rounds,
    subjects,
)
from tests.harness.apiserver import CHECKOUT

RESULT = CHECKOUT / "build" / "bench.json"
DECIDE = {
    "traffic-json-rss",
    "traffic-combined-rss",
    "traffic-recall",
    "traffic-top",
    "traffic-error",
    "dump-rss",
    "dump-spool",
    "pod-memory",
    "pod-spool",
    "upload-pod",
    "upload-spool",
    "upload-exact",
    "upload-cut",
    "proof-found",
    "proof-disk",
}
NAMES = ("logs", "keys", "dumps", "memory", "uploads", "restores", "proofs")


def main() -> int:
    """1 when a goal on memory or exactness is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the data")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side (default 3)")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="these alone")
    options = parser.parse_args()
    rounds, part = (1, 10) if options.quick else (max(1, options.rounds), 1)
    found = []
    with subjects.temporary() as folder:
        measures: dict[str, Callable[[], Sequence[report.Row]]] = {
            "logs": lambda: log_rounds.measure(1_000_000 // part, rounds, folder),
            "keys": lambda: key_rounds.measure(1_500_000 // part, rounds, folder),
            "dumps": lambda: dump_rounds.measure(900_000 // part, rounds),
            "memory": lambda: memory_rounds.measure(2048 // part),
            "uploads": lambda: store_rounds.measure(512 // part, 2000 // part, rounds),
            "restores": lambda: restore_rounds.measure(300_000 // part, rounds),
            "proofs": lambda: proof_rounds.measure(20_000 // part, rounds, folder),
        }
        for name in options.only or measures:
            rows = measures[name]()
            # At once: what fails later takes nothing of it away.
            report.add(RESULT, rows)
            found += rows
    print(report.table(found))
    print(f"written to {RESULT.relative_to(CHECKOUT)}")
    missed = [row.id for row in found if row.met is False]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if DECIDE & set(missed) else 0


if __name__ == "__main__":
    sys.exit(main())
