"""The double of Qdrant is held to what a real server answered, and both sides to the real API's document."""

import hashlib
import json
import pathlib
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from app import qdrant as calls

from tests.doubles.qdrant.openapi.check import Document
from tests.stack.services import DOUBLE, Answer, QdrantDouble, http, prepared, running, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

TRACES: list[dict[str, Any]] = json.loads((DOUBLE / "recorded" / "qdrant-1.18.3-traces.json").read_text())
RECORDED_PEER = "6193481140410213"
# The message names temporary files of the server and words of its language's libraries.
FREE_TEXT = {"/collections/bad/", "/collections/bad2/", '"x"'}
DOCUMENT = Document()


@pytest.fixture
def double(folder: pathlib.Path) -> Iterator[QdrantDouble]:
    """A double of its own, empty."""
    own = QdrantDouble(prepared(folder / f"contract-{uuid.uuid4().hex[:8]}"))
    with running(own):
        yield own


def shape(value: Any) -> Any:
    """Names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def fill(double: QdrantDouble, count: int = 4000, size: int = 8) -> None:
    """The points that the recording had, which it does not show."""
    chance = random.Random(7)
    points = [{"id": n, "vector": [chance.random() for _ in range(size)], "payload": {"n": n}} for n in range(count)]
    url = f"{double.url}/collections/documents/points?wait=true"
    assert http("PUT", url, {"points": points}).json()["result"]["status"] == "completed"


class Replay:
    """Sends the recorded requests again, with the names that this server gives to its snapshots."""

    def __init__(self, double: QdrantDouble) -> None:
        """Talk to `double`."""
        self._double = double
        self._names: dict[str, str] = {}
        self._archive: bytes = b""

    def run(self, trace: dict[str, Any]) -> Answer:
        """Send one request and remember what it made."""
        request = trace["request"]
        path = self._translated(request["path"])
        answer = self._upload(path) if "/snapshots/upload" in path else self._send(request["method"], path, request["body"])
        if request["method"] == "POST" and path.endswith("/snapshots"):
            self._remember(trace, answer)
        return answer

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        if body and "location" in body:
            name = self._translated(pathlib.PurePath(body["location"]).name)
            body = {**body, "location": f"file://{self._double.snapshots}/documents/{name}"}
        return http(method, self._double.url + path, body)

    def _remember(self, trace: dict[str, Any], answer: Answer) -> None:
        if answer.status != 200:
            return
        made = answer.json()["result"]["name"]
        self._names[trace["response"]["body"]["result"]["name"]] = made
        if trace["request"]["path"] == "/collections/documents/snapshots":
            self._archive = http("GET", f"{self._double.url}/collections/documents/snapshots/{made}").body

    def _upload(self, path: str) -> Answer:
        # The recording uploaded a damaged file to the collection "bad".
        content = self._archive[:2000] if "/bad/" in path else self._archive
        head = b'--x\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        return http("POST", self._double.url + path, raw=head + content + b"\r\n--x--\r\n", headers=headers)

    def _translated(self, text: str) -> str:
        for recorded, own in self._names.items():
            text = text.replace(recorded, own)
        return text


def compare(trace: dict[str, Any], answer: Answer) -> None:
    """Status, kind of content, and the shape of the body must be those of the real server."""
    expected, request = trace["response"], trace["request"]
    where = f"{request['method']} {request['path']}"
    assert answer.status == expected["status"], f"{where}: {answer.body!r}"
    assert answer.headers["x-docuquery-double"] == "qdrant-edge"
    if "__text__" in expected["body"]:
        assert answer.body.decode() == expected["body"]["__text__"], where
        return
    assert answer.headers["content-type"].startswith("application/json"), where
    assert shape(answer.json()) == shape(expected["body"]), where
    free = any(part in json.dumps(request) for part in FREE_TEXT)
    if expected["status"] >= 400 and not free:
        assert answer.json()["status"] == expected["body"]["status"], where


def test_recorded_traces(double: QdrantDouble) -> None:
    """Every recorded request, in order; the answers have the recorded shapes."""
    replay = Replay(double)
    compared = 0
    for trace in TRACES:
        if "request" not in trace or "response" not in trace:
            continue
        compare(trace, replay.run(trace))
        compared += 1
        if trace["request"]["method"] == "PUT" and trace["request"]["path"] == "/collections/documents":
            fill(double)
    assert compared == sum("response" in trace for trace in TRACES) == 31
    assert http("POST", f"{double.url}/collections/uploaded/points/count", {"exact": True}).json()["result"]["count"] == 4000


def test_metrics_have_real_names(double: QdrantDouble) -> None:
    """The double shows fewer figures, none under a name of its own."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Cosine"}})
    text = http("GET", f"{double.url}/metrics").body.decode()
    real = next(trace["names"] for trace in TRACES if "names" in trace)
    own = {line.partition(" ")[0].partition("{")[0] for line in text.splitlines()}
    assert own <= set(real)
    assert {"collection_points", "rest_responses_total", "snapshot_creation_running"} <= own


