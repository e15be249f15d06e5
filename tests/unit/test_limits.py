"""The two seconds of a unit test are its own: work and sleep count, waiting for a processor does not."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import limits


@pytest.fixture
def item() -> Any:
    return SimpleNamespace(stash={limits.LIMITED: True})


def run(item: Any, seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "own_seconds", lambda: seconds.pop(0))
    for _ in limits.within_limit(item):
        pass


def test_sleep_counts() -> None:
    began = limits.own_seconds()
    time.sleep(0.05)
    assert limits.own_seconds() - began >= 0.04


def test_waiting_for_a_processor_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waited = tmp_path / "schedstat"
    monkeypatch.setattr(limits, "WAITED", waited)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    waited.write_text("0 0 1\n")
    before = limits.own_seconds()
    waited.write_text("0 7000000000 2\n")
    assert limits.own_seconds() == before - 7
    waited.unlink()
    assert limits.own_seconds() == 100.0


def test_longer_than_two_seconds_is_a_failure(item: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(item, [10.0, 11.9], monkeypatch)
    with pytest.raises(AssertionError, match=r"2\.1 s"):
        run(item, [10.0, 12.1], monkeypatch)


def test_what_asks_for_more_is_not_limited(item: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    item.stash[limits.LIMITED] = False
    run(item, [10.0, 99.0], monkeypatch)
