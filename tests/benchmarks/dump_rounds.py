"""B7: a database into a store, beside `pg_dump -Fc` as it comes and `pg_dump | gzip`; the limit is pg_dump into nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.stack.services import Postgres, open_folder, prepared, running

from .log_rounds import row
from .report import Row

HERE = Path(__file__).resolve().parent
DATABASE = "bench"
WALL_GOAL, SIZE_GOAL, RSS_GOAL = 0.5, 1.0, 256.0
# Text of words, JSON and small tables; about 1.7 KB a document, and 60 % of all in one table.
CONTENT = """
create table documents (id bigserial primary key, title text, body text, extra jsonb, made timestamptz default now());
insert into documents (title, body, extra)
  select 'Document ' || i,
         (select string_agg((array['report','query','vector','result','index','answer','source','figure','table','page'])
            [1 + (hashtext(i::text || j::text) & 7)] || ' ' || (hashtext(j::text || i::text) & 4095), ' ')
            from generate_series(1, 80) j),
         jsonb_build_object('author', 'person ' || i % 997, 'pages', i % 300, 'hash', md5(i::text))
    from generate_series(1, {n} / 10) i;
-- Again nine times, further apart than any compressor remembers: text of this kind takes long to make up.
insert into documents (title, body, extra)
  select d.title || ' again ' || n, d.body, d.extra || jsonb_build_object('hash', md5(d.id || '/' || n))
    from generate_series(1, 9) n, lateral (select * from documents where id <= {n} / 10 order by id) d;
create table embeddings (id bigserial primary key, document bigint, model text, point uuid, norm double precision);
insert into embeddings (document, model, point, norm)
  select 1 + i % {n}, 'model-' || i % 3, md5(i::text)::uuid, i / 7.0 from generate_series(1, {n} * 6) i;
create table queries (id bigserial primary key, text text, took double precision, at timestamptz);
insert into queries (text, took, at)
  select 'what is ' || md5(i::text), i / 13.0, now() - i * interval '1 second' from generate_series(1, {n} * 3) i;
create index on embeddings (document);
"""


@dataclass
class Run:
    """Seconds, bytes written, highest memory of the process itself in MiB."""

    seconds: float
    bytes: int
    output: str = ""


@dataclass
class Runs:
    """Runs by subject."""

    by: dict[str, list[Run]] = field(default_factory=dict)

    def seconds(self, name: str) -> list[float]:
        """Of each run."""
        return [run.seconds for run in self.by[name]]


def measure(documents: int, rounds: int) -> list[Row]:
    """All subjects in turn, so often, on one database."""
    with open_folder("dumps") as folder:
        postgres = Postgres(prepared(folder / "postgres"))
        with running(postgres):
            print(f"filling a database with {documents} documents", flush=True)
            postgres.run(f"create database {DATABASE}")
            with postgres.admin(DATABASE) as connection:
                connection.execute(CONTENT.format(n=documents).encode())
                connection.execute("vacuum analyze")
                size = connection.execute("select pg_database_size(current_database())").fetchone()
            assert size
            print(f"{size[0] / 2**20:.0f} MiB", flush=True)
            runs = Runs()
            for n in range(1, rounds + 1):
                print(f"dumps: round {n} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
                for name in ("ours", "custom", "gzip", "floor") if n % 2 else ("floor", "gzip", "custom", "ours"):
                    runs.by.setdefault(name, []).append(_run(name, postgres, prepared(folder / f"{name}-{n}")))
            return _rows(runs, int(size[0]))


def _run(name: str, postgres: Postgres, folder: Path) -> Run:
    tool = str(postgres._bin / "pg_dump")
    where = ["-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", DATABASE]
    target = str(folder / "dump")
    ours = [sys.executable, str(HERE / "dump_subjects.py"), str(postgres.folder), str(postgres.port), DATABASE, str(folder)]
    pipe = f'"{tool}" "$@" | gzip > "{target}"'
    command = {
        "ours": ours,
        "custom": [tool, "-Fc", "-f", target, *where],
        "gzip": ["sh", "-c", pipe, "sh", *where],
        "floor": ["sh", "-c", f'"{tool}" -Fc -Z0 "$@" > /dev/null', "sh", *where],
    }[name]
    began = time.monotonic()
    made = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env={**os.environ, "MALLOC_ARENA_MAX": "2"}, text=True
    )
    took = time.monotonic() - began
    written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder)
    return Run(took, written, made.stdout)


def _rows(runs: Runs, size: int) -> list[Row]:
    told = [json.loads(run.output) for run in runs.by["ours"]]
    floor = median(runs.seconds("floor"))
    what = f"a database of {size / 2**20:.0f} MiB into a store, with exact facts of each table"
    return [
        _wall("dump-custom", f"{what}, to pg_dump -Fc without them", runs, "custom", floor, WALL_GOAL),
        _wall("dump-gzip", f"{what}, to pg_dump | gzip", runs, "gzip", floor, None),
        _size("dump-size-custom", "bytes stored, to pg_dump -Fc", runs, "custom", SIZE_GOAL),
        _size("dump-size-gzip", "bytes stored, to pg_dump | gzip", runs, "gzip", None),
        row("dump-rss", f"highest RSS of the mover while {told[0]['plain'] / 2**20:.0f} MiB stream", [one["rss"] for one in told],
            [0.0], None, f"<= {RSS_GOAL:.0f} MiB", max(one["rss"] for one in told) <= RSS_GOAL, "MiB"),
        row("dump-spool", "bytes on a local disk", [one["spooled"] for one in told], [0.0], 0.0, "== 0",
            all(one["spooled"] == 0 and one["hashed"] for one in told), "bytes"),
    ]  # fmt: skip


def _wall(id_: str, what: str, runs: Runs, peer: str, floor: float, goal: float | None) -> Row:
    mine, theirs = runs.seconds("ours"), runs.seconds(peer)
    return row(id_, what, mine, theirs, floor, f"<= {goal:g} x" if goal else "", _met(mine, theirs, goal), "s")


def _size(id_: str, what: str, runs: Runs, peer: str, goal: float | None) -> Row:
    mine, theirs = ([float(run.bytes) for run in runs.by[name]] for name in ("ours", peer))
    return row(id_, what, mine, theirs, None, f"<= {goal:g} x" if goal else "", _met(mine, theirs, goal), "bytes")


def _met(mine: Sequence[float], theirs: Sequence[float], goal: float | None) -> bool | None:
    # In pairs: both of a round had the same machine.
    return None if goal is None else max(a / b for a, b in zip(mine, theirs, strict=True)) <= goal
