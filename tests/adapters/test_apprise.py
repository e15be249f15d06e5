"""The apprise channel against a receiver of its own: what it takes, refuses, leaves hanging; and URLs that want more than to send."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import json
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from docuquery_operator.adapters.channels import SystemChannels, apprise_channel
from docuquery_operator.adapters.channels.apprise_channel import MISSING, filled
from docuquery_operator.adapters.clock import SystemClock
from docuquery_operator.ports import Receipt
from tests.adapters.test_channels import MESSAGE
from tests.fakes.sinks import certificate

pytestmark = pytest.mark.timeout(60)
ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 10.0
MARKER = "marker-5d1f"


class Sink:
    """Takes whatever comes; `answers` by path: status, or seconds after which there is no answer at all."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: list[tuple[str, dict[str, str], str]] = []
        self.answers: dict[str, Callable[[], tuple[int, dict[str, str]]]] = {}
        self.hanging: set[str] = set()

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.taken.append((request.path, dict(request.headers), text))
        if request.path in self.hanging:
            await asyncio.sleep(60)
        status, headers = self.answers.get(request.path, lambda: (200, {}))()
        return web.Response(status=status, headers=headers)

    def paths(self) -> list[str]:
        return sorted(path for path, _, _ in self.taken)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def sink(tls: Any) -> AsyncIterator[Sink]:
    made = Sink()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls[0]).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
def channels() -> SystemChannels:
    return SystemChannels(SystemClock(), allowed=["127.0.0.0/8", "::1/128"])


def secret(tls: Any, *urls: str) -> dict[str, str]:
    return {"urls": "\n".join(urls) + "\n", "ca.crt": tls[1]}


async def test_a_message_arrives_whole_and_bears_its_key(channels: SystemChannels, sink: Sink, tls: Any) -> None:
    url = f"jsons://user:{MARKER}@localhost:{sink.port}/a?+Idempotency-Key={{key}}&:alert={{alert}}"
    assert await channels.send("apprise", secret(tls, url), MESSAGE, TIMEOUT) == Receipt(True)
    ((path, headers, text),) = sink.taken
    body = json.loads(text)
    assert (path, headers["Idempotency-Key"], body["alert"]) == ("/a", MESSAGE.key, MESSAGE.alert)
    assert (body["title"], body["type"]) == (MESSAGE.title, "failure")
    assert body["message"].startswith("What: <it> & more\nNext: look\n")
    assert "Dashboard: https://grafana.example/d/1?a=1&b=2" in body["message"]


@pytest.mark.parametrize(
    ("kind", "severity", "seen"),
    [("trigger", "P3", "warning"), ("update", "P0", "info"), ("resolve", "P0", "success"), ("trigger", "P1", "failure")],
)
async def test_each_kind_has_its_type(
    channels: SystemChannels, sink: Sink, tls: Any, kind: Any, severity: Any, seen: str
) -> None:
    message = dataclasses.replace(MESSAGE, kind=kind, severity=type(MESSAGE.severity)(severity))
    assert (await channels.send("apprise", secret(tls, f"jsons://localhost:{sink.port}/a"), message, TIMEOUT)).accepted
    assert json.loads(sink.taken[0][2])["type"] == seen


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {}, Receipt(False, "HTTP 500")),
        (503, {"Retry-After": "7"}, Receipt(False, "HTTP 503", retry_after=7.0)),
        (429, {"Retry-After": "17"}, Receipt(False, "HTTP 429", retry_after=17.0)),
        (429, {}, Receipt(False, "HTTP 429", retry_after=30.0)),
        (400, {}, Receipt(False, "HTTP 400", hard=True)),
        (403, {}, Receipt(False, "HTTP 403", hard=True)),
        (307, {"Location": "/elsewhere"}, Receipt(False, "HTTP 307: redirects are not followed", hard=True)),
    ],
)
async def test_every_answer_says_whether_and_when_to_try_again(
    channels: SystemChannels, sink: Sink, tls: Any, status: int, headers: dict[str, str], expected: Receipt
) -> None:
    sink.answers["/a"] = lambda: (status, headers)
    assert await channels.send("apprise", secret(tls, f"forms://localhost:{sink.port}/a"), MESSAGE, TIMEOUT) == expected
    assert sink.paths() == ["/a"]


