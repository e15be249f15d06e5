"""Every document of the page by its path, rendered when it is asked for; the server and the export share it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment

from ...domain.public.page import Page
from . import badge, feeds, html, statuspage
from .feeds import Place

HTML, JSON = "text/html; charset=utf-8", "application/json; charset=utf-8"
ATOM, JSON_FEED = "application/atom+xml; charset=utf-8", "application/feed+json; charset=utf-8"
SVG, ICS = "image/svg+xml; charset=utf-8", "text/calendar; charset=utf-8"
STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
API = "api/v2/"
MISSING = "404.html"
Maker = Callable[[], bytes]


@dataclass(frozen=True)
class Document:
    """Bytes with their type and a digest of both."""

    body: bytes
    type: str
    digest: str

    @cached_property
    def packed(self) -> bytes:
        """By gzip, once for all who ask."""
        return gzip.compress(self.body, 5, mtime=0)


class Site:
    """The page at one instant. url: its public address, or ''."""

    def __init__(self, page: Page, env: Environment, url: str) -> None:
        self._page, self._env, self._url = page, env, url
        self._makers: dict[str, tuple[str, Maker]] = {}
        self._made: dict[str, Document] = {}
        self._pages()
        self._data()
        for name, type_ in STATIC_TYPES.items():
            self._makers[name] = (type_, (STATIC / name).read_bytes)

    @property
    def paths(self) -> Iterable[str]:
        """Of all documents."""
        return tuple(self._makers)

    def document(self, path: str) -> Document | None:
        """None where there is none."""
        if path not in self._makers:
            return None
        if path not in self._made:
            type_, make = self._makers[path]
            body = make()
            digest = hashlib.sha256(type_.encode() + b"\0" + body).hexdigest()[:24]
            self._made[path] = Document(body, type_, digest)
        return self._made[path]

    def _pages(self) -> None:
        page, env = self._page, self._env
        for path, template in (("index.html", "index"), ("history.html", "history"), (MISSING, "missing")):
            self._html(path, partial(html.render, env, template, page, ""))
        for i in page.incidents:
            self._html(f"incidents/{i.id}.html", partial(html.render, env, "incident", page, "../", {"i": i}))
        for c in page.components:
            self._html(f"components/{c.id}.html", partial(html.render, env, "component", page, "../", {"c": c}))

    def _html(self, path: str, make: Maker) -> None:
        self._makers[path] = (HTML, make)

    def _data(self) -> None:
        page, shape = self._page, html.headline_shape(self._page)
        self._feeds("feed", page, Place(self._url, "", "feed", page.title))
        self._makers["maintenance.ics"] = (ICS, lambda: feeds.calendar(page))
        self._makers["badge.svg"] = (SVG, lambda: badge.badge(page.title, page.headline, shape))
        self._makers["icon.svg"] = (SVG, lambda: badge.icon(shape))
        for c in page.components:
            base = f"components/{c.id}"
            self._feeds(base, page.about(c.title), Place(self._url, "../", base, f"{page.title}: {c.title}"))
            known = (c.title, "No current data", "unknown") if page.stale else (c.title, c.word, c.shape)
            self._makers[f"{base}.svg"] = (SVG, partial(badge.badge, *known))
        for name, make in statuspage.Statuspage(page, self._url).documents().items():
            self._makers[API + name] = (JSON, partial(_encoded, make))

    def _feeds(self, base: str, page: Page, place: Place) -> None:
        atom = Place(place.url, place.root, f"{base}.atom", place.title)
        as_json = Place(place.url, place.root, f"{base}.json", place.title)
        self._makers[atom.path] = (ATOM, lambda: feeds.atom(page, atom))
        self._makers[as_json.path] = (JSON_FEED, lambda: statuspage.encoded(feeds.json_feed(page, as_json)))


def _encoded(make: Callable[[], dict[str, Any]]) -> bytes:
    return statuspage.encoded(make())
