"""One row for each fault of the scenarios, in one file, printed as one table: `python -m tests.e2e.table` judges it as a whole."""

from __future__ import annotations

import fcntl
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.harness.cluster import CHECKOUT, JSON, wait_for
from tests.harness.stackns import StackNamespace

FILE = CHECKOUT / "build" / "e2e-table.jsonl"
# Faults that are found with nobody there, and named in the table, before the stage counts as passed.
LEAST = 28
# Set in the environment of a run that goes on with the table of the one before.
KEEP = "DOCUQUERY_E2E_TABLE_KEEP"
HEADER = ("fault", "cause named", "action", "detect s", "act s", "recover s", "incidents", "opened by")
DETECTOR, PERSON = "operator", "a person"
# In place of a cause: it was over before it could count as a fault, and opens no incident.
SHORT = "ShortFault"


@dataclass(frozen=True)
class Row:
    """One fault. Times are seconds after the fault, None where there was nothing to do or nothing has ended."""

    fault: str
    cause: str
    action: str
    detect: float | None
    act: float | None
    recover: float | None
    incidents: int
    opened_by: str = DETECTOR

    def cells(self) -> tuple[str, ...]:
        """As text."""
        seconds = ["-" if s is None else f"{s:.1f}" for s in (self.detect, self.act, self.recover)]
        return (self.fault, self.cause, self.action, *seconds, str(self.incidents), self.opened_by)


class Fault:
    """A fault that is made now: what becomes of it is read from the incident, and counted in the namespace."""

    def __init__(self, ns: StackNamespace, fault: str, type_: str) -> None:
        """`type_` is the incident type that it must be found as."""
        self.ns, self.fault, self.type = ns, fault, type_
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type_).lower()
        self.name = f"docuquery-{words}-1"
        before = [i["spec"].get("description") for i in ns.api.list("incidents")]
        assert before == [], "there was an incident before the fault"
        self.at = time.time()

    def again(self) -> None:
        """The same fault once more: the times of its row are those of the last time."""
        self.at = time.time()

    def opened(self, seconds: float = 60) -> str:
        """Its name, when the operator has opened it by itself."""
        wait_for(f"the incident {self.name}", lambda: self.ns.api.get("incidents", self.name), seconds)
        print(f"noticed {time.time() - self.at:.1f} s after the fault")
        return self.name

    def noticed(self, seconds: float = 20) -> str:
        """Name of the incident; '' where none comes, as whatever was killed was back before it could count as a fault."""
        end = time.time() + seconds
        while time.time() < end:
            if self.ns.api.get("incidents", self.name):
                return self.name
            time.sleep(0.2)
        return ""

    def short(self, component: str, back_at: float) -> None:
        """Write the row of a fault that was over at once: nobody has done anything. back_at: when it was well again."""
        assert self.ns.api.list("incidents") == []
        told = [datetime.fromisoformat(at).timestamp() for at in short_faults(self.ns, component)]
        detect = max(0.0, round(min(told) - self.at, 1)) if told else None
        write(Row(self.fault, SHORT, "none", detect, None, round(back_at - self.at, 1), 0))

    def ended(self, *others: str) -> None:
        """Write the row. There must be one incident of the fault, and none but it and the named ones of other faults."""
        found = {i["metadata"]["name"]: i["spec"].get("description", "") for i in self.ns.api.list("incidents")}
        names = sorted(found)
        assert names == sorted({self.name, *others}), f"one fault, one incident: {found}"
        incident = self.ns.api.read("incidents", self.name)
        by = (incident["metadata"].get("labels") or {}).get("ops.docuquery.ai/opened-by")
        assert by == "detector", f"{self.name} was opened by {by}"
        write(row_of(self.fault, incident, self.at, sum(n not in others for n in names), DETECTOR))


def short_faults(ns: StackNamespace, component: str) -> list[str]:
    """Times of faults of the component that were over before they could count as one, by the Stack's own word."""
    components = (ns.api.read("stacks", "docuquery").get("status") or {}).get("components") or []
    return [at for c in components if c["name"] == component for at in c.get("shortFaults") or []]


def by_person(ns: StackNamespace, fault: str, name: str, at: float) -> None:
    """A row of an incident that a person has opened."""
    write(row_of(fault, ns.api.read("incidents", name), at, len(ns.api.list("incidents")), PERSON))


def row_of(fault: str, incident: JSON, at: float, incidents: int, by: str) -> Row:
    """What the incident says, counted from the fault."""
    status = incident.get("status") or {}
    times = status.get("times") or {}

    def after(key: str) -> float | None:
        moment = times.get(key)
        return None if moment is None else round(datetime.fromisoformat(moment).timestamp() - at, 1)

    over = after("mitigatedAt") if times.get("mitigatedAt") else after("resolvedAt")
    acted = after("actedAt")
    cause = str((status.get("cause") or {}).get("name", ""))
    return Row(fault, cause, action_of(status), after("openedAt"), acted, over, incidents, by)


def action_of(status: Mapping[str, Any]) -> str:
    """What was done, and whether a person was called."""
    done = [f"{s['name']}: {s['state']}" for s in status.get("steps") or [] if s["state"] != "Skipped"]
    proposed = [s["name"] for s in status.get("steps") or [] if s["name"].startswith("propose")]
    called = ["a person is called"] if any(t["event"] == "NeedsHuman" for t in status.get("timeline") or []) else []
    return ", ".join([*done, *proposed, *called]) or "none"


def reset() -> None:
    """Begin a table anew."""
    FILE.unlink(missing_ok=True)


def write(row: Row) -> None:
    """Append it; test processes side by side write to the same file."""
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(asdict(row)) + "\n")
    print(" | ".join(row.cells()))


def read(file: Path = FILE) -> list[Row]:
    """All rows so far, by the name of the fault."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return sorted((Row(**json.loads(line)) for line in lines), key=lambda r: (r.opened_by != DETECTOR, r.fault))


def text(rows: Iterable[Row]) -> str:
    """The table, for a terminal."""
    cells = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(HEADER))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def problems(rows: Sequence[Row], least: int = LEAST) -> list[str]:
    """Why the table as a whole does not show what it must."""
    found = [f"{r.fault}: {r.incidents} incidents" for r in rows if r.incidents != (r.cause != SHORT)]
    found += [f"{r.fault}: no cause was named" for r in rows if r.cause in ("", "Unknown")]
    found += [f"{r.fault}: never noticed" for r in rows if r.detect is None and r.cause != SHORT]
    found += [f"{r.fault}: never over" for r in rows if r.recover is None]
    alone = {r.fault for r in rows if r.opened_by == DETECTOR}
    if len(alone) < least:
        found.append(f"{len(alone)} different faults were found with nobody there, {least} are to be shown")
    return found


def main() -> int:
    """Exit code 1 when the table does not show what it must."""
    rows = read()
    print(text(rows))
    wrong = problems(rows)
    for line in wrong:
        print(f"e2e table: {line}")
    print(f"{len(rows)} rows in {FILE.relative_to(CHECKOUT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
