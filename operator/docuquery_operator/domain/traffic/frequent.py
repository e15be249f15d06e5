"""The most frequent of a stream of names in bounded memory, with its error stated (Misra and Gries, mergeable form).

Source: Agarwal and others, "Mergeable summaries", PODS 2012: pruning takes the (K+1)-th largest count from all, so K+1
counts lose it at once, and what one name loses in all is at most total / (K+1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest

# Every name above 0.1 % of the total stays in: the error is below 0.05 %.
KEPT = 2000
# Pruned only now and then: up to so many names all counts are exact.
MOST = 4 * KEPT


@dataclass(slots=True)
class Frequent:
    """Counts of names. The true count of a name is at least what is told, and at most that plus `error`."""

    counts: dict[str, int] = field(default_factory=dict)
    total: int = 0
    error: int = 0

    def add(self, name: str, times: int) -> None:
        """Count a name; call `prune` after a batch."""
        self.counts[name] = self.counts.get(name, 0) + times
        self.total += times

    def add_all(self, names: Iterable[str], times: Iterable[int]) -> None:
        """Count many names; call `prune` afterwards."""
        counts, total = self.counts, 0
        for name, n in zip(names, times, strict=True):
            counts[name] = counts.get(name, 0) + n
            total += n
        self.total += total

    def merge(self, other: Frequent) -> None:
        """Take in what another one has seen."""
        for name, times in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + times
        self.total += other.total
        self.error += other.error
        self.prune()

    def without(self, names: Iterable[str]) -> Frequent:
        """The same without some names."""
        left = {name: times for name, times in self.counts.items() if name not in names}
        gone = sum(self.counts.values()) - sum(left.values())
        return Frequent(left, self.total - gone, self.error)

    def prune(self) -> None:
        """Keep the memory bound."""
        if len(self.counts) <= MOST:
            return
        less = sorted(self.counts.values(), reverse=True)[KEPT]
        self.error += less
        self.counts = {name: times - less for name, times in self.counts.items() if times > less}

    def top(self, most: int) -> list[tuple[str, int]]:
        """The most frequent first; equal ones by name."""
        return nsmallest(most, self.counts.items(), key=lambda pair: (-pair[1], pair[0]))

    @property
    def exact(self) -> bool:
        """Whether no name was ever dropped."""
        return self.error == 0
