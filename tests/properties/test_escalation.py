"""Whatever the order of passes, restarts, acknowledgements and ends: each step at most once, none lost, none after its stop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import Severity, delta
from docuquery_operator.api.communication import Communication
from docuquery_operator.api.incident import Acknowledged, AckState, EscalationEntry
from docuquery_operator.domain.paging import escalation, people

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TALK = Communication()


@dataclass(frozen=True)
class Tick:
    """A pass, this many minutes after the one before, with what people have written meanwhile."""

    wait: float
    ack: str = ""
    takes_back: bool = False
    crash: bool = False


TICKS = st.lists(
    st.builds(
        Tick,
        wait=st.one_of(st.floats(0, 20), st.floats(0, 400)),
        ack=st.sampled_from(["", "", "", "ana", "ben"]),
        takes_back=st.sampled_from([True, *[False] * 7]),
        crash=st.booleans(),
    ),
    max_size=40,
)


@dataclass
class Story:
    """What the passes have told, and the acknowledgement that was in force then."""

    severity: Severity
    path: list[EscalationEntry]
    told: list[tuple[str, datetime, bool]]
    ack: AckState | None = None
    said: Acknowledged | None = None

    def tick(self, tick: Tick, now: datetime) -> None:
        if tick.ack:
            self.said = Acknowledged(by=tick.ack, at=now)
        if tick.takes_back:
            self.said = None
        ack = escalation.taken(self.ack, self.said, self.severity, TALK, START, now) if self.said else None
        if ack is not None and now >= ack.until:
            ack = ack.model_copy(update={"expired": True})
        path, step = escalation.next_step(self.path, escalation.in_force(ack), now)
        if tick.crash:
            # Killed before the write: nothing of this pass is known, and nothing of it was sent.
            return
        self.path, self.ack = [EscalationEntry.model_validate(e.to_wire()) for e in path], ack
        if step is not None:
            self.told.append((step.to, now, escalation.in_force(ack)))


def tell(severity: Severity, ticks: list[Tick]) -> tuple[Story, datetime]:
    story, now = Story(severity, escalation.path(severity, TALK, START), []), START
    for tick in ticks:
        now += timedelta(minutes=tick.wait)
        story.tick(tick, now)
    return story, now


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(Severity)), TICKS)
def test_at_most_once_never_early_never_against_an_acknowledgement(severity: Severity, ticks: list[Tick]) -> None:
    story, _ = tell(severity, ticks)
    frozen = {e.to: e for e in escalation.path(severity, TALK, START)}
    names = [to for to, _, _ in story.told]
    assert len(set(names)) == len(names)
    for to, at, acknowledged in story.told:
        assert at >= frozen[to].due_at
        assert not (acknowledged and frozen[to].unless == "Acknowledged")
    assert names == [e.to for e in escalation.path(severity, TALK, START) if e.to in names]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(Severity)), TICKS)
def test_none_is_lost(severity: Severity, ticks: list[Tick]) -> None:
    """One more pass, much later and with nobody at work: whoever was not told had somebody above him told instead."""
    story, now = tell(severity, ticks)
    story.said = None
    story.tick(Tick(0), now + timedelta(hours=100))
    names = [e.to for e in story.path]
    told = {to for to, _, _ in story.told}
    for place, entry in enumerate(story.path):
        assert entry.to in told or (entry.superseded and any(n in told for n in names[place + 1 :]))


@settings(max_examples=200, deadline=None)
@given(TICKS, TICKS)
def test_an_end_stops_everything(before: list[Tick], later: list[Tick]) -> None:
    """The caller asks for no step once it is over; asking twice at one time gives nothing new."""
    story, now = tell(Severity.P0, before)
    story.tick(Tick(0), now)
    known = len(story.told)
    story.tick(Tick(0), now)
    assert len(story.told) == known


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Etc/UTC", "Asia/Kathmandu"]
    ),
    st.sampled_from([("22:00", "07:00"), ("00:00", "06:30"), ("02:30", "03:00"), ("12:00", "11:00"), ("01:00", "02:30")]),
    st.integers(0, 3 * 24 * 60),
    st.integers(0, 600),
)
def test_quiet_hours_wake_nobody_and_keep_the_order(
    start: datetime, zone: str, hours: tuple[str, str], wait: int, more: int
) -> None:
    talk = Communication.model_validate({"quietHours": {"from": hours[0], "until": hours[1], "timeZone": zone}})
    quiet = talk.quiet_hours
    assert quiet is not None
    first = people.awake_after(quiet, Severity.P2, start, timedelta(minutes=wait))
    second = people.awake_after(quiet, Severity.P2, start, timedelta(minutes=wait + more))
    assert people.end_of_quiet(quiet, first) is None
    assert start + timedelta(minutes=wait) <= first <= second
    assert second - first >= timedelta(minutes=more)
    assert people.awake_after(quiet, Severity.P1, start, timedelta(minutes=wait)) == start + timedelta(minutes=wait)
    assert delta(TALK.response_times.P2) == timedelta(hours=4)
