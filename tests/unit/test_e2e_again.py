"""What fails beside others is run once more alone, never more often, and not when much fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import again
from tests.e2e.table import KEEP


@pytest.mark.parametrize(
    ("first", "failing", "second", "code", "runs"),
    [
        (0, 0, None, 0, 1),
        (1, 2, 0, 0, 2),
        (1, 2, 1, 1, 2),
        (1, 6, None, 1, 1),
        (1, 0, None, 1, 1),
        (2, 2, None, 2, 1),
        (3, 2, None, 3, 1),
    ],
)
def test_a_second_run_is_alone_and_its_word_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: int, failing: int, second: int | None, code: int, runs: int
) -> None:
    names = [f"tests/e2e/test_x.py::test_{n}" for n in range(failing)]
    folder = tmp_path / "v" / "cache"
    folder.mkdir(parents=True)
    (folder / "lastfailed").write_text(json.dumps(dict.fromkeys(names, True)))
    monkeypatch.setattr(again, "CACHE", tmp_path)
    called: list[tuple[list[str], Any]] = []

    def run(command: list[str], check: bool, env: Any = None) -> subprocess.CompletedProcess[str]:
        called.append((command, env))
        return subprocess.CompletedProcess(command, [first, second][len(called) - 1] or 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert again.main(["tests/e2e/test_x.py"]) == code
    assert len(called) == runs
    assert "-n" in called[0][0]
    assert "--cache-clear" in called[0][0]
    if runs == 2:
        command, env = called[1]
        assert command[-failing:] == names
        assert "-n" not in command
        assert env[KEEP] == "1"
