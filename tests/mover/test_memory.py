"""What a mover needs does not grow with the database: pod memory and local disk."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.harness.weighed import weigh
from tests.stack.services import Postgres, open_folder, prepared, running

from .large import LIMIT, MIB, back_up, fill

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
SIZE = 200
# Between a small database and this one. Whoever keeps even half of it in memory needs more.
GROWTH = 60 * MIB


def test_the_scales_see_children_and_stop_what_is_too_large(tmp_path: Path) -> None:
    """Else the other test would prove nothing."""
    take = "import subprocess, sys, time; x = bytearray({0} << 20); time.sleep(0.5)"
    child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {take.format(100)!r}]).returncode)"
    seen = weigh([sys.executable, "-c", child], os.environ, LIMIT, tmp_path)
    assert seen.code == 0
    assert 100 * MIB < seen.peak < 200 * MIB
    if seen.limited:
        assert weigh([sys.executable, "-c", take.format(400)], os.environ, LIMIT, tmp_path).code != 0


def test_two_hundred_mebibytes_pass_through_without_staying() -> None:
    with open_folder("large") as folder:
        postgres = Postgres(prepared(folder / "postgres"))
        with running(postgres):
            fill(postgres, "small", 0)
            size = fill(postgres, "large", SIZE)
            assert size >= SIZE * MIB
            small, large = (back_up(postgres, name, prepared(folder / f"of-{name}")) for name in ("small", "large"))
    for each in (small, large):
        assert each.code == 0, each.output
        assert each.spool == 0
        assert json.loads(each.output.splitlines()[-1])["entry"]["state"] == "Complete"
    assert json.loads(large.output.splitlines()[-1])["entry"]["plainBytes"] > 0.9 * SIZE * MIB
    print(
        f"\n{small.peak / MIB:.0f} MiB for a part, {large.peak / MIB:.0f} MiB for {size / MIB:.0f}; limited: {large.limited}"
    )
    assert large.peak - small.peak < GROWTH
    assert large.peak < LIMIT
