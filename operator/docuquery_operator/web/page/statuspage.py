"""JSON in the form of Statuspage's public API v2 (`/api/v2/*.json`), so that its clients and widgets read this page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ...api.incident import Phase
from ...domain.public.components import PublicComponent
from ...domain.public.incidents import PublicIncident
from ...domain.public.page import Page
from ...domain.public.windows import PublicWindow
from ...domain.public.words import NO_DATA, Impact, WindowState
from .html import iso

JSON = dict[str, Any]
PAGE_ID = "docuquery"


class Statuspage:
    """Answers about one page. url: its public address, '' where that is not known."""

    def __init__(self, page: Page, url: str) -> None:
        self._page, self._url = page, url.rstrip("/")

    def documents(self) -> dict[str, Callable[[], JSON]]:
        """Each answer by its path below api/v2."""
        page = self._page
        return {
            "summary.json": self._summary,
            "status.json": self._status,
            "components.json": lambda: {**self._head(), "components": self._components(page.components)},
            "incidents.json": lambda: self._incidents(page.incidents),
            "incidents/unresolved.json": lambda: self._incidents(page.open_incidents),
            "scheduled-maintenances.json": lambda: self._maintenances(*WindowState),
            "scheduled-maintenances/upcoming.json": lambda: self._maintenances(WindowState.SCHEDULED),
            "scheduled-maintenances/active.json": lambda: self._maintenances(WindowState.IN_PROGRESS),
        }

    def _head(self) -> JSON:
        at = _time(self._page.as_of or self._page.today)
        zone = {"id": PAGE_ID, "name": self._page.title, "url": self._url, "time_zone": "Etc/UTC", "updated_at": at}
        return {"page": zone}

    def _status(self) -> JSON:
        found = {"indicator": str(self._page.indicator), "description": self._page.headline}
        return {**self._head(), "status": found}

    def _summary(self) -> JSON:
        maintenances = self._maintenances(WindowState.IN_PROGRESS, WindowState.SCHEDULED)
        return {
            **self._status(),
            "components": self._components(self._page.components),
            "incidents": self._incidents(self._page.open_incidents)["incidents"],
            "scheduled_maintenances": maintenances["scheduled_maintenances"],
        }

    def _components(self, components: Sequence[PublicComponent]) -> list[JSON]:
        known = {c.id: n for n, c in enumerate(self._page.components, 1)}
        return [_component(c, known[c.id], self._page.stale) for c in components]

    def _incidents(self, incidents: Sequence[PublicIncident]) -> JSON:
        return {**self._head(), "incidents": [self._incident(i) for i in incidents]}

    def _maintenances(self, *states: WindowState) -> JSON:
        return {**self._head(), "scheduled_maintenances": [self._maintenance(w) for w in self._page.of_state(*states)]}

    def _link(self, path: str) -> str:
        return f"{self._url}/{path}" if self._url else f"/{path}"

    def _named(self, titles: Sequence[str]) -> list[JSON]:
        return self._components([c for c in self._page.components if c.title in titles])

    def _incident(self, incident: PublicIncident) -> JSON:
        updates = [_update(u.id, incident.id, str(u.phase).lower(), u.body, u.at) for u in incident.updates]
        return {
            "id": incident.id,
            "name": incident.title,
            "status": str(incident.phase).lower(),
            "impact": str(incident.impact),
            "created_at": _time(incident.opened_at),
            "started_at": _time(incident.opened_at),
            "updated_at": _time(incident.updated_at),
            "monitoring_at": _time(incident.monitoring_at) if incident.phase in _AFTER_FIX else None,
            "resolved_at": _time(incident.resolved_at),
            "shortlink": self._link(f"incidents/{incident.id}.html"),
            "page_id": PAGE_ID,
            "incident_updates": updates,
            "components": self._named(incident.components),
            "reminder_intervals": None,
        }

    def _maintenance(self, window: PublicWindow) -> JSON:
        over = window.state is WindowState.COMPLETED
        update = _update(f"{window.id}-{window.state}", window.id, str(window.state), window.body, window.updated_at)
        titles = window.components or [c.title for c in self._page.components]
        return {
            "id": window.id,
            "name": window.title,
            "status": str(window.state),
            "impact": "maintenance",
            "created_at": _time(window.announced_at),
            "started_at": _time(window.begin),
            "updated_at": _time(window.updated_at),
            "monitoring_at": None,
            "resolved_at": _time(window.end) if over else None,
            "shortlink": self._link(f"history.html#w-{window.id}"),
            "page_id": PAGE_ID,
            "incident_updates": [update],
            "components": self._named(titles),
            "scheduled_for": _time(window.begin),
            "scheduled_until": _time(window.end),
            "reminder_intervals": None,
        }


_AFTER_FIX = (Phase.MONITORING, Phase.RESOLVED)
assert set(Impact) == {"none", "minor", "major", "critical"}


def encoded(document: JSON) -> bytes:
    """UTF-8, and nothing that a browser could take for markup should it ever show this as a page."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _time(at: datetime | None) -> str | None:
    return None if at is None else iso(at).replace("Z", ".000Z")


def _component(component: PublicComponent, position: int, stale: bool) -> JSON:
    return {
        "id": component.id,
        "name": component.title,
        "status": component.code,
        "created_at": _time(component.created_at),
        "updated_at": _time(component.since),
        "position": position,
        "description": NO_DATA if stale or component.shape == "unknown" else None,
        "showcase": True,
        "start_date": component.created_at.date().isoformat(),
        "group_id": None,
        "page_id": PAGE_ID,
        "group": False,
        "only_show_if_degraded": False,
    }


def _update(id_: str, incident: str, status: str, body: str, at: datetime) -> JSON:
    return {
        "id": id_,
        "incident_id": incident,
        "status": status,
        "body": body,
        "created_at": _time(at),
        "updated_at": _time(at),
        "display_at": _time(at),
        "affected_components": None,
        "deliver_notifications": False,
        "custom_tweet": None,
        "tweet_id": None,
    }
