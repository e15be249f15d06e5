"""The review as one HTML page: self-contained, without script, readable without colour. Pure.

All text from outside is data: masked, escaped, one line, capped. What nobody has seen is said to be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ...api.common import format_time
from ...api.incident import Incident, IncidentStatus, Notification, Step
from ...api.review import FollowUp, Review
from ..detection import watched
from ..incidents.review import due_day, is_written, of_this_round
from ..paging.messages import ANSWERED, in_words
from ..redaction import redact
from .frame import head
from .incident import durations
from .plots import PLOT_STYLE, Event, escaped, line_plot

BEFORE = timedelta(minutes=10)
STYLE = (
    """
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#555;--paper:#fff;--line:#c9c9c9;--panel:#f4f4f2}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#ededed;--soft:#b4b4b4;--paper:#161616;--line:#4a4a4a;--panel:#222}}
*{box-sizing:border-box}body{margin:0;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
main{max-width:64rem;margin:0 auto;padding:0 1rem 2rem}h1{font-size:1.6rem;margin:1.2rem 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;border-bottom:2px solid var(--ink);margin:2rem 0 .6rem}p,li{overflow-wrap:anywhere}
.scroll{overflow-x:auto}.scroll .plot{min-width:40rem}:focus-visible{outline:3px solid var(--ink);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.95rem}th,td{text-align:left;vertical-align:top;padding:.25rem .6rem;
border-bottom:1px solid var(--line);overflow-wrap:anywhere}thead th{border-bottom:2px solid var(--ink);overflow-wrap:normal}
th[scope=row]{font-weight:500}td,th[scope=row]{font-variant-numeric:tabular-nums}td:empty{padding:0}
.facts th{width:9rem}td,th{min-width:7rem}
.facts th{color:var(--soft)}
.missing{border-left:4px double var(--soft);background:var(--panel);padding:.3rem .8rem}
@media (max-width:40rem){thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}
th[scope=row],td{display:block;border:0;padding:.05rem 0;min-width:0}
th[scope=row]{font-weight:700}td[data-of]::before{content:attr(data-of) ": ";color:var(--soft)}.facts th{width:auto}}
@media print{body{font-size:10pt}main{max-width:none}tr,li,figure,svg{break-inside:avoid}h2{break-after:avoid}}
"""
    + PLOT_STYLE
)


def window(status: IncidentStatus) -> tuple[datetime, datetime] | None:
    """What the plots show: from a while before the first sign to the end."""
    began, ended = status.times.detected_at or status.times.opened_at, status.times.resolved_at
    return None if began is None or ended is None else (began - BEFORE, ended)


def review_page(incident: Incident, found: Mapping[str, Any] | None) -> str:
    """found: samples.json, None where nothing was seen."""
    status = incident.status or IncidentStatus()
    title = f"Review of {incident.metadata.name}: {incident.spec.title or incident.spec.type}"
    parts = [
        f"<h1>{_t(title)}</h1>",
        _facts(incident, status),
        "<h2>Times</h2>",
        _times(status),
        "<h2>The symptom around it</h2>",
        *_plots(status, found),
        "<h2>Cause</h2>",
        *_cause(status),
        "<h2>What was done</h2>",
        _table(("step", "on", "outcome", "took", "what came of it"), (_step(s) for s in status.steps), "Nothing was done."),
        "<h2>What was not done, and why</h2>",
        _table(
            ("when (UTC)", "step", "why"),
            ((_at(d.at), d.step or "all", f"{d.message} (rule {d.rule})") for d in status.decisions),
            "Nothing was refused.",
        ),
        "<h2>Who was told</h2>",
        _table(("message", "to", "by", "when (UTC)", "state"), (_told(n) for n in status.notifications), "Nobody."),
        *_review(of_this_round(incident, status)),
        *_earlier(status),
        "<h2>Timeline</h2>",
        _table(("when (UTC)", "event", "what happened"), ((_at(e.at), e.event, e.message) for e in status.timeline), "-"),
    ]
    return f"{head(redact(title), STYLE)}<body><main>{''.join(parts)}</main></body></html>"


def _facts(incident: Incident, status: IncidentStatus) -> str:
    of = f"Stack {incident.spec.stack_ref.name}, {status.component or 'no component'}, {incident.spec.type}"
    answer = ANSWERED[status.deadlines.response] if status.deadlines else "no response time"
    by = f"; taken by {status.acknowledgement.by}" if status.acknowledgement else ""
    due = f" (due {_at(status.deadlines.respond_by)} UTC)" if status.deadlines else ""
    rows = [
        ("Severity", str(status.severity or "-")),
        ("About", of),
        ("Response time", f"{answer}{due}{by}"),
        ("In one line", status.summary),
    ]
    return _table(None, rows, "")


def _times(status: IncidentStatus) -> str:
    times, took = status.times, durations(status)
    marks = [
        ("detected", times.detected_at),
        ("opened", times.opened_at),
        ("acknowledged", times.acknowledged_at),
        ("identified", times.identified_at),
        ("acted", times.acted_at),
        ("mitigated", times.mitigated_at),
        ("resolved", times.resolved_at),
    ]
    rows = [(name, _at(at) if at else "never", in_words(took[name]) if name in took else "") for name, at in marks]
    return _table(("mark", "when (UTC)", "after the opening"), rows, "")


def _plots(status: IncidentStatus, found: Mapping[str, Any] | None) -> Iterable[str]:
    span = window(status)
    if span is None or not found or not found["rows"]:
        yield '<p class="missing">Nothing was seen of it: the operator did not watch this component in that time.</p>'
        return
    well, took = watched.series(found, *span)
    times = status.times
    marks = (
        ("opened", times.opened_at), ("acknowledged", times.acknowledged_at), ("cause named", times.identified_at),
        ("acted", times.acted_at), ("mitigated", times.mitigated_at), ("resolved", times.resolved_at),
    )  # fmt: skip
    # Minutes, as the axis has them, would not tell them apart.
    events = [Event(at, f"{label} at {at:%H:%M:%S}") for label, at in marks if at is not None]
    for key, title, seen in (
        ("health", f"Looks that found {found['component']} well", well),
        ("answers", f"Time of the slowest look at {found['component']}", took),
    ):
        plot = line_plot(key, title, [seen], events)
        # On a phone it is scrolled: its words would be too small to read.
        yield f'<div class="scroll" tabindex="0" role="region" aria-label="{_t(title)}">{plot}</div>'
    yield f"<p>Each point is {float(found['spanSeconds']):g} s. Gaps: nobody looked, or the operator was started again.</p>"


def _cause(status: IncidentStatus) -> Iterable[str]:
    cause = status.cause
    if cause is None:
        yield "<p>The operator named no cause.</p>"
        return
    yield f"<p><strong>{_t(cause.name)}</strong> (confidence {_t(cause.confidence)}): {_t(cause.message)}</p>"
    if cause.evidence:
        yield f"<ul>{''.join(f'<li>{_t(line)}</li>' for line in cause.evidence)}</ul>"


def _step(step: Step) -> Sequence[str]:
    done = step.started_at is not None and step.finished_at is not None
    took = in_words((step.finished_at - step.started_at).total_seconds()) if done else ""  # type: ignore[operator]
    by = f" (approved by {step.approval_by})" if step.approval_by else ""
    return step.name, step.component or "", f"{step.state}{by}", took, step.summary


def _told(note: Notification) -> Sequence[str]:
    tries = f" after {note.attempts} tries" if note.attempts > 1 else ""
    return note.what, note.to, note.channel, _at(note.sent_at) if note.sent_at else "-", f"{note.state}{tries}"


def _review(review: Review | None) -> Iterable[str]:
    yield "<h2>Root cause</h2>"
    if review is None or not is_written(review):
        yield '<p class="missing">Not written yet: spec.review.rootCause of the Incident.</p>'
    else:
        yield f"<p>{_t(review.root_cause or '', 4096)}</p>"
    yield "<h2>Lessons</h2>"
    lessons = review.lessons if review is not None else []
    listed = "".join(f"<li>{_t(line, 1024)}</li>" for line in lessons)
    yield f"<ul>{listed}</ul>" if lessons else '<p class="missing">None written: spec.review.lessons.</p>'
    yield "<h2>Follow-ups</h2>"
    actions = review.actions if review is not None else []
    yield _table(("what", "owner", "due", "state"), (_action(a) for a in actions), "None written: spec.review.actions.")


def _action(action: FollowUp) -> Sequence[str]:
    due = action.due or "-"
    return action.title, action.owner, due if due_day(action) or not action.due else f"{due} (no such day)", _state(action)


def _state(action: FollowUp) -> str:
    return "done" if action.done else "open"


def _earlier(status: IncidentStatus) -> Iterable[str]:
    if status.open_follow_ups:
        lines = "".join(f"<li>{_t(line, 512)}</li>" for line in status.open_follow_ups)
        yield f"<h2>Still open since earlier incidents of this cause</h2><ul>{lines}</ul>"


def _table(names: Sequence[str] | None, rows: Iterable[Sequence[str]], none: str) -> str:
    filled = [list(row) for row in rows]
    if not filled:
        return f"<p>{_t(none)}</p>"
    columns = "".join(f'<th scope="col">{_t(name)}</th>' for name in names or ())
    lines = "".join(_row(row, names or ()) for row in filled)
    heading = f"<thead><tr>{columns}</tr></thead>" if names else ""
    kind = "" if names else ' class="facts"'
    return f"<table{kind}>{heading}<tbody>{lines}</tbody></table>"


def _row(row: Sequence[str], names: Sequence[str]) -> str:
    """Where the screen is narrow each cell says itself which column it is."""
    of = [f' data-of="{_t(name)}"' for name in names] or [""] * len(row)
    cells = "".join(f"<td{of[i] if row[i] else ''}>{_t(row[i], 1024)}</td>" for i in range(1, len(row)))
    return f'<tr><th scope="row">{_t(row[0])}</th>{cells}</tr>'


def _at(value: datetime) -> str:
    return format_time(value)[:19].replace("T", " ")


def _t(text: str, most: int = 512) -> str:
    return escaped(redact(text), most)
