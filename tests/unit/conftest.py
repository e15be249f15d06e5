"""Every test here has no network and two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fakes import limits

# The two seconds below bound all cases together; how long one takes is the machine's matter.
settings.register_profile("units", deadline=None)
settings.load_profile("units")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    limits.limit_time(items, Path(__file__).parent)
    slow = [item.nodeid for item in items if limits.asks_for_more(item, Path(__file__).parent)]
    if slow:
        raise pytest.UsageError(f"a unit test has two seconds; move to tests/properties or tests/controllers: {slow}")


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """A test that opens a socket fails."""
    yield from limits.without_sockets()


@pytest.fixture(autouse=True)
def two_seconds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Waiting for a processor of a busy machine does not count."""
    yield from limits.within_limit(request.node)
