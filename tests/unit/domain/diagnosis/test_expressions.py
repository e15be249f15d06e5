"""CEL with three answers, and without the terminal toolkit that its package brings along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docuquery_operator.domain.diagnosis import expressions

SOURCE = Path(expressions.__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "facts", "answer"),
    [
        ("findings.disk.used >= 95", {"disk": {"used": 96}}, True),
        ("findings.disk.used >= 95", {"disk": {"used": 12}}, False),
        ("findings.disk.used >= 95", {"disk": {}}, None),
        ("findings.disk.used >= 95", {}, None),
        ("findings.disk.used >= 95", {"disk": {"used": None}}, None),
        ("findings.disk.used >= 95", {"disk": {"used": "many"}}, None),
        ("findings.disk.used", {"disk": {"used": 96}}, None),
        ("has(findings.api.database) && findings.api.database == 'down'", {"api": {}}, False),
        ("false && findings.missing.fact", {}, False),
        ("true || findings.missing.fact", {}, True),
        ("findings.missing.fact || true", {}, True),
        ("findings.outcome in ['refused', 'timeout']", {"outcome": "timeout"}, True),
    ],
)
def test_three_answers(text: str, facts: dict[str, object], answer: bool | None) -> None:
    assert expressions.holds(text, {"findings": facts}) is answer


@pytest.mark.parametrize("text", ["findings.", "a >", "if x", "", "a b"])
def test_what_is_not_cel_is_said(text: str) -> None:
    with pytest.raises(expressions.ExpressionError, match="is not CEL"):
        expressions.compile_expression(text)


def test_the_terminal_toolkit_stays_out() -> None:
    unwanted = ("typer", "rich", "prompt_toolkit", "pygments")
    code = (
        "import sys; import docuquery_operator.domain.diagnosis.expressions; "
        f"print([m for m in {unwanted!r} if m in sys.modules]); "
        "import cel; print(cel.compile('1 < 2').execute({}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE)}
    )
    assert done.stdout.split() == ["[]", "True"]
