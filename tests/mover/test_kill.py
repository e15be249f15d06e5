"""SIGKILL at each call to the store, and on a volume at each write to the disk: never half a set, and nothing is left over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Place
from .zygotes import HOUR, RUN, Zygote, backup, catalogue, files, snapshots, verify


@pytest.fixture
def place(request: pytest.FixtureRequest, kind: str) -> Place:
    return request.getfixturevalue("volume" if kind == "volume" else "bucket")  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["volume", "s3"])
def test_killed_anywhere_a_run_leaves_no_half_set(
    zygote: Zygote, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One story a point: kill, list, check, try again, clean up, and look what is left."""
    from .conftest import bucket_place, volume_place

    def fresh(number: int | str) -> Place:
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        if kind == "volume":
            return volume_place(folder)
        return bucket_place(request.getfixturevalue("gateway"), folder, f"kill-{number}-{os.getpid()}")

    whole = zygote.run(backup(fresh("none")))
    assert whole["code"] == 0, whole
    steps = whole["calls"]
    seen = {"before the commit": 0, "after the commit": 0}
    for number in range(len(steps)):
        place = fresh(number)
        killed = zygote.run(backup(place), number)
        assert killed["code"] == -9, (steps[number], killed)
        committed = one_story(zygote, place, steps[number])
        seen["after the commit" if committed else "before the commit"] += 1
    print(f"\n{kind}: {len(steps)} kill points, {seen}")
    assert seen["after the commit"] >= 1


def one_story(zygote: Zygote, place: Place, step: str) -> bool:
    """Whether the killed try had committed."""
    told = zygote.result(catalogue(place, dryRun=True))["catalogue"]
    for entry in told.get("entries", []):
        verdict = zygote.result(verify(place, entry["setId"]))["verdict"]
        assert verdict["verdict"] == "Verified", (step, verdict)
    committed = bool(told.get("entries"))
    again = zygote.result(backup(place, 2))
    assert again["ok"], (step, again)
    assert again["entry"]["setId"] == f"{RUN}.{1 if committed else 2}", step
    # The clean-up does not believe in death before the lease is over, nor without being told.
    early = zygote.result(catalogue(place, deadAttempts=[f"{RUN}.1"]))["catalogue"]
    assert not [c for c in early.get("cleaned", []) if "never complete" in c], (step, early)
    zygote.result(catalogue(place), 2 * HOUR)
    zygote.result(catalogue(place, deadAttempts=[f"{RUN}.1"]), 2 * HOUR)
    late = zygote.result(catalogue(place, deadAttempts=[f"{RUN}.1"]), 40 * HOUR)["catalogue"]
    kept = late["entries"][0]["setId"]
    assert [e["setId"] for e in late["entries"]] == [again["entry"]["setId"]], step
    left = {name for name in files(place) if kept not in name}
    assert left == set(), (step, left)
    assert {name for name in files(place) if "intents/" in name or name.endswith((".part", ".claim"))} == set(), step
    assert snapshots(place) == [], step
    verdict = zygote.result(verify(place, kept))["verdict"]
    assert verdict["verdict"] == "Verified", (step, verdict)
    return committed


@pytest.mark.parametrize("kind", ["volume", "s3"])
def test_a_clean_up_killed_anywhere_goes_on_the_next_time(zygote: Zygote, kind: str, place: Place) -> None:
    dead = catalogue(place, deadAttempts=[f"{RUN}.1"])
    steps = zygote.run(backup(place))["calls"]
    manifest = next(n for n, step in enumerate(steps) if "during put" not in step and "manifest" in step)
    other = backup(place, 1, setId="20261125T030000Z-aaaaaaaa.1")
    assert zygote.run(other, manifest)["code"] == -9
    dead = catalogue(place, deadAttempts=["20261125T030000Z-aaaaaaaa.1"])
    for number in range(200):
        killed = zygote.run(dead, number, 2 * HOUR)
        told = zygote.result(catalogue(place, dryRun=True), 2 * HOUR)["catalogue"]
        assert [e["setId"] for e in told["entries"]] == [f"{RUN}.1"], killed
        if killed["code"] == 0:
            break
    assert not [name for name in files(place) if "sets/20261125T030000Z-aaaaaaaa.1" in name]
    assert zygote.result(verify(place, f"{RUN}.1"))["verdict"]["verdict"] == "Verified"


@pytest.mark.parametrize("kind", ["volume", "s3"])
def test_a_deletion_killed_anywhere_leaves_no_entry_without_its_bytes(zygote: Zygote, kind: str, place: Place) -> None:
    sets = [f"2026112{day}T020000Z-1a2b3c4d.1" for day in range(1, 6)]
    for set_id in sets:
        assert zygote.result(backup(place, setId=set_id, previousBytes=[]))["ok"]
    # Else the first one that is verified below would be the last verified set, and stay.
    zygote.result(verify(place, sets[-1]))
    keep = {"last": 3, "minAgeSeconds": 0, "graceSeconds": 1.0}
    for number in range(300):
        killed = zygote.run(catalogue(place, keep=keep), number, HOUR * number)
        told = zygote.result(catalogue(place, dryRun=True), HOUR * number)["catalogue"]
        assert [e["setId"] for e in told["entries"]][-3:] == sets[2:]
        for entry in told["entries"][:-3]:
            assert zygote.result(verify(place, entry["setId"]))["verdict"]["verdict"] == "Verified", killed
        if killed["code"] == 0 and not gone_left(place, sets[:2]):
            break
    else:
        raise AssertionError("never done")
    assert [e["setId"] for e in told["entries"]] == sets[2:]


def gone_left(place: Place, gone: list[str]) -> list[str]:
    return [name for name in files(place) if any(set_id in name for set_id in gone)]


@pytest.mark.parametrize("kind", ["volume", "s3"])
def test_a_mover_that_was_thought_dead_cannot_commit(zygote: Zygote, kind: str, place: Place) -> None:
    """It sleeps just before its last write while a clean-up takes its place."""
    steps = zygote.run(backup(place, 1, setId="20261124T020000Z-1a2b3c4d.1"))["calls"]
    last = max(n for n, step in enumerate(steps) if step.startswith("before create") and "catalogue/" in step)
    assert zygote.run(backup(place), last)["code"] == -9
    assert zygote.result(catalogue(place, deadAttempts=[f"{RUN}.1"]), 2 * HOUR)["ok"]
    taken = [name for name in files(place) if name.endswith(f"catalogue/{RUN}.1.json")]
    assert len(taken) == 1
    told = zygote.result(backup(place))
    assert (told["ok"], told["reason"]) == (False, "GivenUp"), told
    entries = zygote.result(catalogue(place, dryRun=True))["catalogue"]["entries"]
    assert [e["setId"] for e in entries] == ["20261124T020000Z-1a2b3c4d.1"]
