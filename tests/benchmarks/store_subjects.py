"""One upload in a process of its own: `SUBJECT stream|small ENDPOINT BUCKET PLACE`. Prints JSON: seconds and processor seconds.

`stream` takes standard input until its end, `small` all files of the folder PLACE. Time is that of the upload, without the
start of the interpreter and its libraries; only what the subject itself needs is imported. Credentials come by the usual variables.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

AT_ONCE = 10
KEY = "backups/stream"
FOLDER = "backups/small"
CHUNK = 1 << 20
Upload = Callable[[], object]


def ours(endpoint: str, bucket: str, place: Path, small: bool) -> Upload:
    """The mover's store, as its commands open it."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator"))
    from docuquery_operator.api.backup_job import Destination
    from docuquery_operator.mover.chunks import once
    from docuquery_operator.mover.store import open_store

    where = {"bucket": bucket, "prefix": "backups", "endpoint": endpoint, "secretRef": {"secretName": "s3"}}
    store = open_store(Destination.model_validate({"s3": where}), Path(os.environ["STORE_SECRETS"]), place)

    async def one(path: Path, free: asyncio.Semaphore) -> None:
        async with free:
            await store.put(f"{FOLDER}/{path.name}", once(path.read_bytes()))

    async def many() -> None:
        free = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(one(path, free) for path in place.iterdir()))

    async def stream() -> None:
        await store.put(KEY, _standard_input())

    return lambda: asyncio.run(many() if small else stream())


async def _standard_input() -> AsyncIterator[bytes]:
    """As the output of pg_dump is read."""
    reader = asyncio.StreamReader(limit=CHUNK)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    while chunk := await reader.read(CHUNK):
        yield chunk


def boto3(endpoint: str, bucket: str, place: Path, small: bool) -> Upload:
    """Its managed transfer for a stream; for many files one client in ten threads, as its guide to resources says."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3 as library  # type: ignore[import-not-found]

    client: Any = library.client("s3", endpoint_url=endpoint)

    def one(path: Path) -> None:
        with path.open("rb") as file:
            client.upload_fileobj(file, bucket, f"{FOLDER}/{path.name}")

    def many() -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(one, place.iterdir()))

    return many if small else lambda: client.upload_fileobj(sys.stdin.buffer, bucket, KEY)


def s3fs(endpoint: str, bucket: str, place: Path, small: bool) -> Upload:
    """A file that is written to, and a folder that is put."""
    import shutil

    import s3fs as library  # type: ignore[import-not-found]

    files: Any = library.S3FileSystem(endpoint_url=endpoint)

    def stream() -> None:
        with files.open(f"{bucket}/{KEY}", "wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target, CHUNK)

    return (lambda: files.put(f"{place}/", f"{bucket}/{FOLDER}/", recursive=True)) if small else stream


def aws(endpoint: str, bucket: str, place: Path, small: bool) -> Upload:
    """`aws s3 cp`: it can only be run, so that its start counts."""
    import subprocess

    what = [str(place), f"s3://{bucket}/{FOLDER}", "--recursive"] if small else ["-", f"s3://{bucket}/{KEY}"]
    command = [sys.executable, "-m", "awscli", "--endpoint-url", endpoint, "s3", "cp", "--only-show-errors", *what]
    return lambda: subprocess.run(command, check=True)


SUBJECTS = {"ours": ours, "boto3": boto3, "s3fs": s3fs, "aws": aws}


def _used() -> float:
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def main() -> None:
    """The one that is asked for."""
    name, form, endpoint, bucket, place = sys.argv[1:]
    upload = SUBJECTS[name](endpoint, bucket, Path(place), form == "small")
    began, used = time.monotonic(), _used()
    upload()
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": _used() - used}), flush=True)
    # As the mover ends: threads of the store's library may abort an interpreter that is taken apart.
    os._exit(0)


if __name__ == "__main__":
    main()
