"""The chart's admission policies on a real API server: who may let the operator do what, and sign for whom."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.apiserver.cel_cases import AGE, POSTGRES, REDIS
from tests.apiserver.ruled import (
    FREE,
    MERGE,
    RESTARTS,
    RULED,
    SECRETS,
    USERS,
    WRITERS,
    Ruled,
    an_object,
    install,
    remove,
    said,
)
from tests.harness.apiserver import CHECKOUT, ApiServer

Object = dict[str, Any]
SELF, OTHER = "<self>", "somebody-else@example.com"
CREATED_BY = "ops.docuquery.ai/created-by"
OBSERVE: Object = {"mode": "Observe"}


def answer(by: str, step: str = "restartWorkload", decision: str = "Approve") -> Object:
    """One entry of spec.approvals."""
    return {"step": step, "planDigest": "0123456789ab", "by": by, "decision": decision}


def causes(*actions: str) -> Object:
    """A Runbook that does this."""
    return {"causes": [{"name": "Unknown", "when": "true", "remediate": [{"action": a} for a in actions]}]}


def by(field: str, user: str) -> Object:
    return {"spec": {field: {"by": user}}}


def yes(who: str) -> Object:
    """The second person's answer to a RestoreJob's plan."""
    return {"by": who, "planDigest": "0123456789ab", "decision": "Approve"}


NIGHTLY: Object = {"schedule": {"cron": "0 2 * * *"}}
AGED: Object = {"encryption": {"recipients": [AGE]}}
ONTO: Object = {"target": {"stackRef": {"name": "docuquery"}}, "confirm": "docuquery"}
MOVED = POSTGRES | {"endpoint": {"service": "mine", "port": 5432}}
PASSWORD: Object = {"components": {"postgres": POSTGRES}, "healing": OBSERVE}
CHANNEL: Object = {"communication": {"channels": {"slack": {"secretRef": {"secretName": "slack"}}}}}


def tasks(*types: str) -> Object:
    """A window's tasks."""
    return {"tasks": [{"type": t} for t in types]}


