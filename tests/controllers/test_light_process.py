"""The operator's own process loads nothing of what only Jobs need, and schedules only where there are some."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("obstore", "zstandard", "pyrage", "qdrant_edge", "croniter", "docuquery_operator.mover", "jinja2", "icalendar")
# What the status page does without.
OPERATORS = ("kopf", "psycopg", "redis", "obstore", "prometheus_client", "docuquery_operator.controllers")


@pytest.mark.timeout(240)
def test_nothing_heavy_is_loaded_at_the_start() -> None:
    code = "import sys, docuquery_operator.__main__; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "docuquery_operator.controllers.backup_job" in loaded
    assert [m for m in loaded if any(m == h or m.startswith(f"{h}.") for h in HEAVY)] == []


@pytest.mark.timeout(240)
def test_the_status_page_loads_nothing_of_the_operator() -> None:
    code = "import sys, docuquery_operator.status_page; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "docuquery_operator.web.page.server" in loaded
    assert [m for m in loaded if any(m == h or m.startswith(f"{h}.") for h in OPERATORS)] == []