async def test_of_several_urls_each_takes_it_once_though_one_fails_and_one_hangs(
    channels: SystemChannels, sink: Sink, tls: Any
) -> None:
    urls = secret(tls, *(f"jsons://localhost:{sink.port}/{n}" for n in ("hangs", "fails", "works", "works")))
    sink.hanging.add("/hangs")
    sink.answers["/fails"] = lambda: (503, {})
    began = asyncio.get_running_loop().time()
    found = await channels.send("apprise", urls, MESSAGE, 3.0)
    assert asyncio.get_running_loop().time() - began < 4.0
    assert found == Receipt(False, "URL 1 of 3: no answer within 3 s (and 1 more)")
    assert sink.paths() == ["/fails", "/hangs", "/works"]
    sink.hanging.clear()
    sink.answers.clear()
    assert await channels.send("apprise", urls, MESSAGE, TIMEOUT) == Receipt(True)
    assert sink.paths() == ["/fails", "/fails", "/hangs", "/hangs", "/works"]
    other = dataclasses.replace(MESSAGE, key="uid-1/r1/resolved/onCall/apprise")
    assert await channels.send("apprise", urls, other, TIMEOUT) == Receipt(True)
    assert sink.paths().count("/works") == 2


async def test_the_event_loop_goes_on_and_the_process_is_gone_afterwards(
    channels: SystemChannels, sink: Sink, tls: Any
) -> None:
    sink.hanging.add("/a")
    longest, last = 0.0, asyncio.get_running_loop().time()
    sending = asyncio.create_task(channels.send("apprise", secret(tls, f"jsons://localhost:{sink.port}/a"), MESSAGE, 2.0))
    while not sending.done():
        await asyncio.sleep(0.01)
        now = asyncio.get_running_loop().time()
        longest, last = max(longest, now - last), now
    assert not (await sending).accepted
    assert longest < 1.0
    assert not _children()


async def test_a_try_that_is_given_up_ends_its_process(channels: SystemChannels, sink: Sink, tls: Any) -> None:
    sink.hanging.add("/a")
    sending = asyncio.create_task(channels.send("apprise", secret(tls, f"jsons://localhost:{sink.port}/a"), MESSAGE, 30.0))
    while not sink.taken:
        await asyncio.sleep(0.05)
    assert _children()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not _children()


async def test_no_more_than_two_processes_at_once_whatever_is_to_be_sent(
    channels: SystemChannels, sink: Sink, tls: Any
) -> None:
    sink.hanging.add("/a")
    data = secret(tls, f"jsons://localhost:{sink.port}/a")
    sends = [
        asyncio.create_task(channels.send("apprise", data, dataclasses.replace(MESSAGE, key=f"k{n}"), 3.0)) for n in range(4)
    ]
    most = 0
    while not all(s.done() for s in sends):
        most = max(most, len(_children()))
        await asyncio.sleep(0.05)
    notes = sorted(found.note for found in await asyncio.gather(*sends))
    assert most == 2
    assert notes == ["no answer within 3 s"] * 2 + ["other messages go first"] * 2


def _children() -> list[str]:
    """Processes of the channel that this one has."""
    return [
        found
        for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        if "apprise_process" in (found := Path(f"/proc/{pid}/cmdline").read_text())
    ]


