"""Open follow-ups of reviews, by what the incident was about: shown in the next one of the same cause.

Lives in memory: each incident has a pass at the start of the process and after each change of it, which says it anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..api.incident import Incident, IncidentStatus, Phase
from ..domain.incidents.review import open_actions
from ..ports import Key

Place = tuple[str, str, str]
# Of one incident; the next one shows a few lines anyhow.
KEPT = 5


class FollowUps:
    """One for the Incident controller."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Place, str, tuple[str, ...]]] = {}

    def note(self, key: Key, incident: Incident) -> None:
        """What this incident has left to do."""
        status = incident.status or IncidentStatus()
        actions = open_actions(incident.spec.review)
        if status.phase is not Phase.RESOLVED or status.cause is None or not actions:
            self.forget(key)
            return
        lines = tuple(f"{key.name}: {a.title} (owner {a.owner}{f', due {a.due}' if a.due else ''})" for a in actions[:KEPT])
        self._known[key] = _place(incident), status.cause.name, lines

    def forget(self, key: Key) -> None:
        """It is gone, or has nothing left."""
        self._known.pop(key, None)

    def of(self, key: Key, incident: Incident) -> Mapping[str, tuple[str, ...]]:
        """Lines of earlier incidents of the same Stack and type, by cause."""
        found: dict[str, tuple[str, ...]] = {}
        for other, (place, cause, lines) in sorted(self._known.items()):
            if other != key and place == _place(incident):
                found[cause] = found.get(cause, ()) + lines
        return found


def _place(incident: Incident) -> Place:
    return incident.metadata.namespace, incident.spec.stack_ref.name, incident.spec.type
