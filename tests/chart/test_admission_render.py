"""The admission policies as they are rendered; what they decide is tried on an API server in tests/apiserver."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from docuquery_operator.catalogue.actions import ACTIONS
from docuquery_operator.catalogue.actions.restart_workload import RestartWorkload
from docuquery_operator.catalogue.actions.scale_workload import ScaleWorkload
from docuquery_operator.domain.world import Risk
from tests.chart.helm import CHART, CHECKOUT, KUBE_VERSION, NAMESPACE, RELEASE, Object, helm, of_kind, render

pytestmark = pytest.mark.timeout(300)
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
NAMES = {
    f"{RELEASE}-{what}" for what in ("incidents", "stacks", "runbooks", "windows", "backupjobs", "restorejobs", "status")
}
ASKED = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"


def _policies(values: Object | None = None) -> dict[str, Object]:
    return {p["metadata"]["name"]: p for p in of_kind(render(values), POLICY)}


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["one", "two"]}], ids=["all", "namespaces"])
def test_every_policy_is_bound_where_the_operator_watches(values: Object) -> None:
    bindings = {b["spec"]["policyName"]: b["spec"] for b in of_kind(render(values), BINDING)}
    assert set(bindings) == set(_policies(values)) == NAMES
    for spec in bindings.values():
        assert spec["validationActions"] == ["Deny"]
        where = spec.get("matchResources", {}).get("namespaceSelector", {}).get("matchExpressions", [])
        told = [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["one", "two"]}]
        assert where == (told if values else [])


def test_policies_fail_closed_and_say_what_to_do() -> None:
    for policy in _policies().values():
        spec = policy["spec"]
        assert spec["failurePolicy"] == "Fail"
        for validation in spec["validations"]:
            assert validation["reason"] == "Forbidden"
            assert re.search(r"[:;] (ask|add|leave|people)|kubectl auth whoami", validation["message"]), validation


@pytest.mark.parametrize(
    ("values", "account"),
    [
        ({}, RELEASE),
        ({"serviceAccount.name": "mine"}, "mine"),
        ({"serviceAccount.create": False}, "default"),
        ({"fullnameOverride": "other"}, "other"),
    ],
    ids=str,
)
def test_only_the_operators_account_is_exempt(values: Object, account: str) -> None:
    policies = _policies(values)
    assert len(policies) == 7
    for policy in policies.values():
        (condition,) = policy["spec"]["matchConditions"]
        assert condition["expression"] == f"request.userInfo.username != 'system:serviceaccount:{NAMESPACE}:{account}'"


def test_status_of_all_kinds_is_covered() -> None:
    (rule,) = _policies()[f"{RELEASE}-status"]["spec"]["matchConstraints"]["resourceRules"]
    crds = of_kind(render(), "CustomResourceDefinition")
    assert rule["resources"] == [f"{c['spec']['names']['plural']}/status" for c in sorted(crds, key=_order)]


def _order(crd: Object) -> int:
    order = ["stacks", "incidents", "runbooks", "maintenancewindows", "backupjobs", "restorejobs"]
    return order.index(crd["spec"]["names"]["plural"])


def _lists(expression: str) -> set[str]:
    return set(re.findall(r"'(\w+)'", expression))


def test_the_actions_of_the_rules_are_those_of_the_catalogue() -> None:
    """What is in neither list counts as a restart, so a new action that touches something is never let through unasked."""
    variables = {v["name"]: v["expression"] for v in _policies()[f"{RELEASE}-runbooks"]["spec"]["variables"]}
    # Both write the workload and read no Secret.
    restarts = {a.name for a in ACTIONS.values() if isinstance(a, RestartWorkload | ScaleWorkload)}
    passive = {a.name for a in ACTIONS.values() if a.risk is Risk.NONE}
    sessions = set(ACTIONS) - restarts - passive
    assert sessions <= _lists(variables["endsSessions"])
    assert sessions | passive <= _lists(variables["restarts"])
    assert not restarts & _lists(variables["restarts"])
    assert not passive & _lists(variables["endsSessions"])


@pytest.mark.parametrize(
    ("served", "refused"),
    [([], False), (["apps/v1/Deployment"], True), (["apps/v1/Deployment", ASKED], False)],
    ids=["offline", "not served", "served"],
)
def test_a_server_without_the_api_is_told(served: list[str], refused: bool) -> None:
    given = [part for kind in served for part in ("--api-versions", kind)]
    done = helm("template", RELEASE, str(CHART), "--kube-version", KUBE_VERSION, *given)
    assert (done.returncode != 0) is refused
    assert not refused or "serve it, or set admission.enabled=false" in done.stderr
    done = helm("template", RELEASE, str(CHART), "--kube-version", KUBE_VERSION, *given, "--set", "admission.enabled=false")
    assert done.returncode == 0


def _rows(section: str) -> list[list[str]]:
    page = (CHECKOUT / "docs" / "admission.md").read_text(encoding="utf-8")
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]


def test_the_page_names_every_policy_and_what_makes_it_ask() -> None:
    rules = _rows("The rules")
    assert {f"{RELEASE}-{row[0].strip('`')}" for row in rules} == NAMES
    told = " ".join(" ".join(row) for row in rules)
    for name in ("incidents", "stacks"):
        variables: dict[str, Any] = {
            v["name"]: v["expression"] for v in _policies()[f"{RELEASE}-{name}"]["spec"]["variables"]
        }
        for field in re.findall(r"object\.spec\.\?(\w+) !=", variables["asksForMore"]):
            assert f"`{field}`" in told, field


def test_the_smallest_release_has_none() -> None:
    values = yaml.safe_load((CHART / "ci" / "namespaced-values.yaml").read_text())
    assert not of_kind(render(values), POLICY, BINDING, "ClusterRole", "CustomResourceDefinition")
