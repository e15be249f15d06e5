"""HTTP: any document of the site, with what browsers and caches must know; GET and HEAD only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from aiohttp import web

from ...domain.public.page import page_of
from . import html
from .settings import PageSettings
from .site import MISSING, Document, Site
from .source import Source

SECURITY = {
    "Content-Security-Policy": f"{html.CSP}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Other pages may read the data and show the badges; the page itself may not be framed.
SHARED = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
# Short enough that a cache is never the reason for an old page, long enough that it takes a rush.
CACHE = "public, max-age=15, stale-while-revalidate=30"
LARGE = 1024


class Sites:
    """The site of this minute; made anew when something has changed or the minute is over."""

    def __init__(self, source: Source, settings: PageSettings, now: Callable[[], datetime]) -> None:
        self._source, self._settings, self._now = source, settings, now
        self._env = html.environment()
        self._site: Site | None = None
        self._key: tuple[int, datetime, bool] | None = None

    def current(self) -> Site:
        """What is to be shown now."""
        settings, facts = self._settings, self._source.facts()
        now, patience = self._now(), timedelta(seconds=settings.stale_seconds)
        minute = now.replace(second=0, microsecond=0)
        stale = facts.looked is None or now - facts.looked > patience
        key = (self._source.version, minute, stale)
        if self._site is None or key != self._key:
            page = page_of(facts, settings.title, now, patience)
            self._site, self._key = Site(page, self._env, settings.url), key
        return self._site


def application(sites: Sites, missing: Callable[[], str]) -> web.Application:
    """missing: '' once there is something to show, else what has not been read yet."""
    app = web.Application(client_max_size=1024)

    async def show(request: web.Request) -> web.Response:
        if missing():
            return web.Response(status=503, text="starting", headers={**SECURITY, "Retry-After": "5"})
        site = sites.current()
        found = site.document(request.match_info["path"] or "index.html")
        status = 200
        if found is None:
            found, status = site.document(MISSING), 404
            assert found is not None
        return _answer(request, found, status)

    health(app, missing)
    app.router.add_get("/{path:.*}", show)
    return app


def health(app: web.Application, missing: Callable[[], str]) -> None:
    """/livez and /readyz."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(_: web.Request) -> web.Response:
        why = missing()
        return web.Response(status=503 if why else 200, text=f"not read yet: {why}" if why else "ok")

    app.router.add_get("/livez", alive)
    app.router.add_get("/readyz", ready)


def _answer(request: web.Request, found: Document, status: int) -> web.Response:
    headers: dict[str, str] = {**SECURITY, **_sharing(found), "Cache-Control": CACHE, "ETag": f'"{found.digest}"'}
    headers |= {"Vary": "Accept-Encoding", "Content-Type": found.type}
    if status == 200 and any(e.value in (found.digest, "*") for e in request.if_none_match or ()):
        headers.pop("Content-Type")
        return web.Response(status=304, headers=headers)
    body = found.body
    if len(body) > LARGE and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = found.packed
        headers["Content-Encoding"] = "gzip"
    return web.Response(status=status, body=body, headers=headers)


def _sharing(found: Document) -> Mapping[str, str]:
    return {} if found.type.startswith(("text/html", "text/css", "text/javascript")) else SHARED
