"""Starting and stopping the real node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from docuquery_local import (
    apt,
    cgroups,
    cluster_objects,
    network,
    node_images,
    ownership,
    pki,
    preflight,
    processes,
    programs,
    sysctls,
)
from docuquery_local.api import Api
from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import CHECKOUT, Settings
from docuquery_local.shell import run, say, tail

START_LIMIT = 120.0
STOP_PATIENCE = 15.0


def up(settings: Settings) -> None:
    """Bring the node up; on a running one, say so."""
    preflight.check_machine(settings)
    apt.ensure(settings, apt.NODE)
    ownership.check(settings)
    healthy = _is_healthy(settings)
    if healthy and _complete(settings).exists():
        _write_kubeconfig(settings)
        say(f"the cluster {settings.node} is already running; kubeconfig: {settings.kubeconfig}")
        return
    archives = node_images.prepare(settings)
    started = time.monotonic()
    if not healthy:
        _restart(settings)
    _finish(settings, archives, started)


def down(settings: Settings) -> None:
    """Stop the node and delete everything that belongs to it, except the cache."""
    preflight.require_root()
    ownership.check(settings)
    _clear_remains(settings)
    sysctls.restore(settings)
    ownership.remove_state(settings)
    settings.kubeconfig.unlink(missing_ok=True)
    say(f"the cluster {settings.node} is gone")


def status(settings: Settings) -> bool:
    """Print what runs; True when all is well."""
    if _identity(settings) is None:
        say(f"the cluster {settings.node} is not running")
        return False
    for name, state in _program_states(settings).items():
        say(f"{name:<26}{'running' if state['running'] else 'NOT RUNNING':<14}restarts {state['restarts']}")
    healthy = _is_healthy(settings)
    say(f"API server {settings.server}: {'ready' if healthy else 'NOT READY'}; kubeconfig {settings.kubeconfig}")
    return healthy


def is_running(settings: Settings) -> bool:
    """Whether the node's first process lives."""
    return _identity(settings) is not None


def admin_api(settings: Settings) -> Api:
    """The API as its administrator."""
    return Api(settings.server, settings.pki, "admin")


def _is_healthy(settings: Settings) -> bool:
    if _identity(settings) is None:
        return False
    states = _program_states(settings)
    return bool(states) and all(s["running"] for s in states.values()) and admin_api(settings).ready()


def _complete(settings: Settings) -> Path:
    # Written last: an `up` that was interrupted half-way is taken up again, not taken for done.
    return settings.run / "complete"


def _restart(settings: Settings) -> None:
    if ownership.is_ours(settings):
        _clear_remains(settings)
    preflight.check_names_free(settings)
    _start(settings)


def _start(settings: Settings) -> None:
    ownership.claim(settings)
    for directory in (settings.logs, settings.config, settings.run):
        directory.mkdir(parents=True, exist_ok=True)
    sysctls.record(settings)
    pki.create(settings)
    programs.write_configs(settings)
    network.create(settings)
    cgroups.create(settings.node)
    for path in (Path("/run/containerd"), Path("/var/lib/cni"), Path("/var/log/containers")):
        path.mkdir(parents=True, exist_ok=True)
    _spawn_supervisor(settings)


def _spawn_supervisor(settings: Settings) -> None:
    command = [
        "nsenter", f"--net={network.namespace_path(settings)}",
        "unshare", "--pid", "--fork", "--mount", "--mount-proc", "--propagation", "private", "--kill-child=SIGKILL",
        sys.executable, str(CHECKOUT / "deploy/local/cluster.py"), "_supervise",
    ]  # fmt: skip
    with (settings.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env={**os.environ, **_own_environment(settings)},
        )  # fmt: skip
    identity = processes.Identity.of(process.pid)
    if identity is None:
        raise LocalClusterError(f"the node's first process ended at once: {tail(settings.logs / 'supervisor.log')}")
    processes.save(settings.state / "node.json", identity)
    process.returncode = 0  # it outlives this command; nothing here waits for it


def _own_environment(settings: Settings) -> dict[str, str]:
    return {
        "DOCUQUERY_NODE": settings.node,
        "DOCUQUERY_STATE": str(settings.state),
        "DOCUQUERY_CACHE": str(settings.cache),
        "DOCUQUERY_KUBECONFIG": str(settings.kubeconfig),
        "DOCUQUERY_NET": str(settings.net),
    }


def _finish(settings: Settings, archives: list[Path], started: float) -> None:
    _wait(settings, settings.containerd_socket.exists, "containerd", started)
    for archive in archives:
        node_images.load(settings, archive)
    api = admin_api(settings)
    _wait(settings, api.ready, "kube-apiserver", started)
    _write_kubeconfig(settings)
    cluster_objects.apply(settings)
    _wait(settings, lambda: cluster_objects.node_ready(api, settings.node), "kubelet", started)
    _wait(settings, lambda: cluster_objects.dns_ready(api, settings), "kubelet", started)
    _complete(settings).touch()
    seconds = time.monotonic() - started
    say(f"the cluster {settings.node} is ready after {seconds:.1f} s; kubeconfig: {settings.kubeconfig}")


def _wait(settings: Settings, condition: Callable[[], bool], program: str, started: float) -> None:
    while not condition():
        if _identity(settings) is None:
            raise LocalClusterError(f"the node's first process ended: {tail(settings.logs / 'supervisor.log')}")
        if time.monotonic() - started > START_LIMIT:
            log = settings.logs / f"{program}.log"
            message = f"{program} is not ready after {START_LIMIT:.0f} s: {tail(log, 3)} (full log: {log})"
            raise LocalClusterError(message)
        time.sleep(0.1)


def _write_kubeconfig(settings: Settings) -> None:
    pki.write_private(settings.kubeconfig, pki.kubeconfig(settings, "admin"))


def _clear_remains(settings: Settings) -> None:
    """Remove everything of an earlier run but the data; each part may be missing."""
    _stop_processes(settings)
    if cgroups.exists(settings.node):
        cgroups.kill_all(settings.node)
        cgroups.remove(settings.node)
    if shutil.which("ip") is not None:
        network.remove(settings)
    _wait_for_loops(settings)
    shutil.rmtree(settings.run, ignore_errors=True)
    (settings.state / "node.json").unlink(missing_ok=True)


def _stop_processes(settings: Settings) -> None:
    outer = _identity(settings)
    if outer is None:
        return
    child = processes.first_child(outer.pid)
    inner = processes.Identity.of(child) if child is not None else None
    if inner is not None:
        processes.stop(inner, STOP_PATIENCE)
    # Ends by itself with its child; the namespace's other processes are gone before it returns.
    processes.stop(outer, 5.0)


def _wait_for_loops(settings: Settings) -> None:
    # The kernel frees the mounts of a namespace, and with them the loop devices, shortly after its last process.
    deadline = time.monotonic() + 10
    while loops := own_loops(settings):
        if time.monotonic() > deadline:
            for device in loops:
                run(["losetup", "-d", device], check=False)
            return
        time.sleep(0.1)


def own_loops(settings: Settings) -> list[str]:
    """The loop devices whose files lie in this cluster's state."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = path.read_text().strip()
        except OSError:
            continue  # freed meanwhile
        if backing.startswith(f"{settings.state}/"):
            found.append(f"/dev/{path.parts[3]}")
    return found


def _identity(settings: Settings) -> processes.Identity | None:
    identity = processes.load(settings.state / "node.json")
    return identity if identity is not None and identity.alive() else None


def _program_states(settings: Settings) -> dict[str, dict[str, int]]:
    try:
        states: dict[str, dict[str, int]] = json.loads((settings.run / "status.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return states
