"""Limits of quick tests, shared by the conftest files: no network, two seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import pytest_socket

SECONDS = 2.0


def limit_time(items: Iterable[pytest.Item], folder: Path) -> None:
    """Two seconds for every test below the folder that does not ask for more by name."""
    for item in items:
        if item.path.is_relative_to(folder) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


def asks_for_more(item: pytest.Item, folder: Path) -> bool:
    """Whether a test below the folder names a limit of its own."""
    marker = item.get_closest_marker("timeout")
    return item.path.is_relative_to(folder) and marker is not None and marker.args != (SECONDS,)


def without_sockets() -> Iterator[None]:
    """No socket may be opened but the event loop's own pair."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
