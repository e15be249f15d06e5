"""NetworkPolicies of the local node rendered as nftables rules."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from docuquery_local.netpol_rules import Cluster, Object, Pod, render, selects

API = Pod("shop", "api-1", "10.61.0.5", (("app", "api"),))
REDIS = Pod("shop", "redis-0", "10.61.0.6", (("app", "redis"),), (("redis", "tcp", 6379),))
OTHER = Pod("elsewhere", "client", "10.61.0.17", (("app", "api"),))
NAMESPACES = {"shop": {"team": "shop"}, "elsewhere": {"team": "other"}}


def policy(selector: Object, **spec: object) -> Object:
    return {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"podSelector": selector, **spec}}


def chain(script: str, name: str) -> list[str]:
    """The rules of one chain, without its comment."""
    body = script.split(f"chain {name} {{\n")[1].split("  }", maxsplit=1)[0]
    return [line.strip() for line in body.splitlines() if not line.strip().startswith("#")]


def rendered(*policies: Object) -> str:
    return render(Cluster((API, REDIS, OTHER), NAMESPACES, policies), ["10.63.0.2"])


def test_without_policies_nothing_is_dropped() -> None:
    assert "drop" not in rendered()


def test_the_whole_table_is_replaced_in_one_script() -> None:
    assert rendered().startswith("table ip docuquery_netpol\ndelete table ip docuquery_netpol\ntable ip")


def test_a_pod_selector_means_pods_of_the_same_namespace() -> None:
    script = rendered(
        policy({"matchLabels": {"app": "redis"}}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}])
    )
    assert chain(script, "ingress_10_61_0_6") == ["ip saddr { 10.61.0.5 } return", "drop"]
    assert "ip daddr 10.61.0.6 jump ingress_10_61_0_6" in chain(script, "forward")


def test_both_selectors_of_one_peer_must_match() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "other"}}, "podSelector": {"matchLabels": {"app": "api"}}}
    script = rendered(policy({"matchLabels": {"app": "redis"}}, ingress=[{"from": [peer]}]))
    assert chain(script, "ingress_10_61_0_6") == ["ip saddr { 10.61.0.17 } return", "drop"]


def test_a_peer_that_nothing_matches_allows_nothing() -> None:
    peer = {"podSelector": {"matchLabels": {"app": "ghost"}}}
    script = rendered(policy({"matchLabels": {"app": "redis"}}, ingress=[{"from": [peer]}]))
    assert chain(script, "ingress_10_61_0_6") == ["drop"]


def test_an_empty_rule_allows_everything_and_no_rule_nothing() -> None:
    redis = {"matchLabels": {"app": "redis"}}
    assert chain(rendered(policy(redis, ingress=[{}])), "ingress_10_61_0_6") == ["return", "drop"]
    assert chain(rendered(policy(redis, policyTypes=["Ingress"])), "ingress_10_61_0_6") == ["drop"]


def test_ports_ranges_names_and_protocols() -> None:
    ports = [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"port": 8000, "endPort": 8010}, {"port": "redis"}]
    script = rendered(policy({"matchLabels": {"app": "redis"}}, ingress=[{"ports": ports}]))
    assert chain(script, "ingress_10_61_0_6") == [
        "tcp dport 80 return",
        "udp dport 53 return",
        "tcp dport 8000-8010 return",
        "tcp dport 6379 return",
        "drop",
    ]


def test_an_egress_policy_guards_the_way_to_the_node_too() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16", "10.8.0.0/16"]}}
    script = rendered(policy({"matchLabels": {"app": "api"}}, policyTypes=["Egress"], egress=[{"to": [block]}]))
    assert chain(script, "egress_10_61_0_5") == [
        "ip daddr 10.0.0.0/8 ip daddr != { 10.9.0.0/16, 10.8.0.0/16 } return",
        "drop",
    ]
    assert "ip saddr 10.61.0.5 jump egress_10_61_0_5" in chain(script, "input")
    assert "ingress_" not in script


def test_policies_add_up() -> None:
    redis = {"matchLabels": {"app": "redis"}}
    script = rendered(policy(redis, ingress=[{"ports": [{"port": 1}]}]), policy(redis, ingress=[{"ports": [{"port": 2}]}]))
    assert chain(script, "ingress_10_61_0_6") == ["tcp dport 1 return", "tcp dport 2 return", "drop"]


def test_a_policy_of_another_namespace_does_not_count() -> None:
    foreign = policy({}, ingress=[])
    foreign["metadata"]["namespace"] = "elsewhere"
    script = rendered(foreign)
    assert "ingress_10_61_0_17" in script
    assert "ingress_10_61_0_6" not in script


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ({"key": "app", "operator": "In", "values": ["api", "web"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["api"]}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["api"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_label_expressions(expression: Object, matches: bool) -> None:
    assert selects({"matchExpressions": [expression]}, {"app": "api"}) is matches
