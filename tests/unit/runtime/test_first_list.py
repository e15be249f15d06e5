"""After a start in a storm: whom nobody knows of goes first, whatever the list of all objects shows before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from docuquery_operator.domain.paging.known import Known, known
from docuquery_operator.ports import INCIDENT, JSON, STACK, Key
from docuquery_operator.runtime.process import head_start
from docuquery_operator.runtime.workqueue import HEAD_START, NEW_START, WorkQueue
from tests.unit.runtime.virtual import run

STEP: JSON = {"what": "Step", "to": "onCall", "channel": "slack"}
TOLD: JSON = {"phase": "Open", "notifications": [{**STEP, "state": "Sent"}, {**STEP, "channel": "email", "state": "Due"}]}
ORDERED: JSON = {"phase": "Open", "notifications": [{**STEP, "state": "Due"}]}


def incident(name: str) -> Key:
    return Key(INCIDENT.plural, "docuquery", name)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, Known.NO),
        ({"phase": "Open", "notifications": []}, Known.NO),
        # That the operator acts was told to a pager's log, which calls nobody.
        ({"phase": "Open", "notifications": [{"what": "Change", "state": "Sent"}]}, Known.NO),
        (ORDERED, Known.PERHAPS),
        ({"phase": "Open", "notifications": [{**STEP, "state": "Failed"}]}, Known.PERHAPS),
        (TOLD, Known.YES),
        ({"phase": "Resolved"}, Known.YES),
        ({"phase": "Resolved", "notifications": [{**STEP, "state": "Due"}]}, Known.YES),
    ],
)
def test_it_is_known_once_a_call_came_through(status: JSON, expected: Known) -> None:
    assert known(status) is expected


@pytest.mark.parametrize("odd", [{"notifications": None}, {"notifications": "x"}, {"notifications": ["x", 7]}, {"phase": 3}])
def test_a_status_that_cannot_be_read_is_nothing_that_was_told(odd: Any) -> None:
    assert known(odd) is Known.NO


@pytest.mark.parametrize(
    ("plural", "type_", "status", "expected"),
    [
        ("incidents", None, {}, NEW_START),
        ("incidents", None, ORDERED, HEAD_START),
        ("incidents", None, TOLD, 0.0),
        ("incidents", "ADDED", {}, NEW_START),
        # The echo of the write that orders its messages is no reason to go ahead of anybody.
        ("incidents", "MODIFIED", ORDERED, 0.0),
        (STACK.plural, None, {}, 0.0),
    ],
)
def test_who_goes_ahead(plural: str, type_: str | None, status: JSON, expected: float) -> None:
    assert head_start(Key(plural, "docuquery", "x"), type_, status) == expected


def test_of_a_list_those_whom_nobody_knows_of_come_first_and_the_told_last() -> None:
    async def story() -> None:
        queue, done = WorkQueue(), list[str]()

        async def reconcile(key: Key) -> None:
            done.append(key.name)
            if key.name == "new-1":
                # It was sent; its receipt is to be written.
                queue.first(incident("receipt"))

        listed = {"told-1": TOLD, "sent-perhaps": ORDERED, "new-1": {}, "told-2": TOLD, "new-2": {}}
        for name, status in listed.items():
            queue.seen(incident(name), "1", head_start(incident(name), None, status))
        worker = asyncio.create_task(queue.run(reconcile))
        await asyncio.sleep(0.1)
        worker.cancel()
        assert done == ["new-1", "new-2", "sent-perhaps", "receipt", "told-1", "told-2"]

    run(story())
