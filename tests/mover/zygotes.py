"""Requests, and the process that carries them out."""

from __future__ import annotations

from typing import Any

from .conftest import Place
from .zygote_client import Zygote

__all__ = ["HOUR", "RUN", "Zygote", "backup", "catalogue", "files", "snapshots", "verify"]

RUN = "20261125T020000Z-1a2b3c4d"
SOURCE = {"namespace": "default", "stack": "demo", "backupJob": "nightly", "backupJobUid": "u"}
HOUR = 3600.0


def base(place: Place) -> dict[str, Any]:
    return {**place.request(), "source": SOURCE, "attemptId": "a1", "scratchDir": str(place.secrets.parent / "scratch")}


def backup(place: Place, attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {
        **base(place),
        "command": "backup",
        "setId": f"{RUN}.{attempt}",
        "leaseSeconds": HOUR,
        "postgres": {"server": {"host": "db", "port": 20_000}, "databases": ["app"]},
        "qdrant": {"server": {"host": "q", "port": 6333}, "collections": ["docs", "chunks"]},
        "configuration": {},
        **more,
    }


def catalogue(place: Place, **more: Any) -> dict[str, Any]:
    return {**base(place), "command": "catalogue", "dryRun": False, **more}


def verify(place: Place, set_id: str, level: str = "Checksum") -> dict[str, Any]:
    return {**base(place), "command": "verify", "setId": set_id, "level": level}


def files(place: Place) -> set[str]:
    """What lies in the store, hidden files included; not the gateway's own folders."""
    found = {str(p.relative_to(place.files)) for p in place.files.rglob("*") if p.is_file()}
    return {name for name in found if not name.startswith((".sgwtmp", ".vgw"))}


def snapshots(place: Place) -> list[str]:
    folder = place.secrets.parent / "qdrant-server"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []
