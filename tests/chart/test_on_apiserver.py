"""The chart on a real API server: restricted pods, and an operator that works with exactly the rendered rights."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, CHECKOUT, NAMESPACE, RELEASE, helm, pods, render
from tests.harness import sick
from tests.harness.apiserver import ApiServer, install_crds
from tests.harness.operator import HostOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]
_numbers = itertools.count(1)


def _namespace(server: ApiServer, name: str, **labels: str) -> None:
    named = {k.replace("__", "/").replace("_", "-"): v for k, v in labels.items()}
    code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": named}})
    assert code in (201, 409), answer


def test_all_pods_pass_the_restricted_standard(server: ApiServer) -> None:
    _namespace(server, "restricted", **{"pod-security.kubernetes.io__enforce": "restricted"})
    rendered = pods(render())
    assert len(rendered) == 2
    for pod in rendered:
        pod["metadata"] |= {"name": "pod", "namespace": "restricted"}
        sick.post(server, "/api/v1/namespaces/restricted/pods?dryRun=All&fieldValidation=Strict", pod)
    rendered[0]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    code, answer = server.request("POST", "/api/v1/namespaces/restricted/pods?dryRun=All", rendered[0])
    assert (code, "violates PodSecurity" in answer["message"]) == (403, True)


def test_every_object_is_accepted(server: ApiServer) -> None:
    for namespace in (NAMESPACE, "one"):
        _namespace(server, namespace)
    objects = render({"watchNamespaces": ["one"], "networkPolicy.enabled": True})
    text = yaml.safe_dump_all(objects)
    answer = server.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("serverside-applied") == len(objects)


POLICIES = ("backupjobs", "incidents", "restorejobs", "runbooks", "stacks", "status", "windows")


def test_helm_installs_and_removes_the_policies(server: ApiServer) -> None:
    """By helm itself, which asks the server what it serves."""
    _namespace(server, "helmed")
    where = ["policies", "-n", "helmed", "--kubeconfig", str(server.kubeconfig)]
    only_these = {"crds.enabled": False, "rbac.aggregate": False, "watchNamespaces": ["helmed"]}
    given = [part for key, value in only_these.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    done = helm("install", *where[:1], str(CHART), *where[1:], *given)
    assert done.returncode == 0, done.stderr
    kinds = "validatingadmissionpolicy,validatingadmissionpolicybinding"
    found = ("get", kinds, "-l", "app.kubernetes.io/instance=policies", "-o", "name")
    names = sorted(line.rpartition("-operator-")[2] for line in server.kubectl(*found).stdout.split())
    # Each policy with its binding.
    assert names == sorted([*POLICIES, *POLICIES])
    done = helm("uninstall", *where)
    assert done.returncode == 0, done.stderr
    assert server.kubectl(*found).stdout.split() == []


def _stack_and_incident(server: ApiServer, namespace: str) -> None:
    sick.stack(server, namespace)
    sick.incident(server, namespace)


def _other_kinds(server: ApiServer, namespace: str) -> None:
    for name in ("runbook", "backup-job-once", "restore-job", "maintenance-window-once"):
        text = (CHECKOUT / "docs" / "examples" / f"{name}.yaml").read_text()
        answer = server.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)
        assert answer.returncode == 0, answer.stderr


def _until(done: Callable[[], Any], seconds: float, operator: HostOperator) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {operator.tail()}"
        assert operator.alive(), operator.tail()
        time.sleep(0.2)
    return found


def _nothing_was_forbidden(log: Path) -> None:
    """Every 403 of an API server says `forbidden`; its number alone also stands in times and ports."""
    refused = [line for line in log.read_text().splitlines() if "forbidden" in line.lower()]
    assert not refused


def _install(server: ApiServer, watched: list[str], place: str) -> None:
    """The chart without CRDs; Deployments do nothing here, as no controller runs."""
    for namespace in {NAMESPACE, place}:
        _namespace(server, namespace)
    objects = render({"watchNamespaces": watched, "crds.enabled": False, "rbac.secretNames": ["postgres-operator"]})
    kept = [o for o in objects if o["kind"] != "Pod"]
    answer = server.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(kept))
    assert answer.returncode == 0, answer.stderr


def _kubeconfig(server: ApiServer, folder: Path) -> Path:
    """The operator's own ServiceAccount, as in its pod."""
    answer = server.kubectl("create", "token", RELEASE, "-n", NAMESPACE)
    assert answer.returncode == 0, answer.stderr
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": answer.stdout.strip()}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(params=["namespace", "all"])
def place(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    """A namespace for a stack, and what the release watches."""
    name = f"stack-{next(_numbers)}"
    return name, [name] if request.param == "namespace" else []


@pytest.fixture
def operator(server: ApiServer, place: tuple[str, list[str]], tmp_path: Path) -> Iterator[HostOperator]:
    """The operator as a process with the token of the release's ServiceAccount."""
    name, watched = place
    _install(server, watched, name)
    environment = {
        "DOCUQUERY_KUBECONFIG": str(_kubeconfig(server, tmp_path)),
        "DOCUQUERY_WATCH_NAMESPACES": ",".join(watched),
        "DOCUQUERY_NAMESPACE": NAMESPACE,
        "DOCUQUERY_INSTANCE": name,
        "DOCUQUERY_HTTP_HOST": "127.0.0.1",
        "DOCUQUERY_HTTP_PORT": "0",
        "DOCUQUERY_RESYNC_SECONDS": "600",
    }
    process = HostOperator(environment, tmp_path / "log")
    process.start()
    try:
        yield process
    finally:
        if process.alive():
            process.stop()
        # The ClusterRoleBinding of one case would hide a right that the next one lacks.
        server.kubectl("delete", "clusterrolebinding,clusterrole", RELEASE, "--ignore-not-found")


def test_the_operator_heals_with_exactly_these_rights(
    server: ApiServer, place: tuple[str, list[str]], operator: HostOperator, tmp_path: Path
) -> None:
    name, _ = place
    install_crds(server)
    sick.sick_database(server, name)
    _stack_and_incident(server, name)
    _other_kinds(server, name)

    def spoken() -> bool:
        kinds = ("runbooks", "backupjobs", "restorejobs", "maintenancewindows", "stacks")
        answers = [server.request("GET", f"{sick.API}/{name}/{kind}")[1]["items"] for kind in kinds]
        return all(items and items[0].get("status", {}).get("conditions") for items in answers)

    _until(lambda: sick.attempt(server, name), 60, operator)
    _until(spoken, 20, operator)
    reports = server.request("GET", f"/api/v1/namespaces/{name}/configmaps")[1]["items"]
    assert any(c["metadata"]["name"] == "docuquery-report" for c in reports)
    events = server.request("GET", f"/apis/events.k8s.io/v1/namespaces/{name}/events")[1]["items"]
    assert events
    assert operator.stop() == 0
    _nothing_was_forbidden(tmp_path / "log")
    lease = server.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}")[1]
    assert not lease["spec"].get("holderIdentity")


