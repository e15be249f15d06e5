"""A scenario that fails beside others really is run once more: by pytest itself, with the project's own settings."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import again
from tests.harness.cluster import CHECKOUT

FIRST = """
import pathlib

def test_fails_the_first_time():
    seen = pathlib.Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Inside the checkout, as its settings count only there."""
    folder = CHECKOUT / "build" / f"again-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    monkeypatch.setattr(again, "CACHE", folder / "cache")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(("text", "code"), [(FIRST, 0), ("def test_fails():\n    assert False\n", 1)])
def test_what_fails_once_is_run_once_more(place: Path, text: str, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "test_it.py").write_text(text)
    assert again.main([str(place / "test_it.py")]) == code
    assert capfd.readouterr().out.count("test_it.py::test_fails") >= 2
