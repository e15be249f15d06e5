"""The text exposition format of Prometheus, of which only the few families that are asked for are parsed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

# Parsing costs about 15 µs a line: a page of millions of series must not keep the process busy.
MAX_SAMPLES = 20_000


class MetricsError(ValueError):
    """The text cannot be used; half of it would be a lie about the rest."""


@dataclass(frozen=True)
class Sample:
    """One series and its value, which may be NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str, names: Collection[str]) -> list[Sample]:
    """Samples with these names, such as http_requests_total; MetricsError when their lines are wrong or too many."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = list(_lines(text, frozenset(names)))
    if len(lines) > MAX_SAMPLES:
        raise MetricsError(f"{len(lines)} series of the requests, more than {MAX_SAMPLES}: a label of theirs has no bound")
    try:
        families = list(text_string_to_metric_families("\n".join([*lines, ""])))
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as problem:
        raise MetricsError(f"not the text format of Prometheus: {problem}"[:200]) from problem
    return [Sample(s.name, s.labels, float(s.value)) for family in families for s in family.samples if s.name in names]


def _lines(text: str, names: frozenset[str]) -> Iterator[str]:
    """Lines of the samples with these names; nothing else is looked at."""
    for line in text.split("\n"):
        end = _end_of_name(line)
        if end > 0 and line[:end] in names:
            yield line.rstrip("\r")


def _end_of_name(line: str) -> int:
    """Where a sample's name ends; 0 for a comment, an empty line or no sample."""
    if not line or line[0] == "#":
        return 0
    brace, space = line.find("{"), line.find(" ")
    return min(p for p in (brace, space, len(line)) if p >= 0)


def countable(value: float) -> bool:
    """Whether a counter can have this value; beyond it a float cannot count one by one."""
    return 0 <= value <= 2**53
