"""The ledger of a target when clocks are wrong, and what ends a row of failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from docuquery_operator.domain.ledger import Attempt, Ledger
from docuquery_operator.domain.rails import first_refusal
from tests.unit.domain.rails.test_rails import attempt, candidate, ledger

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
MINE = Attempt("a1", NOW, "restartWorkload", "ProcessDown", "me")


def test_a_target_that_was_renewed_in_the_future_is_not_held_until_then() -> None:
    held = Ledger((), "other", NOW + timedelta(days=1))
    assert not held.held_by_other("me", NOW)
    assert Ledger((), "other", NOW + timedelta(seconds=5)).held_by_other("me", NOW)


def test_the_holder_renews_also_after_its_clock_was_set_back() -> None:
    kept = Ledger((MINE,), "me", NOW + timedelta(hours=1)).keep(MINE, NOW)
    assert kept.renewed == NOW


def test_keeping_twice_is_keeping_once() -> None:
    once = Ledger().keep(MINE, NOW)
    assert once.keep(MINE, NOW + timedelta(seconds=20)) is once
    assert once.keep(MINE, NOW + timedelta(seconds=21)).renewed == NOW + timedelta(seconds=21)


def test_a_step_that_had_no_effect_does_not_end_a_row_of_failures() -> None:
    rows = [attempt(50, "NotHealed"), attempt(40, "NotHealed"), attempt(30, "NotHealed"), attempt(20, "Skipped")]
    refusal = first_refusal(candidate(**ledger(*rows)))
    assert refusal is not None
    assert refusal.reason == "CircuitOpen"
