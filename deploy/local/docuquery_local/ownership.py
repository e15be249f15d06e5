"""Which cluster a state directory belongs to, so that nothing of somebody else is ever deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings


def claim(settings: Settings) -> None:
    """Make the state directory this cluster's."""
    if settings.state.exists() and any(settings.state.iterdir()) and not is_ours(settings):
        raise _foreign(settings)
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o711)
    _file(settings).write_text(json.dumps(_mark(settings)))


def is_ours(settings: Settings) -> bool:
    """Whether this program made the state directory."""
    return _file(settings).exists()


def check(settings: Settings) -> None:
    """Refuse to handle a cluster under another name or range than it was started with."""
    if is_ours(settings):
        found = json.loads(_file(settings).read_text() or "{}")
        if found and found != _mark(settings):
            raise LocalClusterError(
                f"{settings.state} belongs to a cluster with DOCUQUERY_NODE={found['node']} and "
                f"DOCUQUERY_NET={found['net']}: set these two, or another DOCUQUERY_STATE"
            )


def remove_state(settings: Settings) -> None:
    """Delete the state directory."""
    if not settings.state.exists():
        return
    if any(settings.state.iterdir()) and not is_ours(settings):
        raise _foreign(settings)
    shutil.rmtree(settings.state)


def _file(settings: Settings) -> Path:
    return settings.state / "owner.json"


def _mark(settings: Settings) -> dict[str, object]:
    return {"node": settings.node, "net": settings.net}


def _foreign(settings: Settings) -> LocalClusterError:
    return LocalClusterError(f"{settings.state} holds files of something else: set DOCUQUERY_STATE to an empty directory")
