"""What rounds of looks at Celery mean together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.domain.workloads.celery import GROWTH_SECONDS, Past, Seen, after, state_of

FIRST = Seen(
    at=100.0,
    waiting=5,
    head="a",
    held_ids=("h",),
    held=1,
    begun=7,
    active=frozenset({"t"}),
    pools={"n": "prefork"},
    restarts=0,
)


def lived(looks: Sequence[Seen]) -> Past:
    past = Past()
    for look in looks:
        past = after(past, look)
    return past


def rounds(count: int, **changes: Any) -> list[Seen]:
    """The first look, and equal ones each five seconds, with what changes only in the last."""
    looks = [replace(FIRST, at=100.0 + 5 * n) for n in range(count)]
    looks[-1] = replace(looks[-1], **changes)
    return looks


def test_nothing_moves() -> None:
    assert lived(rounds(13)).stalled == 60.0


@pytest.mark.parametrize(
    "change",
    [{"waiting": 4}, {"waiting": 0}, {"waiting": None}, {"head": "b"}, {"begun": 8}, {"begun": 0}, {"active": frozenset({"u"})},
     {"held": 2}, {"held_ids": ("i",)}],
)  # fmt: skip
def test_each_sign_of_work_counts(change: dict[str, Any]) -> None:
    assert lived(rounds(13, **change)).stalled == 0.0


def test_messages_that_only_come_are_no_sign_of_work() -> None:
    assert lived(rounds(13, waiting=50)).stalled == 60.0


def test_a_clock_that_is_set_back_makes_nothing_old() -> None:
    past = after(lived(rounds(13)), replace(FIRST, at=20.0))
    assert (past.stalled, past.growing) == (0.0, False)


def test_growth_is_seen_over_half_a_minute_and_not_from_look_to_look() -> None:
    looks = [replace(FIRST, at=100.0 + 5 * n, waiting=100 + n) for n in range(13)]
    assert lived(looks).growing
    assert not lived(looks[: int(GROWTH_SECONDS / 5)]).growing
    assert not lived([replace(look, waiting=200 - n) for n, look in enumerate(looks)]).growing


@pytest.mark.parametrize(
    ("pools", "tells"), [({}, False), ({"n": "prefork"}, True), ({"n": "solo"}, False), ({"n": ""}, False),
                         ({"n": "prefork", "m": "gevent"}, False), ({"n": "thread"}, True)],
)  # fmt: skip
def test_silence_of_a_worker_that_can_do_one_thing_at_a_time_says_nothing(pools: dict[str, str], tells: bool) -> None:
    assert lived([replace(FIRST, pools=pools)]).silence_tells is tells
    silent = replace(FIRST, at=105.0, pools={})
    assert lived([replace(FIRST, pools=pools), silent]).silence_tells is tells


def test_a_task_that_was_there_at_each_death_is_the_killer() -> None:
    looks = [
        look
        for n in range(3)
        for look in (
            replace(FIRST, at=100.0 + 20 * n, active=frozenset({"killer", f"other{n}"}), restarts=n),
            replace(FIRST, at=110.0 + 20 * n, active=frozenset(), restarts=n + 1),
        )
    ]
    assert lived(looks).killer(3) == "killer"
    assert lived(looks[:4]).killer(3) == ""


@pytest.mark.parametrize(
    ("given", "word"),
    [(("refused", 0, False, False, 0, 0), "brokerDown"), (("ok", 0, False, True, 0, 0), "dead"),
     (("ok", 1, True, False, 1, 1), "frozen"), (("ok", 0, False, False, 0, 1), "silent"), (("ok", 1, False, False, 0, 0), "idle"),
     (("ok", 1, False, False, 2, 0), "busy"), (("ok", 0, False, False, 0, 0), "unknown")],
)  # fmt: skip
def test_one_word(given: Any, word: str) -> None:
    assert state_of(*given) == word
