"""Tokens and signing secrets from the mounted Secret, read anew when a file has changed: rotation without a restart."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

TOKENS, SLACK, PAGERDUTY = "tokens", "slackSigningSecrets", "pagerdutySecrets"
SHORTEST = 16


class SecretFiles:
    """One secret a line; several are all good at once, so that the old one can be taken away after the new one is in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}

    def lines(self, name: str) -> tuple[str, ...]:
        """The secrets of a file, those that are too short left out; none where there is no file."""
        path = self._folder / name
        try:
            changed = path.stat().st_mtime_ns
            if name not in self._known or self._known[name][0] != changed:
                found = tuple(line.strip() for line in path.read_text().splitlines() if len(line.strip()) >= SHORTEST)
                self._known[name] = changed, found
            return self._known[name][1]
        except (OSError, ValueError):
            return ()


def is_bearer(header: str, tokens: tuple[str, ...]) -> bool:
    """Whether an Authorization header holds one of the tokens; takes the same time whichever it is, or none."""
    scheme, _, given = header.partition(" ")
    digest = hashlib.sha256(given.strip().encode()).digest()
    matches = [hmac.compare_digest(digest, hashlib.sha256(token.encode()).digest()) for token in tokens]
    return any(matches) and scheme.lower() == "bearer"