async def test_an_answer_without_end_costs_neither_memory_nor_the_message(channels: SystemChannels, tls: Any) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        while sent < 64 * 1024 * 1024:
            await answer.write(b"x" * 65536)
            await asyncio.sleep(0.001)
            sent += 65536
        return answer

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls[0]).start()
    found = await channels.send("apprise", secret(tls, f"jsons://localhost:{runner.addresses[0][1]}/a"), MESSAGE, TIMEOUT)
    await runner.cleanup()
    assert found == Receipt(True)
    assert sent < 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"nosuch://{MARKER}", "apprise cannot use it"),
        (f"{MARKER} no url", "apprise cannot use it"),
        (f"jsons://localhost:PORT/{MARKER}?verify=no", "put the server's certificate into ca.crt"),
        (f"json://localhost:PORT/{MARKER}", "write its form with TLS"),
        (f"syslog://{MARKER}", "a service that people read"),
        (f"jsons://169.254.169.254/{MARKER}", "the address is refused: it is link-local"),
        (f"jsons://0x7f000001:1/{MARKER}", ""),
        (f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template=/proc/self/environ&x={MARKER}", "a file of the operator"),
    ],
)  # fmt: skip
async def test_an_url_that_is_refused_is_told_in_words_and_without_itself(
    channels: SystemChannels, sink: Sink, tls: Any, url: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = await channels.send("apprise", secret(tls, url.replace("PORT", str(sink.port))), MESSAGE, 5.0)
    assert not found.accepted
    assert found.hard or not words
    assert words in found.note
    assert MARKER not in found.note + caplog.text
    assert not sink.taken


async def test_this_machine_is_refused_and_a_certificate_has_to_be_trusted(
    channels: SystemChannels, sink: Sink, tls: Any
) -> None:
    strict = SystemChannels(SystemClock())
    for host in ("localhost", "127.0.0.1"):
        found = await strict.send("apprise", secret(tls, f"jsons://{host}:{sink.port}/a"), MESSAGE, TIMEOUT)
        assert found == Receipt(False, "the address is refused: it is loopback", hard=True)
    untrusted = {"urls": f"jsons://localhost:{sink.port}/a"}
    found = await channels.send("apprise", untrusted, MESSAGE, TIMEOUT)
    assert found == Receipt(False, "the server's certificate is not trusted", hard=True)
    assert not sink.taken


async def test_plain_http_only_where_the_secret_says_so(channels: SystemChannels) -> None:
    made = Sink()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    data = {"urls": f"json://localhost:{runner.addresses[0][1]}/a", "allowHttp": "true"}
    assert await channels.send("apprise", data, MESSAGE, TIMEOUT) == Receipt(True)
    await runner.cleanup()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "no key 'urls'"),
        ({"urls": "\n".join(f"jsons://h/{MARKER}/{n}" for n in range(9))}, "more than 8 lines"),
        ({"urls": f"jsons://h/{MARKER}", "ca.crt": f"-----BEGIN {MARKER}"}, "ca.crt"),
    ],
)
async def test_a_wrong_secret_is_told_before_anything_is_started(
    channels: SystemChannels, data: dict[str, str], words: str
) -> None:
    found = await channels.send("apprise", data, MESSAGE, TIMEOUT)
    assert (found.accepted, found.hard, words in found.note, MARKER in found.note) == (False, True, True, False)


async def test_an_image_without_apprise_says_how_to_build_one_with_it(
    channels: SystemChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    found = await channels.send("apprise", {"urls": "jsons://h/x"}, MESSAGE, TIMEOUT)
    assert found == Receipt(False, MISSING, hard=True)
    assert "--build-arg EXTRAS=apprise" in found.note
    assert len(found.note) <= 200
    assert "${EXTRAS:+-r /src/requirements/$EXTRAS.txt}" in (ROOT / "Dockerfile").read_text()


async def test_a_process_that_breaks_is_no_message_taken(channels: SystemChannels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise_channel, "PROCESS", "docuquery_operator.no_such_module")
    found = await channels.send("apprise", {"urls": "jsons://h/x"}, MESSAGE, TIMEOUT)
    assert found == Receipt(False, "apprise ended without an answer")


def test_words_of_a_message_cannot_leave_their_place_in_an_url() -> None:
    message = dataclasses.replace(MESSAGE, key="a/b?c=d&e#f", alert="x y")
    assert filled("ntfys://h/{alert}?id={key}&s={severity}", message) == "ntfys://h/x%20y?id=a%2Fb%3Fc%3Dd%26e%23f&s=P0"


async def test_the_operator_itself_never_loads_apprise() -> None:
    code = (
        "import sys, docuquery_operator.__main__ as m, docuquery_operator.adapters.channels.apprise_channel\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('apprise', 'requests', 'markdown')])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0].decode().strip() == "[]"


def test_the_image_the_tests_and_the_extra_have_the_same_version() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["apprise"]
    assert extra == [(ROOT / "requirements/apprise.in").read_text().split()[0]]
    pins = {
        name: dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))
        for name in ("apprise", "runtime", "dev")
    }
    assert pins["apprise"]["apprise"] == extra[0].partition("==")[2]
    for name, version in pins["apprise"].items():
        assert pins["dev"][name] == version
        assert pins["runtime"].get(name, version) == version
