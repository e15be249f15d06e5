"""Real stores: a folder, and an S3 server of its own for each test process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.api.backup_job import Destination
from docuquery_operator.mover.store import Store, open_store
from tests.stack.services import ROOT, prepared

from .gateway import ACCESS, SECRET, Gateway, serving
from .zygote_client import Zygote


@dataclass
class Place:
    """A store, and how a request names it."""

    kind: str
    destination: Destination
    # Of the store's Secret.
    secrets: Path
    volume: Path
    # Where its objects lie on this machine, below the bucket or the volume.
    files: Path

    def open(self) -> Store:
        return open_store(self.destination, self.secrets, self.volume)

    def request(self) -> dict[str, Any]:
        """The part of a request that names it."""
        return {
            "destination": self.destination.model_dump(mode="json", by_alias=True, exclude_none=True),
            "secretsDir": str(self.secrets.parent),
            "volumeDir": str(self.volume),
        }


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    with serving() as made:
        yield made


def secret(folder: Path, **values: str) -> Path:
    """A mounted Secret."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(value)
    return folder


def bucket_place(gateway: Gateway, folder: Path, bucket: str) -> Place:
    (gateway.folder / bucket).mkdir(exist_ok=True)
    where = {"bucket": bucket, "prefix": "backups/demo", "endpoint": gateway.endpoint, "secretRef": {"secretName": "s3"}}
    keys = secret(folder / "secrets" / "store", accessKeyId=ACCESS, secretAccessKey=SECRET)
    return Place("s3", Destination.model_validate({"s3": where}), keys, folder / "none", gateway.folder / bucket)


def volume_place(folder: Path) -> Place:
    destination = Destination.model_validate({"volume": {"claimName": "backups", "path": "backups/demo"}})
    store = prepared(folder / "volume")
    return Place("volume", destination, secret(folder / "secrets" / "store"), store, store)


@pytest.fixture
def volume(tmp_path: Path) -> Place:
    return volume_place(tmp_path)


@pytest.fixture
def bucket(gateway: Gateway, tmp_path: Path) -> Place:
    return bucket_place(gateway, tmp_path, f"b-{abs(hash(tmp_path)) % 10**10}")


@pytest.fixture(params=["volume", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of store in turn."""
    return request.getfixturevalue("volume" if request.param == "volume" else "bucket")  # type: ignore[no-any-return]


@contextmanager
def forking(folder: Path, *arguments: str) -> Iterator[Zygote]:
    """tests/mover/zygote.py with these arguments."""
    command = [sys.executable, str(ROOT / "tests" / "mover" / "zygote.py"), str(folder), *arguments]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield Zygote(folder, process)
    finally:
        assert process.stdin
        with process:
            process.stdin.close()


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with forking(tmp_path_factory.mktemp("zygote")) as made:
        yield made
