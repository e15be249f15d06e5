"""Badges and the page's icon as SVG: a sign, a title and a state, in words."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

# White on each is at least 4.5:1.
COLOURS = {"ok": "#1a7a37", "degraded": "#8f5b00", "down": "#c01f2e", "maintenance": "#0b5cad", "unknown": "#5d6671"}
SIGNS = {
    "ok": "M4 10.5l4 4 8-9",
    "degraded": "M10 3v9M10 16v.01",
    "down": "M4 4l12 12M16 4L4 16",
    "maintenance": "M7 4v12M13 4v12",
    "unknown": "M6.5 7a3.5 3.5 0 117 0c0 2.5-3.5 2.5-3.5 5.5M10 16.5v.01",
}


def badge(title: str, word: str, shape: str) -> bytes:
    """Width by a guess at the text's; textLength makes it fit in every font."""
    left, right = _width(title), _width(word)
    label = quoteattr(f"{title}: {word}")
    total = left + right + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="22" role="img" aria-label={label}>'
        f"<title>{escape(f'{title}: {word}')}</title>"
        f'<rect width="{total}" height="22" rx="4" fill="#3a424c"/>'
        f'<path d="M{left} 0h{right + 16}a4 4 0 014 4v14a4 4 0 01-4 4H{left}z" fill="{COLOURS[shape]}"/>'
        f'<g transform="translate({left + 6} 5) scale(.6)" fill="none" stroke="#fff" stroke-width="3" '
        f'stroke-linecap="round"><path d="{SIGNS[shape]}"/></g>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="8" y="15" textLength="{left - 16}" lengthAdjust="spacingAndGlyphs">{escape(title)}</text>'
        f'<text x="{left + 22}" y="15" textLength="{right - 12}" lengthAdjust="spacingAndGlyphs">{escape(word)}</text>'
        "</g></svg>"
    ).encode()


def icon(shape: str) -> bytes:
    """For the browser's tab."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">'
        f'<rect width="24" height="24" rx="6" fill="{COLOURS[shape]}"/>'
        '<g transform="translate(3.5 3.5) scale(.85)" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round">'
        f'<path d="{SIGNS[shape]}"/></g></svg>'
    ).encode()


def _width(text: str) -> int:
    return 16 + round(6.6 * len(text))