PAUSED: Object = {"paused": True, "pauseReason": "work"}
# Kind, action, the object before (None: the row creates), what is written; <self> stands for the user's own name.
ROWS: list[tuple[str, str, Object | None, Object]] = [
    ("Incident", "create", None, {}),
    ("Incident", "create, mode Observe", None, {"spec": OBSERVE}),
    ("Incident", "create with an answer", None, {"spec": OBSERVE | {"approvals": [answer(SELF)]}}),
    ("Incident", "create with own name", None, {"spec": OBSERVE, "metadata": {"annotations": {CREATED_BY: SELF}}}),
    ("Incident", "create as another", None, {"spec": OBSERVE, "metadata": {"annotations": {CREATED_BY: OTHER}}}),
    ("Incident", "mode to Auto", OBSERVE, {"spec": {"mode": "Auto"}}),
    ("Incident", "mode to the Stack's", OBSERVE, {"spec": {"mode": None}}),
    ("Incident", "mode to Observe", {}, {"spec": OBSERVE}),
    ("Incident", "change parameters", {}, {"spec": {"parameters": {"x": {"y": [1]}}}}),
    ("Incident", "change component", {}, {"spec": {"component": "redis"}}),
    ("Incident", "reopen", {}, {"spec": {"refiredAt": "2026-01-01T00:00:00Z"}}),
    ("Incident", "describe", {}, {"spec": {"description": "slow since noon", "severity": "P2"}}),
    ("Incident", "approve as self", {}, {"spec": {"approvals": [answer(SELF)]}}),
    ("Incident", "approve as another", {}, {"spec": {"approvals": [answer(OTHER)]}}),
    ("Incident", "approve, mode Observe", OBSERVE, {"spec": {"approvals": [answer(SELF)]}}),
    ("Incident", "acknowledge as self", {}, by("acknowledged", SELF)),
    ("Incident", "acknowledge as another", {}, by("acknowledged", OTHER)),
    ("Incident", "close as self", {}, by("resolved", SELF)),
    ("Incident", "close as another", {}, by("resolved", OTHER)),
    ("Incident", "say who created it", {}, {"metadata": {"annotations": {CREATED_BY: SELF}}}),
    ("Incident", "write status", {}, {"status": {"summary": "healed, honestly"}}),
    ("Stack", "create", None, {}),
    ("Stack", "create, mode Observe", None, {"spec": {"healing": OBSERVE}}),
    ("Stack", "create with a Secret", None, {"spec": PASSWORD}),
    ("Stack", "mode to Auto", {"healing": OBSERVE}, {"spec": {"healing": {"mode": "Auto"}}}),
    ("Stack", "mode to Observe", {}, {"spec": {"healing": OBSERVE}}),
    ("Stack", "change workload", {}, {"spec": {"components": {"redis": {"workload": {"name": "other"}}}}}),
    ("Stack", "change budget", {}, {"spec": {"healing": {"budget": {"perTarget": "100/1h"}}}}),
    ("Stack", "pause", {}, {"spec": PAUSED}),
    ("Stack", "end the pause", PAUSED, {"spec": {"paused": False, "pauseReason": None}}),
    ("Stack", "change contacts", PASSWORD, {"spec": {"communication": {"contacts": {"cto": ["kim"]}}}}),
    ("Stack", "let alerts open", {}, {"spec": {"alerts": {"types": ["RedisConnection"]}}}),
    ("Stack", "name an approver", {}, {"spec": {"approvers": [{"id": "slack:U0123ABCD", "user": "kim"}]}}),
    ("Stack", "name a Secret", {"healing": OBSERVE}, {"spec": PASSWORD}),
    ("Stack", "send it elsewhere", PASSWORD, {"spec": {"components": {"postgres": MOVED}}}),
    ("Stack", "name a channel's Secret", {}, {"spec": CHANNEL}),
    ("Stack", "write status", {}, {"status": {"summary": "5/5"}}),
    ("Runbook", "create, restarts", None, {"spec": causes("waitForRecovery", "restartWorkload")}),
    ("Runbook", "create, ends sessions", None, {"spec": causes("terminateIdleSessions")}),
    ("Runbook", "create, sets an option", None, {"spec": causes("optimizeCollections")}),
    ("Runbook", "create, touches nothing", None, {"spec": causes("waitForRecovery", "proposeMemory", "proposeScaling")}),
    ("Runbook", "create, unknown action", None, {"spec": causes("somethingNew")}),
    ("Runbook", "change symptom", causes("restartLeakingClient"), {"spec": {"symptom": "false"}}),
    ("Runbook", "label", causes("restartLeakingClient"), {"metadata": {"labels": {"team": "docs"}}}),
    ("Runbook", "add a restart", {}, {"spec": causes("restartWorkload")}),
    ("Runbook", "write status", {}, {"status": {"observedGeneration": 1}}),
    ("MaintenanceWindow", "create, looks only", None, {"spec": tasks("HealthCheck", "CapacityPlan")}),
    ("MaintenanceWindow", "create, vacuums", None, {"spec": tasks("VacuumDatabase")}),
    ("MaintenanceWindow", "create, new images", None, {"spec": tasks("UpdateImages")}),
    ("MaintenanceWindow", "add a task", {}, {"spec": tasks("HealthCheck", "AnalyzeTables")}),
    ("MaintenanceWindow", "suspend", tasks("VacuumDatabase"), {"spec": {"suspend": True}}),
    ("BackupJob", "create", None, {}),
    ("BackupJob", "send it elsewhere", NIGHTLY, {"spec": {"include": {"configuration": {"secrets": ["s"]}}} | AGED}),
    ("BackupJob", "label", {}, {"metadata": {"labels": {"team": "docs"}}}),
    ("BackupJob", "write status", {}, {"status": {"sets": 9}}),
    ("RestoreJob", "create", None, {}),
    ("RestoreJob", "create with own name", None, {"metadata": {"annotations": {CREATED_BY: SELF}}}),
    ("RestoreJob", "create as another", None, {"metadata": {"annotations": {CREATED_BY: OTHER}}}),
    ("RestoreJob", "apply", ONTO, {"spec": {"mode": "Apply", "planDigest": "0123456789ab"}}),
    ("RestoreJob", "approve as self", ONTO, {"spec": {"approval": yes(SELF)}}),
    ("RestoreJob", "approve as another", ONTO, {"spec": {"approval": yes(OTHER)}}),
    ("RestoreJob", "say who created it", ONTO, {"metadata": {"annotations": {CREATED_BY: SELF}}}),
    ("RestoreJob", "write status", {}, {"status": {"phase": "Planned"}}),
]
EXPECTED = """
kind              | action                  | admin | on-call | operator | editor | viewer
Incident          | create                  | yes   | yes     | yes      | rule   | rbac
Incident          | create, mode Observe    | yes   | yes     | yes      | yes    | rbac
Incident          | create with an answer   | yes   | yes     | yes      | rule   | rbac
Incident          | create with own name    | yes   | yes     | yes      | yes    | rbac
Incident          | create as another       | rule  | rule    | yes      | rule   | rbac
Incident          | mode to Auto            | yes   | yes     | yes      | rule   | rbac
Incident          | mode to the Stack's     | yes   | yes     | yes      | rule   | rbac
Incident          | mode to Observe         | yes   | yes     | yes      | yes    | rbac
Incident          | change parameters       | yes   | yes     | yes      | rule   | rbac
Incident          | change component        | yes   | yes     | yes      | rule   | rbac
Incident          | reopen                  | yes   | yes     | yes      | rule   | rbac
Incident          | describe                | yes   | yes     | yes      | yes    | rbac
Incident          | approve as self         | yes   | yes     | yes      | rule   | rbac
Incident          | approve as another      | rule  | rule    | yes      | rule   | rbac
Incident          | approve, mode Observe   | yes   | yes     | yes      | rule   | rbac
Incident          | acknowledge as self     | yes   | yes     | yes      | yes    | rbac
Incident          | acknowledge as another  | rule  | rule    | yes      | rule   | rbac
Incident          | close as self           | yes   | yes     | yes      | yes    | rbac
Incident          | close as another        | rule  | rule    | yes      | rule   | rbac
Incident          | say who created it      | rule  | rule    | yes      | rule   | rbac
Incident          | write status            | rule  | rule    | yes      | rule   | rbac
Stack             | create                  | yes   | yes     | yes      | rule   | rbac
Stack             | create, mode Observe    | yes   | yes     | yes      | yes    | rbac
Stack             | create with a Secret    | yes   | yes     | yes      | rule   | rbac
Stack             | mode to Auto            | yes   | yes     | yes      | rule   | rbac
Stack             | mode to Observe         | yes   | yes     | yes      | yes    | rbac
Stack             | change workload         | yes   | yes     | yes      | rule   | rbac
Stack             | change budget           | yes   | yes     | yes      | rule   | rbac
Stack             | pause                   | yes   | yes     | yes      | yes    | rbac
Stack             | end the pause           | yes   | yes     | yes      | rule   | rbac
Stack             | change contacts         | yes   | yes     | yes      | yes    | rbac
Stack             | let alerts open         | yes   | yes     | yes      | rule   | rbac
Stack             | name an approver        | yes   | yes     | yes      | rule   | rbac
Stack             | name a Secret           | yes   | yes     | yes      | rule   | rbac
Stack             | send it elsewhere       | yes   | yes     | yes      | rule   | rbac
Stack             | name a channel's Secret | yes   | yes     | yes      | rule   | rbac
Stack             | write status            | rule  | rule    | yes      | rule   | rbac
Runbook           | create, restarts        | yes   | yes     | yes      | rule   | rbac
Runbook           | create, ends sessions   | yes   | yes     | yes      | rule   | rbac
Runbook           | create, sets an option  | yes   | yes     | yes      | rule   | rbac
Runbook           | create, touches nothing | yes   | yes     | yes      | yes    | rbac
Runbook           | create, unknown action  | yes   | yes     | yes      | rule   | rbac
Runbook           | change symptom          | yes   | yes     | yes      | rule   | rbac
Runbook           | label                   | yes   | yes     | yes      | yes    | rbac
Runbook           | add a restart           | yes   | yes     | yes      | rule   | rbac
Runbook           | write status            | rule  | rule    | yes      | rule   | rbac
MaintenanceWindow | create, looks only      | yes   | yes     | yes      | yes    | rbac
MaintenanceWindow | create, vacuums         | yes   | yes     | yes      | rule   | rbac
MaintenanceWindow | create, new images      | yes   | yes     | yes      | rule   | rbac
MaintenanceWindow | add a task              | yes   | yes     | yes      | rule   | rbac
MaintenanceWindow | suspend                 | yes   | yes     | yes      | yes    | rbac
BackupJob         | create                  | yes   | yes     | yes      | rule   | rbac
BackupJob         | send it elsewhere       | yes   | yes     | yes      | rule   | rbac
BackupJob         | label                   | yes   | yes     | yes      | yes    | rbac
BackupJob         | write status            | rule  | rule    | yes      | rule   | rbac
RestoreJob        | create                  | yes   | yes     | yes      | rule   | rbac
RestoreJob        | create with own name    | yes   | yes     | yes      | rule   | rbac
RestoreJob        | create as another       | rule  | rule    | yes      | rule   | rbac
RestoreJob        | apply                   | yes   | yes     | yes      | rule   | rbac
RestoreJob        | approve as self         | yes   | yes     | yes      | rule   | rbac
RestoreJob        | approve as another      | rule  | rule    | yes      | rule   | rbac
RestoreJob        | say who created it      | rule  | rule    | yes      | rule   | rbac
RestoreJob        | write status            | rule  | rule    | yes      | rule   | rbac
"""


