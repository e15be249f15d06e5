"""Every channel against a receiver that holds it to its wire format; and receivers that are slow, busy, moved or false."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.adapters.channels import CHANNELS, SystemChannels
from docuquery_operator.adapters.clock import SystemClock
from docuquery_operator.api.common import Severity
from docuquery_operator.domain.paging.messages import Message
from docuquery_operator.ports import Receipt
from tests.fakes.sinks import KEY, ROUTING, MailSink, Sinks, certificate

pytestmark = pytest.mark.timeout(30)
TIMEOUT = 10.0
MESSAGE = Message(
    key="uid-1/r1/P0/onCall/slack", alert="uid-1", thread="uid-1/r1", kind="trigger", what="Step", severity=Severity.P0,
    title="For the on call: P0 DatabaseConnectionFailure on postgres (docuquery/db-down)", text="What: <it> & more\nNext: look",
    to="onCall", contacts=("U0123ABCD", "ana@example.org"), namespace="docuquery", stack="docuquery", component="postgres",
    incident="db-down", incident_type="DatabaseConnectionFailure", phase="Investigating",
    at=datetime(2026, 11, 25, 12, 0, tzinfo=UTC), links=(("Dashboard", "https://grafana.example/d/1?a=1&b=2"),),
)  # fmt: skip


@pytest.fixture
def channels() -> SystemChannels:
    """As the operator has them, but free to send to this machine."""
    return SystemChannels(SystemClock(), allowed=["127.0.0.0/8", "::1/128"])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def sinks(tls: Any) -> AsyncIterator[Sinks]:
    async with Sinks(tls[0]) as made:
        yield made


def secret(sinks: Sinks, channel: str, ca: str, **more: str) -> dict[str, str]:
    if channel == "slack":
        return {"url": sinks.slack.url, "ca.crt": ca, **more}
    if channel in ("pagerduty", "phone"):
        return {"url": sinks.pagerduty.url, "routingKey": ROUTING, "ca.crt": ca, **more}
    return {"url": sinks.webhook.url, "key": KEY, "ca.crt": ca, **more}


@pytest.mark.parametrize("channel", ["slack", "pagerduty", "phone", "webhook"])
@pytest.mark.parametrize("kind", ["trigger", "update", "acknowledge", "resolve"])
async def test_each_message_is_what_the_receiver_takes(
    channels: SystemChannels, sinks: Sinks, tls: Any, channel: str, kind: Any
) -> None:
    sink = getattr(sinks, "pagerduty" if channel == "phone" else channel)
    message = dataclasses.replace(MESSAGE, kind=kind)
    assert await channels.send(channel, secret(sinks, channel, tls[1]), message, TIMEOUT) == Receipt(True)
    assert (len(sink.taken), sink.wrong) == (1, [])


async def test_pagerduty_has_an_alert_for_each_group_and_takes_its_own_key_for_a_group(
    channels: SystemChannels, sinks: Sinks, tls: Any
) -> None:
    data = secret(sinks, "pagerduty", tls[1], **{"routingKey.teamLead": "L" * 32})
    await channels.send("pagerduty", data, MESSAGE, TIMEOUT)
    await channels.send("pagerduty", data, dataclasses.replace(MESSAGE, to="teamLead", alert="uid-1/teamLead"), TIMEOUT)
    assert [(b["routing_key"][0], b["dedup_key"]) for b in sinks.pagerduty.taken] == [
        ("R", "uid-1"),
        ("L", "uid-1/teamLead"),
    ]


@pytest.mark.parametrize(
    ("status", "headers", "hard", "wait"),
    [
        (429, {"Retry-After": "17"}, False, 17.0),
        (429, {}, False, 30.0),
        (503, {}, False, 0.0),
        (503, {"Retry-After": "5"}, False, 5.0),
        (500, {"Retry-After": "soon"}, False, 30.0),
        (400, {}, True, 0.0),
        (403, {}, True, 0.0),
        (404, {}, True, 0.0),
        (410, {}, True, 0.0),
        (302, {"Location": "/elsewhere"}, True, 0.0),
        (307, {"Location": "/elsewhere"}, True, 0.0),
    ],
)
@pytest.mark.parametrize("channel", ["slack", "pagerduty", "webhook"])
async def test_every_answer_says_whether_and_when_to_try_again(
    channels: SystemChannels,
    sinks: Sinks,
    tls: Any,
    channel: str,
    status: int,
    headers: dict[str, str],
    hard: bool,
    wait: float,
) -> None:
    getattr(sinks, channel).answer = lambda _n: (status, headers)
    found = await channels.send(channel, secret(sinks, channel, tls[1]), MESSAGE, TIMEOUT)
    assert (found.accepted, found.hard, found.retry_after) == (False, hard, wait)
    assert str(status) in found.note
    assert sinks.elsewhere == 0


async def test_a_receiver_that_hangs_costs_no_more_than_the_time_limit(
    channels: SystemChannels, sinks: Sinks, tls: Any
) -> None:
    sinks.slack.slow = 5.0
    began = asyncio.get_running_loop().time()
    found = await channels.send("slack", secret(sinks, "slack", tls[1]), MESSAGE, 0.3)
    assert asyncio.get_running_loop().time() - began < 1.5
    assert (found.accepted, found.hard) == (False, False)


async def test_a_certificate_that_is_not_trusted_or_bears_another_name_is_refused(
    channels: SystemChannels, sinks: Sinks, tmp_path: Path
) -> None:
    data = {"url": sinks.slack.url}
    found = await channels.send("slack", data, MESSAGE, TIMEOUT)
    assert found == Receipt(False, "the server's certificate is not trusted", hard=True)
    context, ca = certificate(tmp_path, "other.example")
    async with Sinks(context) as other:
        found = await channels.send("slack", {"url": other.slack.url, "ca.crt": ca}, MESSAGE, TIMEOUT)
        assert (found.hard, other.slack.requests) == (True, 0)
    assert sinks.slack.requests == 0


async def test_plain_http_only_where_the_webhooks_secret_says_so(channels: SystemChannels) -> None:
    async with Sinks() as plain:
        data = {"url": plain.webhook.url, "key": KEY}
        found = await channels.send("webhook", data, MESSAGE, TIMEOUT)
        assert (found.hard, "https://" in found.note, plain.webhook.requests) == (True, True, 0)
        assert (await channels.send("webhook", data | {"allowHttp": "true"}, MESSAGE, TIMEOUT)).accepted
        found = await channels.send("slack", {"url": plain.slack.url, "allowHttp": "true"}, MESSAGE, TIMEOUT)
        assert (found.hard, plain.slack.requests) == (True, 0)


async def test_this_machine_is_refused_unless_the_administrator_allows_it(sinks: Sinks, tls: Any) -> None:
    strict = SystemChannels(SystemClock())
    for channel in ("slack", "pagerduty", "webhook"):
        found = await strict.send(channel, secret(sinks, channel, tls[1]), MESSAGE, TIMEOUT)
        assert found == Receipt(False, "the address is refused: it is loopback", hard=True)
    mail = {"host": "localhost", "port": "1", "from": "op@example.org", "tls": "none"}
    assert (await strict.send("email", mail, MESSAGE, TIMEOUT)).note == "the address is refused: it is loopback"
    assert (sinks.slack.requests, sinks.pagerduty.requests, sinks.webhook.requests) == (0, 0, 0)


@pytest.mark.parametrize(
    ("channel", "data", "words"),
    [
        ("slack", {}, "no key 'url'"),
        ("slack", {"url": "hooks.slack.com/x"}, "names no host"),
        ("slack", {"url": "https://u:marker-5d1f@localhost/x"}, "holds a user"),
        ("slack", {"url": "https://localhost:99999/marker-5d1f"}, "url cannot be read"),
        ("slack", {"url": "https://[::1/marker-5d1f"}, "url cannot be read"),
        ("slack", {"url": "file:///etc/passwd"}, "names no host"),
        ("slack", {"url": "ftp://localhost/x"}, "must begin with https://"),
        ("slack", {"url": "https://localhost/x", "ca.crt": "-----BEGIN marker-5d1f"}, "ca.crt"),
        ("pagerduty", {"routingKey": "short-marker-5d1f"}, "32 letters"),
        ("pagerduty", {}, "no key 'routingKey'"),
        ("webhook", {"url": "https://localhost/x"}, "no key 'key'"),
        ("webhook", {"url": "https://localhost/x", "key": "marker-5d1f"}, "16 characters"),
        ("email", {}, "no key 'host'"),
        ("email", {"host": "localhost", "tls": "ssl3"}, "starttls, implicit or none"),
        ("email", {"host": "localhost", "tls": "none", "password": "marker-5d1f"}, "needs TLS"),
        ("email", {"host": "localhost", "port": "x"}, "from 1 to 65535"),
        ("email", {"host": "localhost", "from": "A <a@b.org>"}, "plain mail address"),
        ("pigeon", {}, "no such channel"),
    ],
)
async def test_a_wrong_secret_is_told_in_words_and_without_its_values(
    channels: SystemChannels, channel: str, data: dict[str, str], words: str
) -> None:
    found = await channels.send(channel, data, MESSAGE, TIMEOUT)
    assert (found.accepted, found.hard) == (False, True)
    assert words in found.note
    assert "marker-5d1f" not in found.note


async def test_a_port_where_nobody_listens_is_tried_again(channels: SystemChannels) -> None:
    for channel, data in (
        ("slack", {"url": "https://localhost:1/x"}),
        ("email", {"host": "localhost", "port": "1", "from": "op@example.org", "tls": "none"}),
        ("slack", {"url": "https://nowhere.invalid/x"}),
    ):
        found = await channels.send(channel, data, MESSAGE, TIMEOUT)
        assert (found.accepted, found.hard) == (False, False)


# Mail


def mail_secret(port: int, **more: str) -> dict[str, str]:
    return {"host": "localhost", "port": str(port), "from": "operator@example.org", **more}


async def test_mail_goes_by_starttls_with_a_login_and_makes_a_thread(channels: SystemChannels, tls: Any) -> None:
    async with MailSink(tls[0], user="op") as sink:
        data = mail_secret(sink.port, **{"ca.crt": tls[1], "username": "op", "password": "marker-5d1f"})
        assert await channels.send("email", data, MESSAGE, TIMEOUT) == Receipt(True)
        assert await channels.send("email", data, MESSAGE, TIMEOUT) == Receipt(True)
        other = dataclasses.replace(MESSAGE, key="uid-1/r1/P0/teamLead/email", contacts=("lead@example.org",))
        assert await channels.send("email", data, other, TIMEOUT) == Receipt(True)
    first, again, second = sink.mails
    assert sink.said[:3] == ["ehlo docuquery-operator", "STARTTLS", "ehlo docuquery-operator"]
    assert first["To"] == "ana@example.org"
    assert len(first["Subject"]) <= 150
    assert first["Message-ID"] == again["Message-ID"] != second["Message-ID"]
    assert first["References"] == second["References"] == second["In-Reply-To"]
    assert first.get_content_type() == "text/plain"
    assert "What: <it> & more" in first.get_content()
    assert "https://grafana.example" in first.get_content()


async def test_mail_without_a_trusted_certificate_or_tls_is_not_sent(channels: SystemChannels, tls: Any) -> None:
    async with MailSink(tls[0]) as sink:
        found = await channels.send("email", mail_secret(sink.port), MESSAGE, TIMEOUT)
        assert found == Receipt(False, "the server's certificate is not trusted", hard=True)
    async with MailSink() as plain:
        found = await channels.send("email", mail_secret(plain.port), MESSAGE, TIMEOUT)
        assert (found.hard, "STARTTLS" in found.note) == (True, True)
        assert (await channels.send("email", mail_secret(plain.port, tls="none"), MESSAGE, TIMEOUT)).accepted
    assert sink.mails == []
    assert len(plain.mails) == 1


@pytest.mark.parametrize(("code", "hard"), [(450, False), (550, True)])
async def test_a_refused_recipient_is_told_by_its_code(channels: SystemChannels, code: int, hard: bool) -> None:
    async with MailSink(refuse=code) as sink:
        found = await channels.send("email", mail_secret(sink.port, tls="none"), MESSAGE, TIMEOUT)
    assert (found.accepted, found.hard, str(code) in found.note) == (False, hard, True)


async def test_without_a_mail_address_among_the_contacts_nothing_is_sent(channels: SystemChannels) -> None:
    message = dataclasses.replace(MESSAGE, contacts=("U0123ABCD", "ana", "x@y\r\nBcc: evil@example.org"))
    found = await channels.send("email", mail_secret(25, tls="none"), message, TIMEOUT)
    assert found == Receipt(False, "no contact of the group onCall is a mail address", hard=True)


def test_every_channel_of_the_api_has_its_adapter() -> None:
    from typing import get_args

    from docuquery_operator.api.communication import ChannelName
    from docuquery_operator.domain.paging.sending import LIMITS

    assert set(CHANNELS) == set(get_args(ChannelName)) == set(LIMITS)
