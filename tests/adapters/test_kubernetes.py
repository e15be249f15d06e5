"""The client of the API server against a double that answers as told: status codes, failures, requests, secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from docuquery_operator.adapters.access import Access
from docuquery_operator.adapters.kubernetes import KubernetesCluster
from docuquery_operator.ports import (
    INCIDENT,
    JSON,
    LEASE,
    POD,
    SECRET,
    STATEFUL_SET,
    ApiError,
    Conflict,
    Kind,
    Refused,
    Unavailable,
)
from tests.adapters import misbehaving as m
from tests.stack.services import free_port

pytestmark = pytest.mark.timeout(60)
TOKEN = "token-marker-8b1e42aa90"
TIMEOUT = 0.5
BOUND = (TIMEOUT + 1) * 3


@dataclass
class Request:
    """What the double was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Double:
    """Answers in order, the last one again and again."""

    answers: list[bytes]
    then: m.Behaviour = m.closes
    requests: list[Request] = field(default_factory=list)

    async def __call__(self, reader: m.Reader, writer: m.Writer) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            method, target, _ = first.split()
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            url = urlsplit(target)
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            self.requests.append(Request(method, url.path, query, headers, body))
            writer.write(self.answers[min(len(self.requests), len(self.answers)) - 1])
            await writer.drain()
            if self.then is not m.closes:
                await self.then(reader, writer)


