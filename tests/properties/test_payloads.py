"""Texts of any length, all of Unicode, hostile names: what goes out is what the receivers take, and nobody's markup but ours."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.adapters.channels import mail, pagerduty, slack_blocks, webhook
from docuquery_operator.api.common import LocalRef, ObjectMeta, SecretRef, Severity
from docuquery_operator.api.communication import ChannelRef, Communication, ContactGroups, Link
from docuquery_operator.api.incident import (
    Cause,
    Condition,
    Incident,
    IncidentSpec,
    IncidentStatus,
    Notification,
    Phase,
    Step,
    StepState,
    Times,
)
from docuquery_operator.api.stack import Stack, StackSpec
from docuquery_operator.domain.paging.buttons import VALUE_LIMIT, Button
from docuquery_operator.domain.paging.messages import KINDS, Message, message, together
from tests.fakes.sinks import checked_change, checked_pagerduty, checked_slack

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TEXT = st.one_of(
    st.text(max_size=4000),
    st.sampled_from(
        ["<" * 3000, "&" * 3000, "<!channel> <@U1234567>", "a\r\nBcc: b@c", "\x00\x1b[31m", "𝕏" * 3000, "\u202e" * 200, ""]
    ),
    st.builds(lambda s, n: s * n, st.sampled_from(["<&>", "é", "\n", "|", "x"]), st.integers(0, 4000)),
)
SHORT = TEXT.map(lambda t: t[:256]).filter(bool)
MESSAGES = st.builds(
    Message,
    key=st.text(max_size=300),
    alert=st.text(min_size=1, max_size=600),
    thread=TEXT,
    kind=st.sampled_from(["trigger", "update", "acknowledge", "resolve"]),
    what=st.sampled_from(list(KINDS)),
    severity=st.sampled_from(list(Severity)),
    title=TEXT,
    text=TEXT,
    to=st.sampled_from(["onCall", "cto", ""]),
    contacts=st.lists(SHORT, max_size=32).map(tuple),
    namespace=st.just("docuquery"),
    stack=st.just("docuquery"),
    component=TEXT,
    incident=st.sampled_from(["db-down", "other"]),
    incident_type=TEXT,
    phase=st.just("Investigating"),
    at=st.datetimes(timezones=st.just(UTC)),
    links=st.lists(st.tuples(SHORT.map(lambda t: t[:60]), TEXT.map(lambda t: "https://h/" + t[:1000])), max_size=5).map(
        tuple
    ),
    members=st.lists(st.text(max_size=253), max_size=300).map(tuple),
    taken=st.booleans(),
    button=st.none()
    | st.builds(
        Button,
        namespace=st.text(max_size=63),
        incident=TEXT,
        uid=st.text(max_size=36),
        round=st.integers(1, 10**6),
        step=st.text(max_size=63),
        digest=st.sampled_from(["", "0123456789ab"]),
    ),
)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_slack_takes_it_and_nobody_is_called_who_is_no_contact(sent: Message) -> None:
    body = slack_blocks.payload(sent)
    assert checked_slack(body) == []
    text = json.dumps(body)
    assert "<!channel>" not in text
    assert text.count("<@") <= len([c for c in sent.contacts if c[:1] in "UW"])


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_slack_takes_buttons_and_they_come_back_as_they_were(sent: Message) -> None:
    body = slack_blocks.payload(sent, buttons=True)
    assert checked_slack(body) == []
    values = {e["value"] for b in body["blocks"] if b["type"] == "actions" for e in b["elements"]}
    for value in values:
        assert sent.button is not None
        named = all((sent.button.namespace, sent.button.incident, sent.button.uid))
        assert Button.read(value) == (sent.button if named else None)


def test_the_longest_names_of_kubernetes_fit_a_button() -> None:
    longest = Button("n" * 63, "i" * 253, "u" * 36, 10**6, "s" * 63, "0123456789ab")
    assert Button.read(longest.value()) == longest
    assert len(longest.value()) <= VALUE_LIMIT


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_pagerduty_takes_it(sent: Message) -> None:
    assert checked_pagerduty(pagerduty.payload(sent, "R" * 32)) == []
    assert checked_change(pagerduty.payload(dataclasses.replace(sent, kind="change"), "R" * 32)) == []


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_mail_has_no_header_but_ours(sent: Message) -> None:
    text = mail.letter(sent, "op@example.org", ["ana@example.org"]).as_bytes()
    head = text.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    assert sorted(names) == sorted(set(names))
    assert b"Bcc" not in names
    assert max(len(line) for line in text.split(b"\r\n")) <= 998
    json.dumps(webhook.payload(sent))


def incident(**fields: object) -> Incident:
    return Incident.model_validate({"metadata": ObjectMeta(name="db-down", namespace="docuquery", uid="uid-1"), **fields})


STACK = Stack(
    metadata=ObjectMeta(name="docuquery", namespace="docuquery"),
    spec=StackSpec(
        components={},
        communication=Communication(
            contacts=ContactGroups(on_call=["ana@example.org"]),
            channels={"slack": ChannelRef(secret_ref=SecretRef(secret_name="slack"))},
            links=[Link(text="Dashboard", href="https://grafana.example/d/1")],
        ),
    ),
)


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT, TEXT, st.sampled_from(list(KINDS)), st.sampled_from(list(Phase)))
def test_whatever_an_incident_holds_its_message_is_short_and_without_secrets(
    words: str, description: str, human: str, what: str, phase: Phase
) -> None:
    secret = f"password=marker-5d1f {words}"[:500]
    status = IncidentStatus(
        phase=phase, severity=Severity.P0, summary=secret, component="postgres",
        times=Times(opened_at=NOW - timedelta(minutes=75), resolved_at=NOW if phase is Phase.RESOLVED else None),
        cause=Cause(name="ProcessDown", message=secret, since=NOW),
        steps=[Step(name="restart", kind="restartWorkload", attempt_id="a1", state=StepState.NOT_HEALED, summary=secret)],
        conditions=[Condition(type="NeedsHuman", status="True", reason="RemedyUsedUp", message=human[:2000], last_transition_time=NOW)],
    )  # fmt: skip
    spec = IncidentSpec(
        stack_ref=LocalRef(name="docuquery"),
        type="DatabaseConnectionFailure",
        description=description[:4000] or None,
        title="t",
    )
    note = Notification(key="r1/P0/onCall/slack", what=what, to="onCall", channel="slack", ordered_at=NOW)
    found = message(incident(spec=spec, status=status), STACK, note, NOW)
    assert len(found.title) <= 150
    assert len(found.text) <= 2800
    assert "marker-5d1f" not in found.title + found.text
    if what not in ("StakeholderUpdate", "ReviewDue", "FollowUpDue"):
        for part in ("What: ", "Since: ", "State: ", "Tried: restart: NotHealed", "Look: kubectl"):
            assert part in found.text
        assert ("Acknowledge: kubectl" in found.text) == (phase is not Phase.RESOLVED)
    assert checked_slack(slack_blocks.payload(together([found, found]))) == []
