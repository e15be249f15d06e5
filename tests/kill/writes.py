"""What a write says, as facts that do not depend on times and names of one run: a kill point is a fact that is about to be told.

How many writes it takes to tell them depends on the clock (two facts in one patch, or in two), the facts do not.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.harness.cluster import Access
from tests.harness.proxy import FaultProxy, KillPoint, written

JSON = dict[str, Any]
Fact = str
Point = tuple[Fact, str]
# Parts of names that are other ones in each run: an opening, an attempt, what the API server adds, an id of a silence.
VARIES = re.compile(r"-(?:t-)?\d{8}t\d{6}z(?:-[0-9a-f]{8})?|-[0-9a-f]{8,10}\b|[0-9a-f]{8}-[0-9a-f-]{27}", re.IGNORECASE)


def facts(method: str, path: str, body: bytes) -> frozenset[Fact]:
    """All that a request tells; empty where it is no write, or one that does not count."""
    what = VARIES.sub("", written(method, path, body))
    if not what:
        return frozenset()
    told = _told(_parsed(body))
    return frozenset(f"{what}: {fact}" for fact in told) or frozenset({what})


def _parsed(body: bytes) -> JSON:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _told(doc: JSON) -> list[str]:
    status = doc.get("status")
    if isinstance(status, dict):
        return [text for key, value in status.items() for text in _of_status(key, value)]
    meta = doc.get("metadata") or {}
    told = [f"finalizers {len(meta['finalizers'] or [])}"] if "finalizers" in meta else []
    told += [f"annotation {key}{_state(value)}" for key, value in sorted((meta.get("annotations") or {}).items())]
    # An object that is made is known by what it is for.
    told += [f"for {value}" for key, value in sorted((meta.get("labels") or {}).items()) if key.endswith(("/work", "/kind"))]
    told += [f"spec {key}" for key in sorted(doc.get("spec") or {})]
    return told + [f"data {VARIES.sub('', key)}" for key in sorted(doc.get("data") or {})]


def _state(value: Any) -> str:
    """Of a record that is kept in an annotation: its state, or how the last of its attempts went."""
    try:
        found = json.loads(value)
    except (TypeError, ValueError):
        return ""
    last = found[-1] if isinstance(found, list) and found else found
    return f" {last.get('state') or last.get('outcome') or 'open'}" if isinstance(last, dict) else ""


def _of_status(key: str, value: Any) -> list[str]:
    """A key of a status, with what it says where that is the same in each run."""
    if key in ("phase", "verified"):
        return [f"{key} {value}"]
    if key in ("conditions", "timeline", "observedGeneration", "next", "ready", "summary"):
        return []
    named = {
        "tasks": ("type", "state"),
        "steps": ("name", "state"),
        "components": ("name", "state"),
        "notifications": ("what", "to", "channel", "state"),
        "decisions": ("reason",),
        "history": ("outcome",),
        "runs": ("state", "verified"),
    }
    if key in named and isinstance(value, list):
        return [f"{key} {' '.join(str(item.get(part, '')) for part in named[key])}".rstrip() for item in value]
    if key == "silence":
        return [f"silence {'none' if value is None else ' '.join(sorted(value))}"]
    return [f"{key} {'gone' if value is None else 'told'}"]


@dataclass
class Targets:
    """Points at which a process is still to be ended, and all facts that were told since the last `aim`.

    named: gives facts of different objects the same name where they are the same thing.
    """

    victim: Callable[[], int]
    named: Callable[[Fact], Fact] = lambda fact: fact
    todo: set[Point] = field(default_factory=set)
    met: set[Point] = field(default_factory=set)
    told: set[Fact] = field(default_factory=set)
    kills: int = 0
    last: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def aim(self, points: Collection[Point]) -> None:
        """From now on these."""
        with self.lock:
            self.todo, self.met, self.told, self.kills = set(points), set(), set(), 0

    def seen(self, said: frozenset[Fact]) -> None:
        """A write with these facts has come."""
        with self.lock:
            self.told |= said

    def meets(self, said: frozenset[Fact], side: str) -> bool:
        """Whether the process was ended here: one of the facts had not been told to it at this side yet."""
        with self.lock:
            here = {(fact, side) for fact in said} & self.todo
            if not here:
                return False
            # Two writes may be on their way when it is ended: it has died at both.
            victim = self.victim()
            os.kill(victim, signal.SIGKILL)
            self.kills += victim != self.last
            self.last = victim
            self.todo -= here
            self.met |= here
            return True


class TellingProxy(FaultProxy):
    """Ends the process at facts, and not at numbers of writes."""

    def __init__(self, access: Access, targets: Targets, **options: Any) -> None:
        super().__init__(access, targets.victim, **options)
        self._targets = targets
        self._facts: dict[str, frozenset[Fact]] = {}

    def _number(self, request: web.Request, body: bytes) -> str:
        name = super()._number(request, body)
        if name:
            said = facts(request.method, request.path, body)
            self._facts[name] = frozenset(map(self._targets.named, said))
            self._targets.seen(self._facts[name])
        return name

    def _dies_at(self, point: KillPoint) -> bool:
        said = self._facts[point.write] if point.when == "before" else self._facts.pop(point.write)
        return self._targets.meets(said, point.when)


def points(told: Collection[Fact], *sides: str) -> set[Point]:
    """Each fact at these sides."""
    return {(fact, side) for fact in told for side in sides}
