"""What is possible in a runbook and surely not meant: the operator takes it, `lint` warns of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ..api.common import seconds
from ..api.runbook import CauseSpec, RunbookSpec, StepSpec
from ..catalogue.mistakes import expressions, gives
from ..catalogue.probes import PROBES
from ..catalogue.shared import ALIASES
from ..domain.diagnosis.references import references
from ..domain.rails import LADDER_TIME

Found = tuple[str, str]
STORES = {"PostgreSQL", "Redis", "Qdrant"}
# Dependencies that health answers usually name. Another one is more often a misspelt key.
DEPENDENCIES = {
    *("database", "postgres", "postgresql", "redis", "cache", "qdrant", "vector"),
    *("worker", "celery", "broker", "queue"),
}
# What says that a component does not serve: its own probe fails, or none of its pods is ready.
_DOWN = re.compile(
    r"!\s*findings\.\w+\.(ok|reachable|exists)\b|findings\.\w+\.ready\s*(==\s*0|<\s*1)\b|findings\.\w+\.tcp\s*!="
)


def warnings(spec: RunbookSpec, written: Any) -> Iterator[Found]:
    """Path below spec and message of each; `written` is spec as it stands in the file."""
    yield from _catch_all(spec)
    for cause in spec.causes:
        yield from _remedy(spec, cause)
    yield from _open_keys(spec)
    if "verify" not in written:
        v = spec.verify
        text = f"is left out: settle {v.settle}, symptomClearFor {v.symptom_clear_for}, within {v.within}"
        yield "verify", f"{text}; write down what counts as healed"


def _catch_all(spec: RunbookSpec) -> Iterator[Found]:
    always = next((n for n, c in enumerate(spec.causes) if c.when.strip() == "true"), None)
    if always is None:
        yield "causes", "no cause is left for what nobody thought of; end with {name: Unknown, when: 'true'}"
        return
    for cause in spec.causes[always + 1 :]:
        before = spec.causes[always].name
        yield f"causes[{cause.name}]", f"is never reached: '{before}' before it is always true; put {before} last"


def _remedy(spec: RunbookSpec, cause: CauseSpec) -> Iterator[Found]:
    where = f"causes[{cause.name}]"
    if not cause.remediate and not cause.human:
        yield f"{where}.human", "there is no remedy, so say what a person should do"
    for step in cause.remediate:
        name = step.name or step.action
        if step.action in cause.forbid:
            text = f"the cause forbids {step.action}, so this step is never done; take it out here or in forbid"
            yield f"{where}.remediate[{name}]", text
        if _restarts_a_store(spec, step) and not _down(spec, cause):
            text = "restarts a store for a cause that does not say that it is down; add to `when` that its own probe fails"
            yield f"{where}.remediate[{name}]", f"{text}, such as !findings.ready.ok"
    total = timedelta(seconds=sum(seconds(s.timeout) for s in cause.remediate))
    if total > LADDER_TIME:
        text = f"the time-outs of the steps add up to {_minutes(total)}; the ladder ends after {_minutes(LADDER_TIME)}"
        yield f"{where}.remediate", text


def _restarts_a_store(spec: RunbookSpec, step: StepSpec) -> bool:
    target = ALIASES.get(step.component, "") if step.component else spec.component_type.value
    return step.action == "restartWorkload" and target in STORES


def _down(spec: RunbookSpec, cause: CauseSpec) -> bool:
    """The cause says it, or the symptom does and says nothing else."""
    return bool(_DOWN.search(cause.when) or ("||" not in spec.symptom and _DOWN.search(spec.symptom)))


def _open_keys(spec: RunbookSpec) -> Iterator[Found]:
    probes = {p.name: PROBES[p.probe] for p in spec.diagnose if p.probe in PROBES}
    for path, text in expressions(spec):
        for named in references(text):
            probe = probes.get(named.name) if named.root == "findings" and named.key else None
            if probe is None or "*" not in probe.gives or gives(probe.gives, named.key, by_name=True):
                continue
            if named.key.removesuffix("Error") not in DEPENDENCIES:
                sure = ", ".join(k for k in probe.gives if "*" not in k)
                yield path, f"{named}: {probe.name} gives this only if the answer names it; it surely gives: {sure}"


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.4g}m"
