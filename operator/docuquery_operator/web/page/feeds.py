"""Atom (RFC 4287), JSON Feed 1.1 and iCalendar (RFC 5545): incidents and maintenance alike.

Atom is written by the standard library's XML writer: the kept feed libraries bring a compiled XML parser with them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from icalendar import Calendar, Event

from ...domain.public.incidents import PublicIncident
from ...domain.public.page import Page
from ...domain.public.windows import PublicWindow
from ...domain.public.words import EVERYTHING, WINDOW_WORDS, WindowState
from .html import iso, words

ATOM = "http://www.w3.org/2005/Atom"
ENTRIES = 50


@dataclass(frozen=True)
class Place:
    """Where a feed is read: absolute address of the page or '', the way back to its top, the feed's own path and title."""

    url: str
    root: str
    path: str
    title: str

    def link(self, path: str) -> str:
        """Absolute where that is known, else relative to the feed."""
        return f"{self.url.rstrip('/')}/{path}" if self.url else f"{self.root}{path}"


@dataclass(frozen=True)
class Entry:
    """One thing that happened."""

    id: str
    title: str
    text: str
    path: str
    published: datetime
    updated: datetime
    tags: tuple[str, ...]


def entries(page: Page) -> list[Entry]:
    """Incidents and maintenance, what changed last first."""
    found = [*(_incident(i) for i in page.incidents), *(_window(w) for w in page.windows)]
    return sorted(found, key=lambda e: (e.updated, e.id), reverse=True)[:ENTRIES]


def atom(page: Page, place: Place) -> bytes:
    """The Atom feed."""
    ET.register_namespace("", ATOM)
    listed = entries(page)
    feed = ET.Element(f"{{{ATOM}}}feed", {"{http://www.w3.org/XML/1998/namespace}lang": "en"})
    _put(feed, "id", f"urn:docuquery:status:{place.path}")
    _put(feed, "title", place.title)
    _put(feed, "updated", iso(_newest(page, listed)))
    _put(ET.SubElement(feed, f"{{{ATOM}}}author"), "name", page.title)
    _link(feed, "self", place.link(place.path), "application/atom+xml")
    _link(feed, "alternate", place.link("index.html"), "text/html")
    for entry in listed:
        node = ET.SubElement(feed, f"{{{ATOM}}}entry")
        _put(node, "id", entry.id)
        _put(node, "title", entry.title)
        _put(node, "published", iso(entry.published))
        _put(node, "updated", iso(entry.updated))
        _link(node, "alternate", place.link(entry.path), "text/html")
        for tag in entry.tags:
            ET.SubElement(node, f"{{{ATOM}}}category", {"term": tag})
        _put(node, "content", entry.text).set("type", "text")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(feed, encoding="unicode").encode()


def json_feed(page: Page, place: Place) -> dict[str, Any]:
    """The JSON feed."""
    return {
        "version": "https://jsonfeed.org/version/1.1",
        "title": place.title,
        "home_page_url": place.link("index.html"),
        "feed_url": place.link(place.path),
        "language": "en",
        "authors": [{"name": page.title}],
        "items": [
            {
                "id": e.id,
                "url": place.link(e.path),
                "title": e.title,
                "content_text": e.text,
                "date_published": iso(e.published),
                "date_modified": iso(e.updated),
                "tags": list(e.tags),
            }
            for e in entries(page)
        ],
    }


def calendar(page: Page) -> bytes:
    """Maintenance that is planned, open, or over; a span keeps its UID, so that calendars update it."""
    found = Calendar()
    found.add("prodid", "-//DocuQuery//status page//EN")
    found.add("version", "2.0")
    found.add("method", "PUBLISH")
    found.add("name", page.title)
    found.add("x-wr-calname", page.title)
    found.add("refresh-interval", timedelta(hours=1), parameters={"VALUE": "DURATION"})
    for window in page.windows:
        event = Event()
        event.add("uid", f"{window.id}@status.docuquery")
        event.add("dtstamp", window.updated_at.astimezone(UTC))
        event.add("last-modified", window.updated_at.astimezone(UTC))
        event.add("dtstart", window.begin.astimezone(UTC))
        event.add("dtend", window.end.astimezone(UTC))
        event.add("summary", f"{window.title}: {', '.join(window.components) or EVERYTHING}")
        event.add("description", window.body)
        event.add("status", "CONFIRMED")
        event.add("transp", "TRANSPARENT")
        found.add_component(event)
    return bytes(found.to_ical())


def _incident(incident: PublicIncident) -> Entry:
    told = "\n\n".join(f"{u.phase} · {words(u.at)}\n{u.body}" for u in incident.updates)
    return Entry(
        id=f"urn:docuquery:incident:{incident.id}",
        title=f"[{incident.phase}] {incident.title}",
        text=told,
        path=f"incidents/{incident.id}.html",
        published=incident.opened_at,
        updated=incident.updated_at,
        tags=("incident", str(incident.phase).lower(), str(incident.impact)),
    )


def _window(window: PublicWindow) -> Entry:
    where = ", ".join(window.components) or EVERYTHING
    return Entry(
        id=f"urn:docuquery:maintenance:{window.id}",
        title=f"[{WINDOW_WORDS[window.state]}] {window.title}: {where}",
        text=f"{words(window.begin)} to {words(window.end)}\n{window.body}",
        path=f"history.html#w-{window.id}",
        published=window.announced_at,
        updated=window.updated_at,
        tags=("maintenance", str(window.state)),
    )


def _newest(page: Page, listed: Sequence[Entry]) -> datetime:
    """When something was told last; a feed that is empty has changed when its services began."""
    began = max((c.created_at for c in page.components), default=datetime(2026, 1, 1, tzinfo=UTC))
    return max((e.updated for e in listed), default=began)


def _put(parent: ET.Element, name: str, text: str) -> ET.Element:
    node = ET.SubElement(parent, f"{{{ATOM}}}{name}")
    node.text = text
    return node


def _link(parent: ET.Element, rel: str, href: str, type_: str) -> None:
    ET.SubElement(parent, f"{{{ATOM}}}link", {"rel": rel, "href": href, "type": type_})


assert set(WINDOW_WORDS) == set(WindowState)
