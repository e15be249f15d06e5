"""The application on real PostgreSQL and Redis: a document goes in, is processed, and is found."""

import asyncio
import json
import subprocess

import pytest

from docuquery_operator.adapters.redis import RedisPy
from docuquery_operator.api.blocking import KEY_PREFIX
from docuquery_operator.ports import RedisTarget
from tests.stack.conftest import Stack
from tests.stack.services import Answer, http, running, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

TEXT = "The zebra crossing agreement was signed in Vaduz. " * 30


def client(address: str) -> dict[str, str]:
    """Headers of a client of its own, so that tests do not use up each other's limit."""
    return {"X-Forwarded-For": address}


def document(stack: Stack, identity: str) -> dict[str, object]:
    """The state of one document."""
    return dict(http("GET", f"{stack.app.url}/documents/{identity}", headers=client("10.9.0.1")).json())


def processed(stack: Stack, identity: str) -> dict[str, object]:
    """Wait for the worker."""
    return wait_for("the worker", lambda: (now := document(stack, identity))["status"] == "processed" and now, 40)


def upload(stack: Stack, title: str, text: str) -> Answer:
    """Send one document."""
    return http("POST", f"{stack.app.url}/documents", {"title": title, "text": text}, client("10.9.0.1"))


def test_upload_worker_query(stack: Stack) -> None:
    """The path of the product, twice with the same document: nothing doubles."""
    answer = upload(stack, "Crossing", TEXT)
    assert answer.status == 202
    identity = answer.json()["id"]
    with running(stack.app.worker):
        first = processed(stack, identity)
        assert first["chunks"] == 4
        assert upload(stack, "Crossing", TEXT).json()["id"] == identity
        wait_for("the second task", lambda: stack.app.worker.text().count("succeeded in") >= 2)
        assert processed(stack, identity)["chunks"] == 4
    count = http("POST", f"{stack.qdrant.url}/collections/documents/points/count", {"exact": True}).json()
    assert count["result"]["count"] == 4
    found = http("POST", f"{stack.app.url}/query", {"text": "zebra Vaduz", "top": 2}, client("10.9.0.1")).json()["results"]
    assert [hit["document_id"] for hit in found] == [identity] * 2
    assert "zebra crossing" in found[0]["text"]
    info = http("GET", f"{stack.app.url}/info").json()
    assert info["documents"]["processed"] == info["documents"]["total"] == 1
    assert info["chunks"] == info["collection"]["points"] == 4