def told(status: bytes, body: Any, *headers: bytes, kind: bytes = b"application/json") -> bytes:
    """An answer of the API server."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return m.http_answer(status, data, b"Content-Type: " + kind, *headers)


def failure(status: bytes, message: str, *headers: bytes) -> bytes:
    """A Status object."""
    return told(status, {"kind": "Status", "status": "Failure", "message": message, "code": int(status[:3])}, *headers)


POD_OBJECT: JSON = {"metadata": {"name": "p", "namespace": "n", "resourceVersion": "7"}}


def with_token(server: str) -> Access:
    """How most tests log in."""
    return Access(server, token=TOKEN)


@asynccontextmanager
async def client(
    behaviour: m.Behaviour, access: Callable[[str], Access] = with_token, timeout: float = TIMEOUT
) -> AsyncIterator[KubernetesCluster]:
    """A client of a double; nothing stays open after it."""
    tasks, sockets = asyncio.all_tasks(), m.open_sockets()
    async with (
        m.serving(behaviour) as peer,
        KubernetesCluster(access(f"http://127.0.0.1:{peer.port}"), "me", timeout) as cluster,
    ):
        yield cluster
    assert await m.settled(lambda: asyncio.all_tasks() <= tasks)
    assert await m.settled(lambda: m.open_sockets() <= sockets)


CALLS: dict[str, Callable[[KubernetesCluster], Awaitable[Any]]] = {
    "get": lambda c: c.get(INCIDENT, "n", "i"),
    "list": lambda c: c.list(INCIDENT, "n"),
    "served": lambda c: c.served(INCIDENT, "n"),
    "create": lambda c: c.create(INCIDENT, "n", {"metadata": {"name": "i"}}),
    "patch": lambda c: c.patch(INCIDENT, "n", "i", {"status": {}}, "status"),
    "evict": lambda c: c.evict("n", "p", "u"),
    "logs": lambda c: c.logs("n", "p", "main", False, 40),
}
each_call = pytest.mark.parametrize("call", CALLS)


# Requests.


async def test_get() -> None:
    double = Double([told(b"200 OK", POD_OBJECT)])
    async with client(double) as cluster:
        assert await cluster.get(POD, "n", "p") == POD_OBJECT
    (request,) = double.requests
    assert (request.method, request.path) == ("GET", "/api/v1/namespaces/n/pods/p")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


async def test_list_reads_all_pages() -> None:
    pages = [
        {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "next/page=="}},
        {"items": None, "metadata": {"continue": "2"}},
        {"items": [{"metadata": {"name": "b"}}], "metadata": {"continue": ""}},
    ]
    double = Double([told(b"200 OK", page) for page in pages])
    async with client(double) as cluster:
        found = await cluster.list(INCIDENT, "n", "a=b,c in (d)")
    assert [i["metadata"]["name"] for i in found] == ["a", "b"]
    assert [r.query.get("continue") for r in double.requests] == [None, "next/page==", "2"]
    assert all(r.query["labelSelector"] == "a=b,c in (d)" and r.query["limit"] == "500" for r in double.requests)
    assert {r.path for r in double.requests} == {"/apis/ops.docuquery.ai/v1alpha1/namespaces/n/incidents"}


async def test_of_a_large_list_only_what_is_asked_for_is_kept_small_page_by_page() -> None:
    pages = [
        {"items": [{"metadata": {"name": "a"}, "status": {"large": 1}}], "metadata": {"continue": "2"}},
        {"items": [{"metadata": {"name": "b"}}], "metadata": {}},
    ]
    double = Double([told(b"200 OK", page) for page in pages])
    async with client(double) as cluster:
        found = await cluster.list(INCIDENT, "n", pick=lambda o: o["metadata"])
    assert found == [{"name": "a"}, {"name": "b"}]
    assert [r.query["limit"] for r in double.requests] == ["100", "100"]


async def test_a_list_that_expired_is_read_later_and_not_in_part() -> None:
    page = {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "2"}}
    double = Double([told(b"200 OK", page), failure(b"410 Gone", "The provided continue parameter is too old")])
    async with client(double) as cluster:
        with pytest.raises(Unavailable, match="too old"):
            await cluster.list(INCIDENT, "n")


async def test_create() -> None:
    double = Double([told(b"201 Created", POD_OBJECT)])
    async with client(double) as cluster:
        assert await cluster.create(LEASE, "n", {"metadata": {"name": "l"}, "spec": {"x": "ü"}}) == POD_OBJECT
    (request,) = double.requests
    assert (request.method, request.query) == ("POST", {"fieldManager": "me"})
    expected = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"x": "ü"}}
    assert request.json() == expected


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_patch_sends_what_it_was_given(subresource: str) -> None:
    """The version that was read goes with it: without it nothing would notice a writer in between."""
    body = {"metadata": {"resourceVersion": "41", "uid": "u-1"}, "status": {"phase": "Healed", "gone": None}}
    double = Double([told(b"200 OK", POD_OBJECT)])
    async with client(double) as cluster:
        assert await cluster.patch(STATEFUL_SET, "n", "postgres", body, subresource) == POD_OBJECT
    (request,) = double.requests
    assert request.path == "/apis/apps/v1/namespaces/n/statefulsets/postgres" + (f"/{subresource}" if subresource else "")
    assert (request.method, request.query) == ("PATCH", {"fieldManager": "me"})
    assert request.headers["content-type"] == "application/merge-patch+json"
    assert request.json() == body


@pytest.mark.parametrize("dry", [False, True])
async def test_evict_names_the_pod_by_uid(dry: bool) -> None:
    double = Double([told(b"201 Created", {"kind": "Status", "status": "Success"})])
    async with client(double) as cluster:
        assert await cluster.evict("n", "postgres-0", "u-1", dry) == ""
    (request,) = double.requests
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/n/pods/postgres-0/eviction")
    options = request.json()["deleteOptions"]
    assert options["preconditions"] == {"uid": "u-1"}
    assert options.get("dryRun") == (["All"] if dry else None)


async def test_logs() -> None:
    double = Double([told(b"200 OK", b"one\ntwo \xff\n", kind=b"text/plain")])
    async with client(double) as cluster:
        assert await cluster.logs("n", "p", "main", True, 40) == "one\ntwo \N{REPLACEMENT CHARACTER}\n"
    (request,) = double.requests
    expected = {"container": "main", "tailLines": "40", "limitBytes": "32768", "timestamps": "true", "previous": "true"}
    assert (request.path, request.query) == ("/api/v1/namespaces/n/pods/p/log", expected)


@pytest.mark.parametrize("name", ["../../../secrets/s", "a/b", "a?watch=true", "a#b", "a%2fb", "a b", "ü", "a;b", "x\ny"])
async def test_a_name_is_one_part_of_the_path(name: str) -> None:
    double = Double([failure(b"404 Not Found", "no")])
    async with client(double) as cluster:
        assert await cluster.get(SECRET, "n", name) is None
        assert await cluster.get(SECRET, name, "s") is None
    for request in double.requests:
        assert request.path.count("/") == 6
        assert request.query == {}
        assert request.path.startswith("/api/v1/namespaces/")
        assert request.path.split("/")[5] == "secrets"


@pytest.mark.parametrize("name", [".", ".."])
async def test_a_name_of_dots_goes_nowhere(name: str) -> None:
    double = Double([told(b"200 OK", {"items": []})])
    async with client(double) as cluster:
        with pytest.raises(Refused):
            await cluster.get(SECRET, "n", name)
        with pytest.raises(Refused):
            await cluster.list(SECRET, name)
    assert double.requests == []


# Answers.


@pytest.mark.parametrize(
    ("call", "expected"), [("get", None), ("list", []), ("served", False), ("patch", None), ("evict", ""), ("logs", "")]
)
async def test_not_found(call: str, expected: object) -> None:
    async with client(Double([failure(b"404 Not Found", "not found")])) as cluster:
        assert await CALLS[call](cluster) == expected


async def test_not_found_on_create_is_refused() -> None:
    """The namespace or the kind is missing: that is no 'there is none'."""
    async with client(Double([failure(b"404 Not Found", "namespaces n not found")])) as cluster:
        with pytest.raises(Refused, match="namespaces n not found") as raised:
            await CALLS["create"](cluster)
    assert raised.value.status == 404


@pytest.mark.parametrize("call", [c for c in CALLS if c != "evict"])
async def test_conflict(call: str) -> None:
    async with client(Double([failure(b"409 Conflict", "the object has been modified")])) as cluster:
        with pytest.raises(Conflict, match="has been modified"):
            await CALLS[call](cluster)


async def test_conflict_on_eviction_is_another_pod() -> None:
    """The pod of this name has another uid by now."""
    async with client(Double([failure(b"409 Conflict", "precondition failed")])) as cluster:
        assert await cluster.evict("n", "p", "u") == ""


@each_call
@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden", b"422 Unprocessable Entity"])
async def test_refused(call: str, status: bytes) -> None:
    async with client(Double([failure(status, "because of this rule")])) as cluster:
        with pytest.raises(Refused, match=f"^{int(status[:3])}: because of this rule$") as raised:
            await CALLS[call](cluster)
    assert raised.value.status == int(status[:3])


async def test_bad_request() -> None:
    """A container that never ran has no log; elsewhere a 400 is a fault of ours."""
    async with client(Double([failure(b"400 Bad Request", "container is waiting to start")])) as cluster:
        assert await CALLS["logs"](cluster) == ""
        with pytest.raises(Refused):
            await CALLS["create"](cluster)


@pytest.mark.parametrize(
    ("header", "after"),
    [
        (b"Retry-After: 7", 7.0),
        (b"Retry-After: 1", 1.0),
        (b"Retry-After: 86400", 30.0),
        (b"Retry-After: 0", 1.0),
        (b"Retry-After: -5", 1.0),
        (b"Retry-After: nan", 2.0),
        (b"Retry-After: inf", 2.0),
        (b"Retry-After: " + b"9" * 5000, 2.0),
        (b"Retry-After: Wed, 21 Oct 2099 07:28:00 GMT", 2.0),
        (b"Retry-After: ", 2.0),
        (b"X-Other: 9", 2.0),
    ],
)
async def test_too_many_requests(header: bytes, after: float) -> None:
    async with client(Double([failure(b"429 Too Many Requests", "slow down", header)])) as cluster:
        with pytest.raises(Unavailable, match="slow down") as raised:
            await cluster.get(POD, "n", "p")
    assert raised.value.after == after


@pytest.mark.parametrize(
    "why",
    [
        "Cannot evict pod as it would violate the pod's disruption budget.",
        "The disruption budget postgres is still being processed by the server.",
    ],
)
async def test_a_disruption_budget_holds_the_pod(why: str) -> None:
    async with client(Double([failure(b"429 Too Many Requests", why, b"Retry-After: 10")])) as cluster:
        assert why in await cluster.evict("n", "p", "u")


async def test_throttling_is_no_disruption_budget() -> None:
    busy = told(
        b"429 Too Many Requests", b"Too many requests, please try again later.", b"Retry-After: 3", kind=b"text/plain"
    )
    async with client(Double([busy])) as cluster:
        with pytest.raises(Unavailable) as raised:
            await cluster.evict("n", "p", "u")
    assert raised.value.after == 3


@each_call
@pytest.mark.parametrize(
    "status", [b"500 Internal Server Error", b"502 Bad Gateway", b"503 Service Unavailable", b"504 Timeout"]
)
async def test_server_errors(call: str, status: bytes) -> None:
    async with client(Double([told(status, b"<html>upstream</html>", kind=b"text/html")])) as cluster:
        with pytest.raises(Unavailable, match="upstream"):
            await CALLS[call](cluster)


@each_call
@pytest.mark.parametrize(
    "status", [b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent", b"300 Choices", b"304 Same"]
)
async def test_redirects_are_not_followed(call: str, status: bytes) -> None:
    """Neither the token nor a write goes anywhere else."""
    async with m.serving(Double([told(b"200 OK", POD_OBJECT)])) as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/".encode()
        async with client(Double([told(status, b"" if status[:3] == b"304" else b"{}", location)])) as cluster:
            with pytest.raises(Unavailable):
                await CALLS[call](cluster)
        assert elsewhere.connections == 0


NOT_OBJECTS = {
    "HTML": told(b"200 OK", b"<html>login please</html>", kind=b"text/html"),
    "half an object": told(b"200 OK", b'{"metadata": {"name": "i"'),
    "nothing": told(b"200 OK", b""),
    "list": told(b"200 OK", []),
    "null": told(b"200 OK", None),
    "number": told(b"200 OK", 7),
    "not UTF-8": told(b"200 OK", b"\xff\xfe{}"),
    "unknown charset": told(b"200 OK", b"x", kind=b"application/json; charset=hex"),
    "deep": told(b"200 OK", b'{"a":' * 100_000),
    "less than said": told(b"200 OK", POD_OBJECT)[:-5],
    "no gzip": told(b"200 OK", POD_OBJECT, b"Content-Encoding: gzip"),
    "protobuf": told(b"200 OK", b"k8s\0\n\x0c", kind=b"application/vnd.kubernetes.protobuf"),
}


async def cut(_: m.Reader, writer: m.Writer) -> None:
    """End the connection after the answer."""
    writer.close()
    raise EOFError


@pytest.mark.parametrize("call", [c for c in CALLS if c != "logs"])
@pytest.mark.parametrize("answer", NOT_OBJECTS)
async def test_answers_that_are_no_objects(call: str, answer: str) -> None:
    """A good status with a bad body is no object, no empty list, and no success."""
    async with client(Double([NOT_OBJECTS[answer]], then=cut)) as cluster:
        with pytest.raises(Unavailable) as raised:
            await CALLS[call](cluster)
    assert len(str(raised.value)) < 1100


SICK: dict[str, m.Behaviour] = {
    "says nothing": m.silent,
    "closes at once": m.closes,
    "RST": m.resets,
    "closes on the request": m.answers(b""),
    "RST on the request": m.answers(b"", m.resets),
    "garbage": m.answers(b"\xff" * 100),
    "TLS alert": m.answers(m.TLS_ALERT),
    "headers, a byte at a time": m.answers(b"", m.drips(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99)),
    "endless headers": m.answers(b"HTTP/1.1 200 OK\r\n", m.endless(b"X: y\r\n" * 100)),
    "half a body, then silence": m.answers(told(b"200 OK", POD_OBJECT)[:-5], m.silent),
    "half a body, then closed": m.answers(told(b"200 OK", POD_OBJECT)[:-5]),
    "body, a byte at a time": m.answers(told(b"200 OK", POD_OBJECT)[:-60], m.drips(b" " * 60)),
    "chunks without an end": m.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", m.silent),
}


@pytest.mark.parametrize("name", SICK)
async def test_a_sick_server_is_unavailable_in_time(name: str) -> None:
    async with client(SICK[name]) as cluster:
        began = time.monotonic()
        found = await asyncio.gather(*(call(cluster) for call in CALLS.values()), return_exceptions=True)
        assert time.monotonic() - began < BOUND
    assert [type(f) for f in found] == [Unavailable] * len(CALLS)


@each_call
async def test_connection_refused(call: str) -> None:
    async with KubernetesCluster(Access(f"http://127.0.0.1:{free_port()}"), "me", TIMEOUT) as cluster:
        with pytest.raises(Unavailable):
            await CALLS[call](cluster)


async def test_no_such_server() -> None:
    async with KubernetesCluster(Access("http://no-such-host.invalid:6443"), "me", 2.0) as cluster:
        with pytest.raises(Unavailable):
            await cluster.get(POD, "n", "p")


async def test_works_again_after_an_outage() -> None:
    """A connection that the server closed while it was idle is not a failure of the next call."""
    double = Double([told(b"200 OK", POD_OBJECT)], then=cut)
    async with client(double) as cluster:
        for _ in range(3):
            assert await cluster.get(POD, "n", "p") == POD_OBJECT
            await asyncio.sleep(0.02)
    assert len(double.requests) == 3


async def test_only_as_a_context_manager() -> None:
    with pytest.raises(RuntimeError):
        await KubernetesCluster(Access("http://127.0.0.1:1"), "me").get(POD, "n", "p")


# Identity and secrets.


async def test_the_token_is_read_for_each_call(tmp_path: Path) -> None:
    """The kubelet renews the file; an old token would be refused within the hour."""
    file = tmp_path / "token"
    file.write_text("first\n")
    double = Double([told(b"200 OK", POD_OBJECT)])
    async with client(double, lambda server: Access(server, token_file=file)) as cluster:
        await cluster.get(POD, "n", "p")
        file.write_text("second")
        await cluster.get(POD, "n", "p")
    assert [r.headers["authorization"] for r in double.requests] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("content", [None, b"two\nlines", b"nul\0", b"\xff\xfe", "ünïcode".encode()], ids=repr)
async def test_a_token_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    """Missing for a moment, or broken: later, and no foreign error."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    double = Double([failure(b"401 Unauthorized", "no")])
    async with client(double, lambda server: Access(server, token_file=file)) as cluster:
        with pytest.raises(ApiError) as raised:
            await cluster.get(POD, "n", "p")
    assert not any(part in str(raised.value) for part in ("two", "lines", "nul", "ünï"))


