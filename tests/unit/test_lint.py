"""`lint` on runbooks in files: each mistake by its path, with what to write instead; and the same verdict as the operator's."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.__main__ import main
from docuquery_operator.api.runbook import Runbook
from docuquery_operator.catalogue.runbooks import problem_of
from docuquery_operator.cli.lint import lint, lint_document

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((CHECKOUT / "operator/docuquery_operator/runbooks").glob("*.yaml"))
EXAMPLE = CHECKOUT / "docs/examples/runbook.yaml"
CORPUS = sorted((CHECKOUT / "tests/corpus/accepted").glob("*.yaml"))
WRONG = sorted((CHECKOUT / "tests/corpus/wrong").glob("runbook-*.yaml"))
Spec = dict[str, Any]
GOOD = yaml.safe_load("""
apiVersion: ops.docuquery.ai/v1alpha1
kind: Runbook
metadata: {name: good}
spec:
  incidentType: Custom
  severity: P1
  componentType: PostgreSQL
  parameters: [{name: limit, type: Integer, default: "5", minimum: 1, maximum: 10}]
  diagnose:
    - {name: ready, probe: postgresReady}
    - {name: connections, probe: postgresConnections}
    - {name: api, probe: httpHealth, component: api}
  symptom: "!findings.ready.ok || findings.connections.used > parameters.limit"
  causes:
    - name: Crowded
      when: findings.connections.exhausted
      forbid: [restartWorkload]
      remediate: [{action: terminateIdleSessions, parameters: {minIdle: 10s, max: 5}}]
    - name: Down
      when: "!findings.ready.ok"
      remediate: [{action: restartWorkload}]
    - {name: Unknown, when: "true", human: look}
  verify: {settle: 10s}
