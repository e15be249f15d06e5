"""No network; two seconds for a test that does not name another limit because it lives through minutes of a simulated world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import limits


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    limits.limit_time(items, Path(__file__).parent)


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """A test that opens a socket fails."""
    yield from limits.without_sockets()


@pytest.fixture(autouse=True)
def two_seconds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Waiting for a processor of a busy machine does not count."""
    yield from limits.within_limit(request.node)
