"""One release of the operator for all scenarios, and a stack of its own for each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