def test_upload_of_a_file(stack: Stack) -> None:
    """Multipart gives the file's name as the title."""
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="note.txt"\r\n\r\nA short note.\r\n--x--\r\n'
    answer = http(
        "POST", f"{stack.app.url}/documents", raw=form, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status == 202
    assert document(stack, answer.json()["id"])["title"] == "note.txt"


@pytest.mark.parametrize(
    "body",
    [{"title": "", "text": "x"}, {"title": "x"}, {"title": "x", "text": " "}, {"title": "x", "text": "a\u0000b"}],
)
def test_a_bad_document_is_refused(stack: Stack, body: dict[str, str]) -> None:
    """422 with a reason, and nothing is stored."""
    answer = http("POST", f"{stack.app.url}/documents", body, client("10.9.0.2"))
    assert answer.status == 422
    assert answer.json()["detail"]


def test_seed_is_repeatable(stack: Stack) -> None:
    """Two runs leave what one leaves."""
    with running(stack.app.worker):
        for _ in range(2):
            stack.app.seed.start()
            assert stack.app.seed.child
            assert stack.app.seed.child.wait(100) == 0, stack.app.seed.text()
    info = http("GET", f"{stack.app.url}/info").json()
    assert 25 <= info["documents"]["processed"] <= 27
    assert info["chunks"] == info["collection"]["points"]


def test_an_upload_survives_an_outage_of_the_queue(stack: Stack) -> None:
    """The document waits in PostgreSQL and gets its task when Redis is back."""
    stack.redis.process.stop()
    try:
        answer = upload(stack, "Patience", "A document that came while nobody took tasks.")
        assert answer.status == 202
        assert answer.json()["sent"] is False
    finally:
        stack.redis.start()
    with running(stack.app.worker):
        processed(stack, answer.json()["id"])


def test_the_worker_outlives_its_broker(stack: Stack) -> None:
    """Redis goes away and comes back under a running worker, which takes the next task."""
    with running(stack.app.worker):
        wait_for("the worker", lambda: "ready." in stack.app.worker.text())
        stack.redis.process.stop()
        stack.redis.start()
        processed(stack, upload(stack, "Return", "A document for the same worker.").json()["id"])


def test_a_task_without_document_fails_for_good(stack: Stack) -> None:
    """The failure is kept in the result back end; no retry."""
    task = "app.background.worker.process_document"
    call = [*stack.app.celery, "call", task, "--args", '["00000000-0000-0000-0000-000000000001"]']
    done = subprocess.run(call, env=stack.app.env, capture_output=True, text=True, check=True)
    identity = done.stdout.strip().splitlines()[-1]
    with running(stack.app.worker):
        result = [*stack.app.celery, "result", identity]
        failed = subprocess.run(result, env=stack.app.env, capture_output=True, text=True, check=False, timeout=60)
    assert "DocumentMissing" in failed.stdout + failed.stderr


def test_the_limit(stack: Stack) -> None:
    """The 101st request in a window is refused, logged and counted; health stays open."""
    headers = {**client("10.9.0.7"), "User-Agent": "eager/1"}
    url = f"{stack.app.url}/documents/00000000-0000-0000-0000-000000000001"
    statuses = [http("GET", url, headers=headers).status for _ in range(205)]
    refused = http("GET", url, headers=headers)
    assert statuses.count(404) in {100, 200}
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert http("GET", f"{stack.app.url}/health", headers=headers).status == 200
    lines = [json.loads(line) for line in stack.app.process.text().splitlines() if '"client":"10.9.0.7"' in line]
    last = [line for line in lines if line["event"] == "rate_limit"][-1]
    assert last["status"] == 429
    assert last["userAgent"] == "eager/1"
    assert "rate_limited_total" in http("GET", f"{stack.app.url}/metrics").body.decode()


def test_a_denied_client_is_refused_until_its_key_ends(stack: Stack) -> None:
    """403 with a reason, counted and logged; health is never denied, nor anybody else, and the key ends by itself."""
    headers, other = client("10.9.0.8"), client("10.9.0.9")
    url = f"{stack.app.url}/documents/00000000-0000-0000-0000-000000000001"
    asyncio.run(deny(stack, "10.9.0.8", 3))
    refused = http("GET", url, headers=headers)
    assert (refused.status, refused.json()["reason"]) == (403, "blocked")
    assert {http("GET", stack.app.url + path, headers=headers).status for path in ("/health", "/livez", "/readyz")} == {200}
    assert http("GET", url, headers=other).status == 404
    lines = [json.loads(line) for line in stack.app.process.text().splitlines() if '"client":"10.9.0.8"' in line]
    assert [(line["event"], line["status"]) for line in lines if line["path"].startswith("/documents")] == [("denied", 403)]
    assert "denied_total 1.0" in http("GET", f"{stack.app.url}/metrics").body.decode()
    wait_for("the end of the block", lambda: http("GET", url, headers=headers).status == 404, 6)


async def deny(stack: Stack, address: str, seconds: int) -> None:
    """As the operator does it."""
    target = RedisTarget("127.0.0.1", stack.redis.port)
    assert await RedisPy().deny(target, {f"{KEY_PREFIX}{address}": "attempt"}, seconds, 5) == ""


def test_metrics(stack: Stack) -> None:
    """Routes are templates; the queue is a figure."""
    text = http("GET", f"{stack.app.url}/metrics").body.decode()
    assert 'http_requests_total{method="GET",path="/documents/{document_id}",status="404"}' in text
    assert "http_request_duration_seconds_bucket" in text
    assert "http_requests_in_progress 1.0" in text
    assert 'celery_queue_length{queue="celery"}' in text
