"""The scenarios side by side, and those that failed once more, alone: `python -m tests.e2e.again PATH …`.

Side by side they compete for two cores, and an api that is starved is slow in earnest: the operator rightly says so, and the scenario
fails of it. What fails alone too has failed. Each that was run again is named at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.table import KEEP
from tests.harness.cluster import CHECKOUT

CACHE = CHECKOUT / "build" / "e2e-cache"
SIDE_BY_SIDE = ("-n", "3", "--dist", "worksteal")
# Of more than these it is not the machine.
MOST = 5
FAILED = 1


def main(paths: Sequence[str]) -> int:
    """pytest's exit code: of the first run, or of the second where there was one."""
    # The project's own options switch off what remembers which tests have failed.
    remembering = ("-o", "addopts=--import-mode=importlib --strict-markers --strict-config -ra", "-o", f"cache_dir={CACHE}")
    pytest = [str(Path(sys.executable).with_name("pytest")), "-q", *remembering]
    code = subprocess.run([*pytest, "--cache-clear", *SIDE_BY_SIDE, *paths], check=False).returncode
    names = failed() if code == FAILED else []
    if not names or len(names) > MOST:
        return code
    print(f"once more, alone: {', '.join(names)}", flush=True)
    code = subprocess.run([*pytest, *names], env={**os.environ, KEEP: "1"}, check=False).returncode
    print(f"run twice: {', '.join(names)}")
    return code


def failed() -> list[str]:
    """Ids of the tests that failed in the newest run."""
    file = CACHE / "v" / "cache" / "lastfailed"
    return sorted(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
