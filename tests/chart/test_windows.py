"""The shipped windows: off unless asked for, understood by the operator, and each task one that it serves."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.catalogue.tasks import TASKS
from docuquery_operator.domain.schedules import schedule_of
from tests.chart.helm import CHECKOUT, NAMESPACE, Object, of_kind, render, template

pytestmark = pytest.mark.timeout(300)
ON: Object = {"windows.enabled": True}
SOURCE = {
    # "Daily Health Checks": service status, resource usage, error rate.
    "daily": {"HealthCheck", "ResourceUsage", "ErrorRate"},
    # "Weekly Maintenance": database, logs, backups.
    "weekly": {"VacuumDatabase", "AnalyzeTables", "VerifyBackups", "OptimizeCollections", "HealthCheck"},
    # "Monthly Maintenance": images, performance, capacity.
    "monthly": {"UpdateImages", "PerformanceReview", "CapacityPlan", "HealthCheck"},
}


def windows(values: Object) -> dict[str, MaintenanceWindow]:
    found = [MaintenanceWindow.model_validate(o) for o in of_kind(render(values), "MaintenanceWindow")]
    return {w.metadata.name: w for w in found}


def test_none_is_installed_unless_asked_for() -> None:
    assert of_kind(render(), "MaintenanceWindow") == []


def test_they_are_the_procedures_of_the_source_and_only_report_images() -> None:
    found = windows(ON)
    assert set(found) == {f"docuquery-{name}" for name in SOURCE}
    for name, tasks in SOURCE.items():
        window = found[f"docuquery-{name}"]
        assert {t.type.value for t in window.spec.tasks} == tasks
        assert all(t.type in TASKS for t in window.spec.tasks)
        assert window.metadata.namespace == NAMESPACE
        assert schedule_of(window.spec.schedule, window.spec.time_zone)
    assert found["docuquery-monthly"].spec.tasks[0].update_images.report_only  # type: ignore[union-attr]


def test_what_is_set_arrives() -> None:
    values = {
        **ON, "watchNamespaces": ["shop"], "windows.stack": "main", "windows.timeZone": "Europe/Berlin",
        "windows.credentialsSecret": "postgres-maintenance", "windows.updateImages": True,
        "windows.logs": {"path": "/var/log/app", "pattern": "*.txt", "component": "api", "backupJob": "nightly"},
    }  # fmt: skip
    found = windows(values)
    weekly = {t.type.value: t for t in found["main-weekly"].spec.tasks}
    assert found["main-weekly"].metadata.namespace == "shop"
    logs: Any = weekly["RotateLogs"].rotate_logs
    assert (logs.path, logs.pattern, logs.component) == ("/var/log/app", "*.txt", "api")
    assert logs.archive.backup_job == "nightly"
    for name, field in (("VacuumDatabase", "vacuum_database"), ("AnalyzeTables", "analyze_tables")):
        assert getattr(weekly[name], field).credentials.secret_name == "postgres-maintenance"
    assert not found["main-monthly"].spec.tasks[0].update_images.report_only  # type: ignore[union-attr]


def test_before_the_crds_are_served_it_says_what_to_do() -> None:
    answer = template(ON, "--api-versions", "apps/v1/Deployment,admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy")
    assert answer.returncode != 0
    assert "install without it first" in answer.stderr


def test_the_examples_ask_only_for_what_is_served() -> None:
    for file in sorted((CHECKOUT / "docs/examples").glob("maintenance-window-*.yaml")):
        window = MaintenanceWindow.model_validate(yaml.safe_load(file.read_text()))
        assert all(t.type in TASKS for t in window.spec.tasks), file.name
