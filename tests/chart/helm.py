"""The chart as tests see it: rendered by the real helm, read as objects."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
CHART = CHECKOUT / "charts" / "docuquery-operator"
RELEASE, NAMESPACE = "docuquery-operator", "docuquery-system"
# Without a cluster helm assumes the version that it was built with.
KUBE_VERSION = "1.34.0"
Object = dict[str, Any]


@functools.cache
def program() -> str:
    """Path of helm; built on first use, which takes minutes."""
    command = [sys.executable, str(CHECKOUT / "deploy/local/cluster.py"), "tool", "helm"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=1800, check=True)
    return answer.stdout.strip().splitlines()[-1]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller looks at the exit code."""
    return subprocess.run([program(), *arguments], capture_output=True, text=True, timeout=120, check=False)


def template(values: Mapping[str, Any] | None = None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`helm template` with these values."""
    given = [part for key, value in (values or {}).items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    return helm("template", RELEASE, str(CHART), "-n", NAMESPACE, "--kube-version", KUBE_VERSION, *given, *arguments)


def render(values: Mapping[str, Any] | None = None) -> list[Object]:
    """All objects of the release, hooks included."""
    answer = template(values)
    assert answer.returncode == 0, answer.stderr
    return [o for o in yaml.safe_load_all(answer.stdout) if o]


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [o for o in objects if o["kind"] in kinds]


def only(objects: Sequence[Object], kind: str) -> Object:
    """The single one of this kind."""
    found = of_kind(objects, kind)
    assert len(found) == 1, [o["metadata"]["name"] for o in found]
    return found[0]


def pods(objects: Sequence[Object]) -> list[Object]:
    """Every pod that the release can bring up, as a Pod."""
    templates = [o["spec"]["template"] for o in of_kind(objects, "Deployment")]
    made = [{"apiVersion": "v1", "kind": "Pod", **t} for t in templates]
    return made + of_kind(objects, "Pod")
