"""Every zone of the IANA data, every day of 2024 to 2030 on which its clocks are set: no window missed, none opened twice.

Compared with a second reading of the rule (second.py). The unit stage takes a sample (tests/properties/test_zones.py).
"""

from __future__ import annotations

import pytest

from tests.zones.compare import TIMES, compare
from tests.zones.second import zones

PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_every_zone_and_every_change_of_its_clocks(part: int) -> None:
    compared = 0
    for name, days in list(zones().items())[part::PARTS]:
        # A zone that never changes is looked at on one day.
        for day in days or (zones()["Europe/Berlin"][0],):
            compared += compare(name, day, TIMES)
    assert compared > 1000
