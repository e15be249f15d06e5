"""Limits of quick tests, shared by the conftest files: no network, two seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import pytest_socket

SECONDS = 2.0
# What hangs is ended then. Less would end tests that only wait for a processor of a busy machine.
HANGS_AFTER = 30.0
LIMITED = pytest.StashKey[bool]()
WAITED = Path("/proc/thread-self/schedstat")


def limit_time(items: Iterable[pytest.Item], folder: Path) -> None:
    """Two seconds for every test below the folder that does not ask for more by name."""
    for item in items:
        if item.path.is_relative_to(folder) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(HANGS_AFTER))
            item.stash[LIMITED] = True


def asks_for_more(item: pytest.Item, folder: Path) -> bool:
    """Whether a test below the folder names a limit of its own."""
    return item.path.is_relative_to(folder) and not item.stash.get(LIMITED, False)


def own_seconds() -> float:
    """A clock that stands still while this thread could run and other programs have all processors; sleep counts."""
    try:
        waited = int(WAITED.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        # Not every kernel counts it: there the limit is of the wall clock.
        waited = 0
    return time.monotonic() - waited / 1e9


def within_limit(item: pytest.Item) -> Iterator[None]:
    """Fail a limited test that has taken longer by its own clock."""
    began = own_seconds()
    yield
    took = own_seconds() - began
    assert took < SECONDS or not item.stash.get(LIMITED, False), f"it took {took:.1f} s, and has {SECONDS:g} s"


def without_sockets() -> Iterator[None]:
    """No socket may be opened but the event loop's own pair."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
