"""After a P0: the review's page with its plots, reminders that survive restarts, and what is left to do in the next incident.

And the whole path of a P0 that nobody answers, to the CTO and to its review.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from docuquery_operator.ports import CONFIG_MAP, JSON, Key
from tests.controllers.test_notifications import GROUPS, resolve, rig, run_for, steps_told, told
from tests.fakes.rig import NAMESPACE, Rig, quiet

DAY = 86_400.0
REVIEW = {
    "rootCause": "The disk was full.",
    "lessons": ["Alarm at 80 %"],
    "actions": [{"title": "Add an alarm", "owner": "ana", "due": "2026-04-10"}],
}


def report(made: Rig, key: Key) -> dict[str, str]:
    found = made.server.find(CONFIG_MAP, NAMESPACE, f"{key.name}-report")
    return dict((found or {}).get("data") or {})


def write_review(made: Rig, key: Key, review: Any = REVIEW) -> None:
    made.edit_incident(key, lambda i: i["spec"].update(review=review))


async def over(made: Rig, name: str = "db-down", **spec: Any) -> Key:
    key = made.incident(name, severity="P0", **spec)
    await run_for(made, key, 10)
    resolve(made, key)
    await run_for(made, key, 20)
    return key


async def later(made: Rig, key: Key, days: float) -> JSON:
    """Two passes then: what is due is ordered, and its receipt is written."""
    made.clock.jump(days * DAY)
    await made.once(key)
    await made.once(key)
    return made.status(key)


def reminders(made: Rig) -> list[tuple[str, str]]:
    return [(what, to) for what, to in told(made) if what in ("ReviewDue", "FollowUpDue")]


async def test_reminders_come_once_each_though_the_process_dies_each_time() -> None:
    made = rig("email", "pagerduty")
    key = await over(made)
    for days, expected in (
        (3.5, [("ReviewDue", "onCall")]),
        (2.5, [("ReviewDue", "onCall"), ("ReviewDue", "teamLead")]),
        (9.0, [("ReviewDue", "onCall"), ("ReviewDue", "teamLead")]),
    ):
        made.start()
        await later(made, key, days)
        assert reminders(made) == expected, days
    # It is written, never a call.
    assert {c for _, c, m in made.channels.accepted() if m.what == "ReviewDue"} == {"email"}


async def test_an_incident_that_is_kept_costs_no_passes_until_a_reminder_is_due() -> None:
    made = rig("email")
    key = await over(made)
    before, writes = await made.once(key), made.server.find(*_place(key))
    assert before is not None
    assert before > DAY
    assert made.server.find(*_place(key)) == writes
    write_review(made, key, {"rootCause": "x"})
    await made.once(key)
    assert await made.once(key) is None


def _place(key: Key) -> Any:
    from docuquery_operator.ports import INCIDENT

    return INCIDENT, key.namespace, key.name


async def test_the_page_follows_the_review_and_keeps_the_plot_of_the_process_that_saw_it() -> None:
    made = rig()
    key = made.incident(severity="P0")
    stack = made.server.find(*_stack())
    assert stack is not None
    ring = made.life.prober.ring(stack["metadata"]["uid"], "postgres")
    began = made.clock.now()
    for n in range(60):
        ring.add(began + timedelta(seconds=5 * n), not 20 < n < 40, 0.02)
    await run_for(made, key, 200)
    resolve(made, key)
    await run_for(made, key, 5)
    first = report(made, key)
    rows = json.loads(first["samples.json"])["rows"]
    assert {row[1] for row in rows} == {0.0, 1.0}
    assert "Not written yet" in first["report.html"]
    assert "not written yet" in first["report.md"]
    made.start()
    write_review(made, key)
    await made.once(key)
    second = report(made, key)
    assert json.loads(second["samples.json"]) == json.loads(first["samples.json"])
    for name in ("report.html", "report.md"):
        assert "The disk was full." in second[name]
        assert "Add an alarm" in second[name]
    assert second["report.html"].count("<svg") == 2
    revised = made.status(key)["report"]
    await made.once(key)
    assert made.status(key)["report"] == revised


def _stack() -> Any:
    from docuquery_operator.ports import STACK

    return STACK, NAMESPACE, "docuquery"


class _Page(HTMLParser):
    """Every tag and every attribute that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.odd += [f"{tag} {n}" for n, _ in attrs if n.startswith("on") or n in ("src", "href", "action", "data", "style")]


