"""The stack of the backup story: who writes to it all the time, and its stores as clients of our own see them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.harness import release
from tests.harness.cluster import CHECKOUT, JSON, kubectl, wait_for
from tests.harness.stackns import StackNamespace, quickened
from tests.stack.services import Answer, http

COLLECTION = "documents"
KIM, LEE = "kim@example.com", "lee@example.com"
# What the manifest calls the content of a table: see docs/backups-postgres.md. Written here once more, on purpose.
HASH = "('x' || left(md5(row({columns})::text), 16))::bit(64)::bigint"
CHUNKS = 'body, document_id, point_id, "position"'
# What the api marks as sent after the swap was not sent at the cut.
DOCUMENTS = "body, created_at, case when enqueued_at < %(before)s then enqueued_at end, error, id, status, title, updated_at"


@dataclass(frozen=True)
class Sent:
    """A document that a client has sent: when, and when it had the answer."""

    id: str
    title: str
    text: str
    began: float
    ended: float


@dataclass
class Writer:
    """Uploads documents through the api all the time; what was not taken is counted and sent no more."""

    ns: StackNamespace
    every: float = 0.25
    sent: list[Sent] = field(default_factory=list)
    refused: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[Writer]:
        """Until the end of the block."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def upload(self) -> None:
        """One document of one chunk."""
        number = len(self.sent) + self.refused
        title, began = f"note {number} {uuid.uuid4().hex[:6]}", time.time()
        body = {"title": title, "text": f"{title} is about {' '.join(_words(number))}"}
        try:
            answer = api(self.ns, "POST", "/documents", body, client=number)
        except OSError:
            answer = None
        if answer is None or answer.status != 202:
            self.refused += 1
            return
        self.sent.append(Sent(answer.json()["id"], title, body["text"], began, time.time()))

    def between(self, begin: float, end: float) -> list[Sent]:
        """Those that were sent and taken within."""
        return [s for s in list(self.sent) if begin <= s.began and s.ended <= end]

    def _run(self) -> None:
        while not self._end.wait(self.every):
            self.upload()


def _words(number: int) -> list[str]:
    return [f"subject{(number * step) % 997}" for step in (3, 5, 7, 11, 13)]


def api(ns: StackNamespace, method: str, path: str, body: object = None, client: int = 0) -> Answer:
    """One request to the application, each from a client of its own: no rate limit is meant here."""
    host = ns.api.read("services", "api")["spec"]["clusterIP"]
    headers = {"X-Forwarded-For": f"198.18.{client // 250 % 250}.{client % 250 + 1}"}
    return http(method, f"http://{host}:8000{path}", body, headers)


def qdrant(ns: StackNamespace, method: str, path: str, body: object = None) -> Any:
    """Result of one request of our own; AssertionError for a bad status."""
    host = ns.api.read("services", "qdrant")["spec"]["clusterIP"]
    answer = http(method, f"http://{host}:6333{path}", body)
    assert answer.status == 200, (method, path, answer.status, answer.body[:500])
    return answer.json()["result"]


def points(ns: StackNamespace) -> set[str]:
    """Ids of all points, whatever the name leads to."""
    body = {"limit": 100_000, "with_payload": False, "with_vector": False}
    return {str(p["id"]) for p in qdrant(ns, "POST", f"/collections/{COLLECTION}/points/scroll", body)["points"]}


def rows(ns: StackNamespace, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """What the application's role reads, in the manifest's own form."""
    with ns.connect(5) as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.execute(statement, parameters).fetchall()


def content(ns: StackNamespace, table: str, columns: str, where: str, before: float) -> tuple[int, str]:
    """Rows and hash as a manifest has them, by SQL of our own."""
    query = (
        f"select count(*), sum(h)::text, bit_xor(h) from (select {HASH.format(columns=columns)} h from {table} {where}) t"
    )
    ((number, total, mixed),) = rows(ns, query, {"before": stamp(before)})
    return number, f"rows-md5-64:{total or 0}:{(mixed or 0) & (2**64 - 1):016x}"


def stamp(at: float) -> str:
    """As SQL reads it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + f"{at % 1:.6f}"[1:] + "+00"


def known(ns: StackNamespace) -> set[str]:
    """Points that the rows of PostgreSQL promise."""
    return {str(row[0]) for row in rows(ns, "select point_id from chunks")}


def finds(ns: StackNamespace, document: Sent) -> bool:
    """The application answers a question with this document: asked by all of its text, it is the nearest if it is there."""
    answer = api(ns, "POST", "/query", {"text": document.text, "top": 5}, client=9999)
    return answer.status == 200 and document.title in [r["title"] for r in answer.json()["results"]]


# The stack


def worker(ns: StackNamespace) -> JSON:
    """The stack's own worker."""
    image = ns.api.read("deployments", "api")["spec"]["template"]["spec"]["containers"][0]["image"]
    found = quickened(yaml.safe_load((CHECKOUT / "deploy" / "stack" / "base" / "worker.yaml").read_text()))
    pod = found["spec"]["template"]["spec"]
    pod["containers"][0] |= {"image": image, "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}}}
    return found


def scale_worker(ns: StackNamespace, replicas: int) -> None:
    """As a person does before and after a restore onto a collection that is no alias."""
    kubectl("-n", ns.name, "scale", "deployment/worker", f"--replicas={replicas}")
    selector = {"app.kubernetes.io/name": "worker"}
    wait_for(f"{replicas} workers", lambda: len(ns.api.list("pods", **selector)) == replicas or None, 60)


def policies(host: str) -> list[JSON]:
    """Only who has business with the stores reaches them: those of the stack, the operator, its movers, and these tests."""
    names = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["api", "worker", "docuquery-mover"]}
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": release.NAMESPACE}}}
    allowed = [{"podSelector": {"matchExpressions": [names]}}, operator, {"ipBlock": {"cidr": f"{host}/32"}}]
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": {
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
                "ingress": [{"from": allowed}],
            },
        }
        for name in ("postgres", "qdrant")
    ]


def wait_field(ns: StackNamespace, kind: str, name: str, what: str, ask: Callable[[JSON], Any], seconds: float) -> JSON:
    """Until the status fulfils it; a failure shows the status."""
    last: JSON = {}

    def asked() -> JSON | None:
        nonlocal last
        last = ns.api.read(kind, name).get("status") or {}
        return last if ask(last) else None

    try:
        return wait_for(f"{kind}/{name}: {what}", asked, seconds)
    except AssertionError:
        raise AssertionError(f"{kind}/{name} is not: {what}\n{json.dumps(last, indent=1)[:6000]}") from None
