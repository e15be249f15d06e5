"""kubectl, helm and the local cluster as the demo uses them: argument lists, no shell."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
CLUSTER = CHECKOUT / "deploy" / "local" / "cluster.py"
KUBECONFIG = CHECKOUT / "build" / "kubeconfig"


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why."""


def cluster(*arguments: str) -> None:
    """Run cluster.py with its progress shown."""
    if subprocess.run([sys.executable, str(CLUSTER), *arguments], stdin=subprocess.DEVNULL, check=False).returncode:
        raise DemoError(f"cluster.py {' '.join(arguments)} failed; see above")


def tool(name: str) -> str:
    """Path of kubectl or helm."""
    done = subprocess.run([sys.executable, str(CLUSTER), "tool", name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(done.stderr.strip())
    return done.stdout.strip().splitlines()[-1]


class Kube:
    """One namespace of the cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._kubectl = tool("kubectl")
        self._helm = tool("helm")

    def run(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        """kubectl in the namespace; its output."""
        command = [self._kubectl, f"--kubeconfig={KUBECONFIG}", "-n", self.namespace, *arguments]
        done = subprocess.run(command, input=text if text is not None else "", capture_output=True, text=True, check=False)
        if done.returncode and check:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def helm(self, *arguments: str) -> None:
        """helm; raises with its message."""
        command = [self._helm, f"--kubeconfig={KUBECONFIG}", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"helm {' '.join(arguments[:2])}: {done.stderr.strip()}")

    def wait(self, what: str, seconds: float, ready: Any) -> Any:
        """Poll until `ready()` gives something."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = ready()
            if found:
                return found
            time.sleep(0.3)
        raise DemoError(f"{what} did not happen within {seconds:.0f} s")
