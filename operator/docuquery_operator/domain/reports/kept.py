"""All that the tasks of one opening have found, as its ConfigMap keeps it: bounded, and read back by type. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ...api.common import API_VERSION
from ...api.maintenance_window import MaintenanceWindow, TaskType
from ..maintenance.task_outcome import Finding, Series, Table, TaskOutcome
from .maintenance import files_of, report_of

KEY_SUFFIX = ".outcome.json"
# Sixteen tasks of this size, and a page and its JSON beside them, fit into the 1 MiB of a ConfigMap.
LARGEST = 40_000
# Of all values together: what the API server allows is 1 MiB.
WHOLE = 1_000_000
# Of each task, where the page would not fit beside the outcomes.
FEW_FIGURES, FEW_LINES, FEW_FINDINGS = 20, 4, 4
TOO_LARGE = "what was found does not fit into one ConfigMap; it is under <Type>.outcome.json"
REPORT_LABEL = "ops.docuquery.ai/report"
# No object has this uid: what belongs to it is collected by Kubernetes.
NOBODY = "00000000-0000-0000-0000-000000000000"


def key_of(type_: TaskType) -> str:
    """Key of a task's outcome in the data."""
    return f"{type_.value}{KEY_SUFFIX}"


def outcome_in(data: Mapping[str, str], type_: TaskType) -> TaskOutcome | None:
    """What a task has found; None when nothing readable is there."""
    text = data.get(key_of(type_))
    try:
        return TaskOutcome.model_validate_json(text) if text else None
    except ValidationError:
        return None


def outcomes(data: Mapping[str, str]) -> dict[TaskType, TaskOutcome]:
    """All that were kept, in the order of the types."""
    found = {type_: outcome_in(data, type_) for type_ in TaskType}
    return {type_: outcome for type_, outcome in found.items() if outcome is not None}


def pages(window: MaintenanceWindow, opened: datetime | None, data: Mapping[str, str]) -> dict[str, str]:
    """The page for people and its figures as JSON, of the outcomes in this data."""
    if opened is None:
        return {}
    meta, status = window.metadata, window.status
    about = {
        "title": window.spec.title,
        "window": meta.name,
        "namespace": meta.namespace,
        "stack": window.spec.stack_ref.name,
    }
    until = [status.active.until] if status and status.active and status.active.since == opened else []
    until += [p.until for p in status.history if p.since == opened] if status else []
    found = {type_.value: outcome for type_, outcome in outcomes(data).items()}
    order = [t.type.value for t in window.spec.tasks if t.type.value in found]
    ordered = {name: found[name] for name in dict.fromkeys([*order, *found])}
    closed = next(iter(until), None)
    files = files_of(report_of(about, opened, closed, ordered))
    room = WHOLE - _bytes({key: text for key, text in data.items() if key not in files})
    if _bytes(files) <= room:
        return files
    files = files_of(report_of(about, opened, closed, {name: _few(outcome) for name, outcome in ordered.items()}))
    return files if _bytes(files) <= room else dict.fromkeys(files, TOO_LARGE)


def _bytes(data: Mapping[str, str]) -> int:
    return sum(len(text.encode()) for text in data.values())


def text_of(outcome: TaskOutcome, largest: int = LARGEST) -> str:
    """As it is kept. What does not fit loses points of its curves, then rows of its longest tables, and says so."""
    text = outcome.model_dump_json()
    while len(text.encode()) > largest:
        smaller = _smaller(outcome)
        if smaller == outcome:
            return _cut(_few(outcome), {"findings": ()}).model_dump_json()
        outcome, text = smaller, smaller.model_dump_json()
    return text


def _smaller(outcome: TaskOutcome) -> TaskOutcome:
    points = max((len(s.points) for s in outcome.series), default=0)
    rows = max((len(t.rows) for t in outcome.tables), default=0)
    if points > 100 or (points > 2 and rows <= 10):
        return _cut(outcome, {"series": tuple(_thinned(s) if len(s.points) == points else s for s in outcome.series)})
    if rows > 1:
        return _cut(outcome, {"tables": tuple(_halved(t) if len(t.rows) == rows else t for t in outcome.tables)})
    if outcome.tables or outcome.series or len(outcome.findings) > 1:
        kept = outcome.findings[: max(1, len(outcome.findings) // 2)]
        return _cut(outcome, {"tables": (), "series": (), "findings": kept})
    return outcome


def _few(outcome: TaskOutcome) -> TaskOutcome:
    """Bounded whatever was found; tables and curves are cut by the page itself."""
    figures = {name[:100]: value[:200] if isinstance(value, str) else value for name, value in outcome.figures.items()}
    changes = {
        "figures": dict([*figures.items()][:FEW_FIGURES]),
        "evidence": outcome.evidence[:FEW_LINES],
        "findings": outcome.findings[:FEW_FINDINGS],
    }
    return outcome if changes.items() <= outcome.__dict__.items() else _cut(outcome, changes)


def _cut(outcome: TaskOutcome, changes: Mapping[str, Any]) -> TaskOutcome:
    told = Finding(rank="Info", text="not all figures were kept: rows, points or findings were left out")
    findings: Sequence[Finding] = changes.get("findings", outcome.findings)
    kept = tuple(f for f in findings if f != told)
    return outcome.model_copy(update={**changes, "findings": (*kept, told)})


def _thinned(series: Series) -> Series:
    """Every second point, and the last."""
    points = series.points[::2]
    return series.model_copy(update={"points": points if points[-1] == series.points[-1] else (*points, series.points[-1])})


def _halved(table: Table) -> Table:
    return table.model_copy(update={"rows": table.rows[: len(table.rows) // 2]})


def config_map(window: MaintenanceWindow, name: str, data: Mapping[str, str]) -> dict[str, Any]:
    """It goes with its window."""
    meta = window.metadata
    reference = {"apiVersion": API_VERSION, "kind": "MaintenanceWindow", "name": meta.name, "uid": meta.uid}
    labels = {"app.kubernetes.io/managed-by": "docuquery-operator", REPORT_LABEL: "maintenance-window"}
    return {"metadata": {"name": name, "labels": labels, "ownerReferences": [reference]}, "data": dict(data)}


def released(name: str) -> dict[str, Any]:
    """Patch that lets a report go: Kubernetes collects what belongs to nobody, and the operator needs no right to delete."""
    return {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": NOBODY}]}}
