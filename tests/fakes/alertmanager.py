"""Silences in memory, with the rules of Alertmanager that matter, and any Alertmanager under faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from docuquery_operator.domain.maintenance.silences import Seen
from docuquery_operator.ports import Alertmanager, AlertmanagerTarget, Clock
from tests.fakes.faults import Faults


@dataclass
class SilencesInMemory:
    """ports.Alertmanager; outlives every process of the operator. down: why it gives no answer."""

    clock: Clock
    down: str = ""
    kept: dict[str, Seen] = field(default_factory=dict)
    bodies: list[Mapping[str, Any]] = field(default_factory=list)

    def living(self) -> list[Seen]:
        """Those that silence something now."""
        return [s for s in self.kept.values() if s.state != "expired" and s.ends_at > self.clock.now()]

    async def silences(self, target: AlertmanagerTarget, label: tuple[str, str], timeout: float) -> Sequence[Seen] | str:
        """With the states that the clock gives them."""
        if self.down:
            return self.down
        alive = {s.id for s in self.living()}
        return [replace(s, state="active" if s.id in alive else "expired") for s in self.kept.values()]

    async def put(self, target: AlertmanagerTarget, silence: Mapping[str, Any], timeout: float) -> str:
        """A change that moves more than the end makes a new one, and ends the old one."""
        if self.down:
            return self.down
        self.bodies.append(silence)
        known = self.kept.get(silence.get("id", ""))
        match = tuple((m["name"], m["value"], m["isRegex"]) for m in silence["matchers"])
        same = known is not None and known.matchers == match and known in self.living()
        name = known.id if known is not None and same else f"silence-{len(self.kept) + 1}"
        if known is not None and not same:
            self.kept[known.id] = replace(known, state="expired")
        ends = datetime.fromisoformat(silence["endsAt"])
        self.kept[name] = Seen(name, "active", ends, silence["createdBy"], silence["comment"], match)
        return ""

    async def expire(self, target: AlertmanagerTarget, silence_id: str, timeout: float) -> str:
        """At once."""
        if not self.down and silence_id in self.kept:
            self.kept[silence_id] = replace(self.kept[silence_id], state="expired")
        return self.down


class FaultyAlertmanager:
    """ports.Alertmanager of one process that may die between any two calls."""

    def __init__(self, inner: Alertmanager, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    async def silences(self, target: AlertmanagerTarget, label: tuple[str, str], timeout: float) -> Sequence[Seen] | str:
        return await self._faults.around("list silences", lambda: self._inner.silences(target, label, timeout))

    async def put(self, target: AlertmanagerTarget, silence: Mapping[str, Any], timeout: float) -> str:
        return await self._faults.around("put silence", lambda: self._inner.put(target, silence, timeout))

    async def expire(self, target: AlertmanagerTarget, silence_id: str, timeout: float) -> str:
        return await self._faults.around("expire silence", lambda: self._inner.expire(target, silence_id, timeout))
