"""Requests of the operator itself, where the api tells no figures: they give latency and success, and nothing of users."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .counters import Quantile
from .http_metrics import Figures

MAX_ATTEMPTS = 200


@dataclass(frozen=True)
class Attempt:
    """One request. seconds: None where nobody answered."""

    at: datetime
    seconds: float | None
    good: bool


def kept(attempts: Sequence[Attempt], now: datetime, length: float) -> tuple[Attempt, ...]:
    """Those of the window."""
    return tuple(a for a in attempts if 0 <= (now - a.at).total_seconds() <= length)[-MAX_ATTEMPTS:]


def covers(attempts: Sequence[Attempt], now: datetime, length: float, stale: float) -> bool:
    """Whether they reach over half of the window and are not old."""
    first, last = attempts[0].at, attempts[-1].at
    return (now - first).total_seconds() >= length / 2 and (now - last).total_seconds() <= stale


def figures(attempts: Sequence[Attempt]) -> Figures:
    """The same figures as of users' requests; throughput and paths mean nothing here."""
    times = sorted(a.seconds for a in attempts if a.seconds is not None)
    failed = float(sum(not a.good for a in attempts))
    buckets = {t: float(n) for n, t in enumerate(times, 1)}
    return Figures(
        requests=float(len(attempts)),
        failed=failed,
        limited=None,
        statuses={},
        p50=_exact(times, 0.5),
        p95=_exact(times, 0.95),
        p99=_exact(times, 0.99),
        per_second=0.0,
        buckets={**buckets, math.inf: float(len(times))} if times else {},
    )


def _exact(times: Sequence[float], q: float) -> Quantile | None:
    return Quantile(times[max(0, math.ceil(q * len(times)) - 1)]) if times else None