XSS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>x</script>",
    "javascript:alert(1)",
    "\x00<b>",
)


@pytest.mark.parametrize("text", XSS)
async def test_text_of_people_is_text(text: str) -> None:
    made = rig("email")
    key = await over(made, title=text, description=text)
    review = {"rootCause": text, "lessons": [text], "actions": [{"title": text, "owner": text}]}
    write_review(made, key, review)
    await made.once(key)
    page = _Page()
    page.feed(report(made, key)["report.html"])
    allowed = {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "div", "table", "thead", "tbody", "tr", "th",
        "td", "ul", "li", "strong", "svg", "desc", "rect", "line", "text", "path", "polyline", "circle", "g",
    }  # fmt: skip
    assert (page.tags - allowed, page.odd) == (set(), [])


async def test_secrets_do_not_reach_the_page() -> None:
    made = rig("email")
    key = await over(made)
    write_review(
        made, key, {"rootCause": "somebody ran psql postgres://op:hunter2hunter2@db/x with password=hunter2hunter2"}
    )
    await made.once(key)
    assert "hunter2hunter2" not in "".join(report(made, key)[n] for n in ("report.html", "report.md"))


async def test_what_is_left_to_do_is_shown_in_the_next_incident_of_the_cause() -> None:
    made = Rig(mode="Observe")
    first = made.incident("first", severity="P0")
    made.freeze()
    await made.run(first, 120, until=lambda s: bool(s.get("cause")))
    resolve(made, first)
    await run_for(made, first, 5)
    write_review(made, first)
    await made.once(first)
    made.start()
    await made.once(first)
    second = made.incident("second", severity="P0")
    status = await made.run(second, 120, until=lambda s: bool(s.get("cause")))
    assert status["openFollowUps"] == ["first: Add an alarm (owner ana, due 2026-04-10)"]
    assert "OpenFollowUps" in [e["event"] for e in status["timeline"]]
    write_review(made, first, REVIEW | {"actions": [{"title": "Add an alarm", "owner": "ana", "done": True}]})
    await made.once(first)
    await made.once(second)
    assert "openFollowUps" not in made.status(second)


async def test_a_p0_that_nobody_answers_is_told_to_the_cto_and_then_answered_expired_resolved_and_reviewed() -> None:
    made = rig("slack", "pagerduty", "phone", "email", ackExpiry={"P0": "60s"})
    key = made.incident(severity="P0", title="The whole path")
    await run_for(made, key, 260)
    for channel in ("slack", "pagerduty", "phone"):
        assert steps_told(made, channel) == GROUPS
    made.edit_incident(key, lambda i: i["spec"].update(acknowledged={"by": "cto@example.org"}))
    await run_for(made, key, 70)
    resolve(made, key)
    await run_for(made, key, 60)
    status = await later(made, key, 5)
    write_review(made, key)
    await made.once(key)
    assert quiet(await made.once(key))
    status = made.status(key)
    events = [e["event"] for e in status["timeline"]]
    order = ["Opened", "ResponseTimeBreached" if "ResponseTimeBreached" in events else "Opened", "Acknowledged"]
    order += ["AcknowledgementExpired", "Resolved", "ReviewDue", "Reviewed"]
    assert [e for e in events if e in order] == list(dict.fromkeys(order))
    for channel in ("slack", "pagerduty", "phone"):
        assert steps_told(made, channel) == GROUPS
    ends = [m for _, _, m in made.channels.accepted() if m.what == "Resolved"]
    assert ends
    assert all(re.search(r"Took: acknowledged after 4m\d\ds, resolved after 5m\d\ds", m.text) for m in ends)
    text = report(made, key)["report.md"]
    for group in GROUPS:
        assert f"**Step** to {group} by phone: Sent" in text
    assert "Root cause: The disk was full." in text
    assert datetime.fromisoformat(status["review"]["endedAt"]) < made.clock.now()
