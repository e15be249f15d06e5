"""One release of the operator for all scenarios, and a stack of its own for each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import table
from tests.e2e.names import SCENARIOS
from tests.harness import release
from tests.harness.stackns import StackNamespace


@pytest.fixture(scope="session")
def operator(testrun_uid: str) -> Iterator[None]:
    """The operator, installed by its chart."""
    state = Path(tempfile.gettempdir()) / f"docuquery-e2e-{testrun_uid}"
    with release.shared(state, SCENARIOS):
        yield


@pytest.fixture
def stack(operator: None, request: pytest.FixtureRequest) -> Iterator[Callable[..., StackNamespace]]:
    """Deploys the test's own stack, in the namespace that bears the test's name."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")
    assert f"e2e-{name}" in SCENARIOS, f"add {name} to tests/e2e/names.py: the operator is installed for fixed namespaces"
    made = StackNamespace(f"e2e-{name}")
    yield lambda **options: _deployed(made, **options)
    made.remove()


def _deployed(made: StackNamespace, **options: object) -> StackNamespace:
    made.deploy(**options)  # type: ignore[arg-type]
    return made


def pytest_sessionstart(session: pytest.Session) -> None:
    """A run has a table of its own; its parallel workers write to the same one, and so does a second run of what failed."""
    if not hasattr(session.config, "workerinput") and table.KEEP not in os.environ:
        table.reset()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each fault of this run, in one table."""
    rows = table.read()
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(table.text(rows))
