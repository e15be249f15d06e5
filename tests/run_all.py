"""`make test`: all tests in order of cost; stops at the first stage that fails. `--until STAGE` stops after a stage."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = CHECKOUT / ".venv" / "bin"
# As tests/harness/bytecode.py has it: each process else compiles pytest, the operator and all that they import anew.
ENVIRON = {**os.environ, "PYTHONPYCACHEPREFIX": str(CHECKOUT / "build" / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
PYTEST = [str(BIN / "pytest"), "-q"]
SCENARIOS = (
    *("test_noise", "test_maintenance", "test_scenarios", "test_people", "test_detection", "test_redis", "test_thresholds"),
    *("test_vector", "test_background", "test_two_faults", "test_api", "test_ratelimit", "test_maintenance_tasks"),
)
# A file is of one worker, as its servers are. In the order of tests/conftest.py, not by the number of tests.
FILES = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
# Where node is there without Debian's packages, those would only stand in its way.
NODE = () if shutil.which("npm") else ("nodejs", "npm")
CLUSTER = [str(BIN / "python"), str(CHECKOUT / "deploy" / "local" / "cluster.py")]


@dataclass(frozen=True)
class Stage:
    """Commands that belong together, and what has to be there before."""

    name: str
    commands: tuple[list[str], ...]
    packages: tuple[str, ...] = ()


def existing(*paths: str) -> list[str]:
    """Paths of the test tree; a missing one is a mistake here, not a reason to pass."""
    missing = [p for p in paths if not (CHECKOUT / "tests" / p).exists()]
    if missing:
        raise SystemExit(f"tests/run_all.py names {missing}, which do not exist")
    return [str(CHECKOUT / "tests" / p) for p in paths]


def stages() -> list[Stage]:
    """All stages in order of cost."""
    return [
        Stage(
            "lint",
            (
                [str(BIN / "ruff"), "check", "."],
                [str(BIN / "ruff"), "format", "--check", "."],
                [str(BIN / "mypy")],
                [str(BIN / "lint-imports")],
                [str(BIN / "python"), "-m", "docuquery_operator", "crds", "--check"],
            ),
        ),
        Stage("unit", ([*PYTEST, "-n", "2", "--dist", "worksteal", *existing("unit", "controllers", "properties")],)),
        Stage(
            "services",
            ([*PYTEST, *FILES, *existing("stack", "adapters", "mover", "page", "zones")],),
            ("postgresql", "redis-server", "prometheus", "prometheus-alertmanager", "chromium", *NODE),
        ),
        Stage(
            "apiserver",
            ([*PYTEST, "-n", "2", *FILES, *existing("apiserver", "chart")],),
            ("prometheus", "prometheus-alertmanager"),
        ),
        Stage(
            "e2e",
            (
                [*CLUSTER, "up"],
                [*CLUSTER, "images"],
                # Movers need both cores, and the operator is everybody's to kill: alone, and before the table is begun.
                [
                    *PYTEST,
                    *existing(*(f"e2e/test_{name}.py" for name in ("local_cluster", "backup", "maintenance_updates"))),
                ],
                # Two stacks side by side are what two cores carry, and the one that mostly waits: it comes first.
                [str(BIN / "python"), "-m", "tests.e2e.again", *existing(*(f"e2e/{name}.py" for name in SCENARIOS))],
                [str(BIN / "python"), "-m", "tests.e2e.table"],
            ),
            ("prometheus-alertmanager",),
        ),
        Stage("kill", ([*PYTEST, "-s", *existing("kill")],)),
    ]


def main() -> int:
    """Exit code of the first command that fails."""
    names = [s.name for s in stages()]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", choices=names, default=names[-1])
    parser.add_argument("--only", choices=names)
    parser.add_argument("--down", action="store_true", help="stop the local cluster at the end")
    options = parser.parse_args()
    try:
        return _run_stages(names, options)
    finally:
        if options.down:
            subprocess.run([*CLUSTER, "down"], stdin=subprocess.DEVNULL, check=False)


def _run_stages(names: list[str], options: argparse.Namespace) -> int:
    passed: list[str] = []
    wanted = [options.only] if options.only else names[: names.index(options.until) + 1]
    for stage in stages():
        if stage.name not in wanted:
            continue
        began = time.monotonic()
        print(f"=== {stage.name}", flush=True)
        install(stage.packages)
        for command in stage.commands:
            code = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, env=ENVIRON, check=False).returncode
            if code:
                print(f"=== {stage.name} failed: {' '.join(command)} ended with {code}; before it passed: {passed}")
                return code
        passed.append(f"{stage.name} {time.monotonic() - began:.0f} s")
        print(f"=== {passed[-1]}", flush=True)
    print(f"all stages passed: {', '.join(passed)}")
    return 0


def install(packages: tuple[str, ...]) -> None:
    """Debian packages that are missing."""
    missing = [p for p in packages if not _installed(p)]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise SystemExit(f"please install {', '.join(missing)}; this machine has no apt-get to do it")
    subprocess.run(["apt-get", "update", "-qq"], stdin=subprocess.DEVNULL, check=True)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], stdin=subprocess.DEVNULL, check=True
    )


def _installed(package: str) -> bool:
    return subprocess.run(["dpkg", "-s", package], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
