"""The receiver's objects: pods of its own, narrow ways in and out, and none of them without being asked for."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.domain.detection.watchdog import LEASE_NAME
from docuquery_operator.web.receiver.settings import ReceiverSettings
from tests.chart.helm import NAMESPACE, RELEASE, Object, of_kind, render

pytestmark = pytest.mark.timeout(300)
NAME = f"{RELEASE}-receiver"
ON: Object = {"receiver.enabled": True, "watchNamespaces": ["one", "two"]}


def _ours(values: Object | None = None) -> list[Object]:
    return [o for o in render(ON | (values or {})) if o["metadata"]["name"].startswith(NAME)]


def _one(objects: list[Object], kind: str) -> Any:
    (found,) = of_kind(objects, kind)
    return found


def test_there_is_none_unasked() -> None:
    assert not [o for o in render() if "receiver" in o["metadata"]["name"]]
    kinds = sorted(o["kind"] for o in _ours())
    assert kinds == sorted(
        ["ServiceAccount", "Deployment", "Service", "Service", "PodDisruptionBudget", *["Role", "RoleBinding"] * 2]
    )


def test_its_settings_are_those_that_it_takes() -> None:
    container = _one(_ours(), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    names = {e["name"].removeprefix("DOCUQUERY_").lower() for e in container["env"]}
    assert names <= set(ReceiverSettings.model_fields)
    given = ReceiverSettings()
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {"http": given.receiver_port, "health": given.http_port}
    (mount,) = container["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (str(given.receiver_secrets), True)
    assert container["command"][-1] == "docuquery_operator.receiver"


def test_selectors_match_its_pods_alone() -> None:
    objects = render(ON | {"networkPolicy.enabled": True, "page.enabled": True})
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(objects, "Deployment")]
    mine = next(d for d in of_kind(objects, "Deployment") if d["metadata"]["name"] == NAME)
    ours = [o for o in objects if o["metadata"]["name"].startswith(NAME)]
    selectors = [
        mine["spec"]["selector"]["matchLabels"],
        _one(ours, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _one(ours, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(s["spec"]["selector"] for s in of_kind(ours, "Service")),
    ]
    for selector in selectors:
        assert [labels for labels in pods if selector.items() <= labels.items()] == [
            mine["spec"]["template"]["metadata"]["labels"]
        ]


def test_the_ways_in_and_out_are_narrow() -> None:
    peers = [{"podSelector": {"matchLabels": {"app": "alertmanager"}}}]
    values = {"networkPolicy.enabled": True, "receiver.from": peers, "networkPolicy.apiServer.cidrs": ["10.0.0.1/32"]}
    spec = _one(_ours(values), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [(r["ports"][0]["port"], r.get("from")) for r in spec["ingress"]] == [(8080, peers), (8081, None)]
    assert [sorted(p["port"] for p in r["ports"]) for r in spec["egress"]] == [[53, 53], [443, 6443]]
    assert spec["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    slack = [{"ports": [{"protocol": "TCP", "port": 443}]}]
    more = _one(_ours(values | {"receiver.extraEgress": slack}), "NetworkPolicy")["spec"]["egress"]
    assert more == [*spec["egress"], *slack]


def test_all_namespaces_and_no_roles_of_ours() -> None:
    objects = [o for o in render({"receiver.enabled": True}) if o["metadata"]["name"] == NAME]
    assert {o["kind"] for o in objects} >= {"ClusterRole", "ClusterRoleBinding"}
    assert not of_kind(_ours({"rbac.create": False}), "Role", "RoleBinding", "ClusterRole")


def test_the_lease_is_the_one_of_the_code() -> None:
    for role in of_kind(_ours(), "Role"):
        named = [n for rule in role["rules"] for n in rule.get("resourceNames", [])]
        assert (named, role["metadata"]["namespace"] in ("one", "two")) == ([LEASE_NAME], True)


def test_the_exception_names_its_account_only_where_there_is_one() -> None:
    for values, wanted in ((ON, f"== 'system:serviceaccount:{NAMESPACE}:{NAME}'"), ({}, "false")):
        policy = next(
            p for p in of_kind(render(values), "ValidatingAdmissionPolicy") if p["metadata"]["name"].endswith("-incidents")
        )
        variables = {v["name"]: v["expression"] for v in policy["spec"]["variables"]}
        assert variables["receiver"].endswith(wanted)
