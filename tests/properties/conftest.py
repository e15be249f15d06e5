"""Random stories: many cases in each test, so each names its own time limit; no network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.fakes import limits

LONGEST = 240.0
# How long one case takes is the machine's matter.
settings.register_profile("stories", deadline=None)
settings.load_profile("stories")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/properties/" in item.path.as_posix() and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LONGEST))


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """A test that opens a socket fails."""
    yield from limits.without_sockets()
