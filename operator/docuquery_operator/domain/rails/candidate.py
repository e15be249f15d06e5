"""A step that is about to be intended, as the checks see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.incident import IncidentStatus, Step
from ...api.runbook import StepSpec
from ...api.stack import Stack
from ..ledger import Ledger
from ..world import PlannedStep, Refusal, World

AUTOMATIC_PHASE = timedelta(hours=1)


@dataclass(frozen=True)
class Candidate:
    """A step that is about to be intended, with all that the checks may look at.

    unsure: a cause that forbids the action and could not be ruled out.
    """

    stack: Stack
    world: World
    status: IncidentStatus
    incident_uid: str
    cause: str
    forbidden: tuple[str, ...]
    spec: StepSpec
    planned: PlannedStep
    now: datetime
    unsure: str = ""

    @property
    def ledger(self) -> Ledger:
        """Attempts on the target, with unfinished old ones counted as failures."""
        return self.world.ledgers.get(self.planned.component, Ledger()).settled(self.now, AUTOMATIC_PHASE)

    @property
    def steps(self) -> list[Step]:
        """Steps of this round that were really tried."""
        return [s for s in self.status.steps if s.round == self.status.round and s.attempt_id]


Check = Callable[[Candidate], Refusal | None]
