"""The stores' part of a PerformanceReview: slow statements, hit rates, tables; Redis and its hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...api.stack import Component
from ...domain.maintenance.task_outcome import Cell, Finding, Table
from ...domain.reports.scales import figure
from ...ports import DatabaseReview, RedisFacts, Statement
from .. import shared
from ..base import ProbeContext, Round
from ..probes import redis

# Below so many blocks or look-ups a rate says nothing.
ENOUGH = 10_000
LOW_HITS, LOW_CACHE = 95.0, 50.0
SLOW_SECONDS, OFTEN = 1.0, 10
LARGE_SHARE = 30.0
WHOLE_SCANS, MANY_ROWS = 1_000, 100_000
ROLLBACKS = 10.0


@dataclass(frozen=True)
class CacheReview:
    """Hits and misses of a Redis since it began; None where not known."""

    name: str
    problem: str = ""
    said: Mapping[str, str] = field(default_factory=dict)

    def number(self, key: str) -> int | None:
        """A figure of INFO."""
        text = self.said.get(key, "")
        return int(text) if text.isdigit() and len(text) < 20 else None

    @property
    def hits(self) -> float | None:
        """Percent of look-ups that found something."""
        hit, missed = self.number("keyspace_hits"), self.number("keyspace_misses")
        return rate(hit, missed)


def rate(hit: int | None, missed: int | None) -> float | None:
    """Percent; None without figures or look-ups."""
    return round(100 * hit / (hit + missed), 2) if hit is not None and missed is not None and hit + missed else None


async def database(round_: Round, component: Component, statements: int) -> DatabaseReview:
    """One review through the Service."""
    host = await shared.address(round_, component)
    if not host:
        return DatabaseReview("no_address", "the Service is missing or has no endpoint")
    target = await shared.database_target(round_, component, host)
    if target is None:
        return DatabaseReview("no_credentials", "the Secret with username and password is missing")
    return await round_.ports.reviewer.review(target, statements, max(round_.timeout, 5.0))


async def cache(round_: Round, name: str, component: Component) -> CacheReview:
    """What INFO says."""
    return cache_of(name, await redis.facts(ProbeContext(round_, name, component)))


def cache_of(name: str, seen: RedisFacts) -> CacheReview:
    """What one look says of hits."""
    if seen.outcome != "ok":
        return CacheReview(name, f"{seen.outcome}: {seen.message}"[:200])
    pairs = (line.partition(":") for line in seen.info.splitlines() if not line.startswith("#"))
    return CacheReview(name, "", {k: v.strip() for k, sign, v in pairs if sign})


def database_figures(name: str, seen: DatabaseReview) -> dict[str, Cell]:
    """Single figures."""
    return {
        f"{name}: blocks found in memory (%)": rate(seen.hit, seen.read),
        f"{name}: rolled back (%)": rate(seen.rollbacks, seen.commits),
        f"{name}: deadlocks": seen.deadlocks,
        f"{name}: temporary files (bytes)": seen.temporary_bytes,
        f"{name}: time in statements (s)": round(seen.seconds, 3) if seen.seconds is not None else None,
    }


def cache_figures(seen: CacheReview) -> dict[str, Cell]:
    """Single figures."""
    names = {"evicted_keys": "evicted keys", "expired_keys": "expired keys", "total_commands_processed": "commands"}
    return {
        f"{seen.name}: look-ups that hit (%)": seen.hits,
        **{f"{seen.name}: {told}": seen.number(key) for key, told in names.items()},
    }


def database_tables(name: str, seen: DatabaseReview) -> Iterator[Table]:
    """Statements by the time that they took, and the largest tables."""
    if seen.statements:
        yield Table(
            title=f"{name}: statements by the time that they took",
            columns=(
                "statement",
                "share of all time (%)",
                "calls",
                "mean (s)",
                "longest (s)",
                "total (s)",
                "rows",
                "hits (%)",
            ),
            rows=tuple(
                (
                    *(" ".join(s.text.split())[:300], _share(s, seen), s.calls, round(s.mean, 6), round(s.longest, 6)),
                    *(round(s.total, 3), s.rows, rate(s.hit, s.read)),
                )
                for s in seen.statements
            ),
        )
    if seen.tables:
        yield Table(
            title=f"{name}: largest tables",
            columns=("table", "size (bytes)", "rows, about", "dead rows, about", "whole scans", "index scans"),
            rows=tuple((t.name, t.bytes, t.rows, t.dead, t.whole_scans, t.index_scans) for t in seen.tables),
        )


def _share(statement: Statement, seen: DatabaseReview) -> float | None:
    return round(100 * statement.total / seen.seconds, 2) if seen.seconds else None


def database_findings(name: str, seen: DatabaseReview) -> Iterator[Finding]:
    """What a person may mend."""
    if seen.outcome != "ok":
        yield Finding(rank="Warning", text=f"{name}: not known: {seen.outcome}: {seen.message}"[:512])
        return
    for s in _slow(seen.statements or ()):
        text = f"{name}: {s.calls} calls take {figure(s.mean, 's')} on the average: {' '.join(s.text.split())}"
        yield Finding(rank="Warning", text=text[:400])
    for s in (seen.statements or ())[:1]:
        if (share := _share(s, seen)) is not None and share >= LARGE_SHARE and s not in _slow(seen.statements or ()):
            text = f"{name}: one statement takes {share:g}% of all time ({s.calls} calls): {' '.join(s.text.split())}"
            yield Finding(rank="Info", text=text[:400])
    yield from _counters(name, seen)
    for t in seen.tables:
        if t.whole_scans >= WHOLE_SCANS and t.rows >= MANY_ROWS and t.whole_scans > t.index_scans:
            text = f"{name}: {t.name} ({t.rows} rows) was read as a whole {t.whole_scans} times: an index may be missing"
            yield Finding(rank="Warning", text=text[:512])
    if seen.problem:
        yield Finding(rank="Info", text=f"{name}: slow statements are not known: {seen.problem}"[:512])


def _slow(statements: Sequence[Statement]) -> list[Statement]:
    return [s for s in statements if s.mean >= SLOW_SECONDS and s.calls >= OFTEN][:3]


def _counters(name: str, seen: DatabaseReview) -> Iterator[Finding]:
    since = f" since {seen.since:%Y-%m-%d}" if seen.since else ""
    hits, back = rate(seen.hit, seen.read), rate(seen.rollbacks, seen.commits)
    if hits is not None and hits < LOW_HITS and (seen.hit or 0) + (seen.read or 0) >= ENOUGH:
        text = f"{name}: only {hits:g}% of blocks were found in memory{since}: shared_buffers or the pod's memory is small"
        yield Finding(rank="Warning", text=text)
    if seen.deadlocks:
        yield Finding(rank="Warning", text=f"{name}: {seen.deadlocks} deadlocks{since}")
    if back is not None and back >= ROLLBACKS and (seen.commits or 0) + (seen.rollbacks or 0) >= ENOUGH:
        yield Finding(rank="Info", text=f"{name}: {back:g}% of transactions were rolled back{since}")


def cache_findings(seen: CacheReview) -> Iterator[Finding]:
    """What a person may mend."""
    if seen.problem:
        yield Finding(rank="Warning", text=f"{seen.name}: not known: {seen.problem}"[:512])
        return
    looked = (seen.number("keyspace_hits") or 0) + (seen.number("keyspace_misses") or 0)
    if seen.hits is not None and seen.hits < LOW_CACHE and looked >= ENOUGH:
        text = f"{seen.name}: only {seen.hits:g}% of {looked} look-ups hit: keys expire too soon, or are never kept"
        yield Finding(rank="Info", text=text)
    if seen.number("evicted_keys"):
        text = (
            f"{seen.name}: {seen.number('evicted_keys')} keys were evicted since it began: it has less memory than it needs"
        )
        yield Finding(rank="Warning", text=text)
