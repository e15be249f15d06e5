"""The narrow exception of the receiver of alerts and answers, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.ruled import FREE, RULED, USERS, WRITERS, Ruled, an_object, install, remove, said
from tests.chart.helm import NAMESPACE, RELEASE
from tests.harness.apiserver import ApiServer

Object = dict[str, Any]
RECEIVER = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-receiver"
ALERTS = [{"fingerprint": "0123456789abcdef", "startsAt": "2026-01-01T00:00:00Z"}]
SLACK, DUTY = "slack:U0123ABCD", "pagerduty:PLH1HKV"


def answer(by: str, decision: str = "Approve") -> Object:
    return {"step": "restartWorkload", "planDigest": "0123456789ab", "by": by, "decision": decision}


@pytest.fixture(scope="module")
def ruled(server: ApiServer) -> Iterator[Ruled]:
    """The policies of a release with a receiver, with the rights that the chart gives it and nothing more."""
    yield install(server, **{"receiver.enabled": True})
    remove(server)
    # Rights of this release would hide what the next one lacks.
    server.kubectl("delete", "role,rolebinding", "-n", RULED, f"{RELEASE}-receiver", "--ignore-not-found")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"alerts": ALERTS}, "yes"),
        ({"alerts": ALERTS, "severity": "P0", "component": "redis", "description": "x"}, "yes"),
        ({}, "rule"),
        ({"alerts": ALERTS, "mode": "Auto"}, "rule"),
        ({"alerts": ALERTS, "mode": "Observe"}, "rule"),
        ({"alerts": ALERTS, "parameters": {"data": "drop"}}, "rule"),
        ({"alerts": ALERTS, "approvals": [answer(SLACK)]}, "rule"),
        ({"alerts": ALERTS, "publicMessage": "all is lost"}, "rule"),
        ({"alerts": ALERTS, "acknowledged": {"by": SLACK}}, "rule"),
        ({"alerts": ALERTS, "review": {"rootCause": "x"}}, "rule"),
    ],
    ids=str,
)
def test_what_it_may_open(ruled: Ruled, spec: Object, expected: str) -> None:
    assert said(ruled.create(an_object("Incident", "opened-outside", spec), RECEIVER, dry=True)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"alerts": ALERTS, "alertsLeftOut": 3}, "yes"),
        ({"severity": "P0"}, "yes"),
        ({"refiredAt": "2026-01-02T00:00:00Z"}, "yes"),
        ({"acknowledged": {"by": SLACK, "at": "2026-01-02T00:00:00Z"}}, "yes"),
        ({"acknowledged": {"by": DUTY}}, "yes"),
        ({"acknowledged": {"by": RECEIVER}}, "rule"),
        ({"acknowledged": {"by": "somebody-else@example.com"}}, "rule"),
        ({"acknowledged": {"by": f"{SLACK} or so"}}, "rule"),
        ({"acknowledged": {"by": f"x {DUTY}"}}, "rule"),
        ({"acknowledged": {"by": "slack:u0123abcd"}}, "rule"),
        ({"resolved": {"by": DUTY, "note": "x"}}, "yes"),
        ({"resolved": {"by": SLACK}}, "rule"),
        ({"resolved": {"by": RECEIVER}}, "rule"),
        ({"approvals": [answer(SLACK)]}, "yes"),
        ({"approvals": [answer(DUTY)]}, "rule"),
        ({"approvals": [answer(RECEIVER)]}, "rule"),
        ({"approvals": [answer("admin@example.com")]}, "rule"),
        ({"mode": "Auto"}, "rule"),
        ({"component": "redis"}, "rule"),
        ({"parameters": {"x": 1}}, "rule"),
        ({"publicMessage": "x"}, "rule"),
        ({"description": "x"}, "rule"),
        ({"review": {"rootCause": "x"}}, "rule"),
    ],
    ids=str,
)
def test_what_it_may_change(ruled: Ruled, change: Object, expected: str) -> None:
    assert said(ruled.create(an_object("Incident", "known-outside", {}))) in (
        "yes",
        'incidents.ops.docuquery.ai "known-outside" already exists',
    )
    assert said(ruled.patch("Incident", "known-outside", {"spec": change}, RECEIVER)) == expected


def test_answers_of_others_stay(ruled: Ruled) -> None:
    others = [answer("ana@example.com"), answer("ben@example.com", "Reject")]
    assert said(ruled.create(an_object("Incident", "answered-outside", {"approvals": others}), USERS["operator"])) == "yes"

    def put(answers: list[Object]) -> str:
        return said(ruled.patch("Incident", "answered-outside", {"spec": {"approvals": answers}}, RECEIVER))

    assert put([*others, answer(SLACK)]) == "yes"
    for wrong in (others[1:], others[:1], others[::-1], [answer("ana@example.com", "Reject"), others[1]]):
        assert put([*wrong, answer(SLACK)]) == "rule"


@pytest.mark.parametrize("user", ["admin", "on-call", "editor"])
def test_nobody_else_may_write_these_names(ruled: Ruled, user: str) -> None:
    ruled.create(an_object("Incident", "signed-outside", {}))
    for change in ({"acknowledged": {"by": SLACK}}, {"resolved": {"by": DUTY}}, {"approvals": [answer(SLACK)]}):
        assert said(ruled.patch("Incident", "signed-outside", {"spec": change}, USERS[user])) == "rule"


def test_it_may_touch_nothing_else(ruled: Ruled) -> None:
    """By RBAC already: neither status nor Stacks, nor what the operator keeps on Leases."""
    assert said(ruled.patch("Incident", "known-outside", {"status": {"summary": "x"}}, RECEIVER, True)) == "rbac"
    assert said(ruled.create(an_object("Stack", "new", {}), RECEIVER, dry=True)) == "rbac"
    assert said(ruled.create(an_object("Incident", "free", {"alerts": ALERTS}), RECEIVER, FREE, dry=True)) == "rbac"
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{RULED}/leases"
    for name in ("docuquery-watchdog", "docuquery-postgres"):
        ruled.server.request("POST", leases, {"metadata": {"name": name}, "spec": {}})
    note = {"metadata": {"annotations": {"watchdog.ops.docuquery.ai/docuquery": "2026-01-01T00:00:00Z"}}}
    for name, code in (("docuquery-watchdog", 200), ("docuquery-postgres", 403)):
        found = ruled.server.request("PATCH", f"{leases}/{name}", note, "application/merge-patch+json", user=RECEIVER)
        assert found[0] == code, found


def test_without_a_receiver_its_account_is_like_any_other(ruled: Ruled) -> None:
    install(ruled.server)
    ruled.grant("former", RECEIVER, roles=WRITERS)
    deadline = 100
    while deadline and said(ruled.create(an_object("Incident", "late", {"alerts": ALERTS}), RECEIVER, dry=True)) != "rule":
        deadline -= 1
    assert deadline, "the former receiver may still open incidents"
    change = {"spec": {"acknowledged": {"by": SLACK}}}
    assert said(ruled.patch("Incident", "known-outside", change, RECEIVER)) == "rule"