def app_requests() -> list[calls.Call]:
    """Every request that the application makes."""
    return [
        calls.create_collection("documents"),
        calls.describe("documents"),
        calls.upsert("documents", uuid.UUID(int=5), "A title", ["one chunk", "another one"]),
        calls.count("documents"),
        calls.search("documents", "one chunk", 3),
    ]


@pytest.mark.parametrize("call", app_requests(), ids=lambda call: f"{call.method} {call.path}")
def test_the_application_asks_what_qdrant_knows(call: calls.Call) -> None:
    """Valid against the real API's document, without a field that it does not name."""
    assert DOCUMENT.request_problems(call.method, call.path, call.json) == []


def test_the_check_notices_mistakes() -> None:
    """Else the test above proves nothing."""
    url = "/collections/documents/points/query"
    assert DOCUMENT.request_problems("POST", url, {"querry": [1.0]}) == ["body: querry is not known"]
    assert DOCUMENT.request_problems("POST", url, {"query": [1.0], "limit": "3"})
    assert DOCUMENT.request_problems("PUT", "/collections/c", {"vectors": {"size": 8, "distance": "Near"}})
    assert DOCUMENT.request_problems("PATCH", "/collections/c", {"optimizers_config": {"indexing_threshold": "x"}})
    assert DOCUMENT.request_problems("GET", "/health") == ["GET /health is not in the document"]


def good_requests() -> list[tuple[str, str, Any]]:
    """What DocuQuery asks of a filled collection."""
    return [
        ("GET", "/", None),
        ("GET", "/collections", None),
        ("GET", "/collections/documents", None),
        ("GET", "/collections/documents/exists", None),
        ("GET", "/collections/documents/cluster", None),
        ("GET", "/collections/documents/optimizations", None),
        ("PATCH", "/collections/documents", {"optimizers_config": {"indexing_threshold": 20}}),
        (
            "POST",
            "/collections/aliases",
            {"actions": [{"create_alias": {"alias_name": "live", "collection_name": "documents"}}]},
        ),
        ("GET", "/aliases", None),
        ("GET", "/collections/documents/aliases", None),
        ("POST", "/collections/documents/points/scroll", {"limit": 3, "with_payload": False, "with_vector": True}),
        ("POST", "/collections/documents/points", {"ids": [1, 2], "with_vector": True}),
        ("GET", "/collections/documents/points/7", None),
        ("POST", "/collections/live/points/query", {"query": [0.5] * 8, "limit": 3, "with_payload": True}),
        ("POST", "/collections/documents/points/delete", {"points": [1]}),
        ("POST", "/collections/documents/points/delete", {"filter": {"must": [{"key": "n", "match": {"value": 2}}]}}),
        (
            "POST",
            "/collections/documents/points/count",
            {"exact": True, "filter": {"must": [{"key": "n", "range": {"lt": 10}}]}},
        ),
        ("PUT", "/collections/documents/index", {"field_name": "n", "field_schema": "integer"}),
        ("GET", "/collections/documents", None),
        ("POST", "/collections/documents/points/query", {"query": {"sample": "random"}, "limit": 5}),
        (
            "POST",
            "/collections/documents/points/query",
            {"query": [0.5] * 8, "params": {"exact": True, "quantization": {"ignore": True}}, "with_payload": False},
        ),
        ("POST", "/collections/documents/shards/0/snapshots", None),
        ("POST", "/collections/documents/snapshots", None),
        ("GET", "/collections/documents/snapshots", None),
        ("GET", "/cluster", None),
        ("DELETE", "/collections/documents", None),
    ]


