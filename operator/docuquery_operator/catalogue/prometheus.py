"""Figures from a Prometheus server: instant queries of the window's increase, judged like the pods' own metrics."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..api.detection import LABEL_PATTERN, PrometheusServer
from ..api.stack import Component, ComponentType, Endpoint, WorkloadRef
from ..domain.traffic import http_metrics
from ..domain.traffic.counters import Grown
from ..domain.traffic.http_metrics import DURATIONS, OWN_PATHS, PATH_LABELS, REQUESTS, STATUS_LABELS, Figures, Key
from ..domain.traffic.metrics_text import countable
from . import shared
from .base import Round

ANSWER_LIMIT = 2 * 1024 * 1024
MAX_SERIES = 5_000
Series = Sequence[tuple[Mapping[str, str], float]]


class _Silent(Exception):
    """The server gave no usable answer; the text says why."""


async def figures(round_: Round, server: PrometheusServer, window: float, own: Sequence[str]) -> Figures | str:
    """What the server knows of the api, or why nothing."""
    component = Component(
        type=ComponentType.API,
        workload=WorkloadRef(kind="Deployment", name=server.service),
        endpoint=Endpoint(service=server.service, port=server.port),
    )
    host = await shared.address(round_, component)
    if not host:
        return "no address: the Service is missing or has no endpoint"

    async def ask(query: str) -> Series:
        path = f"/api/v1/query?query={quote(query, safe='')}"
        answer = await round_.ports.network.http_get(host, server.port, path, round_.timeout, ANSWER_LIMIT)
        if answer.status == 0:
            raise _Silent(answer.problem)
        if answer.cut:
            raise _Silent("the answer is too long")
        return series(answer.status, answer.body)

    try:
        return await _figures(ask, server.labels, window, own)
    except _Silent as problem:
        return str(problem)


async def _figures(ask: Callable[[str], Any], labels: Mapping[str, str], window: float, own: Sequence[str]) -> Figures | str:
    by: dict[Key, float] = {}
    for family in REQUESTS:
        found = await ask(query(family, (*STATUS_LABELS, *PATH_LABELS), labels, window, own))
        if found:
            http_metrics.count_all(by, found)
            break
    best: tuple[float, Series] = (-1.0, ())
    for family in DURATIONS:
        found = await ask(query(f"{family}_bucket", ("le",), labels, window, own))
        reach = max((b for b in (http_metrics.bound_of(m) for m, _ in found) if b != math.inf), default=0.0)
        if found and reach > best[0]:
            best = (reach, found)
    for metric, value in best[1]:
        key: Key = ("le", http_metrics.bound_of(metric))
        by[key] = by.get(key, 0.0) + value
    if not by:
        chosen = ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
        return f"it knows no requests with the labels {chosen}"
    return http_metrics.figures(Grown(by, window)) or "no figures"


def query(family: str, by: Iterable[str], labels: Mapping[str, str], window: float, own: Sequence[str]) -> str:
    """sum by (…) (increase(family{…}[…s])), with every text from outside escaped."""
    probes = "|".join(re.escape(p) for p in sorted({*OWN_PATHS, *own}))
    matchers = [
        *(f"{name}={text(value)}" for name, value in sorted(labels.items()) if re.fullmatch(LABEL_PATTERN, name)),
        *(f"{name}!~{text(probes)}" for name in PATH_LABELS if name not in labels),
    ]
    return f"sum by ({', '.join(by)}) (increase({family}{{{', '.join(matchers)}}}[{max(1, round(window))}s]))"


def text(value: str) -> str:
    """A string of PromQL, which is one of Go."""
    return json.dumps(value)


def series(status: int, body: str) -> Series:
    """The vector of an answer; _Silent when it is none."""
    try:
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":
            raise _Silent(f"HTTP {status}: {str(answer.get('error', ''))[:150]}")
        if answer["data"]["resultType"] != "vector":
            raise _Silent("the answer is no vector")
        found = [(_labels(r["metric"]), float(r["value"][1])) for r in answer["data"]["result"][: MAX_SERIES + 1]]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as problem:
        raise _Silent(f"HTTP {status}: not an answer of Prometheus ({type(problem).__name__})") from problem
    if len(found) > MAX_SERIES:
        raise _Silent(f"more than {MAX_SERIES} series: a label of theirs has no bound")
    return [(labels, value) for labels, value in found if countable(value)]


def _labels(metric: Any) -> Mapping[str, str]:
    return {str(k): str(v) for k, v in metric.items()}
