"""The same commands where Docker runs: a kind cluster from kind-config.yaml."""

from __future__ import annotations

from pathlib import Path

from docuquery_local import gobuild
from docuquery_local.programs import plain_registry
from docuquery_local.settings import CHECKOUT, REGISTRY_PORT, Settings
from docuquery_local.shell import run, run_long, say

CONFIG = CHECKOUT / "kind-config.yaml"
# kind brings the local-path provisioner; the class gets the name that the manifests of the local cluster use.
STORAGE_CLASS = Path(__file__).resolve().parent.parent / "kind" / "storage-class.yaml"


def up(settings: Settings) -> None:
    """Create the kind cluster unless it runs."""
    settings.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    if settings.node in _clusters():
        run(["kind", "export", "kubeconfig", "--name", settings.node, "--kubeconfig", settings.kubeconfig])
        say(f"the kind cluster {settings.node} is already running; kubeconfig: {settings.kubeconfig}")
        return
    command = ["kind", "create", "cluster", "--name", settings.node, "--config", str(CONFIG), "--wait", "180s"]
    log = settings.cache / "logs" / "kind.log"
    run_long([*command, "--kubeconfig", str(settings.kubeconfig)], what="kind", log=log)
    _trust_plain_registry(settings)
    kubectl = [str(gobuild.tool(settings, "kubectl")), "--kubeconfig", str(settings.kubeconfig)]
    run([*kubectl, "annotate", "storageclass", "standard", "storageclass.kubernetes.io/is-default-class-"])
    run([*kubectl, "apply", "--server-side", "-f", str(STORAGE_CLASS)])
    say(f"the kind cluster {settings.node} is ready; kubeconfig: {settings.kubeconfig}")


def down(settings: Settings) -> None:
    """Delete the kind cluster."""
    run(["kind", "delete", "cluster", "--name", settings.node, "--kubeconfig", settings.kubeconfig])
    settings.kubeconfig.unlink(missing_ok=True)
    say(f"the kind cluster {settings.node} is gone")


def status(settings: Settings) -> bool:
    """Say whether the kind cluster runs."""
    running = settings.node in _clusters()
    say(f"the kind cluster {settings.node} is {'running' if running else 'not running'}")
    return running


def _trust_plain_registry(settings: Settings) -> None:
    """As on the local node: one registry on the host may speak HTTP. containerd reads the file at each pull."""
    inside = ["docker", "exec", f"{settings.node}-control-plane"]
    registry = f"{run([*inside, 'ip', 'route', 'show', 'default']).split()[2]}:{REGISTRY_PORT}"
    folder = f"/etc/containerd/certs.d/{registry}"
    run([*inside, "mkdir", "-p", folder])
    run([*inside, "sh", "-c", f"echo '{plain_registry(registry)}' > {folder}/hosts.toml"])


def _clusters() -> set[str]:
    return set(run(["kind", "get", "clusters"]).split())