def test_answers_keep_the_promise_of_the_document(double: QdrantDouble) -> None:
    """Request and answer of each operation are valid against the real document."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Cosine"}})
    fill(double, 200)
    for method, path, body in good_requests():
        assert DOCUMENT.request_problems(method, path, body) == [], path
        answer = http(method, double.url + path, body)
        assert answer.status == 200, (path, answer.body)
        assert DOCUMENT.answer_problems(method, path, answer.json()) == [], path


def test_points_survive_a_restart(double: QdrantDouble) -> None:
    """Written means kept, also after the process was killed."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Cosine"}, "shard_number": 2})
    fill(double, 300)
    assert double.process.child
    double.process.child.kill()
    double.process.child.wait()
    double.start()
    assert http("POST", f"{double.url}/collections/documents/points/count", {"exact": True}).json()["result"]["count"] == 300


def test_an_empty_filter_deletes_all_points(double: QdrantDouble) -> None:
    """An empty filter matches everything, in all shards."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Dot"}, "shard_number": 2})
    fill(double, 100)
    url = f"{double.url}/collections/documents/points"
    assert http("POST", f"{url}/delete?wait=true", {"filter": {}}).status == 200
    assert http("POST", f"{url}/count", {"exact": True}).json()["result"]["count"] == 0


def test_scroll_pages_over_all_shards(double: QdrantDouble) -> None:
    """Every point once, in order."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Dot"}, "shard_number": 3})
    fill(double, 50)
    seen: list[int] = []
    offset: int | None = None
    while True:
        body = {"limit": 7, "with_payload": False, **({"offset": offset} if offset is not None else {})}
        page = http("POST", f"{double.url}/collections/documents/points/scroll", body).json()["result"]
        seen += [point["id"] for point in page["points"]]
        offset = page["next_page_offset"]
        if offset is None:
            break
    assert seen == list(range(50))


