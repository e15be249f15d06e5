"""What the chart renders: every toggle, the strict schema, and values that reach the pod."""

from __future__ import annotations

import functools
import json
import operator
from typing import Any

import pytest
import yaml

from docuquery_operator.settings import Settings
from tests.chart.helm import CHART, CHECKOUT, NAMESPACE, RELEASE, Object, helm, of_kind, only, render, template

pytestmark = pytest.mark.timeout(300)
WATCHED = {"watchNamespaces": ["one", "two"]}
MONITOR, POLICY = {"metrics.serviceMonitor.enabled": True}, {"networkPolicy.enabled": True}


@pytest.mark.parametrize("values", sorted(p.name for p in (CHART / "ci").glob("*.yaml")))
def test_lint(values: str) -> None:
    answer = helm("lint", "--strict", str(CHART), "--values", str(CHART / "ci" / values))
    assert answer.returncode == 0, answer.stdout + answer.stderr


TOGGLES: list[tuple[dict[str, Any], set[str], set[str]]] = [
    (
        {},
        {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PodDisruptionBudget", "Service"},
        {"ServiceMonitor"},
    ),
    (WATCHED, {"Role", "RoleBinding"}, {"ClusterRoleBinding"}),
    (WATCHED | {"rbac.aggregate": False}, {"Role"}, {"ClusterRole"}),
    ({"rbac.create": False, "rbac.aggregate": False}, {"ServiceAccount"}, {"Role", "ClusterRole", "RoleBinding"}),
    ({"crds.enabled": False}, {"Deployment"}, {"CustomResourceDefinition"}),
    ({"replicas": 1}, {"Deployment"}, {"PodDisruptionBudget"}),
    ({"podDisruptionBudget.enabled": False}, {"Deployment"}, {"PodDisruptionBudget"}),
    ({"serviceAccount.create": False, "serviceAccount.name": "mine"}, {"Deployment"}, {"ServiceAccount"}),
    ({"metrics.service.enabled": False}, {"Deployment"}, {"Service", "Pod"}),
    (MONITOR, {"ServiceMonitor"}, set()),
    (POLICY, {"NetworkPolicy"}, set()),
    ({}, {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}, set()),
    (
        {"admission.enabled": False},
        {"Deployment"},
        {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
    ),
]


@pytest.mark.parametrize(("values", "present", "absent"), TOGGLES, ids=[str(t[0]) for t in TOGGLES])
def test_toggles(values: dict[str, Any], present: set[str], absent: set[str]) -> None:
    kinds = {o["kind"] for o in render(values)}
    assert present <= kinds
    assert not absent & kinds


def test_objects_are_unique_and_in_a_known_namespace() -> None:
    objects = render(WATCHED | MONITOR | POLICY)
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))
    policies = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", *policies}
    for kind, namespace, name in names:
        assert namespace in ({None} if kind in cluster_wide else {NAMESPACE, "one", "two"}), (kind, name)


@pytest.mark.parametrize("keep", [True, False])
def test_crds_are_the_generated_ones(keep: bool) -> None:
    rendered = {o["metadata"]["name"]: o for o in of_kind(render({"crds.keep": keep}), "CustomResourceDefinition")}
    written = [yaml.safe_load(p.read_text()) for p in sorted((CHECKOUT / "crds").glob("*.yaml"))]
    assert len(rendered) == len(written) == 6
    for crd in written:
        found = rendered[crd["metadata"]["name"]]
        annotations = found["metadata"].get("annotations", {})
        assert annotations == ({"helm.sh/resource-policy": "keep"} if keep else {})
        assert found["spec"] == crd["spec"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicaz": 2}, "replicaz"),
    ({"crds.enable": True}, "enable"),
    ({"settings.leases.seconds": 3}, "leases"),
    ({"metrics.serviceMonitor.enable": True}, "enable"),
    ({"networkPolicy.apiServer.cidr": "10.0.0.0/8"}, "cidr"),
    ({"replicas": 0}, "replicas"),
    ({"watchNamespaces": "docuquery"}, "watchNamespaces"),
    ({"watchNamespaces": ["Not_A_Name"]}, "watchNamespaces"),
    ({"settings.logLevel": "TRACE"}, "logLevel"),
    ({"image.digest": "latest"}, "digest"),
    ({"admission.enable": False}, "enable"),
    ({"extraEnv": [{"name": "DOCUQUERY_WORKERS", "value": "1"}]}, "extraEnv"),
    ({"settings.plainRegistries": ["http://images"]}, "plainRegistries"),
    ({"settings.lease.renewSeconds": 15}, "renewSeconds less than seconds"),
    ({"settings.lease.retrySeconds": 10}, "retrySeconds must be less"),
    (MONITOR | {"metrics.service.enabled": False}, "needs metrics.service.enabled"),
]


