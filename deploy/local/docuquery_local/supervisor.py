"""The node's first process: pid 1 in its own pid and mount namespace.

All programs of the node and all its containers are its descendants. When it ends, the kernel ends every one of
them and drops every mount of the node, however badly things went before; nothing has to be found by name.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from types import FrameType

from docuquery_local import cgroups, volumes
from docuquery_local.programs import Program, programs
from docuquery_local.settings import Settings
from docuquery_local.shell import run, say

TICK = 0.1
RESTART_AFTER = 1.0
GRACE = 8.0


class Supervisor:
    """Starts programs when what they need is there, restarts those that end, and reaps orphans."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._programs = programs(settings)
        self._running: dict[int, Program] = {}
        self._not_before: dict[str, float] = {}
        self._restarts: dict[str, int] = {}
        self._stopping = False
        self._api_ready = False

    def run(self) -> int:
        """Run until asked to stop."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        while not self._stopping:
            changed = self._reap()
            changed = self._start_due() or changed
            if changed:
                self._report()
            time.sleep(TICK)
        self._stop_all()
        return 0

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _reap(self) -> bool:
        changed = False
        while pid := _reap_one():
            program = self._running.pop(pid, None)
            if program is None:
                continue  # an orphan, such as a container's shim
            changed = True
            say(f"{program.name} ended; starting it again")
            self._not_before[program.name] = time.monotonic() + RESTART_AFTER
            self._restarts[program.name] = self._restarts.get(program.name, 0) + 1
        return changed

    def _start_due(self) -> bool:
        names = {program.name for program in self._running.values()}
        due = [program for program in self._programs if program.name not in names and self._may_start(program)]
        for program in due:
            self._running[self._start(program)] = program
        return bool(due)

    def _may_start(self, program: Program) -> bool:
        if time.monotonic() < self._not_before.get(program.name, 0.0):
            return False
        if program.needs_socket is not None and not program.needs_socket.exists():
            return False
        return not program.needs_api or self._api_is_ready()

    def _api_is_ready(self) -> bool:
        # Asked once: later restarts of the API server are each program's own business.
        self._api_ready = self._api_ready or api_ready(self._settings)
        return self._api_ready

    def _start(self, program: Program) -> int:
        with (self._settings.logs / f"{program.name}.log").open("ab") as log:
            process = subprocess.Popen(
                program.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        # Reaped by pid 1's own loop; Popen must not wait for it a second time.
        process.returncode = 0
        return process.pid

    def _report(self) -> None:
        running = {program.name for program in self._running.values()}
        names = [program.name for program in self._programs]
        status = {name: {"running": name in running, "restarts": self._restarts.get(name, 0)} for name in names}
        path = self._settings.run / "status.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(status))
        temporary.replace(path)

    def _stop_all(self) -> None:
        # The kubelet first: it must not see its containers end and start them again.
        for pid, program in self._running.items():
            if program.name == "kubelet":
                os.kill(pid, signal.SIGKILL)
        os.kill(-1, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        # Only the pods hold data. The rest ends with this process: the API server alone would drain for ten seconds.
        while time.monotonic() < deadline and cgroups.has_pods(self._settings.node):
            _reap_one()
            time.sleep(TICK)
        os.sync()


def main(settings: Settings) -> int:
    """Prepare the namespaces and supervise."""
    cgroups.join(settings.node)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _prepare_mounts(settings)
    volumes.mount_all(settings)
    return Supervisor(settings).run()


def api_ready(settings: Settings) -> bool:
    """Whether the API server says that it is ready; it answers this question to anybody."""
    context = ssl.create_default_context(cafile=str(settings.pki / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"{settings.server}/readyz", timeout=2):
            return True
    except OSError:
        return False


def _prepare_mounts(settings: Settings) -> None:
    # Shared inside the node (volumes must reach containers), private towards the host.
    run(["mount", "--make-rshared", "/"])
    # Fixed paths of containerd, the CNI library and the kubelet, kept apart from the host's and dropped with the node.
    for path in ("/run/containerd", "/var/lib/cni", "/var/log/containers"):
        if Path(path).is_dir():
            run(["mount", "-t", "tmpfs", "-o", "mode=0755", settings.node, path])


def _reap_one() -> int:
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0
    return pid
