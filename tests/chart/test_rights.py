"""The rendered rights: nothing forbidden, and exactly what the code asks of the API server, no more and no less."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from docuquery_operator import ports
from docuquery_operator.ports import Kind
from tests.chart.helm import CHECKOUT, NAMESPACE, RELEASE, Object, of_kind, render

pytestmark = pytest.mark.timeout(300)
SOURCE = CHECKOUT / "operator" / "docuquery_operator"
OURS = (ports.STACK, ports.INCIDENT, ports.RUNBOOK, ports.MAINTENANCE_WINDOW, ports.BACKUP_JOB, ports.RESTORE_JOB)
WORKLOADS = tuple(ports.WORKLOADS.values())
SCALERS = (ports.HORIZONTAL_POD_AUTOSCALER, ports.SCALED_OBJECT)
VERBS = {"get": "get", "list": "list", "served": "list", "create": "create", "patch": "patch"}
# Kinds of ours whose status tells what was done.
WRITTEN = (ports.STACK, ports.INCIDENT, ports.BACKUP_JOB, ports.RESTORE_JOB, ports.MAINTENANCE_WINDOW)
# What a call means whose kind is not a constant: file and expression.
VARIABLES: dict[tuple[str, str], tuple[Kind, ...]] = {
    ("catalogue/shared.py", "WORKLOADS[ref.kind]"): WORKLOADS,
    ("catalogue/actions/restart_workload.py", "WORKLOADS[plan['kind']]"): WORKLOADS,
    ("catalogue/actions/restart_workload.py", "revisions"): (ports.REPLICA_SET, ports.CONTROLLER_REVISION),
    ("controllers/blocks.py", "kind"): (ports.INGRESS, ports.NETWORK_POLICY),
    ("catalogue/actions/scale_workload.py", "WORKLOADS[ref['kind']]"): WORKLOADS,
    ("catalogue/actions/scale_workload.py", "_kind(plan)"): (*WORKLOADS, *SCALERS),
    ("catalogue/actions/limits.py", "WORKLOADS[plan['kind']]"): WORKLOADS,
    ("catalogue/tasks/image_rollout.py", "self._kind"): WORKLOADS,
    ("catalogue/tasks/rotate_logs.py", "WORKLOADS[ref.kind]"): WORKLOADS,
    ("catalogue/tasks/update_images.py", "WORKLOADS[ref.kind]"): WORKLOADS,
    ("catalogue/put_back.py", "kind"): (*WORKLOADS, *SCALERS),
    ("controllers/temporary.py", "kind"): (*WORKLOADS, *SCALERS),
    ("controllers/invalid.py", "kind"): WRITTEN,
    ("controllers/status.py", "kind"): WRITTEN,
    ("catalogue/shared.py", "kind"): (ports.REPLICA_SET, ports.CONTROLLER_REVISION),
    ("controllers/backup_reads.py", "kind"): (ports.STACK, ports.RUNBOOK, ports.BACKUP_JOB, ports.MAINTENANCE_WINDOW),
    ("controllers/backup_reads.py", "WORKLOADS[ref.kind]"): WORKLOADS,
    ("runtime/process.py", "kind"): OURS,
    ("runtime/resync.py", "kind"): OURS,
}
LEADER_FILE = "runtime/lease.py"
RECEIVER = "web/receiver/"
# `cluster` is an entry of the kubeconfig there, not the API.
NO_CALLS = "adapters/access.py"
Right = tuple[str, str, str]
# kopf lists and watches the six kinds, and the leader Lease by its name.
WATCHED: set[Right] = {(k.group, k.plural, verb) for k in (*OURS, ports.JOB) for verb in ("list", "watch")}
CANARY: set[Right] = {(ports.LEASE.group, ports.LEASE.plural, verb) for verb in ("list", "watch")}


def _rules(objects: list[Object], namespace: str | None, suffix: str = "") -> list[Object]:
    """Rules of the operator's own role in a namespace; None: the ClusterRole."""
    roles = of_kind(objects, "Role" if namespace else "ClusterRole")
    wanted = (namespace, RELEASE + suffix)
    return next(r["rules"] for r in roles if (r["metadata"].get("namespace"), r["metadata"]["name"]) == wanted)


def _granted(rules: list[Object]) -> list[Right]:
    return [r for rule in rules for r in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])]


def _calls() -> Iterator[tuple[str, ast.Call, str]]:
    for path in sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / NO_CALLS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value).rpartition(".")[2].lstrip("_")
                if owner == "cluster" and node.func.attr in {*VERBS, "evict", "logs", "log_stream"}:
                    yield path.relative_to(SOURCE).as_posix(), node, node.func.attr


def _kinds(file: str, call: ast.Call) -> tuple[Kind, ...]:
    text = ast.unparse(call.args[0])
    constant = getattr(ports, text, None) if text.isidentifier() else None
    if isinstance(constant, Kind):
        return (constant,)
    assert (file, text) in VARIABLES, f"{file}:{call.lineno}: say in VARIABLES which kinds '{text}' can be"
    return VARIABLES[file, text]


def _subresource(call: ast.Call) -> str:
    given = [k.value for k in call.keywords if k.arg == "subresource"] or call.args[4:5]
    return f"/{ast.literal_eval(given[0])}" if given else ""


