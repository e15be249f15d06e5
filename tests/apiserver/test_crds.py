"""The CRDs on a real API server: accepted, complete, every rule bites, every example passes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.api.common import API_VERSION, GROUP, Resource
from docuquery_operator.api.crd import KINDS, schema_of
from tests.apiserver.cel_cases import BASE, CASES, Case, Change
from tests.apiserver.conftest import Place
from tests.harness.apiserver import CHECKOUT, ApiServer
from tests.harness.schemas import filled, messages

EXAMPLES = sorted((CHECKOUT / "docs/examples").glob("*.yaml"))
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DRY = "&dryRun=All"
MODELS: dict[str, type[Resource]] = {model.meta_of_kind.kind: model for model in KINDS}

by_kind = pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
by_example = pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)


def merged(base: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict) or not isinstance(base, dict):
        return without_nulls(change)
    result = dict(base)
    for key, value in change.items():
        result[key] = merged(base.get(key, {}), value)
        if value is None:
            del result[key]
    return result


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    return value


def an_object(kind: str, change: Change, name: str = "sample") -> Change:
    spec = merged(copy.deepcopy(BASE[kind]), change)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def document(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)


def apply(place: Place, file: Path) -> Any:
    answer = place.server.kubectl(
        "apply", "--validate=strict", "--output=json", f"--namespace={place.namespace}", f"--filename={file}"
    )
    assert answer.returncode == 0, answer.stderr
    return yaml.safe_load(answer.stdout)


@by_kind
def test_crd_is_structural_and_established(server: ApiServer, model: type[Resource]) -> None:
    _, crd = server.request("GET", f"{CRD_PATH}/{model.meta_of_kind.plural}.{GROUP}")
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert crd["status"]["acceptedNames"]["categories"] == ["docuquery"]


def test_every_rule_has_its_pair() -> None:
    rules = {(model.__name__, message) for model in KINDS for message in messages(schema_of(model))}
    assert {(case.kind, case.message) for case in CASES} == rules


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.message[:60]}")
def test_rule_refuses_and_accepts(place: Place, case: Case) -> None:
    send = place.create
    wrong, right = case.refused, case.accepted
    if case.before is not None:
        code, answer = place.create(an_object(case.kind, case.before))
        assert code == 201, answer
        send = place.replace
        wrong, right = merged(case.before, wrong), merged(case.before, right)
        version = {"resourceVersion": answer["metadata"]["resourceVersion"], "name": "sample"}
    else:
        version = {"name": "sample"}
    code, refusal = send(an_object(case.kind, wrong) | {"metadata": version}, DRY)
    assert code == 422, refusal
    assert (case.shown or case.message) in refusal["message"]
    code, answer = send(an_object(case.kind, right) | {"metadata": version}, DRY)
    assert code in (200, 201), answer["message"]


@pytest.mark.parametrize("kind", BASE)
def test_smallest_object_of_each_kind_is_accepted(place: Place, kind: str) -> None:
    code, answer = place.create(an_object(kind, {}))
    assert code == 201, answer


@by_example
def test_example_is_accepted_and_means_the_same_to_the_model(place: Place, file: Path) -> None:
    stored = apply(place, file)
    assert MODELS[stored["kind"]].model_validate(stored).metadata.name == document(file)["metadata"]["name"]


def test_every_kind_has_an_example() -> None:
    assert {document(file)["kind"] for file in EXAMPLES} == set(MODELS)


@by_example
def test_model_to_server_to_model_is_equal(place: Place, file: Path) -> None:
    model_class = MODELS[document(file)["kind"]]
    before = model_class.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    wire = before.to_wire()
    code, answer = place.create({**wire, "metadata": {"name": before.metadata.name}})
    assert code == 201, answer["message"]
    after = model_class.model_validate(place.get(wire["kind"], before.metadata.name))
    assert after.model_dump(exclude={"metadata"}) == before.model_dump(exclude={"metadata"})
    assert after.to_wire()["spec"] == wire["spec"]


@by_kind
def test_full_status_survives_unpruned(place: Place, model: type[Resource]) -> None:
    kind = model.meta_of_kind.kind
    code, stored = place.create(an_object(kind, {}))
    assert code == 201, stored
    status = filled(schema_of(model)["properties"]["status"])
    wire = model.model_validate({**stored, "status": status}).to_wire()["status"]
    assert wire == status
    path = f"{place.path(kind, 'sample')}/status?fieldValidation=Strict"
    code, answer = place.server.request("PUT", path, {**stored, "status": wire})
    assert code == 200, answer["message"]
    assert place.get(kind, "sample")["status"] == wire


@by_kind
def test_status_is_not_written_with_the_spec(place: Place, model: type[Resource]) -> None:
    kind = model.meta_of_kind.kind
    status = filled(schema_of(model)["properties"]["status"])
    code, answer = place.create({**an_object(kind, {}), "status": status})
    assert (code, "status" in answer) == (201, False)


@by_kind
def test_unknown_fields_are_refused_by_name(place: Place, model: type[Resource]) -> None:
    code, answer = place.create(an_object(model.meta_of_kind.kind, {"typo": 1}))
    assert (code, 'unknown field "spec.typo"' in answer["message"]) == (400, True), answer


@by_kind
def test_field_selectors_select(place: Place, model: type[Resource]) -> None:
    kind = model.meta_of_kind.kind
    assert place.create(an_object(kind, {}))[0] == 201
    for path in model.meta_of_kind.selectable:
        code, found = place.server.request("GET", f"{place.path(kind)}?fieldSelector={path.lstrip('.')}%3Dnever")
        assert (code, found.get("items")) == (200, []), f"{path}: {found}"


@by_kind
def test_explain_shows_the_whole_spec(server: ApiServer, model: type[Resource]) -> None:
    answer = server.kubectl("explain", f"{model.meta_of_kind.singular}.spec", "--recursive")
    assert answer.returncode == 0, answer.stderr
    for name in schema_of(model)["properties"]["spec"]["properties"]:
        assert f"  {name}\t" in answer.stdout


@by_kind
def test_columns_render_by_short_name(place: Place, model: type[Resource]) -> None:
    meta = model.meta_of_kind
    assert place.create(an_object(meta.kind, {}))[0] == 201
    answer = place.server.kubectl("get", meta.short_names[0], "-o", "wide", f"--namespace={place.namespace}")
    header, row = answer.stdout.splitlines()
    assert header.split() == ["NAME", *(column.name.upper() for column in meta.columns)]
    assert row.startswith("sample")


def test_short_names_and_category_list_together(place: Place) -> None:
    for kind in ("Incident", "Stack", "Runbook"):
        assert place.create(an_object(kind, {}))[0] == 201
    together = place.server.kubectl("get", "inc,dqs,rb", f"--namespace={place.namespace}")
    category = place.server.kubectl("get", "docuquery", "-o", "name", f"--namespace={place.namespace}")
    for plural in ("incident", "stack", "runbook"):
        assert f"{plural}.{GROUP}/sample" in together.stdout
        assert f"{plural}.{GROUP}/sample" in category.stdout


def test_wait_for_condition_works(place: Place) -> None:
    _, stored = place.create(an_object("Stack", {}))
    condition = {
        "type": "Ready", "status": "True", "reason": "AllOperational", "lastTransitionTime": "2026-12-01T03:00:00Z",
    }  # fmt: skip
    path = f"{place.path('Stack', 'sample')}/status"
    assert place.server.request("PUT", path, {**stored, "status": {"conditions": [condition]}})[0] == 200
    answer = place.server.kubectl(
        "wait", "dqs/sample", "--for=condition=Ready", "--timeout=5s", f"--namespace={place.namespace}"
    )
    assert answer.returncode == 0, answer.stderr


def test_server_defaults_are_visible(place: Place) -> None:
    _, stored = place.create(an_object("BackupJob", {}))
    assert (stored["spec"]["timeZone"], stored["spec"]["deletionPolicy"]) == ("Etc/UTC", "Retain")


def test_dynamic_client_sees_the_kinds(server: ApiServer) -> None:
    incidents = server.dynamic().resources.get(api_version=API_VERSION, kind="Incident")
    assert (incidents.namespaced, incidents.short_names) == (True, ["inc"])


def test_without_a_role_nothing_is_allowed(server: ApiServer) -> None:
    assert server.request("GET", f"/apis/{API_VERSION}/incidents")[0] == 200
    answer = server.kubectl("auth", "can-i", "list", f"incidents.{GROUP}", "--as=somebody")
    assert answer.stdout.strip() == "no"