ECHO = f"you sent Authorization: Bearer {TOKEN} and password=hunter2-marker and {TOKEN} again"


async def words_of(call: Awaitable[Any]) -> str:
    """All that an error says of itself and of its causes; it is logged as a worker would log it."""
    try:
        await call
    except ApiError as problem:
        logging.getLogger("test").exception("reconcile failed")
        chain: list[BaseException] = [problem]
        while (before := chain[-1].__cause__) is not None:
            chain.append(before)
        return " ".join(f"{e} {e!r}" for e in chain)
    return ""


@each_call
@pytest.mark.parametrize(
    "status", [b"403 Forbidden", b"409 Conflict", b"429 Too Many Requests", b"500 Oops", b"302 Found", b"200 OK"]
)
async def test_no_secret_in_an_error(call: str, status: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Something in between shows the whole request on its error page."""
    caplog.set_level(logging.DEBUG)
    for answer in (failure(status, ECHO), told(status, ECHO.encode(), kind=b"text/html")):
        async with client(Double([answer])) as cluster:
            words = await words_of(CALLS[call](cluster)) + caplog.text
            assert TOKEN not in words
            assert "hunter2" not in words


@each_call
@pytest.mark.parametrize("name", ["garbage", "closes on the request", "says nothing"])
async def test_no_secret_in_a_failure(call: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with client(SICK[name], timeout=0.1) as cluster:
        words = await words_of(CALLS[call](cluster))
    assert words
    assert TOKEN not in words + caplog.text


def test_no_secret_in_a_repr() -> None:
    shown = repr(Access("https://a", token=TOKEN, client_cert=TOKEN, client_key=TOKEN))
    assert TOKEN not in shown


async def test_a_message_is_bounded() -> None:
    async with client(Double([failure(b"422 Unprocessable Entity", "x" * 10**6)])) as cluster:
        with pytest.raises(Refused) as raised:
            await cluster.get(POD, "n", "p")
    assert len(str(raised.value)) < 1100


def test_kinds_without_a_group_are_in_the_core() -> None:
    assert Kind("", "v1", "pods", "Pod").prefix == "/api/v1"


# A log as it comes.


async def streamed(cluster: KubernetesCluster, limit: int = 1000) -> bytes:
    """All pieces of a log."""
    since = datetime(2026, 11, 25, 5, 0, 7, 900_000, tzinfo=timezone(timedelta(hours=1)))
    async with aclosing(cluster.log_stream("n", "p", "main", since, limit)) as stream:
        return b"".join([piece async for piece in stream])


async def test_log_stream() -> None:
    double = Double([told(b"200 OK", b"2026-11-25T04:00:07.000000001Z one\n\xff", kind=b"text/plain")])
    async with client(double) as cluster:
        assert await streamed(cluster) == b"2026-11-25T04:00:07.000000001Z one\n\xff"
    (request,) = double.requests
    expected = {"container": "main", "sinceTime": "2026-11-25T04:00:07Z", "limitBytes": "1000", "timestamps": "true"}
    assert (request.path, request.query) == ("/api/v1/namespaces/n/pods/p/log", expected)


async def test_log_stream_never_gives_more_than_its_limit() -> None:
    async with client(Double([told(b"200 OK", b"x" * 300_000)])) as cluster:
        assert await streamed(cluster, 100_000) == b"x" * 100_000


@pytest.mark.parametrize(("status", "error"), [(b"400 Bad Request", None), (b"404 Not Found", None), (b"403 Forbidden", Refused),
                                               (b"500 Internal Server Error", Unavailable), (b"429 Too Many Requests", Unavailable),
                                               (b"302 Found", Unavailable)])  # fmt: skip
async def test_log_stream_maps_errors_as_the_others(status: bytes, error: type[ApiError] | None) -> None:
    async with client(Double([failure(status, f"no {TOKEN}")])) as cluster:
        if error is None:
            assert await streamed(cluster) == b""
        else:
            with pytest.raises(error) as caught:
                await streamed(cluster)
            assert TOKEN not in str(caught.value)


async def test_log_stream_ends_in_time_and_says_so() -> None:
    for behaviour in (m.silent, m.closes, m.resets, m.answers(m.http_answer(b"200 OK")[:20], m.silent)):
        async with client(behaviour) as cluster:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await streamed(cluster)
            assert time.monotonic() - began < BOUND
