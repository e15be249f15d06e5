"""People are told although the operator is killed at every kind of write and of send of a storm: nothing is lost, nothing is
repeated without a kill, nobody is late."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.harness.apiserver import ApiServer
from tests.kill import page_storm, pages

pytestmark = pytest.mark.timeout(400)
INCIDENTS, SIDES, MOST = 40, 1, 26
# Generous on a busy machine; `make bench` tells the figure itself.
LATE = 10.0


def test_nothing_is_lost_nor_repeated_without_a_kill(server: ApiServer, tmp_path: Path) -> None:
    seen, late = asyncio.run(page_storm.run(server, "pages-killed", tmp_path, INCIDENTS, SIDES, MOST, within=150.0))
    print(seen.line())
    print("\n".join(seen.kinds))
    assert (seen.lost, seen.doubled, seen.wrong, seen.unfinished) == ([], [], [], [])
    assert seen.kills >= 12
    for kind in pages.AIMS:
        assert any(k.startswith(kind) for k in seen.kinds), (kind, seen.kinds)
    assert max(seen.late) <= LATE, seen.late[-5:]
    # Of two steps that fell due meanwhile only the higher one is told.
    assert pages.superseded(late) == {"teamLead": len(late)}
