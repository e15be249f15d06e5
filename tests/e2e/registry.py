"""A real registry of images on the host's end of the node's link, and versions of the application in it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness.cluster import CLUSTER, registry_address, tool
from tests.stack.services import Process, answers, prepared, wait_up

APPLICATION = "docuquery-app:dev"


@dataclass(frozen=True)
class Versions:
    """What one tag of one repository means from time to time. The repository is new in each run: the node keeps what it once had."""

    repository: str

    @property
    def image(self) -> str:
        """As a pod names it."""
        return f"{self.repository}:stable"

    def release(self, name: str, *changes: str) -> str:
        """The application with these changes, from now on under the tag; its digest."""
        crane("mutate", f"{self.repository}:base", "--label", f"version={name}", *changes, "--tag", self.image)
        return crane("digest", self.image)


@contextlib.contextmanager
def registry() -> Iterator[Versions]:
    """Runs, and has the application as it is in the checkout."""
    where = registry_address()
    with tempfile.TemporaryDirectory(prefix="docuquery-registry-") as place:
        folder = Path(place)
        command = [tool("crane"), "registry", "serve", "--address", where, "--disk", str(prepared(folder / "data"))]
        process = Process(command, folder / "log", cwd=folder)
        process.start()
        try:
            wait_up(process, lambda: answers(f"http://{where}/v2/"))
            found = Versions(f"{where}/run-{uuid.uuid4().hex[:8]}/app")
            crane("push", archive(), f"{found.repository}:base")
            yield found
        finally:
            process.stop()


def crane(command: str, *arguments: str) -> str:
    """Its answer; AssertionError with its words where it fails."""
    line = [tool("crane"), command, "--insecure", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(line)}: {done.stderr}"
    return done.stdout.strip()


def archive() -> str:
    """Where the image lies that the cluster was given."""
    command = [sys.executable, str(CLUSTER), "archive", APPLICATION]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout.split()[-1]
