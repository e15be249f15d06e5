"""A second local node beside the first: started, used, broken, recovered, and gone without a trace.

The tests run in the order of the file, for they follow one node through its life.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="the node needs root"),
    pytest.mark.skipif(shutil.which("kind") is not None, reason="with kind there is no node of our own"),
]

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = [sys.executable, str(ROOT / "deploy/local/cluster.py")]
NODE = "docuquery-test-node"
NET = "121"
IMAGE = "docuquery-local/redis:8"

WORKLOAD = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: small}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: too-small}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: redis, labels: {app: redis}}
spec:
  automountServiceAccountToken: false
  securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999, runAsNonRoot: true}
  terminationGracePeriodSeconds: 1
  containers:
    - name: redis
      image: IMAGE
      imagePullPolicy: IfNotPresent
      args: [redis-server, --protected-mode, "no", --appendonly, "yes", --appendfsync, always]
      ports: [{containerPort: 6379}]
      readinessProbe: {exec: {command: [redis-cli, ping]}, periodSeconds: 1}
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: small}}]
---
apiVersion: v1
kind: Service
metadata: {name: redis}
spec: {selector: {app: redis}, ports: [{port: 6379}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: client, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
    - name: greedy
      image: IMAGE
      imagePullPolicy: IfNotPresent
      command: [bash, -c, "x=$(head -c 200M /dev/zero | tr '\\\\0' a); sleep 5"]
      resources: {limits: {memory: 32Mi}}
"""

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: redis}
spec: {podSelector: {matchLabels: {app: redis}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]}
"""


class Node:
    """The second node, through the same commands that a person types."""

    def __init__(self, home: Path) -> None:
        self.state = home / "state"
        self.kubeconfig = home / "kubeconfig"
        self.environ = {
            **os.environ,
            "DOCUQUERY_NODE": NODE,
            "DOCUQUERY_NET": NET,
            "DOCUQUERY_STATE": str(self.state),
            "DOCUQUERY_KUBECONFIG": str(self.kubeconfig),
        }

    def command(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*CLUSTER, *arguments], env=self.environ, capture_output=True, check=False, text=True, timeout=1500
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        kubectl = self.command("tool", "kubectl").strip()
        done = subprocess.run(
            [kubectl, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin, capture_output=True, check=False, text=True, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def in_pod(self, pod: str, *command: str, check: bool = True) -> str:
        return self.kubectl("exec", pod, "--", *command, check=check)

    def first_process(self) -> int:
        pid: int = json.loads((self.state / "node.json").read_text())["pid"]
        return pid

    def traces(self) -> dict[str, list[str]]:
        """Everything on the machine that bears this node's name or place."""
        marks = (NODE, str(self.state), f"dq{NET}-", f"10.{NET}.")
        return {
            "processes": [p for p in processes() if any(mark in p for mark in (f"/{NODE}/", str(self.state)))],
            "mounts": lines_with(Path("/proc/self/mountinfo").read_text(), marks),
            "namespaces": [p.name for p in Path("/run/netns").glob("*") if p.name == NODE],
            "links": [p.name for p in Path("/sys/class/net").iterdir() if p.name.startswith(f"dq{NET}-")],
            "routes": lines_with(output("ip", "route", "show", "table", "all"), marks),
            "loops": lines_with(output("losetup", "--list"), marks),
            "cgroups": [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/{NODE}")],
            "files": [str(p) for p in (self.state, self.kubeconfig) if p.exists()],
        }


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def lines_with(text: str, marks: tuple[str, ...]) -> list[str]:
    return [line for line in text.splitlines() if any(mark in line for mark in marks)]


def processes() -> list[str]:
    """Command line and cgroups of every living process; one that ended may wait a while to be reaped."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if ") Z " in (directory / "stat").read_text():
                continue
            found.append((directory / "cmdline").read_text() + (directory / "cgroup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def eventually(what: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    # The kernel limits a socket's path; pytest's own temporary directories are too deep for it.
    home = Path("/var/tmp") / f"{NODE}-{os.getpid()}"
    home.mkdir()
    node = Node(home)
    try:
        yield node
    finally:
        node.command("down", check=False)
        shutil.rmtree(home)


def test_nothing_is_there_before(node: Node) -> None:
    assert not any(node.traces().values())


def test_it_starts(node: Node) -> None:
    printed = node.command("up")
    seconds = re.search(r"ready after ([\d.]+) s", printed)
    assert seconds, printed
    print(f"node ready after {seconds[1]} s")
    node.command("images", IMAGE)
    assert "Ready" in node.kubectl("get", "nodes")


def test_up_again_changes_nothing(node: Node) -> None:
    before = node.first_process()
    assert "already running" in node.command("up")
    assert node.first_process() == before
    assert "NOT" not in node.command("status")


def test_pods_run_and_find_a_service_by_name(node: Node) -> None:
    node.kubectl("apply", "-f", "-", stdin=WORKLOAD.replace("IMAGE", IMAGE))
    node.kubectl("wait", "--for=condition=Ready", "pod/redis", "pod/client", "--timeout=60s")
    set_key = ["redis-cli", "-h", "redis", "set", "kept", "yes"]
    # A ready pod is behind its service only after kube-proxy's next pass.
    eventually("an answer through the service", lambda: "OK" in node.in_pod("client", *set_key, check=False))
    assert "PONG" in node.in_pod("client", "redis-cli", "-h", "redis.default.svc.cluster.local", "ping")


def test_a_volume_is_as_large_as_it_says(node: Node) -> None:
    failed = node.in_pod("redis", "bash", "-c", "head -c 80M /dev/zero > /data/fill && echo fits || true")
    assert "fits" not in failed
    assert int(node.in_pod("redis", "stat", "-c", "%s", "/data/fill")) > 40 * 2**20
    node.in_pod("redis", "rm", "/data/fill")


def test_a_size_that_cannot_be_served_says_so(node: Node) -> None:
    def refused() -> bool:
        return "ask for 8Mi" in node.kubectl("get", "events", "-o", "jsonpath={.items[*].message}")

    eventually("an event on the claim", refused)


def test_a_memory_limit_is_enforced(node: Node) -> None:
    path = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    eventually("OOMKilled", lambda: node.kubectl("get", "pod", "greedy", "-o", path) == "OOMKilled")


def test_nothing_outside_the_machine_is_reachable(node: Node) -> None:
    answer = node.in_pod("client", "bash", "-c", "echo > /dev/tcp/192.0.2.77/80 && echo reached || true")
    assert "reached" not in answer


def test_a_network_policy_bites_and_lets_go(node: Node) -> None:
    def answers() -> bool:
        return "PONG" in node.in_pod("client", "timeout", "2", "redis-cli", "-h", "redis", "ping", check=False)

    node.kubectl("apply", "-f", "-", stdin=POLICY)
    eventually("the policy to block", lambda: not answers(), 15)
    assert "PONG" in node.in_pod("redis", "redis-cli", "ping")
    node.kubectl("delete", "networkpolicy", "redis")
    eventually("the way to be open again", answers, 15)


def test_a_killed_program_comes_back(node: Node) -> None:
    killed = [p for p in node_pids("kube-scheduler") if str(node.state) in cmdline(p)]
    assert len(killed) == 1
    os.kill(killed[0], signal.SIGKILL)
    eventually(
        "the scheduler again",
        lambda: "kube-scheduler            running       restarts 1" in node.command("status", check=False),
    )


def test_a_killed_node_recovers_with_its_data(node: Node) -> None:
    os.kill(node.first_process(), signal.SIGKILL)
    assert "not running" in node.command("status", check=False)
    printed = node.command("up")
    print(printed)
    eventually("redis with its data", lambda: "yes" in node.in_pod("redis", "redis-cli", "get", "kept", check=False), 90)


def test_a_deleted_claim_leaves_no_file(node: Node) -> None:
    node.kubectl("delete", "pod", "redis", "client", "greedy", "--wait=true")
    node.kubectl("delete", "pvc", "--all")
    eventually("no volumes", lambda: not list((node.state / "volumes").glob("*")))


def test_down_leaves_nothing_even_after_a_crash(node: Node) -> None:
    os.kill(node.first_process(), signal.SIGKILL)
    node.command("down")
    assert not any(node.traces().values()), node.traces()
    node.command("down")


def node_pids(name: str) -> list[int]:
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if name in cmdline(int(p.name)).split("\0")]


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
