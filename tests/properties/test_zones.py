"""A sample of all zones and of the days on which their clocks are set; tests/zones has every one of them."""

from __future__ import annotations

import pytest

from tests.zones.compare import TIMES, compare, live
from tests.zones.second import zones


def different() -> list[str]:
    """One zone of those whose clocks are set on the same days, so that none is looked at for another's sake."""
    by_days: dict[tuple[object, ...], str] = {}
    for name, days in zones().items():
        if days:
            by_days.setdefault(days, name)
    return sorted(by_days.values())


def test_zones_whose_clocks_differ() -> None:
    """Six of their changes each, at times that differ from zone to zone."""
    compared = 0
    for number, name in enumerate(different()):
        for day in zones()[name][number % 4 :][:6]:
            compared += compare(name, day, [TIMES[(number + i) % len(TIMES)] for i in (0, 4, 8)])
    assert compared > 500


@pytest.mark.parametrize(
    "name", ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana", "Asia/Beirut"]
)
def test_a_window_opens_at_each_of_its_instants_once(name: str) -> None:
    """Half an hour's change, the one of Ramadan, and those at midnight too."""
    for day in zones()[name][:4]:
        assert sum(live(name, day, *time) for time in ((0, 0), (1, 45), (2, 30))) > 6
