"""The table of faults cannot pass by showing too little, and counts what the incident says from the fault on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tests.e2e.table import DETECTOR, PERSON, Row, action_of, problems, row_of, text

FINE = [Row(f"fault {n}", "ProcessDown", "none", 1.0, None, 3.0, 1) for n in range(24)]


def test_a_full_table_passes() -> None:
    assert problems(FINE, 24) == []


def test_the_same_fault_twice_or_found_by_a_person_does_not_count() -> None:
    (twice,) = problems([*FINE[:-1], FINE[0]], 24)
    (person,) = problems([*FINE[:-1], replace(FINE[-1], opened_by=PERSON)], 24)
    assert twice.startswith("23 different faults")
    assert person.startswith("23 different faults")


def test_what_each_row_must_say() -> None:
    for change, wrong in (
        ({"incidents": 2}, "2 incidents"),
        ({"incidents": 0}, "0 incidents"),
        ({"cause": ""}, "no cause"),
        ({"cause": "Unknown"}, "no cause"),
        ({"recover": None}, "never over"),
        ({"detect": None}, "never noticed"),
    ):
        (said,) = problems([*FINE, replace(FINE[0], fault="bad", **change)], 24)  # type: ignore[arg-type]
        assert said.startswith("bad: ")
        assert wrong in said


def test_times_count_from_the_fault() -> None:
    at = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC).timestamp()
    times = {
        "openedAt": "2026-01-01T12:00:02.500Z",
        "actedAt": "2026-01-01T12:00:04.000Z",
        "mitigatedAt": "2026-01-01T12:00:09.000Z",
        "resolvedAt": "2026-01-01T12:00:14.000Z",
    }
    steps = [{"name": "proposeMemory", "state": "Skipped"}, {"name": "restartWorkload", "state": "Healed", "attemptId": "a"}]
    status = {"times": times, "cause": {"name": "ProcessDown"}, "steps": steps}
    row = row_of("a fault", {"status": status}, at, 1, DETECTOR)
    assert (row.detect, row.act, row.recover) == (2.5, 4.0, 9.0)
    assert row.action == "restartWorkload: Healed, proposeMemory"
    assert "a fault" in text([row])


def test_an_action_of_nobody_is_said_so() -> None:
    assert action_of({}) == "none"
    assert action_of({"timeline": [{"event": "NeedsHuman"}]}) == "a person is called"
