"""Rules for all tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
HERE = Path(__file__).parent
# Files that take longest, each by one worker: the last that was begun would keep the others waiting.
FIRST = (
    "mover/test_restore_kill.py",
    "mover/postgres/test_restore.py",
    "mover/test_kill.py",
    "apiserver/test_windows_killed.py",
)
ORDER = {HERE / name: number for number, name in enumerate(FIRST)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A name with an address in memory is another one in each process: two workers would not agree on what there is to run."""
    unstable = sorted({ADDRESS.sub("", item.nodeid) for item in items if ADDRESS.search(item.nodeid)})
    if unstable:
        raise pytest.UsageError(f"give these tests names of their own, by `ids=[...]`: {'; '.join(unstable)}")
    missing = sorted(path.name for path in ORDER if not path.exists())
    if missing:
        raise pytest.UsageError(f"tests/conftest.py names {missing}, which do not exist")
    items.sort(key=lambda item: ORDER.get(item.path, len(ORDER)))
