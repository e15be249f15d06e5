"""The process that forks movers, seen from a test."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Zygote:
    """tests/mover/zygote.py under way."""

    folder: Path
    process: subprocess.Popen[str]

    def run(
        self, request: dict[str, Any], kill: int | str | None = None, ahead: float = 0, skip: str = ""
    ) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"request": request, "kill": kill, "ahead": ahead, "skip": skip}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, (self.folder / "errors").read_text()[-3000:]
        return json.loads(line)  # type: ignore[no-any-return]

    def result(self, request: dict[str, Any], ahead: float = 0) -> dict[str, Any]:
        told = self.run(request, None, ahead)["lines"][-1]
        assert told["event"] == "result"
        return told  # type: ignore[no-any-return]
