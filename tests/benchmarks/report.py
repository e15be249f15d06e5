"""Rounds → rows: ours, peer, limit, ratio, goal, and whether it is met."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from .figures import Footprint
from .rounds import INCIDENTS, Phase, Round

WRITES_GOAL = 1.1
RSS_GOAL = 110.0


@dataclass(frozen=True)
class Row:
    """One line of build/bench.json; `ratio` is ours to the peer, `met` is null where no goal is set."""

    id: str
    what: str
    ours: float
    peer: float | None
    limit: float | None
    ratio: float | None
    goal: str
    met: bool | None
    unit: str
    rounds: int
    spread: dict[str, list[float]]


@dataclass(frozen=True)
class Rounds:
    """All rounds of a run."""

    ours: Sequence[Round]
    peer: Sequence[Round]
    limit_seconds: Sequence[float]
    floor: Footprint


def rows(seen: Rounds) -> list[Row]:
    """All figures of a run."""
    return [*_writes(seen), *_memory(seen), *_processor(seen), *_times(seen)]


def _writes(seen: Rounds) -> list[Row]:
    one = f"<= {WRITES_GOAL}"
    met = _at_most(WRITES_GOAL)
    return [
        _row(seen, "writes-per-change", "writes of all kinds but the Lease, for each real change of an Incident",
             lambda r: _share(_changing(r, Phase.all_writes), _changed(r)), "writes", limit=1.0, goal=one, met=met),
        _row(seen, "incident-writes-per-change", "writes to Incidents, for each real change of one",
             lambda r: _share(_changing(r, Phase.incident_writes), _changed(r)), "writes", limit=1.0, goal=one, met=met),
        _row(seen, "writes-created", f"all writes after {INCIDENTS} Incidents were created",
             lambda r: float(r.created.all_writes()), "writes"),
        _row(seen, "changes-created", "real changes seen after they were created", lambda r: float(r.created.changes), "changes"),
        _row(seen, "writes-acknowledged", "all writes after all were acknowledged",
             lambda r: float(r.flipped.all_writes()), "writes"),
        _row(seen, "changes-acknowledged", "real changes seen after that", lambda r: float(r.flipped.changes), "changes"),
        _row(seen, "writes-quiet", "writes but the Lease while nothing happens",
             lambda r: float(r.quiet.all_writes()), "writes", limit=0.0, goal="== 0", met=_at_most(0.0)),
        _row(seen, "lease-quiet", "renewals of the Lease while nothing happens, a minute",
             lambda r: _a_minute(r.quiet, r.quiet.lease), "writes/min"),
    ]  # fmt: skip


def _memory(seen: Rounds) -> list[Row]:
    goal, met, least = f"<= {RSS_GOAL:.0f} MiB", _at_most(RSS_GOAL), seen.floor.rss
    return [
        _row(seen, "rss-idle", "RSS before the first Incident", lambda r: r.idle.rss, "MiB", least, goal, met),
        _row(seen, "rss-after", f"RSS with {INCIDENTS} Incidents diagnosed", lambda r: r.after.rss, "MiB", least, goal, met),
        _row(seen, "rss-quiet", "RSS after the quiet time", lambda r: r.quiet_after.rss, "MiB", least, goal, met),
        _row(seen, "rss-peak", "highest RSS of the round", lambda r: r.quiet_after.peak, "MiB", seen.floor.peak, goal, met),
        _row(seen, "pss-quiet", "PSS after the quiet time", lambda r: r.quiet_after.pss, "MiB", seen.floor.pss),
    ]


def _processor(seen: Rounds) -> list[Row]:
    return [
        _row(seen, "cpu-created", "processor time from creation to diagnosis", lambda r: r.created.cpu, "CPU-s"),
        _row(seen, "cpu-acknowledged", "processor time of the acknowledgements", lambda r: r.flipped.cpu, "CPU-s"),
        _row(seen, "cpu-quiet", "share of a core while nothing happens but probing",
             lambda r: 100 * r.quiet.cpu / r.quiet.seconds, "%"),
        _row(seen, "reads-quiet", "GET and LIST a second while nothing happens",
             lambda r: r.quiet.reads / r.quiet.seconds, "reads/s"),
    ]  # fmt: skip


def _times(seen: Rounds) -> list[Row]:
    write = median(seen.limit_seconds)
    return [
        _row(seen, "ready", "start of the process to an open watch", lambda r: r.ready, "s"),
        _row(seen, "all-identified", "first creation to the last named cause; ours probes three rounds of 1 s before it names one",
             lambda r: r.created.seconds, "s", limit=write),
        _row(seen, "identified-p95", "creation to named cause, 95th percentile", lambda r: r.created.p95, "s"),
        _row(seen, "all-acknowledged", "first acknowledgement to the last answer", lambda r: r.flipped.seconds, "s", limit=write),
        _row(seen, "acknowledged-p95", "acknowledgement to answer, 95th percentile", lambda r: r.flipped.p95, "s"),
    ]  # fmt: skip


def _row(
    seen: Rounds,
    id_: str,
    what: str,
    figure: Callable[[Round], float],
    unit: str,
    limit: float | None = None,
    goal: str = "",
    met: Callable[[float], bool] | None = None,
) -> Row:
    ours, peer = [figure(r) for r in seen.ours], [figure(r) for r in seen.peer]
    mine, theirs = median(ours), median(peer)
    # A goal is held by the worst round, not by the middle one.
    held = None if met is None else met(max(ours))
    spread = {"ours": span(ours), "peer": span(peer)}
    return Row(
        id=id_,
        what=what,
        ours=short(mine),
        peer=short(theirs),
        limit=None if limit is None else short(limit),
        ratio=short(mine / theirs) if theirs else None,
        goal=goal,
        met=held,
        unit=unit,
        rounds=len(ours),
        spread=spread,
    )


def _changing(r: Round, count: Callable[[Phase], int]) -> int:
    return count(r.created) + count(r.flipped)


def _changed(r: Round) -> int:
    return r.created.changes + r.flipped.changes


def _share(part: int, whole: int) -> float:
    return part / whole


def _a_minute(phase: Phase, count: int) -> float:
    return 60 * count / phase.seconds


def _at_most(goal: float) -> Callable[[float], bool]:
    return lambda figure: figure <= goal


def short(value: float) -> float:
    """Three digits are enough."""
    return round(value, 3)


def span(values: Sequence[float]) -> list[float]:
    """The smallest and the largest."""
    return [short(min(values)), short(max(values))]


def table(found: Sequence[Row]) -> str:
    """For people."""
    head = ("id", "ours", "peer", "limit", "ratio", "goal", "met", "unit")
    lines = [head, *(_cells(row) for row in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: "-"}[row.met]
    figures = (row.ours, row.peer, row.limit, row.ratio)
    return (row.id, *("-" if f is None else f"{f:g}" for f in figures), row.goal or "-", met, row.unit)


def write(path: Path, found: Sequence[Row]) -> None:
    """build/bench.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", encoding="utf-8")


def add(path: Path, found: Sequence[Row]) -> None:
    """Beside what other benchmarks have written there, in the place of what these have."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    ids = {row.id for row in found}
    rows = [r for r in known if r["id"] not in ids] + [asdict(row) for row in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
