"""The benchmarks of faults: how soon they are noticed (B1), how soon all is well again (B2), what looking costs (B6), and a storm of
pages with a dead, a slow and a busy channel and the operator killed in it, a few times, beside a naive operator and Alertmanager, and
at every kind of write and send (B12).

`make bench`, or `python tests/benchmarks/run_faults.py [--quick]`. All of it rests on time, so it is told as met or not and decides
nothing; a false alarm or a lost page ends with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import (
    detect_rounds,
    page_alertmanager,
    page_peer,
    page_rounds,
    probe_rounds,
    recover_rounds,
    report,
    subjects,
)
from tests.benchmarks.services import serving
from tests.harness.apiserver import CHECKOUT, install_crds, start_apiserver
from tests.kill import page_storm

RESULT = CHECKOUT / "build" / "bench.json"
PARTS = ("detect", "recover", "probes", "pages", "killed")


def main() -> int:
    """1 after a false alarm or a lost page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few faults of each kind")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    options = parser.parse_args()
    wanted = options.only or PARTS
    found: list[report.Row] = []

    def keep(rows: Sequence[report.Row]) -> None:
        """At once: what fails later takes nothing of it away."""
        report.add(RESULT, rows)
        found.extend(rows)

    with subjects.temporary() as folder, serving(folder) as servers:
        if "detect" in wanted:
            with start_apiserver() as server:
                install_crds(server)
                counts = (3, 1, 20.0) if options.quick else (12, 3, 60.0)
                keep(detect_rounds.rows(asyncio.run(detect_rounds.measure(server, servers, folder, *counts))))
        if "recover" in wanted:
            with start_apiserver() as server:
                install_crds(server)
                times = (1, 2, 1) if options.quick else (3, 4, 1)
                keep(recover_rounds.rows(asyncio.run(recover_rounds.measure(server, servers, folder, *times))))
        if "pages" in wanted:
            with start_apiserver() as server:
                install_crds(server)
                size = (60, (3.0,)) if options.quick else (500, (3.0, 20.0, 35.0))
                seen = asyncio.run(page_rounds.measure(server, folder, *size))
                naive = asyncio.run(page_peer.measure(server, folder, *size))
                print(f"lost by the naive one: {dict(Counter(line.partition(' ')[2] for line in naive.lost))}")
                keep(page_rounds.rows(seen, naive))
            keep(page_alertmanager.rows(seen, asyncio.run(page_alertmanager.measure(folder, *size))))
        if "killed" in wanted:
            with start_apiserver() as server:
                install_crds(server)
                often = (40, 1, 12) if options.quick else (500, 2, 80)
                keep(page_storm.rows(*asyncio.run(page_storm.run(server, "killed", folder, *often, within=500.0))))
        if "probes" in wanted:
            looks = (200, 30, 1) if options.quick else (1000, 100, 3)
            keep(asyncio.run(probe_rounds.measure(servers, *looks)))
    print(report.table(found))
    print(f"written to {RESULT.relative_to(CHECKOUT)}")
    missed = [row.id for row in found if row.met is False]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return (
        1
        if any("false-alarms" in name or name in ("page-lost", "page-most", "kill-lost", "kill-doubled") for name in missed)
        else 0
    )


if __name__ == "__main__":
    sys.exit(main())
