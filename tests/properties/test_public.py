"""Whatever an Incident's status holds: its public story is in order, ends with what holds, and has no word of the inside."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import format_time
from docuquery_operator.api.incident import Phase
from docuquery_operator.domain.public.incidents import incident_facts
from docuquery_operator.domain.public.words import PHASES
from tests.page import world
from tests.page.world import NOW

EVENTS = ("Opened", "Identified", "Mitigated", "SymptomBack", "Reopened", "Resolved", "StepDone", "NeedsHuman")
TIMES = ("identifiedAt", "mitigatedAt", "resolvedAt", "acknowledgedAt")
MARK = "inside-marker"
minutes = st.integers(0, 600)


@st.composite
def incidents(draw: st.DrawFn) -> dict[str, Any]:
    """Timelines that have lost entries, times that contradict them, messages from before and after."""
    obj = world.incident(1, "Investigating", opened=NOW - timedelta(minutes=600))

    def at(minute: int) -> str:
        return format_time(NOW - timedelta(minutes=600 - minute))

    told = draw(st.lists(st.tuples(minutes, st.sampled_from(EVENTS)), max_size=12))
    status = obj["status"]
    status["timeline"] = [{"at": at(m), "event": e, "message": MARK} for m, e in sorted(told)]
    status["times"] |= {name: at(draw(minutes)) for name in TIMES if draw(st.booleans())}
    status["phase"] = str(draw(st.sampled_from(list(Phase))))
    status |= {"summary": MARK, "cause": {"name": "C", "message": MARK, "since": at(0)}}
    if draw(st.booleans()):
        obj["spec"]["publicMessage"] = draw(st.text(min_size=1, max_size=40))
        fields = {"f:spec": {"f:publicMessage": {}}}
        obj["metadata"]["managedFields"] = [{"manager": MARK, "time": at(draw(minutes)), "fieldsV1": fields}]
    obj["spec"] |= {"title": MARK, "description": MARK}
    return obj


@settings(max_examples=80, derandomize=True, database=None, deadline=None)
@given(incidents())
def test_the_story_is_in_order_and_true(obj: dict[str, Any]) -> None:
    facts = incident_facts(obj)
    assert facts is not None
    times = [u.at for u in facts.updates]
    assert times == sorted(times)
    assert facts.updates[-1].phase is facts.phase is Phase(obj["status"]["phase"])
    assert len({u.id for u in facts.updates}) == len(facts.updates)
    assert (facts.resolved_at is not None) is (facts.phase is Phase.RESOLVED)
    own = {*PHASES.values(), facts.message}
    assert all(u.body in own for u in facts.updates)
    page = world.page([world.stack()], [obj], [])
    assert MARK not in json.dumps(dataclasses.asdict(page), default=str)
    shown = page.incidents[0]
    assert (shown.next_update is None) is shown.resolved
    assert page.open_incidents == (() if shown.resolved else (shown,))
