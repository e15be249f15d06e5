"""docs/runbooks.md: the catalogue as the code has it, the example as the file has it, and what the example decides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.__main__ import main
from docuquery_operator.api.runbook import Runbook
from docuquery_operator.catalogue.actions import ACTIONS
from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.cli.catalogue import tables
from docuquery_operator.domain.diagnosis.causes import judge

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "runbooks.md").read_text(encoding="utf-8")
EXAMPLE = (CHECKOUT / "docs" / "examples" / "runbook.yaml").read_text(encoding="utf-8")
RUNBOOK = Runbook.model_validate(yaml.safe_load(EXAMPLE)).spec
FINE: dict[str, dict[str, Any]] = {
    "api": {"reachable": True, "status": 200, "latencyMs": 12},
    "workload": {"exists": True, "ready": 1, "wanted": 1, "pods": 1, "terminating": 0, "crashLoop": False,
                 "oomKilled": False, "state": "running"},
    "network": {"broken": False},
    "database": {"ok": True},
}  # fmt: skip
CASES: list[tuple[str, dict[str, Any]]] = [
    ("WorkloadMissing", {"workload": {"exists": False}}),
    ("ScaledToZero", {"workload": {"wanted": 0, "ready": 0, "pods": 0, "state": "absent"}}),
    ("Starting", {"workload": {"ready": 0, "terminating": 1}}),
    ("OOMKilled", {"workload": {"oomKilled": True, "crashLoop": True}}),
    ("CrashLoop", {"workload": {"crashLoop": True}}),
    ("NetworkBlocked", {"network": {"broken": True}}),
    ("DatabaseDown", {"database": {"ok": False}}),
    ("Wedged", {}),
    ("Unknown", {"workload": {"state": "waiting", "ready": 0}}),
]


def test_the_catalogue_is_the_codes(capsys: pytest.CaptureFixture[str]) -> None:
    told = PAGE.partition("<!-- catalogue: python -m docuquery_operator catalogue -->\n")[2]
    same = told.partition("<!-- end of the catalogue -->")[0] == tables()
    assert same, "put what `python -m docuquery_operator catalogue` prints between the marks of docs/runbooks.md"
    assert main(["catalogue"]) == 0
    assert capsys.readouterr().out == tables()


def test_every_probe_and_action_says_what_it_does() -> None:
    for row in (*PROBES.values(), *ACTIONS.values()):
        assert len(row.doc) > 20
        assert not row.doc[0].isupper()
        assert not row.doc.endswith(".")
    assert tables().count("\n| `") == len(PROBES) + len(ACTIONS)


def test_the_example_is_the_file() -> None:
    (shown,) = re.findall(r"```yaml\n(# A runbook of your own.*?)```", PAGE, re.DOTALL)
    assert shown == EXAMPLE


def findings(changes: dict[str, Any], **api: Any) -> dict[str, dict[str, Any]]:
    """All is well but for the changes and what the api answers."""
    return {name: api if name == "api" and api else {**usual, **changes.get(name, {})} for name, usual in FINE.items()}


def test_the_example_covers_its_causes() -> None:
    assert {cause for cause, _ in CASES} == {c.name for c in RUNBOOK.causes}


@pytest.mark.parametrize(("cause", "changes"), CASES, ids=[c[0] for c in CASES])
def test_the_example_names_the_cause(cause: str, changes: dict[str, Any]) -> None:
    verdict = judge(RUNBOOK, findings(changes, reachable=False), {"slowMs": 2000})
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


def test_the_example_knows_well_slow_and_unknown() -> None:
    limit = {"slowMs": 2000}
    assert judge(RUNBOOK, findings({}), limit).symptom is False
    assert judge(RUNBOOK, findings({}, reachable=True, latencyMs=2001), limit).symptom is True
    nothing = {k: v for k, v in findings({}).items() if k != "api"}
    assert judge(RUNBOOK, nothing, limit).symptom is None
    # Without the database's answer the restart is held back: that cause forbids it and is not ruled out.
    unknown = {k: v for k, v in findings({}, reachable=False).items() if k != "database"}
    diagnosis = judge(RUNBOOK, unknown, limit).diagnosis
    assert diagnosis is not None
    assert (diagnosis.name, diagnosis.would_worsen("restartWorkload")) == ("Wedged", "DatabaseDown")
