"""Retention and clean-up on a store that fails at random: nothing that must stay is ever touched, and in the end all is tidy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.domain.backups import retention
from docuquery_operator.domain.backups.layout import Layout
from docuquery_operator.domain.backups.manifest import CatalogueEntry, Intent, Source, Verdict
from docuquery_operator.domain.backups.request import CatalogueRequest
from docuquery_operator.mover import catalogue as module
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.sets import Place
from docuquery_operator.mover.store import Stored

LAYOUT = Layout("", "demo")
SOURCE = Source(namespace="n", stack="demo", backup_job="b", backup_job_uid="u")
START = datetime(2026, 11, 1, tzinfo=UTC)


class Shaky:
    """A store in memory; each call fails with a chance, before or after its effect."""

    where = "memory"

    def __init__(self, chance: random.Random) -> None:
        self.objects: dict[str, bytes] = {}
        self.chance, self.share, self.skew = chance, 0.0, timedelta()
        self.now = START

    def _maybe(self) -> None:
        if self.chance.random() < self.share:
            raise MoverError("StoreError", "not now")

    async def check(self, prefix: str) -> None:
        self._maybe()

    async def create(self, key: str, data: bytes) -> bool:
        self._maybe()
        made = key not in self.objects
        self.objects.setdefault(key, data)
        self._maybe()
        return made

    async def get(self, key: str, limit: int = 0) -> bytes | None:
        self._maybe()
        return self.objects.get(key)

    async def head(self, key: str) -> Stored | None:
        self._maybe()
        return Stored(key, len(self.objects[key]), self.now) if key in self.objects else None

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        self._maybe()
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield Stored(key, len(self.objects[key]), self.now)

    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._maybe()
            self.objects.pop(key, None)
            self._maybe()

    async def sweep(self, prefix: str, before: datetime | None = None) -> int:
        return 0

    async def clock(self) -> datetime | None:
        return self.now + self.skew if self.skew != timedelta.max else None

    def add(self, number: int, state: Any, outcome: str | None, whole: bool) -> str:
        run = f"{self.now:%Y%m%dT%H%M%SZ}-1a2b3c4d"
        set_id = f"{run}.1"
        for name in ("a", "b", "manifest.json")[: 3 if whole else 1 + number % 2]:
            self.objects[LAYOUT.object(set_id, name)] = b"bytes"
        intent = Intent(
            set_id=set_id, holder="h", started_at=self.now, lease_until=self.now + timedelta(hours=1), source=SOURCE
        )
        self.objects[LAYOUT.intent(set_id)] = intent.to_json()
        if whole:
            entry = CatalogueEntry(
                set_id=set_id, run=run, source=SOURCE, state=state, started_at=self.now, finished_at=self.now,
                manifest_sha256="", stored_bytes=1, plain_bytes=1, parts=[],
            )  # fmt: skip
            self.objects[LAYOUT.catalogue(set_id)] = entry.to_json()
        if outcome and whole:
            raw = {"set_id": set_id, "at": self.now, "level": "Checksum", "verdict": outcome, "seconds": 1}
            self.objects[LAYOUT.verdict(set_id, self.now)] = Verdict.model_validate(raw).to_json()
        return set_id

    def bytes_of(self, set_id: str) -> int:
        return sum(key.startswith(LAYOUT.folder(set_id)) for key in self.objects)

    def committed(self) -> list[str]:
        found = [k for k in self.objects if k.startswith(LAYOUT.catalogue())]
        return sorted(k.split("/")[-1][:-5] for k in found if b"givenUp" not in self.objects[k])


def request(dead: list[str], **more: Any) -> CatalogueRequest:
    keep = {"last": 2, "daily": 3, "min_age_seconds": 3600, "grace_seconds": 86400}
    given = {
        "source": SOURCE,
        "destination": {"volume": {"claimName": "c"}},
        "attempt_id": "a",
        "dry_run": False,
        "keep": keep,
    }
    return CatalogueRequest.model_validate({**given, "dead_attempts": dead, **more})


@pytest.mark.parametrize("seed", range(60))
def test_a_failing_store_never_costs_a_set_that_must_stay(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    store = Shaky(chance)
    monkeypatch.setattr(module, "now", lambda: store.now)
    place = Place(store, LAYOUT, Path())
    dead: list[str] = []
    state: dict[str, tuple[bool, bool]] = {}

    def attempt(**more: Any) -> None:
        work = module._Run(request(dead, **more), place, lambda *_: None)
        try:
            asyncio.run(work.run())
        except MoverError as error:
            if error.message != "not now":
                raise
        check(store, state, dead)

    for number in range(25):
        store.now += timedelta(hours=chance.choice([3, 8, 24, 40]))
        whole, good = chance.random() < 0.8, chance.random() < 0.8
        outcome = chance.choice([None, "Verified", "Failed", "Unverifiable"])
        made = store.add(number, "Complete" if good else "Suspicious", outcome, whole)
        if whole:
            state[made] = (good and outcome != "Failed", good and outcome == "Verified")
        else:
            dead.append(made)
        store.share = chance.choice([0.0, 0.02, 0.2])
        store.skew = chance.choice([timedelta()] * 6 + [timedelta(days=400), timedelta(days=-9), timedelta.max])
        attempt()
    store.share, store.skew = 0.0, timedelta()
    store.now += timedelta(days=30)
    for _ in range(40):
        store.now += timedelta(days=2)
        attempt()
    left = set(store.committed())
    assert not [k for k in store.objects if k.startswith((LAYOUT.intent(), LAYOUT.deleted()))]
    assert {k.split("/")[2] for k in store.objects if k.startswith("demo/sets/")} == left
    asyncio.run(module._Run(request(dead, delete_all=True), place, lambda *_: None).run())
    assert store.objects == {}


def check(store: Shaky, state: dict[str, tuple[bool, bool]], dead: list[str]) -> None:
    left = store.committed()
    for set_id in left:
        assert store.bytes_of(set_id) == 3, f"{set_id} has an entry and not all of its bytes"
    for kind in (0, 1):
        wanted = sorted(set_id for set_id, is_so in state.items() if is_so[kind])
        assert not wanted or wanted[-1] in left
    for key in store.objects:
        if key.startswith("demo/sets/"):
            set_id = key.split("/")[2]
            known = [LAYOUT.catalogue(set_id), LAYOUT.deleted(set_id), LAYOUT.intent(set_id)]
            assert any(k in store.objects for k in known), f"nothing knows of the bytes of {set_id}"
    assert not set(left) & set(dead)


def test_the_rules_are_those_of_the_domain() -> None:
    assert retention.DELETIONS == 10