""")


def changed(path: str, value: Any) -> Spec:
    """GOOD with one value changed; None takes it out."""
    document = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    place: Any = document
    for part in way:
        place = place[int(part) if part.isdigit() else part]
    key = int(last) if last.isdigit() else last
    if value is None:
        del place[key]
    else:
        place[key] = value
    return dict(document)


STEP = "spec.causes.1.remediate.0"
# Where it is changed, to what; level, path and words of the one line that comes of it.
CASES: list[tuple[str, Any, str, str, str]] = [
    ("apiVersion", "v1", "error", "apiVersion", "must be ops.docuquery.ai/v1alpha1"),
    ("metadata.name", None, "error", "metadata.name", "is required"),
    ("spec.severity", None, "error", "spec.severity", "is required"),
    ("spec.severity", "P9", "error", "spec.severity", "must be 'P0', 'P1', 'P2' or 'P3', not 'P9'"),
    ("spec.simptom", "true", "error", "spec.simptom", "unknown field; did you mean 'symptom'?"),
    ("specs", {}, "error", "specs", "did you mean 'spec'?"),
    (f"{STEP}.params", {}, "error", "spec.causes[Down].remediate[restartWorkload].params", "did you mean 'parameters'?"),
    ("spec.causes.1.when", True, "error", "spec.causes[Down].when", "write it in quotes: 'true'"),
    ("spec.causes.1.when", "x" * 1025, "error", "spec.causes[Down].when", "longer than 1024 characters"),
    ("spec.causes.1.name", "not camel", "error", "spec.causes[1].name", "write a name in CamelCase"),
    ("spec.causes.1.name", "Crowded", "error", "spec.causes", "two entries have the name 'Crowded'"),
    ("spec.causes", [], "error", "spec", "end with {name: Unknown, when: 'true'}"),
    ("spec.causes", "none", "error", "spec.causes", "must be a list, not 'none'"),
    ("spec.diagnose", [], "error", "spec", "diagnose must hold at least one probe"),
    ("spec.diagnose.0.name", "Ready", "error", "spec.diagnose[Ready].name", "does not fit the pattern"),
    ("spec.causes.1.remediate", [{"action": "a"}] * 5, "error", "spec.causes[Down].remediate", "5 entries; at most 4"),
    (f"{STEP}.action", "rm -rf /", "error", "spec.causes[Down].remediate[0].action", "commands are not possible"),
    (f"{STEP}.timeout", "soon", "error", "spec.causes[Down].remediate[restartWorkload].timeout", "write a Go-style duration"),
    ("spec.parameters.0.minimum", 11, "error", "spec.parameters[limit]", "must not be above its maximum"),
    ("spec.parameters.0.default", "50", "error", "spec.parameters[limit].default", "must be between 1 and 10, not 50"),
    ("spec.parameters.0.default", "x", "error", "spec.parameters[limit].default", "must be a whole number"),
    ("spec.diagnose.0.probe", "postgresredy", "error", "spec.diagnose[ready].probe", "did you mean 'postgresReady'?"),
    (f"{STEP}.action", "restartworkloads", "error", "spec.causes[Down].remediate[restartworkloads].action",
     "did you mean 'restartWorkload'?"),
    ("spec.causes.0.remediate.0.parameters", {"maximum": 5}, "error",
     "spec.causes[Crowded].remediate[terminateIdleSessions].parameters.maximum", "there are: max, minIdle"),
    ("spec.causes.0.remediate.0.parameters", {"max": 101}, "error",
     "spec.causes[Crowded].remediate[terminateIdleSessions].parameters.max", "must be less than or equal to 100, not 101"),
    (f"{STEP}.parameters", {"hard": True}, "error",
     "spec.causes[Down].remediate[restartWorkload].parameters.hard", "there are: none"),
    ("spec.causes.1.remediate", [{"action": "restartWorkload"}] * 2, "error", "spec.causes[Down].remediate", "two steps"),
    ("spec.symptom", "!findings.ready.ok &&", "error", "spec.symptom", "is not CEL"),
    ("spec.symptom", "!finding.ready.ok", "error", "spec.symptom", "names finding, which there is not"),
    ("spec.symptom", "open('x')", "error", "spec.symptom", "calls open, which there is not"),
    ("spec.symptom", "[1].map(a, [1].map(b, [1].map(c, 1))) == []", "error", "spec.symptom", "could take too long"),
    ("spec.symptom", "!findings.redy.ok", "error", "spec.symptom", "findings.redy.ok: no probe of diagnose is called 'redy'; "
     "did you mean 'ready'?"),
    ("spec.symptom", "!findings.ready.OK", "error", "spec.symptom", "probe postgresReady gives no 'OK'; did you mean 'ok'?"),
    ("spec.symptom", "!findings['ready']['okay']", "error", "spec.symptom", "gives no 'okay'"),
    ("spec.symptom", "findings.ready.ok == parameters.limits", "error", "spec.symptom", "declares no 'limits'; did you mean "
     "'limit'?"),
    ("spec.symptom", "!findings.api.ok", "warning", "spec.symptom", "it surely gives: reachable, status, latencyMs"),
    ("spec.causes.0.when", "true", "warning", "spec.causes[Down]", "is never reached: 'Crowded' before it is always true"),
    ("spec.causes.2", None, "warning", "spec.causes", "end with {name: Unknown, when: 'true'}"),
    ("spec.verify", None, "warning", "spec.verify", "is left out: settle 30s, symptomClearFor 2m, within 5m"),
    ("spec.causes.1.forbid", ["restartWorkload"], "warning", "spec.causes[Down].remediate[restartWorkload]", "never done"),
    (f"{STEP}.timeout", "31m", "warning", "spec.causes[Down].remediate", "add up to 31m; the ladder ends after 30m"),
    ("spec.causes.1.when", "findings.ready.outcome == 'auth'", "warning", "spec.causes[Down].remediate[restartWorkload]",
     "restarts a store"),
    ("spec.causes.2.human", None, "warning", "spec.causes[Unknown].human", "say what a person should do"),
]  # fmt: skip


def test_the_good_one_is_good() -> None:
    assert lint_document(GOOD) == []


@pytest.mark.parametrize(("where", "value", "level", "path", "words"), CASES, ids=[f"{c[0]}={c[1]}"[:60] for c in CASES])
def test_each_mistake_is_told(where: str, value: Any, level: str, path: str, words: str) -> None:
    found = lint_document(changed(where, value))
    # A cause that is always true also leaves those after it unreached.
    assert [f for f in found if f[0] == level and f[1] == path and words in f[2]], found
    assert {f[0] for f in found} == {level}
    assert level == "warning" or len(found) == 1 or where == "spec.causes.1.remediate", found


@pytest.mark.parametrize("file", [*SHIPPED, EXAMPLE], ids=lambda file: file.stem)
def test_what_is_shipped_is_clean(file: Path) -> None:
    assert lint([(str(file), file.read_text())]) == []


def _runbooks(file: Path) -> list[Any]:
    return [d for d in yaml.safe_load_all(file.read_text()) if isinstance(d, dict) and d.get("kind") == "Runbook"]


@pytest.mark.parametrize("file", [f for f in CORPUS if _runbooks(f)], ids=lambda file: file.stem)
def test_it_agrees_with_the_operator(file: Path) -> None:
    """What the API server takes: an error here is Ready=False there, with the same words, and nothing else is."""
    for document in _runbooks(file):
        problem = problem_of(Runbook.model_validate(document).spec)
        errors = [f"{path}: {text}" for level, path, text in lint_document(document) if level == "error"]
        assert errors[:1] == ([f"spec.{problem.message}"] if problem else [])


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_what_the_api_server_refuses_is_an_error(file: Path) -> None:
    assert [line for line in lint([(file.name, file.read_text())]) if line.level == "error"]


@pytest.mark.parametrize("case", [c for c in CASES if c[2] == "warning"], ids=lambda c: f"{c[0]}={c[1]}"[:60])
def test_a_warning_keeps_nobody_from_using_it(case: tuple[str, Any, str, str, str]) -> None:
    assert problem_of(Runbook.model_validate(changed(case[0], case[1])).spec) is None


def test_documents_are_counted_and_other_kinds_passed_over() -> None:
    bad = changed("spec.symptom", "!findings.redy.ok")
    bad["spec"]["incidentType"] = "Other"
    text = yaml.safe_dump_all([{"kind": "ConfigMap", "apiVersion": "v1"}, GOOD, None, bad])
    assert [(line.file, line.document) for line in lint([("a", text), ("b", yaml.safe_dump(GOOD))])] == [("a", 4), ("b", 1)]
    assert "also served by a:2" in lint([("a", text), ("b", yaml.safe_dump(GOOD))])[1].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file holds no Runbook"),
        ("kind: ConfigMap", "the file holds no Runbook"),
        ("just words", "says no kind"),
        ("[1, 2]", "says no kind"),
        ("a: [", "is not YAML"),
        ("a: 2026-99-99", "is not YAML"),
        ("{apiVersion: ops.docuquery.ai/v1alpha1, kind: Runboook}", "did you mean 'Runbook'?"),
        ("{apiVersion: ops.docuquery.ai/v1alpha1, kind: Runbook}", "metadata: is required"),
        ("{apiVersion: ops.docuquery.ai/v1alpha1, kind: Runbook, metadata: 3, spec: [4]}", "must be an object with fields"),
        (
            "{apiVersion: ops.docuquery.ai/v1alpha1, kind: Runbook, 5: x, spec: {6: 7, causes: [8], verify: 9}}",
            "unknown field",
        ),
    ],
)
def test_what_is_no_runbook_is_told(text: str, words: str) -> None:
    found = "\n".join(map(str, lint([("file", text)])))
    assert words in found, found


def _write(folder: Path, document: Any) -> str:
    path = folder / "runbook.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("document", "strict", "code", "level"),
    [
        (GOOD, True, 0, ""),
        (changed("spec.verify", None), False, 0, "warning"),
        (changed("spec.verify", None), True, 1, "error"),
        (changed("spec.severity", "P9"), False, 1, "error"),
    ],
    ids=["good", "warning", "strict", "error"],
)
def test_the_exit_code_is_that_of_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: Spec, strict: bool, code: int, level: str
) -> None:
    file = _write(tmp_path, document)
    assert main(["lint", file, *(["--strict"] if strict else [])]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (1 if level else 0)
    assert all(line.startswith(f"{file}:1: {level}: spec.") for line in lines)


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, changed("spec.severity", "P9"))
    assert main(["lint", "--json", file]) == 1
    (line,) = json.loads(capsys.readouterr().out)
    assert line == {
        "file": file,
        "document": 1,
        "level": "error",
        "path": "spec.severity",
        "message": "must be 'P0', 'P1', 'P2' or 'P3', not 'P9'",
    }


def test_standard_input_and_a_missing_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(changed("spec.verify", None))))
    assert main(["lint", "-", "/nowhere/at-all.yaml"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("/nowhere/at-all.yaml:0: error: : cannot be read")
    assert second.startswith("-:1: warning: spec.verify: ")


def test_nothing_to_lint_is_a_mistake_of_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lint"])
    assert ended.value.code == 2
    assert "FILE" in capsys.readouterr().err


def _shuffle(document: Any, value: Any) -> list[Any]:
    """The document with this value at every place in turn."""
    made: list[Any] = []

    def walk(node: Any, put: Callable[[Any], None]) -> None:
        put(value)
        made.append(copy.deepcopy(document_now))
        put(node)
        for key, child in (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        ):
            walk(child, lambda new, node=node, key=key: node.__setitem__(key, new))

    document_now = copy.deepcopy(document)
    walk(document_now["spec"], lambda new: document_now.__setitem__("spec", new))
    return made


@pytest.mark.parametrize(
    "value", [None, True, 5, -1.5, "", "x" * 3000, "Zürich ☃", [], {}, [[]], {"a": 1}, [None]], ids=repr
)
def test_nothing_crashes_it(value: Any) -> None:
    """Any value at any place ends in lines, and what no line calls an error is a runbook that the model takes."""
    for document in _shuffle(GOOD, value):
        found = lint_document(document)
        if not [f for f in found if f[0] == "error"]:
            assert problem_of(Runbook.model_validate(document).spec) is None
