"""The facts that a decision rests on: what one pass has read before it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ..api.common import Severity
from ..api.runbook import RunbookSpec, StepSpec
from ..api.stack import Stack
from .detection.thresholds import Level
from .diagnosis.causes import Verdict
from .ledger import Ledger


class Risk(StrEnum):
    """What a step can cost."""

    NONE = "none"
    DISRUPTIVE = "disruptive"
    DATA = "data"


class EffectState(StrEnum):
    """What is seen in the world of a step's effect, looked for by its attempt id."""

    ABSENT = "Absent"
    IN_PROGRESS = "InProgress"
    BLOCKED = "Blocked"
    DONE = "Done"


@dataclass(frozen=True)
class Effect:
    """An effect found, or not. in_parts: what is left of it may wait, as each part is whole by itself."""

    state: EffectState
    message: str = ""
    in_parts: bool = False


@dataclass(frozen=True)
class PlannedStep:
    """Exactly what a step would do; `plan` is what an approval is bound to.

    git: who would put the changed field back, '' when nobody would. backup: a step that risks data needs a verified
    backup. two_persons: the one who opened the incident may not be the only one who wants it.
    """

    action: str
    component: str
    risk: Risk
    plan: Mapping[str, Any]
    summary: str
    cooldown: timedelta = timedelta(0)
    needs_approval: bool = False
    restarts: bool = False
    git: str = ""
    backup: bool = True
    two_persons: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why something is not done, with the figure and when it may be tried again."""

    rule: str
    reason: str
    message: str
    next_allowed_at: datetime | None = None


@dataclass(frozen=True)
class Streak:
    """The newest verdict and how many rounds in a row agree with it.

    symptom_rounds, cause_rounds: those an interval apart, on which healing rests. looks, cause_looks: with those that came
    at once after a held connection broke; they suffice to open an incident, not to act.
    """

    verdict: Verdict
    symptom_rounds: int
    cause_rounds: int
    since: datetime
    looks: int = 0
    cause_looks: int = 0

    @property
    def cause_name(self) -> str:
        """Name of the cause, empty without one."""
        return self.verdict.diagnosis.name if self.verdict.diagnosis else ""


@dataclass(frozen=True)
class Neighbour:
    """Health of one component: None is unknown; rounds in a row, and looks as in a streak.

    level: its service level, where it is known. host: the address that was asked, '' for none.
    """

    healthy: bool | None
    rounds: int
    summary: str = ""
    level: Level | None = None
    level_words: str = ""
    looks: int = 0
    host: str = ""


@dataclass(frozen=True)
class Target:
    """What rails need to know of a component before it is touched.

    own: it is the operator itself. gap: why a restart leaves no pod serving for a while, '' when one stays.
    restarted_at: when the operator itself last ordered a restart of it.
    share: how many of its pods a rolling restart takes at once, in words, where that is more than a quarter and some
    still serve; '' otherwise.
    """

    foreign_rollout_at: datetime | None = None
    foreign_rollout: str = ""
    own: bool = False
    gap: str = ""
    share: str = ""
    restarted_at: datetime | None = None


@dataclass(frozen=True)
class Delivery:
    """What became of one try to send a message. hard: trying again soon is of no use."""

    accepted: bool
    at: datetime
    note: str = ""
    hard: bool = False
    retry_after: timedelta = timedelta(0)


@dataclass(frozen=True)
class Quiet:
    """An open maintenance window that changes paging. components: those it covers, none for the whole Stack."""

    name: str
    until: datetime
    mute: bool
    components: frozenset[str] = frozenset()
    pierce: frozenset[Severity] = frozenset()


@dataclass(frozen=True)
class Problem:
    """The incident cannot be worked on until a person mends this."""

    reason: str
    message: str


Planner = Callable[[StepSpec], PlannedStep | Refusal]


@dataclass(frozen=True)
class World:
    """All facts of one pass. What could not be looked up is named in `failed_lookups`.

    quiets: windows that change paging, None where they could not be read.
    deliveries: tries to send that have ended, by the key of the outbox. channel_works: the channel that the incident is
    about has taken a message since. follow_ups: those of earlier incidents of this type that are open, by cause.
    """

    stack: Stack | None = None
    runbook: RunbookSpec | None = None
    runbook_source: str = ""
    component: str = ""
    problem: Problem | None = None
    streak: Streak | None = None
    planner: Planner | None = None
    effect: Effect | None = None
    undone: Effect | None = None
    ledgers: Mapping[str, Ledger] = field(default_factory=dict)
    neighbours: Mapping[str, Neighbour] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    blocking_windows: Mapping[str, str] = field(default_factory=dict)
    restoring: str = ""
    failed_lookups: tuple[str, ...] = ()
    fence: int = 0
    leading: bool = True
    alive_since: datetime | None = None
    quiets: tuple[Quiet, ...] | None = ()
    deliveries: Mapping[str, Delivery] = field(default_factory=dict)
    channel_works: bool = False
    follow_ups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