def test_crds_may_come_after_the_operator(server: ApiServer, tmp_path: Path) -> None:
    """kopf looks for kinds once; an operator that started too early would else be blind until its resync."""
    name = f"late-{next(_numbers)}"
    server.kubectl("delete", "crd", "--all", "--wait=true")
    _install(server, [name], name)
    environment = {
        "DOCUQUERY_KUBECONFIG": str(_kubeconfig(server, tmp_path)),
        "DOCUQUERY_WATCH_NAMESPACES": name,
        "DOCUQUERY_NAMESPACE": NAMESPACE,
        "DOCUQUERY_INSTANCE": name,
        "DOCUQUERY_HTTP_HOST": "127.0.0.1",
        "DOCUQUERY_HTTP_PORT": "0",
    }
    operator = HostOperator(environment, tmp_path / "log")
    operator.start()
    try:
        operator.wait_for_line("the CRDs of ")
        install_crds(server)
        _stack_and_incident(server, name)
        # The release namespace is watched for the leader Lease only: its objects are none of the operator's business.
        _stack_and_incident(server, NAMESPACE)
        incident = f"{sick.API}/{name}/incidents/docuquery"
        _until(lambda: server.request("GET", incident)[1].get("status"), 20, operator)
        time.sleep(2)
        assert not server.request("GET", f"{sick.API}/{NAMESPACE}/incidents/docuquery")[1].get("status")
    finally:
        operator.stop()
    _nothing_was_forbidden(tmp_path / "log")
