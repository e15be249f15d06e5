"""Any order of passes, answers, ends, failing channels and kills: nothing is lost, nothing comes more often than it was killed for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import HealMode, LocalRef, ObjectMeta, Severity
from docuquery_operator.api.communication import Communication
from docuquery_operator.api.incident import Acknowledged, Incident, IncidentSpec, IncidentStatus, Phase, ResolvedByHand
from docuquery_operator.api.stack import Healing, Stack, StackSpec
from docuquery_operator.domain.incidents.bounds import STATUS_LIMIT
from docuquery_operator.domain.incidents.healing import decide
from docuquery_operator.domain.paging.messages import KINDS, Message, message
from docuquery_operator.domain.world import Delivery, World

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CHANNELS = ("slack", "pagerduty", "phone", "email", "webhook", "apprise")
TALK = Communication.model_validate(
    {
        "contacts": {
            "onCall": ["a@example.org"],
            "teamLead": ["b@example.org"],
            # Whom no mail reaches is never told by mail alone, however long one waits.
            "engineeringManager": ["m@example.org"],
            "cto": ["c@example.org"],
            "stakeholders": ["s@example.org"],
        },
        "channels": {c: {"secretRef": {"secretName": c}} for c in CHANNELS},
    }
)


@dataclass(frozen=True)
class Tick:
    """One pass: how long after the last one, what people did before it, which channels work now, and whether it is killed."""

    wait: float
    act: str = ""
    broken: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    kill: str = ""


TICKS = st.lists(
    st.builds(
        Tick,
        wait=st.one_of(st.floats(0, 3), st.floats(0, 60), st.floats(0, 7200)),
        act=st.sampled_from([*[""] * 12, "ack", "ack", "takeBack", "resolve", "refire", "raise"]),
        broken=st.lists(st.sampled_from(CHANNELS), max_size=5, unique=True).map(tuple),
        lost=st.lists(st.sampled_from(CHANNELS), max_size=2, unique=True).map(tuple),
        kill=st.sampled_from([*[""] * 6, "beforeWrite", "beforeSend", "afterSend"]),
    ),
    max_size=30,
)


@dataclass
class Life:
    """An incident, its Stack and people's phones."""

    channels: tuple[str, ...]
    now: datetime = START
    spec: IncidentSpec = field(
        default_factory=lambda: IncidentSpec(
            stack_ref=LocalRef(name="docuquery"), type="DatabaseConnectionFailure", severity=Severity.P1
        )
    )
    status: IncidentStatus | None = None
    results: dict[str, Delivery] = field(default_factory=dict)
    got: list[tuple[datetime, str, Message]] = field(default_factory=list)
    kills: int = 0

    def __post_init__(self) -> None:
        talk = TALK.model_copy(update={"channels": {c: TALK.channels[c] for c in self.channels}})  # type: ignore[index]
        spec = StackSpec(components={}, healing=Healing(mode=HealMode.OFF), communication=talk)
        self.stack = Stack(metadata=ObjectMeta(name="docuquery", namespace="docuquery"), spec=spec)

    @property
    def incident(self) -> Incident:
        meta = ObjectMeta(name="db-down", namespace="docuquery", uid="uid-1", creation_timestamp=START)
        return Incident(metadata=meta, spec=self.spec, status=self.status)

    def people(self, act: str) -> None:
        changes: dict[str, Any] = {
            "ack": {"acknowledged": Acknowledged(by="ana", at=self.now)},
            "takeBack": {"acknowledged": None},
            "resolve": {"resolved": ResolvedByHand(by="ana", at=self.now)},
            "refire": {"refired_at": self.now, "resolved": None},
            "raise": {"severity": Severity.P0},
        }.get(act, {})
        self.spec = self.spec.model_copy(update=changes)

    def tick(self, tick: Tick) -> None:
        self.now += timedelta(seconds=tick.wait)
        self.people(tick.act)
        world = World(stack=self.stack, deliveries=dict(self.results))
        plan = decide(self.incident, world, self.now)
        again = decide(self.incident, world, self.now)
        assert again.status == plan.status
        assert again.send == plan.send
        assert len(plan.status.to_wire()["conditions"]) <= 16
        if tick.kill == "beforeWrite":
            return self.die()
        self.status = IncidentStatus.model_validate(plan.status.to_wire())
        self.results.clear()
        if tick.kill == "beforeSend":
            return self.die()
        for note in plan.send:
            lost = note.channel in tick.lost
            text = message(self.incident, self.stack, note, self.now)
            accepted = note.channel not in tick.broken
            if accepted:
                self.got.append((self.now, note.channel, text))
            if not lost:
                self.results[note.key] = Delivery(accepted, self.now, "ok" if accepted else "HTTP 503")
        # What has no answer is as if the process had died while it was on its way.
        self.kills += bool(tick.lost)
        if tick.kill == "afterSend":
            return self.die()
        return None

    def die(self) -> None:
        self.results.clear()
        self.kills += 1

    def settle(self) -> None:
        """Everything works, and time passes."""
        for _ in range(12):
            self.tick(Tick(400))


def live(channels: tuple[str, ...], ticks: list[Tick]) -> Life:
    life = Life(channels)
    for tick in ticks:
        life.tick(tick)
    return life


CHOSEN = st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=5, unique=True).map(tuple)


@settings(max_examples=60, deadline=None)
@given(CHOSEN, TICKS)
def test_no_message_comes_more_often_than_the_process_died(channels: tuple[str, ...], ticks: list[Tick]) -> None:
    life = live(channels, ticks)
    life.settle()
    for _, times in Counter((c, m.key) for _, c, m in life.got).items():
        assert times <= 1 + life.kills
    assert life.status is not None
    assert len(life.status.notifications) <= 64
    assert len(str(life.status.to_wire())) < STATUS_LIMIT


@settings(max_examples=60, deadline=None)
@given(CHOSEN, TICKS)
def test_in_the_end_everybody_has_it_and_knows_that_it_is_over(channels: tuple[str, ...], ticks: list[Tick]) -> None:
    life = live(channels, ticks)
    life.settle()
    assert life.status is not None
    if life.status.phase is not Phase.RESOLVED:
        for entry in life.status.escalation:
            fresh = life.now - entry.due_at < timedelta(seconds=1000)
            assert entry.sent_at is not None or entry.superseded or fresh or entry.unless == "Acknowledged"
        life.people("resolve")
        life.settle()
        assert life.status.phase is Phase.RESOLVED
    assert not [n for n in life.status.notifications if n.unfinished]
    last: dict[tuple[str, str], str] = {}
    for _, channel, text in life.got:
        if channel in ("pagerduty", "phone") and text.kind in ("trigger", "resolve"):
            last[channel, text.alert] = text.kind
    assert set(last.values()) <= {"resolve"}


@settings(max_examples=50, deadline=None)
@given(CHOSEN, TICKS)
def test_nobody_is_called_while_somebody_has_it_or_after_the_end(channels: tuple[str, ...], ticks: list[Tick]) -> None:
    life = Life(channels)
    for tick in [replace(t, kill="", lost=()) for t in ticks]:
        before = len(life.got)
        life.tick(tick)
        assert life.status is not None
        fresh = [m for _, _, m in life.got[before:]]
        ack = life.status.acknowledgement
        stops = {e.to for e in life.status.escalation if e.unless == "Acknowledged"}
        for text in fresh:
            assert text.kind == KINDS[text.what]
            if life.status.phase is Phase.RESOLVED:
                assert text.what == "Resolved"
            if ack is not None and not ack.expired and text.what == "Step":
                assert text.to not in stops
