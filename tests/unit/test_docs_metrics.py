"""docs/metrics.md and the registry say the same: every metric with its type and labels, and no other."""

from __future__ import annotations

import ast
import inspect
import textwrap
from datetime import timedelta
from pathlib import Path

from docuquery_operator.domain.backups.figures import BackupFigures
from docuquery_operator.domain.maintenance.window_figures import TaskEnd, TaskFigures, WindowFigures
from docuquery_operator.ports import Key
from docuquery_operator.runtime.backup_metrics import BackupMetrics
from docuquery_operator.runtime.metrics import OperatorMetrics
from docuquery_operator.runtime.window_metrics import WindowMetrics
from docuquery_operator.runtime.workqueue import WorkQueue
from tests.fakes.clock import ManualClock

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
Metric = tuple[str, str, tuple[str, ...]]


def _rows(first: str) -> list[list[str]]:
    """Rows of the table whose head begins with this cell; every cell but the labels' must say something."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word.strip().strip("`") for word in cell.split(",") if word.strip())


def _registered() -> set[Metric]:
    """Names as they are exposed. The labels of a metric that has counted nothing yet are kept by its collector alone."""
    registry = OperatorMetrics(ManualClock()).registry
    labels = {
        name: tuple(getattr(collector, "_labelnames", ()))
        for collector, names in registry._collector_to_names.items()
        for name in names
    }
    now = ManualClock().now
    for family in (*BackupMetrics(now).describe(), *WindowMetrics(now).describe()):
        labels[family.name] = tuple(family._labelnames)
    return {(f.name + ("_total" if f.type == "counter" else ""), f.type, labels.get(f.name, ())) for f in registry.collect()}


def test_every_metric_is_explained_and_no_other() -> None:
    rows = _rows("metric")
    assert all(meaning for *_, meaning in rows)
    documented = [(name.strip("`"), kind, _words(labels)) for name, kind, labels, _ in rows]
    assert len(documented) == len(set(documented))
    assert set(documented) == _registered()


def test_the_names_are_those_of_the_exposition() -> None:
    """What Prometheus reads, once everything has counted something."""
    metrics = OperatorMetrics(ManualClock())
    metrics.refused("Cooldown")
    metrics.step("restartWorkload", "Healed")
    metrics.probe("workload", 0.1)
    metrics.service_level("pods", "none")
    metrics.notified("slack", "sent", 0.1)
    at = ManualClock().now() - timedelta(hours=1)
    figures = BackupFigures({"postgres": at}, {"postgres": at}, 10, 2.0, 3.0, {"Verified": 1}, False)
    metrics.backup("here", "nightly", figures)
    metrics.task_ended(TaskEnd("HealthCheck", "Succeeded", 3.0))
    metrics.window("here", "weekly", WindowFigures(True, at, {"HealthCheck": TaskFigures(1, at)}))
    metrics.reconciled(Key("stacks", "here", "docuquery"), "success", 0.1)
    metrics.resync_finds.labels("stacks").inc()
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    shown = {line.partition(" ")[0].partition("{")[0] for line in lines}
    for name, kind, labels in _registered():
        series = f"{name}_bucket" if kind == "histogram" else name
        assert series in shown
        found = next(line for line in lines if line.startswith((f"{series} ", f"{series}{{")))
        assert all(f'{label}="' in found for label in labels), found


def test_every_result_of_a_pass_is_explained() -> None:
    source = ast.parse(textwrap.dedent(inspect.getsource(WorkQueue._once)))
    returned = [node.value for node in ast.walk(source) if isinstance(node, ast.Return)]
    results = {r.elts[1].value for r in returned if isinstance(r, ast.Tuple) and isinstance(r.elts[1], ast.Constant)}
    assert len(results) > 1
    assert {row[0].strip("`") for row in _rows("`result` of a pass")} == results


def test_ages_of_backups_grow_and_go_with_the_object() -> None:
    clock = ManualClock()
    metrics = OperatorMetrics(clock)
    metrics.backup("here", "nightly", BackupFigures(good={"postgres": clock.now()}))
    clock.advance(90)
    line = 'docuquery_backup_last_good_age_seconds{backup_job="nightly",namespace="here",part="postgres"} 90.0'
    assert line in metrics.text().decode().splitlines()
    # What was never proved has no age: an alert on its absence says so, a zero would lie.
    assert "docuquery_backup_last_verified_age_seconds{" not in metrics.text().decode()
    metrics.backup_gone("here", "nightly")
    assert 'backup_job="nightly"' not in metrics.text().decode()


def test_what_never_succeeded_has_no_age_and_an_overrun_grows_until_it_ends() -> None:
    clock = ManualClock()
    metrics = OperatorMetrics(clock)

    def shown() -> list[str]:
        lines = metrics.text().decode().splitlines()
        return [
            line
            for line in lines
            if line.startswith(("docuquery_maintenance_window", "docuquery_maintenance_task_")) and "{names" in line
        ]

    tasks = {"AnalyzeTables": TaskFigures(), "HealthCheck": TaskFigures(2, clock.now())}
    metrics.window("here", "weekly", WindowFigures(True, clock.now(), tasks))
    clock.advance(90)
    window, task = 'namespace="here"', 'type="HealthCheck",window="weekly"'
    assert shown() == [
        f'docuquery_maintenance_window_open{{{window},window="weekly"}} 1.0',
        f'docuquery_maintenance_window_overrun_seconds{{{window},window="weekly"}} 90.0',
        f'docuquery_maintenance_task_failures_in_a_row{{{window},type="AnalyzeTables",window="weekly"}} 0.0',
        f"docuquery_maintenance_task_failures_in_a_row{{{window},{task}}} 2.0",
        f"docuquery_maintenance_task_last_success_age_seconds{{{window},{task}}} 90.0",
    ]
    metrics.window("here", "weekly", WindowFigures())
    assert [line.split()[-1] for line in shown()] == ["0.0", "0.0"]
    metrics.window_gone("here", "weekly")
    assert shown() == []
