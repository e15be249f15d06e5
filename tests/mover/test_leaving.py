"""How a mover's process ends: by its own code, whatever is left in threads of libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Stands for a library's thread that ends a process whose interpreter is taken apart.
ABORTING = "import atexit, os, runpy, sys; atexit.register(os.abort); sys.argv = ['x', *sys.argv[2:]]; "
AS_PROGRAM = "runpy.run_module(name, run_name='__main__', alter_sys=True)"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = ABORTING.replace("sys.argv =", "name = sys.argv[1]; sys.argv =") + AS_PROGRAM
    return subprocess.run([sys.executable, "-c", program, name, *arguments], capture_output=True, text=True, check=False)


def test_the_mover_ends_with_its_own_code_and_all_it_has_told(tmp_path: Path) -> None:
    made = run("docuquery_operator.mover", "--request", str(tmp_path / "none.json"))
    assert made.returncode == 2, made.stderr
    assert json.loads(made.stdout.splitlines()[-1])["reason"] == "BadRequest"


@pytest.mark.parametrize(("arguments", "code"), [(["list"], 0), (["check", "20261125T020000Z-1a2b3c4d.1"], 1)])
def test_so_does_the_tool_for_people(tmp_path: Path, arguments: list[str], code: int) -> None:
    (tmp_path / "catalogue").mkdir()
    made = run("docuquery_operator.mover.offline", *arguments, "--from", str(tmp_path))
    assert made.returncode == code, made.stderr
    assert made.stdout + made.stderr


def test_output_that_cannot_be_written_is_no_success() -> None:
    program = "from docuquery_operator.mover.leaving import leave; print('x'); leave(0)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        made = subprocess.run([sys.executable, "-c", program], stdout=full, env=env, check=False)
    assert made.returncode == 120
