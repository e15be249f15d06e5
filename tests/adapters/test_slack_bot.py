"""The bot against a local Web API that holds it to the wire format: threads, updates, buttons, refusals, and a crash."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.adapters.channels import SystemChannels
from docuquery_operator.adapters.clock import SystemClock
from docuquery_operator.domain.paging.buttons import Button
from docuquery_operator.domain.paging.messages import Message
from docuquery_operator.domain.paging.threads import RECEIPT
from docuquery_operator.ports import Receipt
from tests.adapters.test_channels import MESSAGE, TIMEOUT, secret
from tests.fakes.sinks import Sinks, certificate
from tests.fakes.slack_api import CHANNEL, SlackApi

pytestmark = pytest.mark.timeout(30)
BUTTON = Button("docuquery", "db-down", "uid-1", 1)
FIRST = dataclasses.replace(MESSAGE, button=BUTTON)
ON = {"interactive": "true"}


def channels() -> SystemChannels:
    """One process of the operator, free to send to this machine."""
    return SystemChannels(SystemClock(), allowed=["127.0.0.0/8", "::1/128"])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def slack(tls: Any) -> AsyncIterator[SlackApi]:
    async with SlackApi(tls[0]) as made:
        yield made


def reply(receipt: Receipt, **changes: Any) -> Message:
    """A later message of the same round, as it is made from the receipt that was written down."""
    found = RECEIPT.fullmatch(receipt.note)
    assert found is not None, receipt
    return dataclasses.replace(FIRST, key="uid-1/r1/human/slack", parent=found[1], **changes)


async def test_one_thread_whose_first_message_shows_how_it_stands(slack: SlackApi, tls: Any) -> None:
    bot, data = channels(), slack.secret(tls[1], **ON)
    first = await bot.send("slack", data, FIRST, TIMEOUT)
    (ts,) = slack.messages
    assert first == Receipt(True, f"thread {CHANNEL}/{ts}")
    assert slack.buttons(ts) == ["acknowledge"]
    asks = dataclasses.replace(BUTTON, step="restartWorkload", digest="0123456789ab")
    for changes, buttons in (
        ({"title": "Needs an approval", "button": asks}, ["acknowledge", "approve", "reject"]),
        ({"title": "Taken by ana", "button": asks, "taken": True, "kind": "acknowledge"}, ["approve", "reject"]),
        ({"title": "Resolved", "button": None, "kind": "resolve"}, []),
    ):
        assert await bot.send("slack", data, reply(first, **changes), TIMEOUT) == first
        assert changes["title"] in slack.messages[ts]["text"]
        assert slack.buttons(ts) == buttons
    assert [r["thread_ts"] for r in slack.replies] == [ts] * 3
    assert [r["reply_broadcast"] for r in slack.replies] == [True, False, False]
    assert (len(slack.messages), slack.wrong) == (1, [])


async def test_a_process_that_was_killed_finds_its_thread_again(slack: SlackApi, tls: Any) -> None:
    data = slack.secret(tls[1])
    first = await channels().send("slack", data, FIRST, TIMEOUT)
    assert await channels().send("slack", data, reply(first), TIMEOUT) == first
    assert len(slack.messages) == 1


async def test_the_same_process_needs_no_receipt_yet(slack: SlackApi, tls: Any) -> None:
    bot, data = channels(), slack.secret(tls[1])
    first = await bot.send("slack", data, FIRST, TIMEOUT)
    assert await bot.send("slack", data, dataclasses.replace(FIRST, key="other"), TIMEOUT) == first
    second = await bot.send("slack", data, dataclasses.replace(FIRST, thread="uid-1/r2"), TIMEOUT)
    assert (second.accepted, len(slack.messages)) == (True, 2)


async def test_a_thread_that_was_deleted_is_begun_anew(slack: SlackApi, tls: Any) -> None:
    bot, data = channels(), slack.secret(tls[1])
    first = await bot.send("slack", data, FIRST, TIMEOUT)
    slack.messages.clear()
    again = await bot.send("slack", data, reply(first), TIMEOUT)
    assert again.accepted
    assert again != first
    assert list(slack.messages) == [again.note.rpartition("/")[2]]


async def test_one_message_for_several_incidents_is_nobodys_thread(slack: SlackApi, tls: Any) -> None:
    joined = dataclasses.replace(FIRST, members=("a", "b"))
    assert await channels().send("slack", slack.secret(tls[1], **ON), joined, TIMEOUT) == Receipt(True)
    assert slack.buttons(next(iter(slack.messages))) == []


async def test_no_buttons_without_a_receiver_for_them(slack: SlackApi, tls: Any) -> None:
    await channels().send("slack", slack.secret(tls[1]), FIRST, TIMEOUT)
    assert slack.buttons(next(iter(slack.messages))) == []


@pytest.mark.parametrize("error", ["invalid_auth", "not_in_channel", "channel_not_found", "invalid_blocks"])
async def test_what_somebody_must_mend(slack: SlackApi, tls: Any, error: str) -> None:
    slack.refuse = lambda _method: error
    assert await channels().send("slack", slack.secret(tls[1]), FIRST, TIMEOUT) == Receipt(
        False, f"Slack: {error}", hard=True
    )


@pytest.mark.parametrize("error", ["internal_error", "ratelimited", "service_unavailable"])
async def test_what_is_tried_again(slack: SlackApi, tls: Any, error: str) -> None:
    slack.refuse = lambda _method: error
    assert await channels().send("slack", slack.secret(tls[1]), FIRST, TIMEOUT) == Receipt(False, f"Slack: {error}")


async def test_too_many_messages(slack: SlackApi, tls: Any) -> None:
    slack.status = lambda _method: 429
    assert await channels().send("slack", slack.secret(tls[1]), FIRST, TIMEOUT) == Receipt(
        False, "HTTP 429", retry_after=7.0
    )


@pytest.mark.parametrize("trouble", ["refused", "broken"])
async def test_an_update_that_fails_does_not_say_it_twice(slack: SlackApi, tls: Any, trouble: str) -> None:
    bot, data = channels(), slack.secret(tls[1])
    first = await bot.send("slack", data, FIRST, TIMEOUT)
    if trouble == "refused":
        slack.refuse = lambda method: "cant_update_message" if method == "chat.update" else ""
    else:
        slack.status = lambda method: 503 if method == "chat.update" else 200
    assert await bot.send("slack", data, reply(first), TIMEOUT) == first
    assert (len(slack.replies), len(slack.messages)) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"token": "é"}, "token"), ({"channel": ""}, "channel"), ({"api": "http://localhost/api"}, "https://")],
)
async def test_a_secret_that_is_not_right(slack: SlackApi, tls: Any, changes: dict[str, str], said: str) -> None:
    found = await channels().send("slack", slack.secret(tls[1]) | changes, FIRST, TIMEOUT)
    assert (found.accepted, found.hard, said in found.note) == (False, True, True)
    assert slack.calls == []


async def test_what_the_operator_does_is_a_change_at_pagerduty(tls: Any, tmp_path: Path) -> None:
    async with Sinks(tls[0]) as sinks:
        change = dataclasses.replace(MESSAGE, kind="change", what="Change", title="restartWorkload on postgres: rolls it")
        assert await channels().send("pagerduty", secret(sinks, "pagerduty", tls[1]), change, TIMEOUT) == Receipt(True)
        assert (len(sinks.changes.taken), sinks.changes.wrong, sinks.pagerduty.taken) == (1, [], [])
