"""`catalogue`: the probes and actions that a runbook can name, as tables; docs/runbooks.md holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from ..catalogue.actions import ACTIONS
from ..catalogue.base import Action
from ..catalogue.probes import PROBES
from ..domain.world import Risk

TOUCHES = {
    Risk.NONE: "nothing",
    Risk.DISRUPTIVE: "disrupts",
    Risk.DATA: "may lose data",
}


def tables() -> str:
    """Both tables in Markdown."""
    probes = [(f"`{p.name}`", ", ".join(_key(k) for k in p.gives), p.doc) for p in PROBES.values()]
    actions = [(f"`{a.name}`", TOUCHES[a.risk], _cooldown(a.cooldown), _parameters(a), a.doc) for a in ACTIONS.values()]
    return "\n".join(
        [
            *_table(("probe", "its finding gives", "what it looks at"), probes),
            "",
            *_table(("action", "touches", "cooldown", "parameters", "what it does"), actions),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _key(key: str) -> str:
    return f"`{key.replace('*', '<name>')}`"


def _cooldown(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.0f}m" if span else ""


def _parameters(action: Action) -> str:
    fields = action.parameters.model_fields
    return "; ".join(f"`{f.alias or name}` ({f.default}): {f.description}" for name, f in fields.items())
