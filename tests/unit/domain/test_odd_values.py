"""Values that the API server accepts and nobody means: none of them may crash a pass or keep the process busy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from docuquery_operator.api.common import ObjectMeta, delta, rate, seconds
from docuquery_operator.api.detection import Detection
from docuquery_operator.api.incident import Incident
from docuquery_operator.api.stack import ComponentState, ComponentStatus, Healing, Stack, StackSpec
from docuquery_operator.controllers.evidence import name_of
from docuquery_operator.controllers.ledgers import label_of, lease_name
from docuquery_operator.domain.detection.components import MISSING, component_statuses, stack_conditions
from docuquery_operator.domain.diagnosis.expressions import ExpressionError, compile_expression, holds
from docuquery_operator.domain.rails import first_refusal
from docuquery_operator.domain.rails.past import target_budget
from docuquery_operator.domain.world import Neighbour
from tests.unit.domain.rails.test_rails import candidate

NOW = datetime(2026, 11, 25, tzinfo=UTC)
YEAR = timedelta(days=366)


@pytest.mark.parametrize("text", ["9999999999h", "99999999999999999999999999999h", "8784h1ms"])
def test_a_duration_is_at_most_a_year(text: str) -> None:
    assert delta(text) == YEAR
    assert rate(f"1/{text.removesuffix('1ms')}") == (1, YEAR)
    assert seconds("1h") == 3600.0


def test_a_budget_per_no_time_bounds_all_the_same() -> None:
    assert rate("3/0s") == (3, timedelta(hours=1))


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "0000-01-01T00:00:00Z"])
def test_a_time_out_of_range_is_a_mistake_of_the_object(text: str) -> None:
    spec = {"stackRef": {"name": "a"}, "type": "A", "refiredAt": text}
    with pytest.raises(ValidationError, match="refiredAt"):
        Incident.model_validate({"metadata": {"name": "a"}, "spec": spec})


@pytest.mark.parametrize("given", [("0s", "0s"), ("1ms", "0ms"), ("0h", "99999999h")])
def test_the_pace_of_probes_has_bounds(given: tuple[str, str]) -> None:
    detection = Detection(interval=given[0], timeout=given[1])
    assert detection.pace == 0.5
    assert 0.1 <= detection.patience <= 30.0
    assert (Detection().pace, Detection().patience) == (5.0, 3.0)


def test_a_budget_of_zero_refuses_for_ever() -> None:
    given = candidate()
    spec = StackSpec(components={}, healing=Healing.model_validate({"budget": {"perTarget": "0/1h"}}))
    none = Stack(metadata=given.stack.metadata, spec=spec)
    refusal = target_budget(type(given)(**{**vars(given), "stack": none}))
    assert refusal is not None
    assert (refusal.reason, refusal.next_allowed_at) == ("BudgetUsedUp", None)
    assert first_refusal(given) is None


@pytest.mark.parametrize(
    "text", ["1 / 0 == 1", "1 % 0 == 1", "9223372036854775807 + 1 > 0", "uint(-1) > 0u", "int(1e300) > 0"]
)
def test_arithmetic_without_a_result_is_no_answer(text: str) -> None:
    assert holds(text, {}) is None
    assert holds(f"true || {text}", {}) is True


NESTED = "[1].map(a, [1].map(b, [1].map (c, 1))) == []"
COSTLY = [
    NESTED,
    NESTED.replace("map (", "map // x\n ("),
    "[1].all(a, true) && [1].exists(a, true) && [1].filter(a, true) == []",
]


@pytest.mark.parametrize("text", COSTLY)
def test_an_expression_that_could_take_too_long_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="too long: at most 2"):
        compile_expression(text)
    assert holds("[1, 2].exists(a, [2].all(b, a == b))", {}) is True


@pytest.mark.parametrize(
    ("text", "name"), [("open('/etc/passwd')", "open"), ("'a'.exec('b')", "exec"), ("finding.api.ok", "finding")]
)
def test_a_name_that_there_is_not_is_said_at_once(text: str, name: str) -> None:
    with pytest.raises(ExpressionError, match=f" {name}, which there is not"):
        compile_expression(text)


KNOWN = (
    "has(findings.a.b) && size(findings.a) > parameters.limit ? type(1) == int : 'x'.matches('y')",
    "timestamp('2026-01-01T00:00:00Z').getHours() == 0 && duration('1h') > duration('1s')",
    "!findings.ready.ok && findings.ready.outcome in ['refused', 'timeout'] && -1 < findings.list[0]",
    "findings.sessions.exists(s, s.idle > 30)",
)


@pytest.mark.parametrize("text", KNOWN)
def test_names_of_the_language_are_known(text: str) -> None:
    compile_expression(text)


LONG = "s" * 170 + "." + "s" * 82


def test_long_names_fit_where_they_are_written() -> None:
    assert label_of("docuquery") == "docuquery"
    assert lease_name("docuquery", "postgres") == "docuquery-target-docuquery-postgres"
    assert len(label_of(LONG)) <= 63
    assert label_of(LONG) != label_of(LONG + "t")
    assert len(lease_name(LONG, "c" * 63)) <= 253
    name = "i" * 239 + "." + "i" * 13
    incident = Incident.model_validate({"metadata": {"name": name}, "spec": {"stackRef": {"name": "a"}, "type": "A"}})
    assert name_of(incident) == "i" * 239 + "-report"


def _stack() -> Stack:
    component: dict[str, Any] = {"type": "Redis", "workload": {"kind": "StatefulSet", "name": "redis"}}
    return Stack(metadata=ObjectMeta(name="s"), spec=StackSpec.model_validate({"components": {"redis": component}}))


@pytest.mark.parametrize(("was", "now", "stalled"), [(MISSING, "no endpoint", "False"), ("no endpoint", MISSING, "True")])
def test_a_workload_that_comes_or_goes_while_its_component_is_down_is_said(was: str, now: str, stalled: str) -> None:
    before = ComponentStatus(name="redis", state=ComponentState.MAJOR_OUTAGE, since=NOW, summary=was)
    later = NOW + timedelta(minutes=1)
    states = component_statuses(_stack(), {"redis": Neighbour(False, 9, now)}, [before], later)
    assert (states[0].state, states[0].since, states[0].summary) == (ComponentState.MAJOR_OUTAGE, NOW, now)
    conditions = {c.type: c.status for c in stack_conditions(_stack(), states, [], later)}
    assert conditions["Stalled"] == stalled


def test_another_reason_of_the_same_outage_is_not_written_each_time() -> None:
    before = ComponentStatus(name="redis", state=ComponentState.MAJOR_OUTAGE, since=NOW, summary="refused; 1 restarts")
    seen = {"redis": Neighbour(False, 9, "refused; 2 restarts")}
    assert component_statuses(_stack(), seen, [before], NOW + timedelta(minutes=1)) == [before]
