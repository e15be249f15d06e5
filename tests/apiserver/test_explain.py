"""What people read and type: kubectl explain, get and wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.api.common import API_VERSION, Resource
from docuquery_operator.api.crd import KINDS
from tests.apiserver.conftest import Place
from tests.apiserver.running import Running, running_operator
from tests.harness import sick
from tests.harness.apiserver import ApiServer

by_kind = pytest.mark.parametrize("model", KINDS, ids=lambda model: model.__name__)
# Of Kubernetes itself, not of ours.
FOREIGN = {"metadata", "apiVersion", "kind"}


def explained(server: ApiServer, what: str, *options: str) -> str:
    answer = server.kubectl("explain", what, *options)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def fields(text: str) -> dict[str, str]:
    """Fields of an explanation with what stands below each."""
    body = text.partition("FIELDS:\n")[2]
    parts = re.split(r"^  (\S+)\t(?:<.*)$", body, flags=re.MULTILINE)[1:]
    return {name: " ".join(said.split()) for name, said in zip(parts[::2], parts[1::2], strict=True)}


def undescribed(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Paths of fields that say nothing of themselves, at any depth."""
    for name, child in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        if name in FOREIGN and path.count(".") == 0:
            continue
        if len(child.get("description", "").strip()) < 3:
            yield where
        yield from undescribed(child, where)
    for nested in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(nested, dict):
            yield from undescribed(nested, path)


@by_kind
def test_every_field_of_the_served_schema_is_described(server: ApiServer, model: type[Resource]) -> None:
    code, document = server.request("GET", f"/openapi/v3/apis/{API_VERSION}")
    assert code == 200
    schemas = document["components"]["schemas"].values()
    kind = model.meta_of_kind.kind
    schema = next(s for s in schemas if [g["kind"] for g in s.get("x-kubernetes-group-version-kind", [])] == [kind])
    assert schema["description"].strip()
    assert not list(undescribed(schema, kind))


@by_kind
def test_explain_describes_the_kind_and_each_field(server: ApiServer, model: type[Resource]) -> None:
    name = model.meta_of_kind.singular
    top = explained(server, name)
    for text in (top, explained(server, f"{name}.spec"), explained(server, f"{name}.status")):
        said = text.partition("DESCRIPTION:\n")[2].partition("FIELDS:")[0].strip()
        assert len(said) > 10, text
        assert said != "<empty>"
        found = fields(text)
        assert found
        assert not [field for field, about in found.items() if not about or about == "<no description>"]
    assert {"spec", "status"} <= fields(top).keys()


def test_explain_recursive_lists_the_whole_spec_of_an_incident(server: ApiServer) -> None:
    text = explained(server, "incident.spec", "--recursive")
    for line in (
        "  stackRef\t<Object> -required-",
        "    name\t<string> -required-",
        "  approvals\t<[]Object>",
        "    planDigest\t",
    ):
        assert line in text
    assert "enum: P0, P1, P2, P3" in text


@pytest.fixture
def operator(server: ApiServer, place: Place, tmp_path: Path) -> Iterator[Running]:
    """The operator, for the namespace of the test alone."""
    with running_operator(server, tmp_path, watched=place.namespace) as running:
        yield running
        running.is_well()


def columns(operator: Running, place: Place, *what: str) -> list[list[dict[str, str]]]:
    """The tables of `kubectl get`: one for each kind, its rows by column."""
    answer = operator.server.kubectl("get", *what, f"--namespace={place.namespace}")
    assert answer.returncode == 0, answer.stderr
    tables = []
    for table in answer.stdout.strip().split("\n\n"):
        header, *rows = table.splitlines()
        starts = [(m.group(), m.start()) for m in re.finditer(r"\S+", header)]
        ends = [start for _, start in starts[1:]] + [None]
        tables.append([{name: row[at:end].strip() for (name, at), end in zip(starts, ends, strict=True)} for row in rows])
    return tables


def test_people_read_what_goes_on_and_wait_for_the_end(operator: Running, place: Place) -> None:
    """get, wait and describe on an Incident that is diagnosed, then closed by hand."""
    sick.sick_database(operator.server, place.namespace)
    sick.stack(operator.server, place.namespace, mode="Observe")
    sick.incident(operator.server, place.namespace)
    runbook = {"incidentType": "Own", "severity": "P2", "componentType": "Redis", "symptom": "false"}
    runbook |= {"diagnose": [{"name": "w", "probe": "workload"}], "causes": [{"name": "Unknown", "when": "true"}]}
    assert (
        place.create({"apiVersion": API_VERSION, "kind": "Runbook", "metadata": {"name": "own"}, "spec": runbook})[0] == 201
    )

    def status(kind: str, name: str = "docuquery") -> Any:
        return operator.get(place.namespace, kind, name).get("status") or {}

    operator.until(lambda: status("Incident").get("cause"), 20, lambda: status("Incident"))
    operator.until(lambda: status("Runbook", "own").get("conditions"), 20)
    operator.until(lambda: status("Stack").get("summary") == "0/1", 20, lambda: status("Stack"))
    operator.until(lambda: status("Stack").get("openIncidents") == 1, 40, lambda: status("Stack"))
    [incidents], [stacks], [runbooks] = columns(operator, place, "inc,dqs,rb")
    assert list(incidents) == ["NAME", "SEVERITY", "TYPE", "PHASE", "CAUSE", "ACK", "SUMMARY", "AGE"]
    assert list(stacks) == ["NAME", "READY", "COMPONENTS", "INCIDENTS", "MODE", "PAUSED", "AGE"]
    assert list(runbooks) == ["NAME", "INCIDENT-TYPE", "SEVERITY", "READY", "REASON", "AGE"]
    wanted = {
        "SEVERITY": "P0",
        "TYPE": "DatabaseConnectionFailure",
        "PHASE": "Identified",
        "CAUSE": "ProcessDown",
        "ACK": "",
    }
    assert wanted.items() <= incidents.items()
    assert incidents["SUMMARY"] == "ProcessDown: observing only; would do: restart StatefulSet postgres"
    assert {"COMPONENTS": "0/1", "INCIDENTS": "1", "MODE": "Observe"}.items() <= stacks.items()
    assert {"INCIDENT-TYPE": "Own", "SEVERITY": "P2", "READY": "True", "REASON": "Valid"}.items() <= runbooks.items()

    wait = ("wait", "inc/docuquery", "--for=condition=Resolved", f"--namespace={place.namespace}")
    assert "timed out" in operator.server.kubectl(*wait, "--timeout=1s").stderr
    by_hand = {"spec": {"acknowledged": {"by": "ana"}, "resolved": {"by": "ana", "note": "the disk was swapped"}}}
    operator.patch(place.namespace, "Incident", "docuquery", by_hand)
    answer = operator.server.kubectl(*wait, "--timeout=30s")
    assert answer.returncode == 0, answer.stderr
    [[row]] = columns(operator, place, "inc")
    assert (row["PHASE"], row["ACK"], row["SUMMARY"]) == ("Resolved", "ana", "closed by ana: the disk was swapped")
    operator.until(lambda: status("Incident").get("report"), 10)
    told = operator.server.kubectl("describe", "inc", "docuquery", f"--namespace={place.namespace}").stdout
    assert re.search(r"^ +Normal +Resolved .* closed by ana: the disk was swapped$", told, re.MULTILINE), told
    assert not sick.attempt(operator.server, place.namespace)