@pytest.mark.parametrize(("values", "said"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], said: str) -> None:
    answer = template(values)
    assert answer.returncode != 0
    assert said in answer.stderr


def _environment(objects: list[Object]) -> dict[str, str]:
    container = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {e["name"]: e.get("value", "") for e in container["env"]}


def test_values_reach_the_operator_as_settings_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"settings.workers": 3, "settings.logLevel": "DEBUG", "settings.plainRegistries": ["10.0.0.1:5000", "images"]}
    environment = _environment(render(WATCHED | given))
    known = {f"DOCUQUERY_{name.upper()}" for name in Settings.model_fields}
    assert set(environment) <= known
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.watch_namespaces == ["one", "two"]
    assert (settings.workers, settings.log_level) == (3, "DEBUG")
    assert settings.plain_registries == ["10.0.0.1:5000", "images"]


def test_defaults_are_those_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _environment(render()).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    monkeypatch.undo()
    given_by_the_pod = {"image", "namespace", "instance"}
    assert settings.model_dump(exclude=given_by_the_pod) == Settings().model_dump(exclude=given_by_the_pod)


def test_the_grace_period_outlasts_the_drain() -> None:
    for drain in (1, 25, 600):
        spec = only(render({"settings.drainSeconds": drain}), "Deployment")["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= drain + 15


def test_selectors_match_the_operator_and_not_the_test_pod() -> None:
    objects = render(MONITOR | POLICY)
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    test_labels = only(objects, "Pod")["metadata"]["labels"]
    selectors = [
        only(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only(objects, "Service")["spec"]["selector"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= test_labels.items()
    service = only(objects, "Service")["metadata"]["labels"]
    assert only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service.items()


def test_the_network_policy_is_narrow() -> None:
    values = (
        WATCHED
        | POLICY
        | {"networkPolicy.apiServer.cidrs": ["10.0.0.1/32"], "networkPolicy.metricsFrom": [{"podSelector": {}}]}
    )
    spec = only(render(values), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert len(spec["ingress"]) == 1
    assert len(spec["ingress"][0]["from"]) == 2
    assert spec["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    assert spec["egress"][2]["to"][0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["one", "two"]


def test_a_digest_pins_the_image() -> None:
    digest = "sha256:" + "a" * 64
    container = only(render({"image.digest": digest}), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"docuquery-operator:dev@{digest}"


def test_the_readme_names_every_value_with_its_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines() if line.startswith("| `")]
    assert sorted(row[0].strip("`") for row in rows) == sorted(_paths(values))
    told = {row[0].strip("`"): row[1].strip("`") for row in rows if row[1].startswith("`")}
    for path, default in told.items():
        value = functools.reduce(operator.getitem, path.split("."), values)
        assert default == (value if isinstance(value, str) and value else json.dumps(value)), path


def _paths(values: Any, prefix: str = "") -> list[str]:
    opaque = ("resources", "page.resources", "receiver.resources", "podSecurityContext")
    if not isinstance(values, dict) or not values or prefix in opaque:
        return [prefix]
    return [p for k, v in values.items() for p in _paths(v, f"{prefix}.{k}" if prefix else k)]


def test_long_names_stay_valid() -> None:
    for obj in render({"fullnameOverride": "a" * 63} | WATCHED | POLICY):
        assert len(obj["metadata"]["name"]) <= 63 or obj["kind"] == "CustomResourceDefinition"


def test_the_release_name_is_the_name_of_the_lease() -> None:
    assert _environment(render())["DOCUQUERY_LEASE_NAME"] == RELEASE
