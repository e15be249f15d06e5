"""What all plots are made of: style, frame, lines, text from outside as XML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

PLOT_STYLE = (
    """
.plot{--plot-ink:#1b1b1b;--plot-soft:#555;--plot-grid:#dcdcdc;--plot-paper:#fff;--plot-event:#8a3b00;
--plot-0:#0b5cad;--plot-1:#a3311f;--plot-2:#1b6e3c;--plot-3:#6b3fa0;--plot-4:#7a5200;--plot-5:#14646b;
display:block;width:100%;max-width:60rem;height:auto;background:var(--plot-paper)}
.plot text{fill:var(--plot-ink)}.plot .soft{fill:var(--plot-soft)}.plot .grid{stroke:var(--plot-grid)}
.plot .axis{stroke:var(--plot-soft)}.plot .paper{fill:var(--plot-paper)}.plot .limit{stroke:var(--plot-ink)}
.plot .event{stroke:var(--plot-event)}.plot .band{fill:var(--plot-event)}
"""
    + "".join(
        f".plot .s{n}{{stroke:var(--plot-{n})}}.plot .m{n}{{fill:var(--plot-{n});stroke:var(--plot-paper)}}"
        for n in range(6)
    )
    + """
@media screen and (prefers-color-scheme:dark){.plot{--plot-ink:#ededed;--plot-soft:#b4b4b4;--plot-grid:#3d3d3d;
--plot-paper:#161616;--plot-event:#ffb27a;--plot-0:#7ab8ff;--plot-1:#ff9c8a;--plot-2:#79d49a;--plot-3:#c8a6ff;
--plot-4:#e8c468;--plot-5:#7fd6de}}
"""
)
WIDTH = 760
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Where there is no style.
_STROKES = {"grid": "#ddd", "axis": "#777", "limit": "#222", "event": "#555"}
_ID = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Limit:
    """A value that is not to be crossed, in the unit of the plot."""

    value: float
    label: str


def escaped(text: str, most: int = 200) -> str:
    """Text from outside as XML text or attribute: one line, no markup, no character that XML cannot hold."""
    flat = " ".join(_UNPRINTABLE.sub("\ufffd", text).split())
    return html.escape(flat if len(flat) <= most else f"{flat[: most - 1]}…")


def svg(key: str, title: str, told: str, body: Sequence[str], height: float, standalone: bool) -> str:
    """The whole drawing, and what it shows in words. key: a name that is unique on its page."""
    name = _ID.sub("-", key)[:60] or "plot"
    style = f"<style>{PLOT_STYLE}</style>" if standalone else ""
    space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
    heading = words(8, 17, cut(title, 100), extra=' font-weight="600" font-size="13"')
    return (
        f'<svg{space} class="plot" id="{name}" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" font-family="system-ui,sans-serif" font-size="12">'
        f'<title id="{name}-title">{escaped(title)}</title><desc id="{name}-desc">{escaped(told, 1500)}</desc>{style}'
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
        f"{heading}{''.join(body)}</svg>"
    )


def cut(text: str, most: int) -> str:
    """The beginning of a text, in one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def rule(x1: float, y1: float, x2: float, y2: float, klass: str, extra: str = "") -> str:
    """A straight line; extra: further attributes."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{klass}" stroke="{_STROKES[klass]}"{extra}/>'
    )


def words(x: float, y: float, text: str, anchor: str = "start", klass: str = "", extra: str = "") -> str:
    """A text at a place; anchor: start, middle or end of it; extra: further attributes."""
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    named = f' class="{klass}"' if klass else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{place}{named}{extra}>{escaped(text)}</text>'
