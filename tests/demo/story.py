"""Tells an incident as it happens: every new line of its timeline, every step, with the seconds since the fault."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.demo.kube import DemoError, Kube


def say(text: str = "", mark: str = "•") -> None:
    """One line of the story."""
    print(f"{mark} {text}" if text else "", flush=True)


@dataclass
class Follower:
    """Follows one incident from the fault on."""

    kube: Kube
    name: str
    fault_at: datetime
    _told: set[str] = field(default_factory=set)

    def until_resolved(self, seconds: float) -> dict[str, Any]:
        """The incident at its end; DemoError when it does not end in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            incident = self.kube.get("incident", self.name) or {}
            self._tell(incident)
            if (incident.get("status") or {}).get("report"):
                return incident
            time.sleep(0.3)
        raise DemoError(
            f"incident {self.name} was not resolved within {seconds:.0f} s; see kubectl describe inc {self.name}"
        )

    def _tell(self, incident: dict[str, Any]) -> None:
        status = incident.get("status") or {}
        for entry in status.get("timeline") or []:
            self._once(
                f"{entry['at']}{entry['event']}",
                f"{self.after(entry['at']):6.1f} s  {entry['event']}: {entry.get('message', '')}",
            )
            if entry["event"] == "Identified":
                for line in (status.get("cause") or {}).get("evidence") or []:
                    self._once(f"{entry['at']}{line}", f"              evidence  {line}")
        for decision in status.get("decisions") or []:
            text = f"{self.after(decision['at']):6.1f} s  not done, {decision['reason']}: {decision['message']}"
            self._once(f"{decision['at']}{decision['rule']}", text)
        for step in status.get("steps") or []:
            self._once(
                f"{step['name']}{step.get('summary')}",
                f"              step {step['name']} {step['state']}: {step.get('summary', '')}",
            )

    def _once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            say(text, " ")

    def after(self, stamp: str) -> float:
        """Seconds from the fault to a timestamp of the status."""
        return (parse(stamp) - self.fault_at).total_seconds()

    def figures(self, incident: dict[str, Any]) -> dict[str, float]:
        """Seconds from the fault to detection of its cause, to the first act, to the end of the symptom."""
        times = incident["status"]["times"]
        marks = {"detected": "identifiedAt", "acted": "actedAt", "recovered": "mitigatedAt"}
        return {name: round(self.after(times[key]), 1) for name, key in marks.items() if key in times}


def parse(stamp: str) -> datetime:
    """RFC 3339."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).astimezone(UTC)
