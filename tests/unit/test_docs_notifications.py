"""docs/notifications.md and the code say the same."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import get_args

from docuquery_operator.api.communication import AckExpiry, ChannelName, Communication
from docuquery_operator.domain.paging.messages import KINDS
from docuquery_operator.domain.paging.outbox import CHANNEL_FAILURE, FALLBACK, TRIES
from docuquery_operator.domain.paging.sending import LIMITS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "notifications.md").read_text()


def rows(head: str) -> list[list[str]]:
    """Cells of the table whose head begins so."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    table = lines[start + 2 : start + 40]
    end = next(i for i, line in enumerate(table) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[:end]]


def _words(span: timedelta) -> str:
    whole = int(span.total_seconds())
    return f"{whole // 60}m" if whole % 60 == 0 and whole else f"{whole} s"


def test_the_path() -> None:
    steps = Communication().escalation
    assert [(row[1].strip("`"), row[2]) for row in rows("step")] == [
        (s.to, "at once" if s.after == "0s" else s.after) for s in steps
    ]


def test_every_message_and_channel_has_its_row() -> None:
    assert {row[0] for row in rows("message")} == set(KINDS)
    names = [row[0].strip("`") for row in rows("channel")]
    assert set(names) == set(get_args(ChannelName))


def test_the_limits() -> None:
    start = PAGE.index("## Limits")
    for name, most, apart, _ in re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE[start:], re.MULTILINE):
        limit = LIMITS[name]
        if name == "webhook":
            assert limit.count / limit.per.total_seconds() == 100
            assert not limit.together
            continue
        assert most.startswith(f"{limit.count} in {_words(limit.per)}")
        assert apart == _words(limit.spacing)


def test_the_figures_in_the_text() -> None:
    ack = AckExpiry()
    assert f"P0 {ack.P0}, P1 {ack.P1}, P2 {ack.P2}, P3 {ack.P3}" in PAGE
    assert CHANNEL_FAILURE in PAGE
    assert "the next of pagerduty, slack, phone, email, webhook and apprise is used" in PAGE
    assert (TRIES, ", ".join(FALLBACK)) == (3, "pagerduty, slack, phone, email, webhook, apprise")
