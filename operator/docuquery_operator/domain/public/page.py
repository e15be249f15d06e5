"""The whole page as one value, from what the API server holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ...api.common import delta
from ...api.maintenance_window import MaintenanceWindow
from ...api.stack import ComponentState, Stack
from .components import PublicComponent, Where, shown_components, titles_of
from .incidents import IncidentFacts, PublicIncident, shown_incident
from .windows import PublicWindow, shown_windows
from .words import BADNESS, HEADLINES, NO_DATA, OPEN_INCIDENT, UNSURE, Impact, Indicator, WindowState

INCIDENTS_SHOWN = 50
WINDOWS_SHOWN = 50
HISTORY = timedelta(days=90)


@dataclass(frozen=True)
class Facts:
    """What was read last, and when the operator has looked at the Stacks last; None: nobody knows."""

    stacks: Sequence[Stack] = ()
    incidents: Sequence[IncidentFacts] = ()
    windows: Sequence[MaintenanceWindow] = ()
    looked: datetime | None = None


@dataclass(frozen=True)
class Page:
    """All that is shown. as_of: the time that the states are of; stale: nobody has looked for longer than promised."""

    title: str
    as_of: datetime | None
    stale: bool
    indicator: Indicator
    headline: str
    components: tuple[PublicComponent, ...] = ()
    incidents: tuple[PublicIncident, ...] = ()
    windows: tuple[PublicWindow, ...] = ()
    today: datetime = field(default=datetime.min)

    @property
    def open_incidents(self) -> tuple[PublicIncident, ...]:
        """Those that are not resolved, newest first."""
        return tuple(i for i in self.incidents if not i.resolved)

    @property
    def past_incidents(self) -> tuple[PublicIncident, ...]:
        """Those that are over, newest first."""
        return tuple(i for i in self.incidents if i.resolved)

    def of_state(self, *states: WindowState) -> tuple[PublicWindow, ...]:
        """Planned work in these states; what comes or goes on in the order of time, what is over newest first."""
        found = [w for w in self.windows if w.state in states]
        return tuple(sorted(found, key=lambda w: w.begin, reverse=states == (WindowState.COMPLETED,)))

    def about(self, title: str) -> Page:
        """Only what concerns one component."""
        return replace(
            self,
            incidents=tuple(i for i in self.incidents if title in i.components),
            windows=tuple(w for w in self.windows if not w.components or title in w.components),
        )


def page_of(facts: Facts, title: str, now: datetime, patience: timedelta) -> Page:
    """now: the viewer's instant, whole minutes are enough; patience: how old the data may be before they are called so."""
    stacks = sorted(facts.stacks, key=lambda s: s.metadata.name)
    titles = titles_of(stacks)
    components = shown_components(stacks, facts.windows, titles, now)
    incidents = _incidents(facts.incidents, stacks, titles, now)
    windows = _windows(facts.windows, titles, now)
    stale = facts.looked is None or now - facts.looked > patience or not components
    indicator, headline = _rollup(components, incidents, stale)
    return Page(
        title=title,
        as_of=facts.looked,
        stale=stale,
        indicator=indicator,
        headline=headline,
        components=tuple(components),
        incidents=tuple(incidents),
        windows=tuple(windows),
        today=now,
    )


def _incidents(
    facts: Iterable[IncidentFacts], stacks: Sequence[Stack], titles: Mapping[Where, str], now: datetime
) -> list[PublicIncident]:
    """Of the Stacks that are shown: all that are open, and of those that are over the newest."""
    cadence = {s.metadata.name: delta(s.spec.communication.updates.stakeholders) for s in stacks}
    found = []
    for fact in facts:
        if fact.stack not in cadence or (fact.resolved_at is not None and now - fact.resolved_at > HISTORY):
            continue
        own = [title for (stack, _), title in titles.items() if stack == fact.stack]
        title = titles.get((fact.stack, fact.component or ""))
        found.append(shown_incident(fact, [title] if title else own, title is None, cadence[fact.stack]))
    newest = sorted(found, key=lambda i: (i.opened_at, i.id), reverse=True)
    open_ = [i for i in newest if not i.resolved][:INCIDENTS_SHOWN]
    past = [i for i in newest if i.resolved][: INCIDENTS_SHOWN - len(open_)]
    return sorted([*open_, *past], key=lambda i: (i.opened_at, i.id), reverse=True)


def _windows(windows: Iterable[MaintenanceWindow], titles: Mapping[Where, str], now: datetime) -> list[PublicWindow]:
    stacks = {stack for stack, _ in titles}
    found: list[PublicWindow] = []
    for window in windows:
        stack = window.spec.stack_ref.name
        if stack not in stacks:
            continue
        named = [titles[stack, name] for name in window.spec.components if (stack, name) in titles]
        # Of one Stack among several, "all" is said by its components' titles.
        if not named and len(stacks) > 1:
            named = [title for (of, _), title in titles.items() if of == stack]
        found += shown_windows(window, named, now)
    coming = [w for w in found if w.state is not WindowState.COMPLETED]
    past = sorted((w for w in found if w.state is WindowState.COMPLETED), key=lambda w: w.begin, reverse=True)
    kept = [w for w in past if now - w.end <= HISTORY]
    return sorted(coming, key=lambda w: w.begin)[:WINDOWS_SHOWN] + kept[:WINDOWS_SHOWN]


def _rollup(
    components: Sequence[PublicComponent], incidents: Sequence[PublicIncident], stale: bool
) -> tuple[Indicator, str]:
    """The worst component decides; an open incident is never called operational."""
    states = [c.state for c in components]
    worst = max(states, key=BADNESS.index, default=ComponentState.UNKNOWN)
    if stale:
        return Indicator.MINOR, NO_DATA
    if worst is ComponentState.MAJOR_OUTAGE:
        all_down = all(s is ComponentState.MAJOR_OUTAGE for s in states)
        indicator = Indicator.CRITICAL if all_down else Indicator.MAJOR
        return indicator, HEADLINES[indicator]
    if worst in (ComponentState.DEGRADED, ComponentState.PARTIAL_OUTAGE):
        return Indicator.MINOR, HEADLINES[Indicator.MINOR]
    open_ = [i for i in incidents if not i.resolved and i.impact is not Impact.NONE]
    if open_:
        return Indicator.MINOR, OPEN_INCIDENT
    if worst is ComponentState.UNKNOWN:
        return Indicator.MINOR, UNSURE
    indicator = Indicator.MAINTENANCE if worst is ComponentState.UNDER_MAINTENANCE else Indicator.NONE
    return indicator, HEADLINES[indicator]
