"""B9 for PostgreSQL: a set restored into a server of its own and proved, beside pg_restore and psql, which prove nothing.

Ours starts the server, reads and hashes the archive, restores, and compares each table, sequence and the schema. Peers restore the same
database from their own dump into a server that runs already.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from tests.mover.large import back_up, verify
from tests.stack.services import Postgres, open_folder, prepared, running

from .dump_rounds import CONTENT, DATABASE
from .log_rounds import row
from .report import Row

ONE_JOB, TWO_JOBS, PROOF = 0.625, 1.1, 0.2
PEERS = ("one", "two", "psql")


def measure(documents: int, rounds: int) -> list[Row]:
    """All of them in turn, so often."""
    with open_folder("proved") as folder:
        postgres = Postgres(prepared(folder / "postgres"))
        with running(postgres):
            postgres.run(f"create database {DATABASE}")
            with postgres.admin(DATABASE) as connection:
                connection.execute(CONTENT.format(n=documents).encode())
                size = connection.execute("select pg_database_size(current_database())").fetchone()
            assert size
            pod = prepared(folder / "pod")
            assert back_up(postgres, DATABASE, pod).code == 0
            _dump(postgres, folder)
            times: dict[str, list[float]] = {name: [] for name in ("ours", *PEERS)}
            extra: list[float] = []
            for n in range(rounds):
                print(f"proved restores: round {n + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
                for name in ("ours", *PEERS)[:: 1 if n % 2 == 0 else -1]:
                    if name == "ours":
                        took, share = _ours(prepared(folder / f"round-{n}"), pod)
                        extra.append(share)
                    else:
                        took = _peer(name, postgres, folder)
                    times[name].append(took)
        return _rows(times, extra, size[0] / 2**20)


def _ours(folder: Path, pod: Path) -> tuple[float, float]:
    """Seconds to the verdict, and by how much that is more than the restore alone."""
    for name in ("request.json", "secrets", "store", "scratch"):
        (folder / name).symlink_to(pod / name)
    began = time.monotonic()
    found = verify(folder)
    took = time.monotonic() - began
    verdict = json.loads(found.output.splitlines()[-1])["verdict"]
    assert verdict["verdict"] == "Verified", verdict
    return took, took / verdict["rtoSeconds"] - 1


def _where(postgres: Postgres) -> list[str]:
    return ["-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres"]


def _dump(postgres: Postgres, folder: Path) -> None:
    tool = str(postgres._bin / "pg_dump")
    subprocess.run([tool, *_where(postgres), "-Fc", "-f", str(folder / "custom"), DATABASE], check=True)
    subprocess.run([tool, *_where(postgres), "-f", str(folder / "plain"), DATABASE], check=True)


def _peer(name: str, postgres: Postgres, folder: Path) -> float:
    postgres.run("create database copy")
    restore = [str(postgres._bin / "pg_restore"), *_where(postgres), "-d", "copy", "--exit-on-error"]
    command = {
        "one": [*restore, "-j1", str(folder / "custom")],
        "two": [*restore, "-j2", str(folder / "custom")],
        "psql": [
            str(postgres._bin / "psql"),
            *_where(postgres),
            "-qX",
            "-o",
            os.devnull,
            "-f",
            str(folder / "plain"),
            "copy",
        ],
    }[name]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - began
    postgres.run("drop database copy with (force)")
    return took


def _rows(times: dict[str, list[float]], extra: list[float], size: float) -> list[Row]:
    what = f"a database of {size:.0f} MiB restored into a server of its own and proved, to"

    def beside(id_: str, text: str, peer: str, goal: float | None) -> Row:
        pairs = zip(times["ours"], times[peer], strict=True)
        met = None if goal is None else max(a / b for a, b in pairs) <= goal
        return row(id_, f"{what} {text}", times["ours"], times[peer], None, f"<= {goal:g} x" if goal else "", met, "s")

    return [
        beside("proved-one", "pg_restore -j1 without a proof", "one", ONE_JOB),
        beside("proved-two", "pg_restore -j2 without a proof", "two", TWO_JOBS),
        beside("proved-psql", "psql < dump without a proof", "psql", None),
        row("proved-extra", "what the proof takes on top of the restore", extra, [0.0], None, f"<= {PROOF:g}",
            max(extra) <= PROOF, "of the restore"),
    ]  # fmt: skip
