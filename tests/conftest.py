"""Rules for all tests."""

from __future__ import annotations

import re

import pytest

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A name with an address in memory is another one in each process: two workers would not agree on what there is to run."""
    unstable = sorted({ADDRESS.sub("", item.nodeid) for item in items if ADDRESS.search(item.nodeid)})
    if unstable:
        raise pytest.UsageError(f"give these tests names of their own, by `ids=[...]`: {'; '.join(unstable)}")
