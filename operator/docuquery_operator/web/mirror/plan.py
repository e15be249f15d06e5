"""What has to be changed at Statuspage.io, from what we show and what it has. Pure: the same twice asks for nothing.

Whatever is ours there carries our id in its metadata, so that it is found again by whoever comes after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.incident import Phase
from ...domain.public.incidents import PublicIncident, public_id
from ...domain.public.page import INCIDENTS_SHOWN, WINDOWS_SHOWN, Page
from ...domain.public.windows import PublicWindow
from ...domain.public.words import EVERYTHING, PHASES, WindowState
from ..page.html import iso

JSON = dict[str, Any]
OURS = "docuquery"
NAME_LIMIT, BODY_LIMIT = 255, 5000
_PLANNED = ("scheduled", "in_progress", "verifying", "completed")
_OVER = ("resolved", "postmortem", "completed")


@dataclass(frozen=True)
class Request:
    """One call below /v1/pages/PAGE."""

    method: str
    path: str
    body: JSON | None = None


def plan(
    page: Page, remote: Sequence[JSON], components: Sequence[JSON], mapped: Mapping[str, str], notify: bool
) -> list[Request]:
    """Requests in the order in which they are to be made. mapped: ids of components there, by ours."""
    if page.stale:
        # Old data are no news; what is told there stays as it is.
        return []
    known = {id_: r for r in remote if (id_ := _id_of(r))}
    titles = {c.title: mapped[c.id] for c in page.components if c.id in mapped}
    found = list(_states(page, components, mapped))
    for incident in reversed(page.incidents):
        found += _incident(incident, known.get(incident.id), titles, notify)
    for window in page.windows:
        found += _window(window, known.get(window.id), titles, notify)
    shown = {i.id for i in page.incidents} | {w.id for w in page.windows}
    # More than fit are no proof that one is gone.
    if len(page.open_incidents) < INCIDENTS_SHOWN and len(page.windows) < WINDOWS_SHOWN:
        found += _left_over(r for id_, r in known.items() if id_ not in shown)
    return found


def _id_of(remote: JSON) -> str:
    ours = (remote.get("metadata") or {}).get(OURS)
    return str(ours.get("id", "")) if isinstance(ours, dict) else ""


def _states(page: Page, components: Sequence[JSON], mapped: Mapping[str, str]) -> Iterator[Request]:
    there = {str(c.get("id")): c.get("status") for c in components}
    for component in page.components:
        id_ = mapped.get(component.id)
        # What is not known is not told: the last state stays.
        if id_ in there and component.shape != "unknown" and there[id_] != component.code:
            yield Request("PATCH", f"components/{id_}", {"component": {"status": component.code}})


def _incident(incident: PublicIncident, remote: JSON | None, titles: Mapping[str, str], notify: bool) -> list[Request]:
    newest = incident.updates[0]
    body = {
        "name": incident.title[:NAME_LIMIT],
        "status": str(incident.phase).lower(),
        "impact_override": str(incident.impact),
        "body": newest.body[:BODY_LIMIT],
        "component_ids": [titles[t] for t in incident.components if t in titles],
        "deliver_notifications": notify,
        "metadata": {OURS: {"id": incident.id, "update": newest.id}},
    }
    # What was over before we looked is history, and no news for anybody's subscribers.
    return _put(remote, body, newest.id, create=not incident.resolved)


def _window(window: PublicWindow, remote: JSON | None, titles: Mapping[str, str], notify: bool) -> list[Request]:
    where = ", ".join(window.components) or EVERYTHING
    update = public_id(str(window.state), iso(window.begin), iso(window.end), window.body)
    body = {
        "name": f"{window.title}: {where}"[:NAME_LIMIT],
        "status": str(window.state),
        "body": window.body[:BODY_LIMIT],
        "component_ids": [titles[t] for t in window.components if t in titles],
        "scheduled_for": iso(window.begin),
        "scheduled_until": iso(window.end),
        # Should we be gone by then, the page there goes on by the plan.
        "scheduled_auto_in_progress": True,
        "scheduled_auto_completed": True,
        "deliver_notifications": notify,
        "metadata": {OURS: {"id": window.id, "update": update}},
    }
    if remote is not None and _later(remote.get("status"), str(window.state)):
        # It went on by itself, as it was told to.
        return []
    return _put(remote, body, update, create=window.state is not WindowState.COMPLETED)


def _later(there: Any, here: str) -> bool:
    return there in _PLANNED and _PLANNED.index(there) >= max(1, _PLANNED.index(here))


def _put(remote: JSON | None, body: JSON, update: str, create: bool) -> list[Request]:
    if remote is None:
        return [Request("POST", "incidents", {"incident": body})] if create else []
    if remote["metadata"][OURS].get("update") == update:
        # Told. Whatever somebody has made of it there since is theirs.
        return []
    return [Request("PATCH", f"incidents/{remote['id']}", {"incident": body})]


def _left_over(remotes: Iterable[JSON]) -> Iterator[Request]:
    """Ours there, but not here any more: planned work that was called off, an incident that was deleted."""
    for remote in remotes:
        if remote.get("status") == str(WindowState.SCHEDULED):
            yield Request("DELETE", f"incidents/{remote['id']}")
        elif remote.get("status") not in _OVER:
            over = "completed" if remote.get("scheduled_for") else "resolved"
            body: JSON = {"status": over, "body": PHASES[Phase.RESOLVED]}
            yield Request("PATCH", f"incidents/{remote['id']}", {"incident": body})
