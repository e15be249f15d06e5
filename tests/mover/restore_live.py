"""Live data that says of itself which it is: two databases, a collection behind an alias, and one that is used by its own name."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.mover.postgres.conftest import APP, BACKUP, DATABASE, PASSWORDS, World
from tests.mover.qdrant.memory import vector
from tests.stack.services import QdrantDouble, http

OTHER = "reports"
ALIAS, BEHIND, NAMED = "live", "documents", "notes"
# How many of each there are: `set` is what was saved, `now` what is live when the restore begins.
ROWS = {"set": 40, "now": 37}
POINTS = {"set": 30, "now": 21}
# Points 0 to 9 have no document in the set, documents 31 to 40 no point.
ORPHANS, MISSING = 1, 11
SOURCES = (DATABASE, OTHER, ALIAS, NAMED)
# Between two reads of one source, in seconds.
PAUSE = 0.1
TABLES = ("documents", "chunks")


def wait_connected(world: World, database: str) -> psycopg.Connection[Any]:
    """As the application's role; an exchange may end the session or keep it waiting."""
    for _ in range(60):
        with contextlib.suppress(psycopg.OperationalError):
            return world.connect(database=database)
        time.sleep(0.02)
    raise AssertionError(f"the application has no database {database}")


def of_database(client: psycopg.Connection[Any]) -> str:
    """`set`, `now`, or what is wrong: of all tables in one snapshot."""
    counts = " union all ".join(f"select '{name}', kind, count(*) from {name} group by 2" for name in TABLES)
    found = client.execute(counts.encode()).fetchall()
    for kind, rows in ROWS.items():
        if sorted(found) == sorted((name, kind, rows) for name in TABLES):
            return kind
    return f"torn: {sorted(found)}"


def of_collection(double: QdrantDouble, name: str) -> str:
    """`set`, `now`, `mended` where the points without a document are gone, `absent`, or what is wrong.

    A read that is under way while the server deletes the collection finds nothing in it: absent too.
    """
    body = {"limit": 100, "with_payload": True, "with_vector": False}
    answer = http("POST", f"{double.url}/collections/{name}/points/scroll", body)
    points = [] if answer.status == 404 else answer.json()["result"]["points"]
    if not points:
        return "absent"
    found = Counter(point["payload"]["kind"] for point in points)
    expected = {"set": {"set": POINTS["set"]}, "now": {"now": POINTS["now"]}, "mended": {"set": POINTS["set"] - ORPHANS}}
    return next((kind for kind, counts in expected.items() if dict(found) == counts), f"torn: {dict(found)}")


@dataclass
class Live:
    """The servers as an application sees them."""

    world: World
    double: QdrantDouble
    # Held while the test itself makes data anew, which no reader may take for the restore's doing.
    scenery: threading.RLock = field(default_factory=threading.RLock)

    def fill(self, kind: str) -> None:
        """Everything anew, as it is in the set or as it is now."""
        for name in (DATABASE, OTHER):
            with self.world.connect(database=name) as client:
                for table in TABLES:
                    client.execute(f"truncate {table}".encode())
                    rows = f"insert into {table} select i, '{kind}' from generate_series(1, {ROWS[kind]}) i"
                    client.execute(rows.encode())
        _, collections, aliases = self.names()
        self.change(*({"delete_alias": {"alias_name": name}} for name in aliases))
        for name in collections:
            assert http("DELETE", f"{self.double.url}/collections/{name}").status == 200
        for name in (BEHIND, NAMED):
            self.collection(name, kind)
        self.change({"create_alias": {"alias_name": ALIAS, "collection_name": BEHIND}})

    def create(self) -> None:
        """Empty databases."""
        for name in self.world.names():
            self.world.postgres.run(f'drop database "{name}" with (force)')
        for name in (DATABASE, OTHER):
            self.world.postgres.run(f"create database {name} owner {APP}", f"grant connect on database {name} to {BACKUP}")
            with self.world.connect(database=name) as client:
                for table in TABLES:
                    client.execute(f"create table {table} (id int primary key, kind text)".encode())

    def collection(self, name: str, kind: str) -> None:
        """One collection anew."""
        url = f"{self.double.url}/collections/{name}"
        settings = {"vectors": {"size": 16, "distance": "Cosine"}, "shard_number": 1}
        assert http("PUT", url, settings).status == 200
        chance = random.Random(f"{name} {kind}")
        points = [{"id": n, "vector": vector(chance), "payload": {"kind": kind}} for n in range(POINTS[kind])]
        assert http("PUT", f"{url}/points?wait=true", {"points": points}).status == 200

    def change(self, *actions: dict[str, Any]) -> None:
        """Aliases, by one request."""
        assert http("POST", f"{self.double.url}/collections/aliases", {"actions": actions}).status == 200

    def state(self) -> dict[str, str]:
        """What each source of the application holds."""
        found = {}
        for name in (DATABASE, OTHER):
            with wait_connected(self.world, name) as client:
                found[name] = of_database(client)
        return found | {name: of_collection(self.double, name) for name in (ALIAS, NAMED)}

    def names(self) -> tuple[set[str], set[str], dict[str, str]]:
        """Databases, collections and aliases."""
        listed = http("GET", f"{self.double.url}/collections").json()["result"]["collections"]
        aliases = http("GET", f"{self.double.url}/aliases").json()["result"]["aliases"]
        led = {each["alias_name"]: each["collection_name"] for each in aliases}
        return self.world.names(), {each["name"] for each in listed}, led

    def uncover(self, restore_id: str) -> None:
        """The collection that has become an alias is a collection again."""
        with self.scenery:
            _, collections, aliases = self.names()
            if NAMED in aliases:
                self.change({"delete_alias": {"alias_name": NAMED}})
                assert http("DELETE", f"{self.double.url}/collections/{NAMED}__p_{restore_id}").status == 200
            if NAMED not in collections:
                self.collection(NAMED, "now")


@dataclass
class Witness:
    """An application that reads all the while, and what it has seen of each source."""

    live: Live
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Witness:
        self._threads = [threading.Thread(target=self._watch, args=(name,)) for name in SOURCES]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, name: str) -> None:
        while not self._over.wait(PAUSE):
            if name in (ALIAS, NAMED):
                with self.live.scenery:
                    self.seen[name, of_collection(self.live.double, name)] += 1
                continue
            # Its session is ended at each exchange: then it connects again.
            with contextlib.suppress(psycopg.OperationalError), self._connection(name) as client:
                while not self._over.wait(PAUSE):
                    with self.live.scenery:
                        self.seen[name, of_database(client)] += 1

    def _connection(self, name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.live.world.postgres.port,
            user=APP,
            password=PASSWORDS[APP],
            dbname=name,
            autocommit=True,
            connect_timeout=5,
        )
