"""What a policy and a deny list say while clients are blocked, and that all is as before afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from docuquery_operator.api.blocking import Block, Blocking, EnforcerName
from docuquery_operator.domain.remedies import blocklists
from docuquery_operator.domain.remedies.blocklists import DENY_LIST, HELD, UNTIL
from docuquery_operator.domain.workloads.netpol import Peer, blocked_by
from tests.fakes.cluster import merged

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SELECTOR = {"matchLabels": {"app": "api"}}
ABUSER, OTHER, SIX = "203.0.113.7", "198.51.100.4", "2001:db8::7"
JSON = dict[str, Any]


def block(attempt: str, *addresses: str, hours: int = 1) -> Block:
    return Block(
        attempt_id=attempt, component="api", enforcer=EnforcerName.NETWORK_POLICY, object="x",
        addresses=list(addresses), since=NOW, until=NOW + timedelta(hours=hours),
    )  # fmt: skip


def ingress(**annotations: str) -> JSON:
    return {"metadata": {"name": "front", "resourceVersion": "7", "annotations": dict(annotations)}, "spec": {"a": 1}}


def patched(obj: JSON, patch: JSON) -> JSON:
    assert patch["metadata"].pop("resourceVersion") == "7", "written over whatever somebody else writes"
    result: JSON = merged(obj, patch)
    return result


def lets_in(spec: JSON, ip: str) -> bool:
    """A client that is no pod: peers that select pods mean nothing to it."""
    rules = [{"from": [p for p in rule["from"] if "ipBlock" in p]} for rule in spec["ingress"]]
    policy = {"metadata": {"name": "ours"}, "spec": {**spec, "ingress": rules}}
    client = Peer({}, ip, same_namespace=False, namespace_labels={})
    return all(blocked_by([policy], client, Peer({"app": "api"}, "10.61.0.9"), port) == "" for port in (8000, 9000, 1))


def test_everybody_but_the_blocked_is_let_in_to_every_port() -> None:
    spec = blocklists.policy(SELECTOR, [block("a", ABUSER, SIX)], pods_too=False)
    assert not lets_in(spec, ABUSER)
    assert not lets_in(spec, SIX)
    for other in (OTHER, "10.61.0.5", "10.60.0.1", "127.0.0.1", "2001:db8::8", "0.0.0.1", "255.255.255.254"):
        assert lets_in(spec, other), other


def test_pods_are_let_in_also_where_an_ip_block_means_no_pods() -> None:
    spec = blocklists.policy(SELECTOR, [block("a", ABUSER)], pods_too=False)
    assert {"namespaceSelector": {}} in spec["ingress"][0]["from"]
    assert {"namespaceSelector": {}} not in blocklists.policy(SELECTOR, [block("a", ABUSER)], pods_too=True)["ingress"][0][
        "from"
    ]


def test_egress_is_not_touched_and_without_blocks_no_pod_is_selected() -> None:
    spec = blocklists.policy(SELECTOR, [block("a", ABUSER)], pods_too=False)
    assert (spec["policyTypes"], "egress" in spec) == (["Ingress"], False)
    inert = blocklists.policy(SELECTOR, [], pods_too=False)
    assert lets_in(inert, ABUSER)
    assert inert["podSelector"]["matchLabels"], "an empty selector would select every pod"


def test_a_policy_goes_from_nothing_to_blocks_and_back() -> None:
    empty = {"metadata": {"name": "p", "resourceVersion": "7"}, "spec": blocklists.policy({}, [], False)}
    one = patched(empty, blocklists.policy_patch(empty, SELECTOR, [block("a", ABUSER)], False))
    assert one["spec"]["podSelector"] == SELECTOR
    assert blocklists.held(one).blocks == (block("a", ABUSER),)
    assert one["metadata"]["annotations"][UNTIL] == "2026-01-01T01:00:00.000Z"
    back = patched(one, blocklists.policy_patch(one, SELECTOR, [], False))
    assert back["spec"] == empty["spec"]
    assert HELD not in back["metadata"]["annotations"]


@pytest.mark.parametrize("former", [None, "192.0.2.0/24", "192.0.2.0/24, 203.0.113.7/32"])
def test_the_deny_list_comes_back_as_it_was(former: str | None) -> None:
    before = ingress(mine="x", **({DENY_LIST: former} if former else {}))
    one = patched(before, blocklists.deny_list_patch(before, block("a", ABUSER)))
    assert ABUSER in one["metadata"]["annotations"][DENY_LIST]
    assert one["metadata"]["annotations"][DENY_LIST].count(ABUSER) == 1
    two = patched(one, blocklists.deny_list_patch(one, block("b", OTHER, hours=2)))
    assert two["metadata"]["annotations"][UNTIL] == "2026-01-01T02:00:00.000Z"
    patch, ours = blocklists.deny_list_end(two, "a", [ABUSER])
    left = patched(two, patch)
    assert (ours, OTHER in left["metadata"]["annotations"][DENY_LIST]) == (True, True)
    assert (ABUSER in left["metadata"]["annotations"][DENY_LIST]) is bool(former and ABUSER in former)
    patch, ours = blocklists.deny_list_end(left, "b", [OTHER])
    assert (patched(left, patch), ours) == (before, True)


def test_a_list_that_somebody_has_changed_is_his() -> None:
    before = ingress()
    one = patched(before, blocklists.deny_list_patch(before, block("a", ABUSER)))
    one["metadata"]["annotations"][DENY_LIST] = "192.0.2.1/32"
    patch, ours = blocklists.deny_list_end(one, "a", [ABUSER])
    assert not ours
    assert patched(one, patch)["metadata"]["annotations"] == {DENY_LIST: "192.0.2.1/32"}
    assert blocklists.deny_list_end(ingress(), "a", [ABUSER]) == ({}, True)


def test_a_spoilt_record_is_none() -> None:
    for text in ("{", "[]", '{"blocks": [1]}', '{"blocks": 3}', "null"):
        assert blocklists.held(ingress(**{HELD: text})).blocks == ()


def test_long_names_stay_names_and_stay_apart() -> None:
    names = {blocklists.policy_name("s" * 250 + end, "api") for end in "ab"}
    assert len(names) == 2
    assert all(len(n) <= 253 for n in names)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"enforcer": "ApiDenySet", "allow": ["10.0.0.1/8"]}, "write a CIDR range"),
        ({"enforcer": "ApiDenySet", "allow": ["10.0.0.1"]}, "write a CIDR range"),
        ({"enforcer": "ApiDenySet", "maxFor": "48h"}, "24h at most"),
        ({"enforcer": "ApiDenySet", "maxFor": "0s"}, "24h at most"),
        ({"enforcer": "Firewall"}, "ApiDenySet"),
    ],
)
def test_wrong_values_are_refused_with_what_to_write(spec: JSON, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Blocking.model_validate(spec)
