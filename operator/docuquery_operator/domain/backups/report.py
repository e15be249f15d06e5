"""What a mover says on standard output: one JSON object a line. Progress may be lost; the result is the last line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ...api.common import Time
from ..maintenance.task_outcome import TaskOutcome
from .manifest import CatalogueEntry, Document, Verdict


class Progress(Document):
    """Where the work is; bytes of plain data so far, of about how many (0: not known)."""

    event: Literal["progress"] = "progress"
    step: str
    bytes: int = 0
    total: int = 0


class Decision(Document):
    """What retention has decided of one set, and why."""

    set_id: str
    keep: bool
    reason: str


class CatalogueReport(Document):
    """The store's sets, newest last, of this BackupJob, with the newest deepest verdict of each."""

    entries: list[CatalogueEntry] = []
    verdicts: list[Verdict] = []
    decisions: list[Decision] = []
    deleted: list[str] = []
    cleaned: list[str] = []
    warnings: list[str] = []
    refused: str = ""


class PlanReport(Document):
    """What a restore would do, in lines for people; digest: 12 hex digits over everything that it depends on."""

    digest: str
    lines: list[str]
    bytes: int
    run: str
    manifest_sha256: str


class ReconcileReport(Document):
    """Documents against points."""

    missing: int
    orphans: int
    missing_ids: list[str] = []
    orphan_ids: list[str] = []
    action: str = "Report"


class RestoreStepReport(Document):
    """One step of a restore; a later line of the same name replaces it."""

    event: Literal["step"] = "step"
    name: str
    state: Literal["Running", "Done", "Failed", "Skipped", "RolledBack"]
    summary: str = ""


class Result(Document):
    """The end of a Job. `reason` is CamelCase; `message` says what to do when it failed. `retry`: another try may help."""

    event: Literal["result"] = "result"
    ok: bool
    reason: str
    message: str = ""
    retry: bool = True
    at: Time
    entry: CatalogueEntry | None = None
    verdict: Verdict | None = None
    catalogue: CatalogueReport | None = None
    plan: PlanReport | None = None
    reconciled: ReconcileReport | None = None
    outcome: TaskOutcome | None = None
    warnings: list[str] = []


Line = Progress | RestoreStepReport | Result
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


def parsed(lines: Iterable[str]) -> list[Line]:
    """Those lines that are reports; anything else, such as a warning of a library, is passed over."""
    found: list[Line] = []
    for line in lines:
        if not line.startswith("{"):
            continue
        try:
            found.append(_LINE.validate_python(json.loads(line)))
        except (ValueError, ValidationError):
            continue
    return found
