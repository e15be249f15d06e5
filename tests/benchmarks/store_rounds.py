"""B8: the mover's store beside boto3, s3fs and aws on a real S3 server (versitygw); the limit is curl that knows all beforehand.

A stream of unknown length from a pipe, and many small files, ten at once. All write to the same disk in turn; what has arrived
is read there and hashed. Peers do not hash what they send with SHA-256, ours does.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import obstore

from tests.harness.weighed import weigh
from tests.mover.conftest import secret
from tests.mover.gateway import ACCESS, SECRET, Gateway, serving
from tests.stack.services import environment_python, open_folder, prepared

from .cut import cutting
from .log_rounds import row
from .report import Row
from .store_subjects import FOLDER, KEY

HERE = Path(__file__).resolve().parent
BUCKET = "bench"
CUTS = 3
MIB = 1 << 20
SMALL = 256 << 10
LIMIT = 1024 * MIB
# s3fs reads all files that it has begun at once; killed it would say nothing.
PEERS_LIMIT = 4 * LIMIT
STREAM_GOAL, CPU_GOAL, SMALL_GOAL, MEMORY_GOAL, POD = 1 / 1.3, 0.5, 1 / 2.5, 96.0, 256.0
ENVIRONMENTS = {"boto3": "aws", "aws": "aws", "s3fs": "s3fs"}
SUBJECTS = ("ours", *ENVIRONMENTS)


@dataclass(frozen=True)
class Run:
    """Seconds of wall and processor, MiB of memory of all processes, bytes on a local disk, and whether all has arrived."""

    seconds: float
    cpu: float
    memory: float
    spool: int
    exact: bool


@dataclass(frozen=True)
class Source:
    """What is uploaded: hash by key."""

    stream: Path
    small: Path
    hashes: dict[str, dict[str, str]]


Runs = dict[tuple[str, str], list[Run]]


def measure(mebibytes: int, files: int, rounds: int) -> list[Row]:
    """All subjects in turn, so often, with a stream of so many MiB and so many files of 256 KiB."""
    pythons = {name: environment_python(f"bench-{of}", HERE / "peers" / f"{of}.txt") for name, of in ENVIRONMENTS.items()}
    pythons["ours"] = sys.executable
    runs: Runs = {}
    limits: dict[str, list[float]] = {"stream": [], "small": []}
    with open_folder("uploads") as folder, serving() as gateway:
        source = _source(folder, mebibytes, files)
        secret(folder / "secrets" / "store", accessKeyId=ACCESS, secretAccessKey=SECRET)
        for n in range(rounds):
            print(f"uploads: round {n + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
            for form, of_curl in limits.items():
                for name in SUBJECTS[:: 1 if n % 2 == 0 else -1]:
                    run = _run(pythons[name], name, form, gateway, source, folder)
                    runs.setdefault((name, form), []).append(run)
                    print(
                        f"{form}, {name}: {run.seconds:.1f} s, processor {run.cpu:.1f} s, {run.memory:.0f} MiB", flush=True
                    )
                of_curl.append(_limit(form, gateway, source))
        cut = {name: _cut(pythons[name], name, gateway, source, folder) for name in SUBJECTS}
    return [*_rows(runs, limits, mebibytes, files), _survivors(cut, mebibytes)]


def _cut(python: str, name: str, gateway: Gateway, source: Source, folder: Path) -> bool:
    """Whether the stream arrives although all connections are cut now and then."""
    with cutting(gateway.port, source.stream.stat().st_size // (CUTS + 1), CUTS) as front:
        run = _run(python, name, "stream", gateway, source, folder, front.port)
        print(f"cut {front.cuts} times, {name}: {'arrived' if run.exact else 'FAILED'} in {run.seconds:.1f} s", flush=True)
        assert front.cuts == CUTS or not run.exact
    return run.exact


def _survivors(cut: dict[str, bool], mebibytes: int) -> Row:
    what = f"share of streams of {mebibytes} MiB that arrive although all connections are cut {CUTS} times; peers: of {len(cut) - 1}"
    ours = float(cut.pop("ours"))
    return row("upload-cut", what, [ours], [sum(cut.values()) / len(cut)], 1.0, "== 1", ours == 1.0, "share")


def _source(folder: Path, mebibytes: int, files: int) -> Source:
    chance = random.Random(8)
    stream, small = folder / "stream", prepared(folder / "small")
    digest = hashlib.sha256()
    with stream.open("wb") as file:
        for _ in range(mebibytes):
            piece = chance.randbytes(MIB)
            digest.update(piece)
            file.write(piece)
    hashes = {}
    for n in range(files):
        data = chance.randbytes(SMALL)
        (small / f"{n:05}").write_bytes(data)
        hashes[f"{FOLDER}/{n:05}"] = hashlib.sha256(data).hexdigest()
    return Source(stream, small, {"stream": {KEY: digest.hexdigest()}, "small": hashes})


def _run(python: str, name: str, form: str, gateway: Gateway, source: Source, folder: Path, port: int = 0) -> Run:
    prepared(gateway.folder / BUCKET)
    endpoint = f"http://127.0.0.1:{port or gateway.port}"
    arguments = [name, form, endpoint, BUCKET, str(source.small)]
    # -P: the folder of the benchmarks has modules whose names are common.
    subject = [python, "-P", str(HERE / "store_subjects.py"), *arguments]
    piped = ["sh", "-c", 'cat "$0" | "$@"', str(source.stream if form == "stream" else os.devnull), *subject]
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "STORE_SECRETS": str(folder / "secrets" / "store"),
        "MALLOC_ARENA_MAX": "2",
    }
    spool = prepared(folder / "spool")
    found = weigh(piped, env, LIMIT if name == "ours" else PEERS_LIMIT, spool)
    shutil.rmtree(spool)
    if found.code != 0 and not port:
        raise RuntimeError(f"{name} could not upload, exit code {found.code}; its words are above")
    told = json.loads(found.output.splitlines()[-1]) if found.code == 0 else {"seconds": 0.0, "cpu": 0.0}
    exact = _arrived(gateway) == source.hashes[form]
    shutil.rmtree(gateway.folder / BUCKET)
    return Run(told["seconds"], told["cpu"], found.peak / MIB, found.spool, exact)


def _arrived(gateway: Gateway) -> dict[str, str]:
    found = {}
    top = gateway.folder / BUCKET
    for path in top.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(top).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _limit(form: str, gateway: Gateway, source: Source) -> float:
    """curl with the lengths and signatures at hand, for the stream one request of a file."""
    prepared(gateway.folder / BUCKET)
    keys = sorted(source.hashes[form])
    signed = obstore.sign(gateway.raw(BUCKET), "PUT", keys, timedelta(hours=1))
    files: Iterator[Path] = iter([source.stream]) if form == "stream" else (source.small / Path(key).name for key in keys)
    config = source.small.parent / "curl"
    config.write_text("\nnext\n".join(f'upload-file = "{file}"\nurl = "{url}"\noutput = "{os.devnull}"\nfail'
                                      for file, url in zip(files, signed, strict=True)))  # fmt: skip
    began = time.monotonic()
    command = ["curl", "--parallel", "--parallel-max", "10", "-sSK", str(config)]
    made = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    took = time.monotonic() - began
    assert made.returncode == 0, made.stderr
    assert _arrived(gateway) == source.hashes[form]
    shutil.rmtree(gateway.folder / BUCKET)
    return took


def _rows(runs: Runs, limits: dict[str, list[float]], mebibytes: int, files: int) -> list[Row]:
    words = {"stream": f"a stream of {mebibytes} MiB into S3", "small": f"{files} files of 256 KiB into S3, ten at once"}

    def of(name: str, form: str, what: str) -> list[float]:
        return [getattr(run, what) for run in runs[name, form]]

    def beside(id_: str, form: str, what: str, peer: str, goal: float | None, told: str) -> Row:
        mine, theirs = of("ours", form, what), of(peer, form, what)
        met = None if goal is None else _met(mine, theirs, goal)
        limit = median(limits[form]) if what == "seconds" else None
        wanted = f"<= {goal:.2g} x" if goal else ""
        return row(id_, f"{words[form]}, {told}{peer}", mine, theirs, limit, wanted, met, "MiB" if what == "memory" else "s")

    all_of_ours = [run for (name, _form), found in runs.items() if name == "ours" for run in found]
    memory = of("ours", "stream", "memory")
    return [
        beside("upload-stream-boto3", "stream", "seconds", "boto3", STREAM_GOAL, "to "),
        beside("upload-stream-s3fs", "stream", "seconds", "s3fs", None, "to "),
        beside("upload-stream-aws", "stream", "seconds", "aws", None, "to "),
        beside("upload-cpu-boto3", "stream", "cpu", "boto3", CPU_GOAL, "processor time to "),
        beside("upload-small-boto3", "small", "seconds", "boto3", SMALL_GOAL, "to "),
        beside("upload-small-s3fs", "small", "seconds", "s3fs", None, "to "),
        beside("upload-small-aws", "small", "seconds", "aws", None, "to "),
        beside("upload-memory-boto3", "stream", "memory", "boto3", None, "memory of the process to "),
        row("upload-memory", "memory of the process meanwhile", memory, [0.0], None, f"<= {MEMORY_GOAL:.0f} MiB",
            max(memory) <= MEMORY_GOAL, "MiB"),
        row("upload-pod", "the same, beside what a pod has", memory, [POD], POD, f"<= {POD:.0f} MiB", max(memory) <= POD, "MiB"),
        row("upload-spool", "bytes on a local disk meanwhile", [float(run.spool) for run in all_of_ours], [0.0], 0.0, "== 0",
            all(run.spool == 0 for run in all_of_ours), "bytes"),
        row("upload-exact", "share of uploads of which all objects have arrived with their SHA-256 and none else",
            [float(run.exact) for run in all_of_ours], [float(run.exact) for name in ENVIRONMENTS for form in words
            for run in runs[name, form]], 1.0, "== 1", all(run.exact for run in all_of_ours), "share"),
    ]  # fmt: skip


def _met(mine: Sequence[float], theirs: Sequence[float], goal: float) -> bool:
    # In pairs: both of a round had the same machine.
    return max(a / b for a, b in zip(mine, theirs, strict=True)) <= goal
