"""What a probe and an action are, and what they get to work with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from ..api.incident import Step
from ..api.runbook import StepSpec
from ..api.stack import Component, Stack
from ..domain.diagnosis.causes import Findings
from ..domain.world import Effect, PlannedStep, Refusal, Risk
from ..ports import Ports


@dataclass
class Round:
    """One round of probes on one Stack: what one probe has read, the others need not read again.

    memory: what probes keep from round to round; losing it costs time, never a wrong answer.
    """

    stack: Stack
    ports: Ports
    timeout: float
    now: datetime
    memory: dict[object, Any] = field(default_factory=dict)
    _shared: dict[object, asyncio.Future[Any]] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Namespace of the Stack."""
        return self.stack.metadata.namespace

    async def once(self, key: object, read: Callable[[], Awaitable[Any]]) -> Any:
        """Read once a round, whoever asks first."""
        if key not in self._shared:
            self._shared[key] = asyncio.ensure_future(read())
        return await asyncio.shield(self._shared[key])


@dataclass(frozen=True)
class ProbeContext:
    """What one probe looks at."""

    round: Round
    name: str
    component: Component


class Probe(Protocol):
    """Reads facts about one component. A fact that cannot be had is left out; the expression then says Unknown.

    gives: the keys of its finding beside `summary`; `*` in one stands for any name.
    """

    name: str
    doc: str
    gives: tuple[str, ...]

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'summary' is one line for people."""


class Parameters(BaseModel):
    """Typed parameters of an action; unknown ones are an error."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


@dataclass(frozen=True)
class PlanContext:
    """What an action may look at when it says what it would do. Pure."""

    stack: Stack
    component_name: str
    component: Component
    findings: Findings
    spec: StepSpec
    facts: Mapping[str, Any]


class Action(Protocol):
    """One remedy. `plan` is pure; `advance` is start-or-find by attempt id and may be called any number of times."""

    name: str
    doc: str
    risk: Risk
    cooldown: timedelta
    repeat: str
    parameters: type[Parameters]

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Exactly what would be done."""

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """What is seen of the effect of this attempt."""

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Begin the effect, or carry it on where it stands."""


@runtime_checkable
class Undoable(Protocol):
    """An action that can put back what it has changed; asked for where a step has not helped and its plan says `undo`.

    `undo: Regressed` asks for it only where a neighbour got worse.
    """

    async def undone(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when nothing is left of what this attempt has set, Absent when that cannot be seen.

        What somebody else has set since is not ours.
        """

    async def undo(self, step: Step, namespace: str, ports: Ports) -> None:
        """Put back what is still as this attempt has set it; may be called any number of times."""


def undoable(action: object) -> Undoable | None:
    """The action where it can put back, else None."""
    return action if isinstance(action, Undoable) else None
