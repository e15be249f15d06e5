"""What a button in a chat message carries: which incident, which round of it, and which plan. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

# Slack takes 2000; names of Kubernetes need a fourth, and three buttons must leave room for the message.
VALUE_LIMIT = 800


@dataclass(frozen=True)
class Button:
    """One button. step, digest: of the plan that is asked about, '' for a button that only takes the incident."""

    namespace: str
    incident: str
    uid: str
    round: int
    step: str = ""
    digest: str = ""

    def value(self) -> str:
        """As Slack keeps it; names of Kubernetes are short enough for its limit."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def read(value: Any) -> Button | None:
        """The button of a value that came back, None for anything else."""
        try:
            found = json.loads(value) if isinstance(value, str) and len(value) <= VALUE_LIMIT else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        texts = [found.get(name, "") for name in ("namespace", "incident", "uid", "step", "digest")]
        number = found.get("round")
        if not all(isinstance(t, str) for t in texts) or not isinstance(number, int) or not all(texts[:3]):
            return None
        namespace, incident, uid, step, digest = texts
        return Button(namespace, incident, uid, number, step, digest)
