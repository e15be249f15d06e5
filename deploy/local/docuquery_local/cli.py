"""The commands of deploy/local/cluster.py."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Callable, Sequence

from docuquery_local import gobuild, images, kindnode, locks, netpol, node, provisioner, supervisor
from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings, load
from docuquery_local.shell import say, warn

# The programs that the node runs from this same file; not for users.
INTERNAL: dict[str, Callable[[Settings], int]] = {
    "_supervise": supervisor.main,
    "_provisioner": provisioner.main,
    "_netpol": netpol.main,
}


def main(arguments: Sequence[str]) -> int:
    """Run one command; an expected failure is one line on the error output and exit code 1."""
    try:
        settings = load()
        if arguments and arguments[0] in INTERNAL:
            return INTERNAL[arguments[0]](settings)
        return _run(_parser().parse_args(arguments), settings)
    except LocalClusterError as error:
        warn(f"error: {error}")
    except KeyboardInterrupt:
        warn("interrupted; `cluster.py down` clears what was started")
    return 1


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.command == "tool":
        say(str(gobuild.tool(settings, options.name)))
        return 0
    backend = kindnode if has_kind() else node
    if options.command == "status":
        return 0 if backend.status(settings) else 1
    if options.command == "images":
        with locks.held(settings.cache / "images.lock", "the images"):
            images.build_and_load(settings, options.names, in_kind=backend is kindnode)
        return 0
    if options.command == "archive":
        with locks.held(settings.cache / "images.lock", "the images"):
            say(str(images.archived(settings, options.name, in_kind=backend is kindnode)))
        return 0
    action = backend.up if options.command == "up" else backend.down
    with locks.held(locks.RUN / f"docuquery-local-{settings.node}.lock", "this cluster"):
        action(settings)
    return 0


def has_kind() -> bool:
    """Whether Docker answers and kind is installed."""
    if shutil.which("docker") is None or shutil.which("kind") is None:
        return False
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster; kubeconfig goes to build/kubeconfig")
    commands.add_parser("down", help="stop it and leave nothing behind but the cache")
    commands.add_parser("status", help="say what runs; exit code 1 when the cluster is not ready")
    build = commands.add_parser("images", help="build images and load them into the cluster")
    build.add_argument("names", nargs="*", metavar="NAME", help="only these, such as docuquery-operator:dev")
    archive = commands.add_parser("archive", help="print the path of an image's archive, built when missing")
    archive.add_argument("name", metavar="NAME", help="such as docuquery-app:dev")
    tool = commands.add_parser("tool", help="print the path of a program, built when missing")
    tool.add_argument(
        "name", metavar="NAME", help="kubectl, helm, versitygw, crane or node (all Kubernetes programs in one)"
    )
    return parser
