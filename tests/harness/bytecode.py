"""Where the processes of the tests keep compiled modules: outside the sources, where others would find them, and for the next process."""

from __future__ import annotations

from pathlib import Path

# Without it each operator, mover, api and worker compiles all its modules anew, which is half of its start.
KEPT = {"PYTHONPYCACHEPREFIX": str(Path(__file__).resolve().parents[2] / "build" / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