@pytest.fixture(scope="module")
def ruled(server: ApiServer) -> Iterator[Ruled]:
    """The namespace with the policies in force."""
    yield install(server)
    remove(server)


def _named(value: Any, user: str) -> Any:
    """With the user's own name for <self>."""
    if isinstance(value, dict):
        return {k: _named(v, user) for k, v in value.items()}
    if isinstance(value, list):
        return [_named(v, user) for v in value]
    return user if value == SELF else value


def _outcome(ruled: Ruled, number: int, user: str) -> str:
    kind, _, before, change = ROWS[number]
    wanted = _named(change, user)
    if before is None:
        annotations = wanted.get("metadata", {}).get("annotations")
        body = an_object(kind, f"new-{number}", wanted.get("spec", {}), annotations)
        return said(ruled.create(body, user, dry=True))
    return said(ruled.patch(kind, f"row-{number}", wanted, user, "status" in change))


def test_every_user_may_exactly_this(ruled: Ruled) -> None:
    lines = [["kind", "action", *USERS]]
    for number, (kind, action, before, _) in enumerate(ROWS):
        if before is not None:
            assert said(ruled.create(an_object(kind, f"row-{number}", before))) == "yes"
        lines.append([kind, action, *(_outcome(ruled, number, user) for user in USERS.values())])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = "\n".join(" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    print(f"\n{table}")
    assert table == EXPECTED.strip()


@pytest.mark.parametrize("missing", ["statefulsets", "deployments", "pods/eviction"])
def test_each_right_is_needed(ruled: Ruled, missing: str) -> None:
    name = missing.replace("/", "-")
    rights = [r | {"resources": [x for x in r["resources"] if x != missing]} for r in RESTARTS]
    user = f"without-{name}@example.com"
    ruled.grant(f"without-{name}", user, *[r for r in rights if r["resources"]], roles=WRITERS)
    for kind, spec in (("Incident", {}), ("Stack", {}), ("Runbook", causes("restartWorkload"))):
        code, refusal = ruled.create(an_object(kind, "one-right-missing", spec), user, dry=True)
        assert said((code, refusal)) == "rule"
        assert "ask somebody who has it" in refusal["message"]
        assert ruled.create(an_object(kind, "no-rule-here", spec), user, namespace=FREE, dry=True)[0] == 201


def _stack_of(count: int) -> Object:
    components = {f"postgres-{n}": POSTGRES | {"credentials": {"secretName": f"secret-{n}"}} for n in range(count)}
    return an_object("Stack", "many-secrets", {"components": components, "healing": OBSERVE})


def test_rights_on_named_secrets_do(ruled: Ruled) -> None:
    """Up to eight at once; with the right to get all of them, as many as a Stack can name."""
    user, named = "named-secrets@example.com", [f"secret-{n}" for n in range(9)]
    ruled.grant("named-secrets", user, SECRETS | {"resourceNames": named}, roles=WRITERS)
    for count, expected in ((1, "yes"), (2, "yes"), (7, "yes"), (8, "yes"), (9, "rule"), (16, "rule")):
        assert said(ruled.create(_stack_of(count), user, dry=True)) == expected, count
        assert said(ruled.create(_stack_of(count), USERS["on-call"], dry=True)) == "yes", count
    wrong = _stack_of(8)
    for component in wrong["spec"]["components"].values():
        right = component["credentials"]
        component["credentials"] = {"secretName": "another"}
        assert said(ruled.create(wrong, user, dry=True)) == "rule"
        component["credentials"] = right


def _with_answers(ruled: Ruled, name: str, count: int) -> list[Object]:
    """An Incident whose answers were given by others, as long as they can be."""
    given = [answer(OTHER.ljust(250, "x") + str(n), f"step-{n}".ljust(63, "y")) for n in range(count)]
    assert said(ruled.create(an_object("Incident", name, {"approvals": given}), USERS["operator"])) == "yes"
    return given


def test_answers_of_others_stay(ruled: Ruled) -> None:
    given, user = _with_answers(ruled, "answered", 14), USERS["on-call"]

    def put(answers: list[Object]) -> str:
        return said(ruled.patch("Incident", "answered", {"spec": {"approvals": answers}}, user))

    assert put([*given, answer(user)]) == "yes"
    assert put([answer(user), *given]) == "yes"
    changed = copy.deepcopy(given)
    changed[7]["decision"] = "Reject"
    for others in (given[1:], given[:-1], [given[1], given[0], *given[2:]], [*given, given[0]], changed, []):
        assert put(others) == "rule"
        assert put([*others, answer(user)]) == "rule"
    step = {"op": "add", "path": "/spec/approvals/-", "value": answer(user)}
    path = f"/apis/ops.docuquery.ai/v1alpha1/namespaces/{RULED}/incidents/answered"
    code, stored = ruled.server.request("PATCH", path, [step], "application/json-patch+json", user=user)
    assert (code, len(stored["spec"]["approvals"])) == (200, 15)
    # His own answer he may take back.
    code, stored = ruled.server.request("PATCH", path, {"spec": {"approvals": given}}, MERGE, user=user)
    assert (code, len(stored["spec"]["approvals"])) == (200, 14)


def test_names_of_others_may_stay_and_be_taken_away(ruled: Ruled) -> None:
    spec = OBSERVE | {"acknowledged": {"by": OTHER}, "resolved": {"by": OTHER, "note": "it was me"}}
    assert said(ruled.create(an_object("Incident", "signed", spec), USERS["operator"])) == "yes"
    for change, expected in (
        ({"description": "and more"}, "yes"),
        ({"acknowledged": None}, "yes"),
        ({"acknowledged": {"by": USERS["editor"]}}, "yes"),
        ({"acknowledged": {"at": "2026-01-01T00:00:00Z"}}, "rule"),
        ({"resolved": {"note": "it was not"}}, "rule"),
    ):
        assert said(ruled.patch("Incident", "signed", {"spec": change}, USERS["editor"])) == expected, change


def test_the_creator_stays(ruled: Ruled) -> None:
    editor = USERS["editor"]
    made = an_object("Incident", "created", OBSERVE, {CREATED_BY: editor, "other": "x"})
    assert said(ruled.create(made, editor)) == "yes"
    for user in (editor, USERS["on-call"]):
        for written, expected in (
            ({CREATED_BY: user}, "yes" if user == editor else "rule"),
            ({CREATED_BY: None}, "rule"),
            ({CREATED_BY: OTHER}, "rule"),
            ({"other": "y"}, "yes"),
        ):
            change = {"metadata": {"annotations": written}}
            assert said(ruled.patch("Incident", "created", change, user)) == expected, (user, written)
        assert said(ruled.patch("Incident", "created", {"metadata": {"annotations": None}}, user)) == "rule"


def test_status_of_every_kind_is_the_operators(ruled: Ruled) -> None:
    for kind in ("MaintenanceWindow", "BackupJob", "RestoreJob"):
        assert said(ruled.create(an_object(kind, "status", {}))) == "yes"
        for user, expected in (("on-call", "rule"), ("operator", "yes")):
            change = {"status": {"conditions": []}}
            assert said(ruled.patch(kind, "status", change, USERS[user], True)) == expected, (kind, user)
    # Not even by the cluster's administrator, and not by update either.
    stored = ruled.server.request("GET", f"/apis/ops.docuquery.ai/v1alpha1/namespaces/{RULED}/incidents/probe")[1]
    path = f"/apis/ops.docuquery.ai/v1alpha1/namespaces/{RULED}/incidents/probe/status"
    refusal = ruled.server.request("PUT", path, stored | {"status": {"summary": "healed"}})
    assert (said(refusal), "only the operator writes status" in refusal[1]["message"]) == ("rule", True)


def test_kubectl_says_what_to_do(ruled: Ruled) -> None:
    text = (CHECKOUT / "docs" / "examples" / "incident.yaml").read_text()
    command = ["apply", "-n", RULED, "-f", "-"]
    refused = ruled.server.kubectl(*command, f"--as={USERS['editor']}", stdin=text)
    assert refused.returncode != 0
    assert "ask somebody who has it to apply this, or set spec.mode: Observe" in " ".join(refused.stderr.split())
    observed = yaml.safe_load(text)
    observed["spec"]["mode"] = "Observe"
    for user, document in (("editor", yaml.safe_dump(observed)), ("on-call", text)):
        done = ruled.server.kubectl(*command, f"--as={USERS[user]}", stdin=document)
        assert done.returncode == 0, done.stderr


def test_what_is_shipped_goes_through(ruled: Ruled) -> None:
    """The stack, the runbooks and all examples, by whoever holds the rights; a second apply changes nothing."""
    shipped = (CHECKOUT / "operator/docuquery_operator/runbooks").glob("*.yaml")
    files = [CHECKOUT / "deploy/stack/stack.yaml", *shipped, *sorted((CHECKOUT / "docs/examples").glob("*.yaml"))]
    documents = [yaml.safe_load(file.read_text()) for file in files]
    for spec in (d["spec"] for d in documents):
        for signed in [*spec.get("approvals", []), *(spec[f] for f in ("acknowledged", "resolved") if f in spec)]:
            signed["by"] = USERS["admin"]
    for _ in range(2):
        command = ("apply", "-n", RULED, "-f", "-", f"--as={USERS['admin']}")
        done = ruled.server.kubectl(*command, stdin=yaml.safe_dump_all(documents))
        assert done.returncode == 0, done.stderr


def test_the_biggest_objects_can_be_judged(ruled: Ruled) -> None:
    """A rule that costs more than the server allows refuses everybody, in words of the server."""
    steps = [{"name": f"step{n}", "action": "waitForRecovery"} for n in range(3)]
    last = [{"action": "restartWorkload", "parameters": {"x": "y" * 10_000}}]
    many = [{"name": f"Cause{n}", "when": "true" * 256, "message": "m" * 512, "remediate": steps} for n in range(23)]
    big: Object = {"causes": [*many, {"name": "Last", "when": "true", "remediate": [*steps, *last]}]}
    given = {f"p{n}": {"deep": [{"x": "y" * 1000}] * 50} for n in range(16)}
    contacts: Object = {"contacts": {g: ["x" * 256] * 32 for g in ("onCall", "teamLead", "cto", "stakeholders")}}
    workers = {f"worker-{n}": REDIS | {"dependsOn": [f"worker-{(n + 1) % 16}"]} for n in range(16)}
    for kind, spec, change in (
        ("Runbook", big, {"symptom": "false"}),
        ("Incident", {"parameters": given}, {"parameters": {"p0": 1}}),
        ("Stack", {"components": workers, "communication": contacts}, {"detection": {"failures": 2}}),
    ):
        body = an_object(kind, "biggest", spec)
        assert said(ruled.create(body, USERS["editor"], dry=True)) == "rule"
        assert said(ruled.create(body, USERS["on-call"])) == "yes"
        for user, expected in (("editor", "rule"), ("on-call", "yes")):
            assert said(ruled.patch(kind, "biggest", {"spec": change}, USERS[user])) == expected, kind


def test_redis_alone_names_no_secret(ruled: Ruled) -> None:
    """Components without credentials ask nobody for rights on Secrets."""
    user = "no-secrets@example.com"
    ruled.grant("no-secrets", user, *RESTARTS, roles=WRITERS)
    assert said(ruled.create(an_object("Stack", "redis-alone", {"components": {"redis": REDIS}}), user, dry=True)) == "yes"
    assert said(ruled.create(an_object("Stack", "both", {"components": {"postgres": POSTGRES}}), user, dry=True)) == "rule"
