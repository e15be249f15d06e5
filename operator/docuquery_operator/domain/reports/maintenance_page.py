"""The page of a maintenance report: one file, no script, nothing from elsewhere, for screen, paper and grey scale."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .frame import head
from .maintenance_parts import RANKS, Ranked, Report, TaskPart, findings, task
from .plots import PLOT_STYLE, escaped
from .scales import at_second, seconds

STYLE = (
    """
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#555;--paper:#fff;--line:#c9c9c9;--panel:#f4f4f2;--link:#0b4f94;
--bad:#8f1d14;--warn:#7a4a00;--good:#1c5b33}
@media screen and (prefers-color-scheme:dark){:root{--ink:#ededed;--soft:#b4b4b4;--paper:#161616;--line:#4a4a4a;
--panel:#222;--link:#8cc2ff;--bad:#ff9c8a;--warn:#f0c26a;--good:#8fdcab}}
*{box-sizing:border-box}body{margin:0;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
main,header,footer{max-width:64rem;margin:0 auto;padding:0 1rem}h1{font-size:1.6rem;margin:1.2rem 0 .2rem}
h2{font-size:1.25rem;border-bottom:2px solid var(--ink);margin-top:2rem}h3{font-size:1.1rem;margin:1.6rem 0 .3rem}
a{color:var(--link)}.soft,footer{color:var(--soft)}.none{color:var(--soft);font-style:italic}
.findings{list-style:none;padding:0}.findings li{padding:.5rem .7rem;margin:.4rem 0;background:var(--panel);
border-left:.3rem dotted var(--soft);overflow-wrap:anywhere}.findings .critical{border-left:.6rem solid var(--bad)}
.findings .warning{border-left:.45rem double var(--warn)}.rank{font-weight:700;margin-right:.4rem}
.critical .rank{color:var(--bad)}.warning .rank{color:var(--warn)}
.state{font-size:.8rem;font-weight:600;border:1px solid var(--soft);border-radius:.3rem;padding:.05rem .4rem}
.state.failed,.state.aborted{color:var(--bad);border:2px solid var(--bad)}.state.succeeded{color:var(--good)}
.state.skipped{border-style:dashed}.figures{display:flex;flex-wrap:wrap;gap:.5rem;margin:.6rem 0}
.figures div{background:var(--panel);padding:.4rem .7rem;border-radius:.3rem}.figures dt{color:var(--soft);font-size:.85rem}
.figures dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}figure{margin:1rem 0}
.scroll{overflow-x:auto;margin:1rem 0}table{border-collapse:collapse;font-size:.9rem;min-width:40%}
caption{text-align:left;font-weight:600;padding:.2rem 0}th,td{text-align:left;vertical-align:top;padding:.25rem .6rem;
border-bottom:1px solid var(--line);overflow-wrap:anywhere;min-width:7rem;max-width:32rem}
thead th{border-bottom:2px solid var(--ink);overflow-wrap:normal}th[scope=row]{font-weight:500;min-width:8rem}
th.n,td.n,.points th,.points td{min-width:0}td.n,.points td{text-align:right;white-space:nowrap}th.n{text-align:right}
td.n,.points td{font-variant-numeric:tabular-nums}
.points{font-size:.8rem}summary{cursor:pointer;color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
@media print{body{font-size:10pt}.scroll{overflow:visible}figure,li,tr{break-inside:avoid}h2,h3,caption{break-after:avoid}
table{font-size:7.5pt}th,td,th[scope=row]{min-width:0;overflow-wrap:break-word;padding:.15rem .3rem}
td.n{white-space:normal}a{color:inherit}
details{display:none}.findings li,.figures div{border:1px solid #999}}
"""
    + PLOT_STYLE
)


def page(told: Report) -> str:
    """The whole page. Its policy lets a browser load and run nothing at all, wherever it is kept."""
    counts = ", ".join(f"{_count(told.findings, r)} {r.lower()}" for r in RANKS)
    return (
        f"{head(told.title, STYLE)}<body><header><h1>{escaped(told.title)}</h1>"
        f"{_about(told)}</header><main>"
        f'<section aria-labelledby="findings"><h2 id="findings">Findings</h2><p>{counts}</p>{findings(told.findings)}'
        f'</section><section aria-labelledby="tasks"><h2 id="tasks">Tasks</h2>{_overview(told.tasks)}'
        f"{''.join(map(task, told.tasks))}</section></main><footer><p>{_left_out(told.cut)}"
        "The same figures are beside this page as JSON. "
        "Where it says no data, nothing is known: it is not zero.</p></footer></body></html>"
    )


def _count(found: Sequence[Ranked], rank: str) -> int:
    return sum(1 for f in found if f.rank == rank)


def _about(told: Report) -> str:
    until = f"to {_utc(told.closed)}" if told.closed is not None else "still open"
    place = f"Stack {escaped(told.stack)}, MaintenanceWindow {escaped(told.window)} in {escaped(told.namespace)}"
    return f'<p class="soft">{place}, open from {_utc(told.opened)} {until} (UTC)</p>'


def _utc(at: datetime) -> str:
    return f'<time datetime="{at_second(seconds(at)):%Y-%m-%dT%H:%M:%SZ}">{at_second(seconds(at)):%Y-%m-%d %H:%M}</time>'


def _overview(tasks: Sequence[TaskPart]) -> str:
    if not tasks:
        return "<p>No task was run.</p>"
    rows = "".join(
        f'<tr><th scope="row"><a href="#task-{escaped(t.type)}">{escaped(t.type)}</a></th><td>{t.outcome.state}</td>'
        f"<td>{escaped(t.outcome.summary, 600)}</td></tr>"
        for t in tasks
    )
    head = '<thead><tr><th scope="col">Task</th><th scope="col">State</th><th scope="col">In one line</th></tr></thead>'
    return (
        '<div class="scroll" role="region" tabindex="0" aria-labelledby="overview"><table class="overview">'
        f'<caption id="overview">What was run</caption>{head}<tbody>{rows}</tbody></table></div>'
    )


def _left_out(cut: str) -> str:
    return f"Left out to keep the page small: {escaped(cut, 1000)}. " if cut else ""
