"""A storm of incidents whose operator is killed at every kind of write and at every kind of send, and what people got of it.

The killer sits where the process meets the world: in the proxy before the API server, and in the receivers of messages. At
each kind of write (an incident's first, second, … one, its report, a further incident) and of send (channel, message, group)
the process dies, once before and once after it took place; it is started again at once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.fakes.sinks import Sinks
from tests.harness.cluster import Access
from tests.harness.operator import HostOperator, settings
from tests.harness.proxy import FaultProxy, KillPoint

JSON = dict[str, Any]
WRITE = re.compile(r"(\w+) (\w+)(?:/[^/ ]+(/\w+)?)? #(\d+)")
# An incident's writes are told apart by their number up to this one.
NUMBERED = 8
# It must get on between two kills.
BREATH = 0.7
SIDES = ("before", "after")
# At these it is ended in any case, also in the first moment after a start: in little more than a breath all are told.
AIMS = ("send webhook Step", "send webhook Resolved", "send slack", "send pagerduty trigger", "PATCH incidents/status #1")


@dataclass
class Killer:
    """Ends the process at what it has not been ended at yet. sides: how many of the two sides of each kind."""

    operator: HostOperator
    sides: int = 2
    most: int = 1000
    up_since: float = 0.0
    done: dict[tuple[str, str], float] = field(default_factory=dict)
    downs: list[list[float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    armed: bool = True

    def meets(self, kind: str, side: str) -> bool:
        """Whether the process was ended here."""
        with self.lock:
            if not self._wanted(kind, side):
                return False
            os.kill(self.operator.pid, signal.SIGKILL)
            self.up_since = 0.0
            self.done[kind, side] = time.time()
            self.downs.append([time.time(), float("inf")])
            return True

    def _wanted(self, kind: str, side: str) -> bool:
        if not (self.armed and self.up_since and self.operator.alive()) or len(self.done) >= self.most:
            return False
        if self._aimed_at(kind):
            return True
        # What waits at a start is told in less than a breath, and would never be met.
        breath = 0.0 if kind.startswith("send ") else BREATH
        if (kind, side) in self.done or time.time() - self.up_since <= breath:
            return False
        other = (kind, SIDES[side == "before"])
        return self.sides == 2 or (other not in self.done and side == SIDES[len(self.done) % 2])

    def _aimed_at(self, kind: str) -> bool:
        """Whether it is one of the aims, and the process was not ended at any of its kind yet."""
        return any(kind.startswith(aim) and not any(k.startswith(aim) for k, _ in self.done) for aim in AIMS)

    async def revive(self) -> None:
        """For ever: start it again, as the kubelet does."""
        while True:
            if self.armed and (self.up_since == 0.0 or not self.operator.alive()):
                await asyncio.to_thread(self.up)
            await asyncio.sleep(0.05)

    def up(self) -> None:
        """Start it and wait until it leads."""
        self.operator.kill()
        self.operator.start()
        self.operator.wait_for_line('"leading"', 60)
        if self.downs:
            self.downs[-1][1] = time.time()
        self.up_since = time.time()

    def down(self) -> None:
        """End it, and leave it so."""
        with self.lock:
            self.armed = False
            self.operator.kill()
            self.up_since = 0.0
            self.downs.append([time.time(), float("inf")])

    def awake_from(self, due: float, until: float) -> float:
        """The first moment at or after `due` from which the process was there until `until`."""
        for down, up in self.downs:
            if up > due and down < until:
                due = max(due, up)
        return due


class KillingProxy(FaultProxy):
    """Tells the killer of every write, by what it writes and not of which incident."""

    def __init__(self, access: Access, killer: Killer, token: str) -> None:
        super().__init__(access, lambda: killer.operator.pid, token)
        self._killer = killer

    def _dies_at(self, point: KillPoint) -> bool:
        return self._killer.meets(kind_of(point.write), point.when)


def kind_of(write: str) -> str:
    """What a write is, whichever object it is of: an incident's by its number, others by what they write."""
    found = WRITE.match(write)
    if found is None:
        return write
    verb, plural, part, number = found.groups()
    numbered = plural == "incidents" and part
    return f"{verb} {plural}{part or ''}" + (f" #{min(int(number), NUMBERED)}" if numbered else "")


def listen(sinks: Sinks, killer: Killer) -> None:
    """Tells the killer of every message that comes."""

    def of(name: str) -> None:
        def hook(side: str, body: JSON) -> bool:
            what = " ".join(str(body.get(k, "")) for k in ("what", "to", "event_action") if body.get(k))
            return killer.meets(f"send {name} {what}".strip(), side)

        getattr(sinks, name).hook = hook

    for name in ("webhook", "slack", "pagerduty"):
        of(name)


def subject(server: Any, namespace: str, folder: Path, sides: int, most: int) -> tuple[Killer, KillingProxy]:
    """The operator behind the proxy, not started yet."""
    config = folder / f"{namespace}.kubeconfig"
    environ = settings(config, namespace, namespace) | {
        "DOCUQUERY_NOTIFY_ALLOW": "127.0.0.0/8,::1/128",
        "RES_OPTIONS": "timeout:1 attempts:1",
    }
    killer = Killer(HostOperator(environ, folder / f"{namespace}.log"), sides, most)
    proxy = KillingProxy(Access(server.url, server.tls()), killer, server.token)
    proxy.start()
    proxy.kubeconfig(config)
    return killer, proxy


