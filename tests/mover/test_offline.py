"""`docuquery-restore` needs a folder or a bucket, a key, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyrage
import pytest

from docuquery_operator.domain.backups.layout import Layout
from tests.stack.services import ROOT

from .conftest import ACCESS, SECRET, Place
from .zygotes import RUN, Zygote, backup, base, verify

SET = f"{RUN}.1"
FILES = ["configuration/configmaps.yaml", "postgres/app.dump", "postgres/globals.sql", "qdrant/docs/0.snapshot"]


def run(*arguments: Any, **env: str) -> subprocess.CompletedProcess[str]:
    """Without the cluster's variables."""
    command = [sys.executable, "-m", "docuquery_operator.mover.offline", *map(str, arguments)]
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), **env}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean)


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    made = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"# made for a test\n{made}\n")
    return tmp_path / "key.txt", str(made.to_public())


def stack(place: Place) -> Path:
    return place.files / "backups/demo/demo"


def test_from_a_list_to_files_and_commands(zygote: Zygote, volume: Place, key: tuple[Path, str], tmp_path: Path) -> None:
    identity, recipient = key
    zygote.result(backup(volume, setId="20261101T020000Z-1a2b3c4d.1", recipients=[recipient]))
    zygote.result(backup(volume, recipients=[recipient]))
    listed = run("list", "--from", stack(volume)).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["20261101T020000Z-1a2b3c4d.1", SET]
    assert listed[1].split()[1] == "Complete"
    later = {**base(volume)["source"], "backupJob": "disaster-safety"}
    zygote.result(backup(volume, setId="20261201T020000Z-5e6f7a8b.1", recipients=[recipient], source=later))
    assert "20261201T020000Z-5e6f7a8b.1" in run("check", "latest", "--from", stack(volume)).stdout
    ours = ["--job", "nightly", "--from", stack(volume)]
    assert len(run("list", *ours).stdout.splitlines()) == 2
    assert "of BackupJob other; leave --job out" in run("list", "--job", "other", "--from", stack(volume)).stderr
    sealed = run("check", SET, "--from", stack(volume))
    assert (sealed.returncode, "not opened: no --identity" in sealed.stdout) == (0, True)
    checked = run("check", "latest", *ours, "--identity", identity)
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, f"{SET}: 5 of 5 objects are right")
    done = run("unpack", SET, "--from", stack(volume), "--identity", identity, "--to", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    made = sorted(str(p.relative_to(tmp_path / "set")) for p in (tmp_path / "set").rglob("*") if p.is_file())
    assert made == ["configuration/configmaps.yaml", "manifest.json", *sorted([*FILES[1:], "qdrant/chunks/0.snapshot"])]
    assert (tmp_path / "set/postgres/globals.sql").read_bytes() == b"create role app;\n"
    assert (tmp_path / "set/postgres/app.dump").stat().st_mode & 0o077 == 0
    assert f"--dbname=app_restored {tmp_path}/set/postgres/app.dump" in done.stdout
    assert f"psql -X -d postgres -f {tmp_path}/set/postgres/globals.sql" in done.stdout
    assert f"-F snapshot=@{tmp_path}/set/qdrant/docs/0.snapshot" in done.stdout


def test_the_commands_of_the_set_itself_work(zygote: Zygote, volume: Place, tmp_path: Path) -> None:
    """RESTORE.txt, followed by the letter."""
    zygote.result(backup(volume))
    text = (stack(volume) / "sets" / SET / "RESTORE.txt").read_text()
    line = next(found for found in text.splitlines() if "docuquery-restore unpack" in found).split()
    arguments = [str(stack(volume)) if word == "FOLDER" else word for word in line[1:]]
    arguments[arguments.index("./set")] = str(tmp_path / "set")
    assert run(*arguments).returncode == 0
    by_hand = next(found for found in text.splitlines() if "zstd -d" in found)
    folder = stack(volume) / "sets" / SET
    subprocess.run(["bash", "-c", f"{by_hand.strip().replace('> plain', f'> {tmp_path}/plain')}"], cwd=folder, check=True)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "set/postgres/app.dump").read_bytes()


def test_from_a_bucket(zygote: Zygote, bucket: Place, tmp_path: Path) -> None:
    zygote.result(backup(bucket))
    assert bucket.destination.s3
    where = [
        "--from",
        f"s3://{bucket.destination.s3.bucket}/backups/demo/demo",
        "--endpoint",
        bucket.destination.s3.endpoint,
    ]
    env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    assert run("list", *where, **env).stdout.split()[0] == SET
    assert run("list", *where, "--secrets", bucket.secrets).stdout.split()[0] == SET
    part = run("unpack", SET, *where, "--to", tmp_path / "set", "--only", "postgres/", **env)
    assert (part.returncode, "pg_restore" in part.stdout) == (0, True)
    assert "curl" not in part.stdout, "nobody shall be told to restore a file that is not there"
    assert "kubectl" not in part.stdout
    assert (tmp_path / "set/postgres/app.dump").stat().st_size == 20_000
    assert not (tmp_path / "set/qdrant").exists()


def test_damage_is_told_and_nothing_half_is_left(zygote: Zygote, volume: Place, tmp_path: Path) -> None:
    zygote.result(backup(volume))
    dump = volume.files / Layout("backups/demo", "demo").object(SET, "postgres/app.dump")
    data = dump.read_bytes()
    dump.write_bytes(data[:-1])
    checked = run("check", SET, "--from", stack(volume))
    assert (checked.returncode, "Damaged" in checked.stdout, "4 of 5" in checked.stdout) == (1, True, True)
    done = run("unpack", SET, "--from", stack(volume), "--to", tmp_path / "set")
    assert (done.returncode, "postgres/app.dump" in done.stderr) == (1, True)
    assert not [p for p in (tmp_path / "set").rglob("*") if p.is_file()]


def test_mistakes_say_what_to_write(zygote: Zygote, volume: Place, key: tuple[Path, str], tmp_path: Path) -> None:
    zygote.result(backup(volume, recipients=[key[1]]))
    assert "perhaps" in run("list", "--from", volume.files / "backups/demo").stderr
    assert "write a folder, s3://" in run("list", "--from", "ftp://x/y").stderr
    assert "has no set" in run("check", "20261101T020000Z-1a2b3c4d.1", "--from", stack(volume)).stderr
    assert "is not empty" in run("unpack", SET, "--from", stack(volume), "--to", stack(volume)).stderr
    no_key = run("unpack", SET, "--from", stack(volume), "--to", tmp_path / "set")
    assert (no_key.returncode, "--identity FILE" in no_key.stderr) == (1, True)


def test_a_manifest_that_points_out_of_the_folder_is_refused(zygote: Zygote, volume: Place, tmp_path: Path) -> None:
    from docuquery_operator.domain.backups.manifest import sha256

    zygote.result(backup(volume))
    place = stack(volume)
    raw = (place / "sets" / SET / "manifest.json").read_bytes().replace(b"postgres/globals.sql", b"../../../escaped.sql")
    (place / "sets" / SET / "manifest.json").write_bytes(raw)
    entry = place / "catalogue" / f"{SET}.json"
    told = zygote.result(verify(volume, SET))["verdict"]
    assert told["verdict"] == "Failed"
    old = entry.read_text().partition('"manifestSha256":"')[2][:64]
    entry.write_text(entry.read_text().replace(old, sha256(raw)))
    done = run("unpack", SET, "--from", place, "--to", tmp_path / "set" / "deep")
    assert (done.returncode, "is no name of an object" in done.stderr) == (1, True)
    assert not list(tmp_path.rglob("escaped.sql"))
