"""Which events are left out as the echo of our own write; whole stories are in tests/properties/test_echoes.py."""

from __future__ import annotations

from docuquery_operator.ports import Key
from docuquery_operator.runtime.echoes import KEPT, Echoes

A, B = Key("incidents", "docuquery", "a"), Key("incidents", "docuquery", "b")


def test_an_event_between_read_and_write_and_one_right_behind_it_are_looked_at() -> None:
    echoes = Echoes()
    echoes.begins(A)
    assert not echoes.news(A, "7")
    assert not echoes.news(A, "8")
    echoes.decided(A, "8")
    assert not echoes.news(A, "9")
    assert echoes.ends(A, well=True)
    assert echoes.news(A, "8")


def test_the_echo_is_left_out_once_and_a_list_that_shows_it_again_is_not() -> None:
    """A new list is the safety net: each object in it is looked at."""
    echoes = Echoes()
    echoes.begins(A)
    echoes.decided(A, "8")
    assert not echoes.ends(A, well=True)
    assert not echoes.news(A, "8")
    assert echoes.news(A, "8")


def test_a_pass_that_failed_has_decided_nothing() -> None:
    echoes = Echoes()
    echoes.begins(A)
    echoes.decided(A, "8")
    assert not echoes.ends(A, well=False)
    assert echoes.news(A, "8")


def test_a_late_echo_is_known_after_further_passes_and_what_came_before_it_is_forgotten() -> None:
    echoes = Echoes()
    for version in ("8", "9"):
        echoes.begins(A)
        echoes.decided(A, version)
        assert not echoes.ends(A, well=True)
    assert not echoes.news(A, "9")
    assert echoes.news(A, "8")


def test_another_object_and_a_deletion_are_always_news() -> None:
    echoes = Echoes()
    echoes.begins(A)
    echoes.decided(A, "8")
    echoes.ends(A, well=True)
    assert echoes.news(B, "8")
    assert echoes.news(A, "")
    assert echoes.news(A, "8")


def test_only_a_running_pass_decides_and_little_is_remembered() -> None:
    echoes = Echoes()
    echoes.decided(A, "1")
    assert echoes.news(A, "1")
    for number in range(KEPT + 3):
        echoes.begins(A)
        echoes.decided(A, str(number))
        echoes.ends(A, well=True)
    assert echoes.news(A, "2")
    assert not echoes.news(A, "3")
