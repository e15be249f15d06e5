"""docs/alerts.md and the receiver say the same."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from docuquery_operator.api.alerts import ALERTS_KEPT, Watchdog
from docuquery_operator.domain.detection import faults
from docuquery_operator.domain.incidents import alerts, intake
from docuquery_operator.domain.paging import replies
from docuquery_operator.web.receiver import app, pagerduty, payload, signatures, slack, store
from docuquery_operator.web.receiver.metrics import ReceiverMetrics

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
METRICS = PAGE.partition("\n## Metrics\n")[2]


def test_every_metric_and_no_other() -> None:
    registry = ReceiverMetrics().registry
    labels = {n: getattr(c, "_labelnames", ()) for c, names in registry._collector_to_names.items() for n in names}
    ours = {
        (f.name + ("_total" if f.type == "counter" else ""), f.type, ", ".join(f"`{n}`" for n in labels[f.name]))
        for f in registry.collect()
        if f.name.startswith("docuquery_")
    }
    assert set(re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", METRICS, re.MULTILINE)) == ours


def _words(*modules: object) -> set[str]:
    """Outcomes as the code writes them."""
    found: set[str] = set()
    for module in modules:
        text = Path(str(getattr(module, "__file__", ""))).read_text(encoding="utf-8")
        found |= set(re.findall(r'(?:return (?:place, |None, )?(?:Reply\()?|_fault\(|_count\(|\.alert\()"([a-z_]+)"', text))
    return found


def test_every_outcome_is_explained() -> None:
    wanted = _words(intake, store, app, replies, slack, pagerduty)
    assert len(wanted) > 20
    told = set(re.findall(r"`(\w+)`", METRICS))
    assert wanted <= told, wanted - told


def test_the_figures_in_the_text() -> None:
    assert f"up to {ALERTS_KEPT} alerts" in PAGE
    assert (faults.REFIRE_WITHIN, "within 30 minutes" in PAGE) == (timedelta(minutes=30), True)
    assert (alerts.PATIENCE, "after 15 minutes" in PAGE) == (timedelta(minutes=15), True)
    assert (intake.LATE_WITHIN, "five minutes after its end" in PAGE) == (timedelta(minutes=5), True)
    assert (signatures.OLDEST_SECONDS, signatures.AHEAD_SECONDS) == (300.0, 60.0)
    assert (app.ANSWER_SECONDS, "more than 4 s" in PAGE) == (4.0, True)
    assert f"`after` is {Watchdog().after}" in PAGE
    assert f"`{Watchdog().alert}`" in PAGE


def test_every_severity_is_told() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `severity`"))
    for word, severity in payload.SEVERITIES.items():
        assert word.upper() == severity or re.search(rf"`{word}`[^P]*{severity}", row), word
