"""HTML of the page: templates with escaping always on, and the few words that they need."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...domain.detection.uptime import Day
from ...domain.public.components import PublicComponent
from ...domain.public.incidents import PublicIncident
from ...domain.public.page import Page
from ...domain.public.words import IMPACT_WORDS, NO_DATA, WINDOW_WORDS, Indicator, WindowState

# Without a server, as in an export, only what stands in the document itself can say it; frame-ancestors cannot.
CSP = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
# The script of a page that is left open calls it old after so long.
OLD_SECONDS = 600
DAY_WORDS = {
    "ok": "Good",
    "degraded": "Degraded",
    "down": "Outage",
    "maintenance": "Maintenance",
    "unknown": "No data",
}
# Where the pieces of a day's bar lie, in a drawing 30 high: no two kinds have the same shape.
PIECES = {"ok": (15,), "degraded": (21,), "down": (7, 23), "maintenance": (4, 15, 26), "unknown": (27,)}


def environment() -> Environment:
    """Templates of this package only; nothing from outside is ever a template."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "iso": iso,
        "words": words,
        "span": span,
        "phase": str,
        "impact": IMPACT_WORDS.__getitem__,
        "window_state": WINDOW_WORDS.__getitem__,
        "length_words": length_words,
        "headline_shape": headline_shape,
        "told": told,
        "share": share,
        "strokes": strokes,
        "amiss": amiss,
        "day_word": lambda day: DAY_WORDS[day_shape(day)],
        "day_share": lambda day: "not known" if day.availability is None else percent(day.availability),
    }
    return env


def render(env: Environment, template: str, page: Page, root: str, more: Mapping[str, Any] | None = None) -> bytes:
    """root: the way back to the top, such as '../'."""
    found = env.get_template(f"{template}.html.j2")
    values = {"page": page, "root": root, "csp": CSP, "old_seconds": OLD_SECONDS, "states": WindowState}
    return found.render({**values, **(more or {})}).encode()


def iso(at: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def words(at: datetime) -> str:
    """For people."""
    return at.astimezone(UTC).strftime("%-d %b %Y, %H:%M UTC")


def span(seconds: float) -> str:
    """For people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s" if rest else "0"


def length_words(incident: PublicIncident) -> str:
    """How long it took."""
    assert incident.resolved_at is not None
    return span(max(1.0, (incident.resolved_at - incident.opened_at).total_seconds()))


def headline_shape(page: Page) -> str:
    """The sign beside the headline."""
    if page.stale or page.headline not in _SHAPES:
        return "unknown" if page.stale else "degraded"
    return _SHAPES[page.headline]


_SHAPES = {
    "All systems operational": "ok",
    "Some services are impaired": "degraded",
    "Some services are down": "down",
    "All services are down": "down",
    "Maintenance in progress": "maintenance",
}
assert len(_SHAPES) == len(Indicator)


def percent(value: float) -> str:
    """Never rounded up to 100 %."""
    return "100 %" if value >= 1 else f"{int(value * 100_000) / 1000:.3f} %"


def share(component: PublicComponent) -> str:
    """Availability in words."""
    value = component.availability
    return NO_DATA if value is None else f"{percent(value)} available"


def told(component: PublicComponent) -> str:
    """The bars in words."""
    bad, known = component.bad_days, component.known_days
    return f"Last 90 days: {share(component)}; data of {known} days, on {bad} of them an outage or degradation"


def day_shape(day: Day) -> str:
    """What the day's bar shows: the worst of it."""
    if day.down:
        return "down"
    if day.partial:
        return "degraded"
    if day.measured == 0:
        return "maintenance" if day.maintenance else "unknown"
    return "ok"


def strokes(component: PublicComponent) -> list[tuple[str, str]]:
    """Shape and path: runs of equal days are one stroke that is dashed in days."""
    found: dict[str, list[str]] = {}
    days = component.days
    start = 0
    for n in range(1, len(days) + 1):
        if n < len(days) and day_shape(days[n]) == day_shape(days[start]):
            continue
        shape = day_shape(days[start])
        found.setdefault(shape, []).extend(f"M{4 * start} {y}h{4 * (n - start) - 1}" for y in PIECES[shape])
        start = n
    return [(shape, "".join(parts)) for shape, parts in found.items()]


def amiss(component: PublicComponent) -> list[Day]:
    """Days that are not plainly good, newest first; days before counting began say nothing."""
    return [d for d in reversed(component.days) if d.down or d.partial or d.maintenance or d.unknown]
