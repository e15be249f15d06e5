"""B11: one pass over an access log, beside goaccess, awk | sort | uniq and the usual loop of re and Counter; the limit is wc -l."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from . import logs
from .report import Row, short, span

HERE = Path(__file__).resolve().parent
PEER_GOAL, GOACCESS_GOAL, RSS_GOAL = 5.0, 1.0, 64.0
TOP = 20


@dataclass(frozen=True)
class Run:
    """One run of a subject: seconds, and what it printed."""

    seconds: float
    output: str


@dataclass
class Runs:
    """Runs by subject."""

    lines: int
    by: dict[str, list[Run]] = field(default_factory=dict)

    def rates(self, name: str) -> list[float]:
        """Lines a second."""
        return [self.lines / r.seconds for r in self.by[name]]


def measure(lines: int, rounds: int, folder: Path) -> list[Row]:
    """All subjects in turn, so often."""
    as_json, combined = folder / "access.json", folder / "access.log"
    print(f"writing {lines} lines in two formats", flush=True)
    logs.write(lines, as_json, combined)
    commands = _commands(as_json, combined, folder)
    runs = Runs(lines)
    for n in range(1, rounds + 1):
        print(f"logs: round {n} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        # There and back, so that whoever comes after a heavy one is not always the same.
        for name in commands if n % 2 else reversed(commands):
            runs.by.setdefault(name, []).append(_run(commands[name]))
    return _rows(runs)


def _commands(as_json: Path, combined: Path, folder: Path) -> dict[str, list[str]]:
    subject = [sys.executable, str(HERE / "log_subjects.py")]
    pipe = "awk '{print $1}' \"$0\" | sort | uniq -c | sort -rn | head -20"
    found = {
        "ours-json": [*subject, "ours", str(as_json)],
        "re-json": [*subject, "re", str(as_json)],
        "ours-combined": [*subject, "ours", str(combined)],
        "re-combined": [*subject, "re", str(combined)],
        # One column only, and no more than its top.
        "awk": ["sh", "-c", pipe, str(combined)],
        "wc-json": ["wc", "-l", str(as_json)],
        "wc-combined": ["wc", "-l", str(combined)],
    }
    if shutil.which("goaccess"):
        report = ["-o", str(folder / "goaccess.json"), "--no-global-config", "--no-progress"]
        found["goaccess"] = ["goaccess", str(combined), "--log-format=COMBINED", *report]
    return found


def _run(command: Sequence[str]) -> Run:
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "MALLOC_ARENA_MAX": "2"}
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env) as process:
        assert process.stdout
        output = process.stdout.read()
    took = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Run(took, output.decode(errors="replace"))


def _rows(runs: Runs) -> list[Row]:
    found = []
    for kind in ("json", "combined"):
        found.append(_ratio(runs, f"traffic-{kind}-re", f"ours-{kind}", f"re-{kind}", f"wc-{kind}", PEER_GOAL,
                            f"one pass over {runs.lines} lines ({kind}), to the usual loop of re and Counter"))  # fmt: skip
    if "goaccess" in runs.by:
        found.append(_ratio(runs, "traffic-goaccess", "ours-combined", "goaccess", "wc-combined", GOACCESS_GOAL,
                            "the same (combined), to goaccess"))  # fmt: skip
    found.append(_ratio(runs, "traffic-awk", "ours-combined", "awk", "wc-combined", None,
                        "the same (combined), to awk | sort | uniq -c of the clients alone"))  # fmt: skip
    for kind in ("json", "combined"):
        mine, theirs = ([json.loads(r.output)["rss"] for r in runs.by[f"{who}-{kind}"]] for who in ("ours", "re"))
        found.append(row(f"traffic-{kind}-rss", f"highest RSS of that process ({kind}), interpreter and all", mine, theirs, None,
                          f"<= {RSS_GOAL:.0f} MiB", max(mine) <= RSS_GOAL, "MiB"))  # fmt: skip
    return [*found, *_exactness(runs)]


def _ratio(runs: Runs, id_: str, ours: str, peer: str, limit: str, goal: float | None, what: str) -> Row:
    mine, theirs = runs.rates(ours), runs.rates(peer)
    # In pairs: both of a round had the same machine.
    worst = min(a / b for a, b in zip(mine, theirs, strict=True))
    met = None if goal is None else worst >= goal
    return row(id_, what, mine, theirs, median(runs.rates(limit)), f">= {goal:g} x" if goal else "", met, "lines/s")


def _exactness(runs: Runs) -> list[Row]:
    """Recall of the clients above 0.1 %, and the largest error, against the exact count of the peer."""
    mine, exact = (json.loads(runs.by[f"{who}-combined"][0].output) for who in ("ours", "re"))
    frequent = {c: n for c, n in exact["clients"].items() if n > exact["requests"] / 1000}
    recall = sum(c in mine["clients"] for c in frequent) / len(frequent)
    top = sorted(frequent, key=lambda c: -frequent[c])[:TOP]
    told = sorted(mine["clients"], key=lambda c: -mine["clients"][c])[:TOP]
    error = max(abs(n - mine["clients"].get(c, 0)) for c, n in frequent.items()) / exact["requests"]
    return [
        row("traffic-recall", f"share of the {len(frequent)} clients above 0.1 % that are found", [recall], [1.0], 1.0,
             "== 1.0", recall == 1.0, "share"),
        row("traffic-top", f"share of the true top {TOP} clients that are told", [len({*top} & {*told}) / TOP], [1.0], 1.0,
             "== 1.0", {*top} == {*told}, "share"),
        row("traffic-error", "largest error of their counts, share of all requests", [error], [0.0], 0.0,
             "<= 0.0005", error <= 0.0005, "share"),
    ]  # fmt: skip


def row(
    id_: str,
    what: str,
    ours: Sequence[float],
    peer: Sequence[float],
    limit: float | None,
    goal: str,
    met: bool | None,
    unit: str,
) -> Row:
    """Medians of both, and what they mean."""
    mine, theirs = median(ours), median(peer)
    return Row(
        id=id_,
        what=what,
        ours=short(mine),
        peer=short(theirs),
        limit=None if limit is None else short(limit),
        ratio=short(mine / theirs) if theirs else None,
        goal=goal,
        met=met,
        unit=unit,
        rounds=len(ours),
        spread={"ours": span(ours), "peer": span(peer)},
    )