def test_optimising_builds_the_index(double: QdrantDouble) -> None:
    """A lower threshold makes the engine index for real; the search finds the same nearest point."""
    settings = {"vectors": {"size": 64, "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 0}}
    http("PUT", f"{double.url}/collections/documents", settings)
    fill(double, 3000, 64)
    url = f"{double.url}/collections/documents"
    assert http("GET", url).json()["result"]["indexed_vectors_count"] == 0
    http("PATCH", url, {"optimizers_config": {"indexing_threshold": 100}})
    wait_for("the index", lambda: http("GET", url).json()["result"]["indexed_vectors_count"] > 0)
    wait_for("green", lambda: http("GET", url).json()["result"]["status"] == "green")
    own = http("GET", f"{url}/points/42").json()["result"]["vector"]
    hits = http("POST", f"{url}/points/query", {"query": own, "limit": 1}).json()["result"]["points"]
    assert hits[0]["id"] == 42


def test_slow_searches_are_slow_until_there_is_an_index(double: QdrantDouble) -> None:
    """What tests can order of the double changes when it answers, and nothing of what."""
    settings = {"vectors": {"size": 64, "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 0}}
    http("PUT", f"{double.url}/collections/documents", settings)
    fill(double, 3000, 64)
    url, search = f"{double.url}/collections/documents", {"query": [0.5] * 64, "limit": 1}

    def took() -> float:
        began = time.monotonic()
        assert len(http("POST", f"{url}/points/query", search).json()["result"]["points"]) == 1
        return time.monotonic() - began

    assert http("PUT", f"{double.url}/double/faults", {"unindexed": 400, "optimize": 500}).status == 200
    assert took() >= 0.4
    http("PATCH", url, {"optimizers_config": {"indexing_threshold": 100}})
    # As the real server was recorded: right after the change it is green, and nothing has been done yet.
    assert http("GET", url).json()["result"]["status"] == "green"
    assert http("GET", url).json()["result"]["indexed_vectors_count"] == 0
    wait_for("the index", lambda: http("GET", url).json()["result"]["indexed_vectors_count"] > 0)
    wait_for("green", lambda: http("GET", url).json()["result"]["status"] == "green")
    assert took() < 0.4


def test_snapshot_checksum_is_that_of_the_file(double: QdrantDouble) -> None:
    """And the list goes on to show it; the file is small although the engine preallocates."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Cosine"}})
    fill(double, 100)
    url = f"{double.url}/collections/documents/snapshots"
    made = http("POST", url).json()["result"]
    content = http("GET", f"{url}/{made['name']}").body
    assert hashlib.sha256(content).hexdigest() == made["checksum"]
    assert len(content) == made["size"] < 5_000_000
    assert http("GET", url).json()["result"] == [made]


def test_a_shard_comes_back(double: QdrantDouble) -> None:
    """Uploaded, or recovered from the server's own file, with the answers recorded of collections; damage changes nothing."""
    for name in ("documents", "copy"):
        settings = {"vectors": {"size": 8, "distance": "Cosine"}, "shard_number": 2}
        http("PUT", f"{double.url}/collections/{name}", settings)
    fill(double, 100)
    url = f"{double.url}/collections/documents/shards/1/snapshots"
    made = http("POST", url).json()["result"]
    archive = http("GET", f"{url}/{made['name']}").body
    target = "/collections/copy/shards/1/snapshots"
    recorded = {t["request"]["path"].partition("?")[0]: t for t in TRACES if "request" in t}
    body = {"location": f"file://{double.snapshots}/documents/shards/1/{made['name']}", "priority": "snapshot"}
    assert DOCUMENT.request_problems("PUT", f"{target}/recover", body) == []
    answer = http("PUT", f"{double.url}{target}/recover?wait=true", body)
    compare(recorded["/collections/restored/snapshots/recover"], answer)
    assert DOCUMENT.answer_problems("PUT", f"{target}/recover", answer.json()) == []
    for content, checksum, name in (
        (archive, made["checksum"], "uploaded"),
        (archive[:2000], "", "bad"),
        (archive, "0" * 64, "bad2"),
    ):
        head = b'--x\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        where = f"{double.url}{target}/upload?wait=true&checksum={checksum}"
        compare(
            recorded[f"/collections/{name}/snapshots/upload"],
            http("POST", where, raw=head + content + b"\r\n--x--\r\n", headers=headers),
        )
    assert http("POST", f"{double.url}/collections/copy/points/count", {"exact": True}).json()["result"]["count"] == 50
    http("PUT", f"{double.url}/collections/wide", {"vectors": {"size": 16, "distance": "Cosine"}, "shard_number": 2})
    assert http("PUT", f"{double.url}/collections/wide/shards/1/snapshots/recover", body).status == 500
    assert http("POST", f"{double.url}/collections/wide/points/count", {"exact": True}).json()["result"]["count"] == 0


def test_an_alias_and_a_collection_never_share_a_name(double: QdrantDouble) -> None:
    """Neither may come after the other; the actions of one call come true together or not at all."""
    for name in ("documents", "other"):
        http("PUT", f"{double.url}/collections/{name}", {"vectors": {"size": 8, "distance": "Cosine"}})
    url = f"{double.url}/collections/aliases"

    def alias(name: str) -> dict[str, Any]:
        return {"create_alias": {"alias_name": name, "collection_name": "documents"}}

    assert http("POST", url, {"actions": [alias("live"), alias("other")]}).status == 409
    assert http("GET", f"{double.url}/aliases").json()["result"]["aliases"] == []
    assert http("POST", url, {"actions": [alias("live")]}).status == 200
    assert http("PUT", f"{double.url}/collections/live", {"vectors": {"size": 8, "distance": "Cosine"}}).status == 409
    assert http("DELETE", f"{double.url}/collections/live").json()["result"] is False
    assert http("DELETE", f"{double.url}/collections/documents").json()["result"] is True
    assert http("GET", f"{double.url}/aliases").json()["result"]["aliases"] == []


def test_the_key_is_asked_for(folder: pathlib.Path) -> None:
    """As the real server's setting of that name; four paths are open."""
    own = QdrantDouble(prepared(folder / "keyed"))
    own.process.env["QDRANT__SERVICE__API_KEY"] = "right"
    with running(own):
        assert [http("GET", own.url + path).status for path in ("/", "/readyz", "/livez", "/healthz")] == [200] * 4
        assert http("GET", f"{own.url}/collections").status == 401
        assert http("GET", f"{own.url}/collections", headers={"api-key": "wrong"}).status == 401
        assert http("GET", f"{own.url}/collections", headers={"api-key": "right"}).status == 200
        assert http("GET", f"{own.url}/collections", headers={"Authorization": "Bearer right"}).status == 200


def test_no_path_leaves_the_snapshots(double: QdrantDouble) -> None:
    """Neither a name nor a location reads another file."""
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 8, "distance": "Cosine"}})
    body = {"location": "file:///etc/passwd"}
    assert http("PUT", f"{double.url}/collections/x/snapshots/recover", body).status == 400
    assert http("GET", f"{double.url}/collections/documents/snapshots/..%2F..%2Fconfig.json").status == 404
    assert http("PUT", f"{double.url}/collections/..%2Fx", {"vectors": {"size": 8, "distance": "Cosine"}}).status in {
        400,
        404,
    }