@dataclass(frozen=True)
class Verdict:
    """What the receivers got, held against the killer's diary. late: seconds after a step was due and the process was there."""

    kills: int
    kinds: Sequence[str]
    lost: Sequence[str]
    doubled: Sequence[str]
    twice: int
    late: Sequence[float]
    wrong: Sequence[str]
    unfinished: Sequence[str]

    def line(self) -> str:
        """For people."""
        worst = max(self.late, default=0.0)
        return (
            f"kills {self.kills} at {len(self.kinds)} kinds of writes and sends; lost {len(self.lost)}, repeated without a kill "
            f"{len(self.doubled)}, came once more {self.twice}, latest {worst:.1f} s, refused by a receiver {len(self.wrong)}"
        )


def judge(sinks: Sinks, killer: Killer, found: Sequence[JSON]) -> Verdict:
    """found: the incidents as they are in the end."""
    came: dict[str, list[float]] = defaultdict(list)
    first: dict[tuple[str, str, str], float] = {}
    for body, at in zip(sinks.webhook.taken, sinks.webhook.times, strict=True):
        came[body["key"]].append(at)
        # The end goes to whoever was told first, whichever group that was.
        first.setdefault((body["incident"], body["what"], "" if body["what"] == "Resolved" else body["to"]), at)
    owed = [(i["metadata"]["name"], what, to, due) for i in found for what, to, due in _owed(i, killer)]
    late = [
        first[name, what, to] - killer.awake_from(due, first[name, what, to])
        for name, what, to, due in owed
        if (name, what, to) in first and what == "Step"
    ]
    return Verdict(
        kills=len(killer.downs),
        kinds=sorted({f"{kind}" for kind, _ in killer.done}),
        lost=[f"{name} {what} {to}" for name, what, to, _ in owed if (name, what, to) not in first],
        doubled=list(_without_kill(came, [down for down, _ in killer.downs])),
        twice=sum(len(times) - 1 for times in came.values()),
        late=sorted(late),
        wrong=[*sinks.webhook.wrong, *sinks.slack.wrong, *sinks.pagerduty.wrong],
        unfinished=[f"{i['metadata']['name']} {n['key']} {n['state']}" for i in found for n in left(i)],
    )


def _owed(incident: JSON, killer: Killer) -> Iterator[tuple[str, str, float]]:
    """What the webhook has to have got: each step that was due and stopped by nothing, and the end."""
    status = incident.get("status") or {}
    ended = seconds(status["times"]["resolvedAt"]) if "resolvedAt" in status.get("times", {}) else float("inf")
    for entry in status.get("escalation") or [{"to": "onCall", "dueAt": incident["metadata"]["creationTimestamp"]}]:
        due = seconds(entry["dueAt"])
        # Nobody was there from when it was due until the end was written down: it was over when somebody came.
        missed = not entry.get("orderedAt") and killer.awake_from(due, ended) >= ended - 3.0
        if due < ended and not entry.get("superseded") and not missed and not _answered(status, entry):
            yield "Step", entry["to"], due
    yield "Resolved", "", ended


def _answered(status: JSON, entry: JSON) -> bool:
    """Somebody took it before the call got through: then it is held, ordered or not."""
    notes = status.get("notifications") or []
    told = any((n["what"], n["to"], n["channel"], n["state"]) == ("Step", entry["to"], "webhook", "Sent") for n in notes)
    stops = entry.get("unless", "Acknowledged") == "Acknowledged" and not told
    return bool(stops and status.get("acknowledgement"))


def _without_kill(came: dict[str, list[float]], kills: Sequence[float]) -> Iterator[str]:
    """Repeated although nothing had died since it came: each kill excuses one more of a key."""
    for key, times in came.items():
        for before, after in itertools.pairwise(sorted(times)):
            if not any(before - 0.5 <= kill <= after for kill in kills):
                yield f"{key} after {after - before:.1f} s"


def left(incident: JSON) -> list[JSON]:
    """Entries that are still to be sent, but by the dead channel."""
    notes = (incident.get("status") or {}).get("notifications") or []
    return [n for n in notes if n["channel"] != "email" and n["state"] in ("Due", "Failed")]


def waits(incident: JSON) -> bool:
    """Whether something of it goes out without anybody doing something: a call that somebody's answer holds does not."""
    status = incident.get("status") or {}
    taken = "acknowledgement" in status and not status["acknowledgement"].get("expired")
    stopped = {e["to"] for e in status.get("escalation") or [] if taken and e.get("unless") == "Acknowledged"}
    return any(n["what"] != "Step" or n["to"] not in stopped for n in left(incident))


def superseded(found: Sequence[JSON]) -> Counter[str]:
    """How many steps were left out, by group."""
    steps = (e for i in found for e in (i.get("status") or {}).get("escalation") or [])
    return Counter(e["to"] for e in steps if e.get("superseded"))


def seconds(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