def _used(leader: bool, receiver: bool = False) -> set[Right]:
    found: set[Right] = set()
    for file, call, method in _calls():
        if (file == LEADER_FILE) is not leader or file.startswith(RECEIVER) is not receiver:
            continue
        if method in ("evict", "logs", "log_stream"):
            found.add(("", "pods/eviction", "create") if method == "evict" else ("", "pods/log", "get"))
            continue
        subresource = _subresource(call) if method == "patch" else ""
        found |= {(k.group, k.plural + subresource, VERBS[method]) for k in _kinds(file, call)}
    return found


@pytest.mark.parametrize("watched", [["one", "two"], []], ids=["namespaces", "all"])
def test_a_watched_namespace_gives_exactly_the_rights_that_the_code_uses(watched: list[str]) -> None:
    objects = render({"watchNamespaces": watched})
    for namespace in watched or [None]:
        granted = _granted(_rules(objects, namespace))
        assert len(granted) == len(set(granted))
        assert set(granted) == _used(leader=False) | WATCHED | CANARY


@pytest.mark.parametrize("watched", [["one", "two"], []], ids=["namespaces", "all"])
def test_the_receiver_has_exactly_the_rights_that_its_code_uses(watched: list[str]) -> None:
    objects = render({"watchNamespaces": watched, "receiver.enabled": True})
    for namespace in watched or [None]:
        rules = _rules(objects, namespace, "-receiver")
        assert set(_granted(rules)) == _used(leader=False, receiver=True)
        assert [r.get("resourceNames") for r in rules if "leases" in r["resources"]] == [["docuquery-watchdog"]]
    bound = [b for b in of_kind(objects, "RoleBinding", "ClusterRoleBinding") if b["metadata"]["name"].endswith("-receiver")]
    assert len(bound) == max(1, len(watched))
    for binding in bound:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{RELEASE}-receiver", "namespace": NAMESPACE}]


def test_the_release_namespace_gives_the_lease_and_nothing_of_the_stacks() -> None:
    rules = _rules(render({"watchNamespaces": ["one"]}), NAMESPACE, "-leader")
    assert set(_granted(rules)) == _used(leader=True) | CANARY | WATCHED
    for watched in ([], [NAMESPACE]):
        rules = _rules(render({"watchNamespaces": watched}), NAMESPACE, "-leader")
        assert set(_granted(rules)) == _used(leader=True) | CANARY


def test_the_leader_lease_is_named_where_rights_can_be_named() -> None:
    objects = render({"watchNamespaces": ["one"]})
    for rule in [*_rules(objects, NAMESPACE, "-leader"), *_rules(objects, "one")]:
        if rule["resources"] == ["leases"] and "watch" in rule["verbs"]:
            assert rule["resourceNames"] == [RELEASE]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["one"]}, {"rbac.secretNames": ["a"]}], ids=str)
def test_nothing_forbidden_is_granted(values: Object) -> None:
    roles = of_kind(render(values), "Role", "ClusterRole")
    assert roles
    powers = {"escalate", "bind", "impersonate"}
    for rule in (rule for role in roles for rule in role["rules"]):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not any("*" in word for word in words)
        assert not powers & set(rule["verbs"])
        assert not {"pods/exec", "pods/attach", "pods/portforward", "nodes", "serviceaccounts/token"} & set(words)
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]


def test_secrets_can_be_narrowed_to_names() -> None:
    def secrets(values: Object) -> Object:
        return next(r for r in _rules(render(values), "one") if r["resources"] == ["secrets"])

    assert "resourceNames" not in secrets({"watchNamespaces": ["one"]})
    narrowed = secrets({"watchNamespaces": ["one"], "rbac.secretNames": ["a", "b"]})
    assert narrowed["resourceNames"] == ["a", "b"]


def test_only_the_operators_account_is_bound() -> None:
    for values in ({}, {"watchNamespaces": ["one", "two"]}):
        for binding in of_kind(render(values), "RoleBinding", "ClusterRoleBinding"):
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}]


def test_stacks_are_for_admins() -> None:
    objects = render()
    edit, admin = _granted(_rules(objects, None, "-edit")), _granted(_rules(objects, None, "-admin"))
    view = _granted(_rules(objects, None, "-view"))
    assert {resource for _, resource, _ in edit} == {"incidents", "maintenancewindows", "backupjobs"}
    assert {resource for _, resource, _ in admin} == {"stacks", "runbooks", "restorejobs"}
    assert {verb for _, _, verb in view} == {"get", "list", "watch"}


def _explained(section: str) -> set[tuple[str, str]]:
    """Resource and verb of each row of a table in docs/rbac.md."""
    page = (CHECKOUT / "docs" / "rbac.md").read_text()
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    assert all(len(row) == 3 and row[2] for row in rows), rows
    return {(row[0].strip("`"), verb) for row in rows for verb in row[1].split(", ")}


@pytest.mark.parametrize(
    ("section", "namespace", "suffix"),
    [
        ("In each watched namespace", "one", ""),
        ("In the release namespace", NAMESPACE, "-leader"),
        ("The receiver of alerts and answers", "one", "-receiver"),
    ],
)
def test_every_right_is_explained_and_no_other(section: str, namespace: str, suffix: str) -> None:
    rules = _rules(render({"watchNamespaces": ["one"], "receiver.enabled": True}), namespace, suffix)
    assert _explained(section) == {(resource, verb) for _, resource, verb in _granted(rules)}


def test_the_scan_sees_the_code() -> None:
    """Were the calls written in another way, the comparison above would compare nothing."""
    files = {Path(file).name for file, _, _ in _calls()}
    assert {"lease.py", "evidence.py", "restart_workload.py", "shared.py", "events.py", "ledgers.py"} <= files
