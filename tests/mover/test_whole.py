"""The set as a whole: what is committed, what is refused, what a check says, what the catalogue tells."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from docuquery_operator.domain.backups.layout import Layout
from docuquery_operator.domain.backups.manifest import CatalogueEntry, Manifest, sha256
from docuquery_operator.mover import catalogue as catalogue_module
from docuquery_operator.mover.backup import suspicion
from docuquery_operator.mover.contracts import MoverError

from .conftest import Place
from .zygotes import RUN, Zygote, backup, base, catalogue, files, verify

LAYOUT = Layout("backups/demo", "demo")
SET = f"{RUN}.1"


@pytest.fixture
def place(volume: Place) -> Place:
    return volume


def read(place: Place, key: str) -> Any:
    return json.loads((place.files / key).read_bytes())


def test_a_set_is_what_its_entry_and_manifest_say(zygote: Zygote, place: Place) -> None:
    told = zygote.result(backup(place))
    assert (told["ok"], told["reason"], told["entry"]["parts"]) == (
        True,
        "Complete",
        ["postgres", "qdrant", "configuration"],
    )
    entry = CatalogueEntry.model_validate(read(place, LAYOUT.catalogue(SET)))
    raw = (place.files / LAYOUT.manifest(SET)).read_bytes()
    manifest = Manifest.model_validate_json(raw)
    assert entry.manifest_sha256 == sha256(raw)
    assert entry.stored_bytes == sum(o.stored_bytes for o in manifest.objects)
    assert [o.name for o in manifest.objects][:2] == ["postgres/app.dump", "postgres/globals.sql"]
    assert manifest.durations.keys() == {"postgres", "qdrant", "configuration", "check"}
    assert manifest.qdrant is not None
    assert manifest.postgres is not None
    assert manifest.postgres.cut_at <= manifest.qdrant.cut_at


def test_the_restore_text_holds_commands_that_name_this_set(zygote: Zygote, place: Place) -> None:
    zygote.result(backup(place))
    text = (place.files / LAYOUT.object(SET, "RESTORE.txt")).read_text()
    assert f"docuquery-restore unpack {SET} --from FOLDER --to ./set" in text
    assert "pg_restore --exit-on-error --jobs=4 --dbname=app_restored ./set/postgres/app.dump" in text
    assert "-F snapshot=@./set/qdrant/docs/0.snapshot" in text
    assert "kubectl apply -n default -f ./set/configuration/configmaps.yaml" in text


def test_the_same_try_again_is_not_made_twice(zygote: Zygote, place: Place) -> None:
    first = zygote.result(backup(place))
    before = files(place)
    for attempt in (1, 2):
        again = zygote.result(backup(place, attempt))
        assert (again["ok"], again["reason"], again["entry"]) == (True, "AlreadyComplete", first["entry"])
    assert files(place) == before


def test_a_try_that_another_process_has_begun_is_left_to_it(zygote: Zygote, place: Place) -> None:
    zygote.run(backup(place), 12)
    told = zygote.result(backup(place))
    assert (told["ok"], told["reason"], told["retry"]) == (False, "SetTaken", True)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"postgres": {"server": {"host": "d", "port": 9}, "databases": ["void"]}}, "database app has no table"),
        ({"qdrant": {"server": {"host": "q", "port": 9}, "collections": []}}, "Qdrant has no collection"),
    ],
)
def test_nothing_saved_is_a_failure_unless_it_is_allowed(zygote: Zygote, place: Place, part: Any, said: str) -> None:
    told = zygote.result(backup(place, **part))
    assert (told["ok"], told["reason"], told["retry"]) == (False, "NothingSaved", False)
    assert told["message"] == f"{said}; set allowEmpty: true if that is right"
    assert not [name for name in files(place) if "catalogue" in name]
    assert zygote.result(backup(place, 2, allowEmpty=True, **part))["ok"]


def test_a_set_much_smaller_than_usual_is_kept_and_suspicious(zygote: Zygote, place: Place) -> None:
    told = zygote.result(backup(place, previousBytes=[1_000_000, 900_000]))
    assert (told["ok"], told["entry"]["state"]) == (True, "Suspicious")
    assert "less than half of the usual" in told["entry"]["reason"]


def test_what_is_suspicious() -> None:
    assert suspicion(50, [100]) == ""
    assert suspicion(49, [100, 10_000]) != ""
    assert suspicion(1, []) == ""
    assert suspicion(49, [100, 90, 1, 100, 100, 2, 2, 2, 2]) != ""


def test_a_lease_that_is_over_stops_it_before_the_commit(zygote: Zygote, place: Place) -> None:
    told = zygote.result(backup(place, leaseSeconds=0))
    assert (told["ok"], told["reason"]) == (False, "LeaseLost")
    assert not [name for name in files(place) if "catalogue" in name or "sets/" in name]


def test_a_volume_without_room_is_told_before(zygote: Zygote, place: Place) -> None:
    told = zygote.result(backup(place, previousBytes=[10**15]))
    assert (told["ok"], told["reason"]) == (False, "StoreFull")
    assert not files(place)


def test_a_crash_still_tells_a_result(zygote: Zygote, place: Place) -> None:
    told = zygote.run(backup(place, qdrant={"server": {"host": "q", "port": 9}, "collections": ["a b"]}))
    assert told["code"] == 1
    assert (told["lines"][-1]["ok"], told["lines"][-1]["reason"]) == (False, "Crashed")
    assert "is no name for a new object" in told["lines"][-1]["message"]


@pytest.mark.parametrize("request_", [{}, {"command": "dance"}, {"command": "verify"}])
def test_a_request_that_cannot_be_read_is_told(zygote: Zygote, request_: Any) -> None:
    told = zygote.run(request_)
    assert (told["code"], told["lines"][-1]["reason"], told["lines"][-1]["retry"]) == (2, "BadRequest", False)


def test_a_backup_deletes_nothing(zygote: Zygote, place: Place) -> None:
    """Its account needs no such right."""
    assert not [call for call in zygote.run(backup(place))["calls"] if "delete" in call]


async def test_a_store_that_overwrites_is_not_used(volume: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from docuquery_operator.domain.backups.request import BackupRequest
    from docuquery_operator.mover import backup as module
    from docuquery_operator.mover.volume import Volume

    async def overwriting(self: Volume, key: str, data: bytes) -> bool:
        self._path(key).parent.mkdir(parents=True, exist_ok=True)
        self._path(key).write_bytes(data)
        return True

    monkeypatch.setattr(Volume, "create", overwriting)
    with pytest.raises(MoverError, match="use a store that refuses") as caught:
        await module.back_up(BackupRequest.model_validate(backup(volume)), lambda *_: None)
    assert (caught.value.reason, caught.value.retry) == ("StoreUnfit", False)


# Checks


def spoiled(place: Place, key: str, change: Any) -> None:
    path = place.files / key
    path.write_bytes(change(path.read_bytes()))


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def test_a_sound_set_is_verified_and_the_verdict_kept(zygote: Zygote, place: Place) -> None:
    zygote.result(backup(place))
    told = zygote.result(verify(place, SET))
    verdict = told["verdict"]
    assert (told["ok"], told["reason"], verdict["verdict"], verdict["level"]) == (
        True,
        "CheckVerified",
        "Verified",
        "Checksum",
    )
    assert {c["name"] for c in verdict["checks"]} >= {"committed", "checksum/postgres/app.dump"}
    kept = [name for name in files(place) if "verdicts/" in name]
    assert len(kept) == 1
    assert read(place, kept[0]) == verdict
    seen = zygote.result(catalogue(place))["catalogue"]
    assert [v["verdict"] for v in seen["verdicts"]] == ["Verified"]


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        (LAYOUT.object(SET, "postgres/app.dump"), flip, r"checksum/postgres/app\.dump: stored SHA-256"),
        (LAYOUT.object(SET, "qdrant/docs/0.snapshot"), lambda d: d[:-1], r"committed: qdrant/docs/0\.snapshot has"),
        (LAYOUT.manifest(SET), flip, "is not the one that was committed"),
        (LAYOUT.manifest(SET), lambda _: b"{}", "is not the one that was committed"),
        (LAYOUT.catalogue(SET), lambda _: b"{", "is not an entry of a catalogue"),
    ],
)
def test_a_spoiled_set_fails(zygote: Zygote, place: Place, key: str, change: Any, said: str) -> None:
    zygote.result(backup(place))
    spoiled(place, key, change)
    told = zygote.result(verify(place, SET))
    assert (told["ok"], told["reason"], told["verdict"]["verdict"]) == (False, "CheckFailed", "Failed")
    assert re.search(said, told["verdict"]["reason"])


def test_an_older_set_under_the_name_of_a_newer_one_is_found(zygote: Zygote, place: Place) -> None:
    """A replay: entry, manifest and objects of an old set, all whole, in place of the newest."""
    old = "20261101T020000Z-1a2b3c4d.1"
    zygote.result(backup(place, setId=old, qdrant={"server": {"host": "q", "port": 6333}, "collections": ["docs"]}))
    new = zygote.result(backup(place))["entry"]
    for name in files(place):
        if old in name and "intents/" not in name:
            (place.files / name.replace(old, SET)).write_bytes((place.files / name).read_bytes())
    assert zygote.result(verify(place, SET))["verdict"]["verdict"] == "Failed"
    # Even with all names inside rewritten, the cluster knows the hash of the manifest.
    manifest = (place.files / LAYOUT.manifest(SET)).read_bytes().replace(old.encode(), SET.encode())
    manifest = manifest.replace(old[:-2].encode(), RUN.encode())
    (place.files / LAYOUT.manifest(SET)).write_bytes(manifest)
    entry = {**read(place, LAYOUT.catalogue(old)), "setId": SET, "run": RUN, "manifestSha256": sha256(manifest)}
    (place.files / LAYOUT.catalogue(SET)).write_text(json.dumps(entry))
    assert zygote.result(verify(place, SET))["verdict"]["verdict"] == "Verified"
    known = {**verify(place, SET), "manifestSha256": new["manifestSha256"]}
    assert "is not the one that is known" in zygote.result(known)["verdict"]["reason"]


def test_a_set_that_is_not_there_has_no_verdict(zygote: Zygote, place: Place) -> None:
    zygote.result(backup(place))
    told = zygote.result(verify(place, "20261101T020000Z-1a2b3c4d.1"))
    assert (told["ok"], told["reason"], told.get("verdict")) == (False, "SetMissing", None)


def test_a_wrong_key_is_no_damage_and_no_proof(zygote: Zygote, place: Place) -> None:
    right, wrong = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    told = zygote.result(backup(place, recipients=[str(right.to_public())]))
    assert told["ok"]
    folder = place.secrets.parent / "identity"
    assert zygote.result(verify(place, SET))["verdict"]["verdict"] == "Verified"
    none = zygote.result(verify(place, SET, "Read"))["verdict"]
    assert (none["verdict"], "KeyMissing" in none["reason"]) == ("Unverifiable", True)
    folder.mkdir()
    (folder / "key.txt").write_text(str(wrong))
    other = zygote.result(verify(place, SET, "Read"))["verdict"]
    assert (other["verdict"], "WrongKey" in other["reason"]) == ("Unverifiable", True)
    (folder / "key.txt").write_text(str(right))
    right_key = zygote.result(verify(place, SET, "Read"))["verdict"]
    by_name = {c["name"]: c["ok"] for c in right_key["checks"]}
    assert by_name["read/qdrant/docs/0.snapshot"]
    # The dump of this test is noise: its bytes are right, and pg_restore says that they are no dump.
    assert by_name["read/postgres/app.dump"] is False


# The catalogue


def test_others_are_neither_told_nor_touched(zygote: Zygote, place: Place) -> None:
    zygote.result(backup(place))
    other = {**base(place)["source"], "namespace": "elsewhere"}
    zygote.result(backup(place, setId="20261101T020000Z-99999999.1", source=other))
    before = files(place)
    told = zygote.result(catalogue(place, keep={"last": 1, "minAgeSeconds": 0}))["catalogue"]
    assert [e["setId"] for e in told["entries"]] == [SET]
    assert told["warnings"] == []
    # Who mistypes a name after the loss of a cluster is told whose sets there are.
    mistyped = zygote.result(catalogue(place, source={**base(place)["source"], "backupJob": "nightli"}))["catalogue"]
    assert mistyped["entries"] == []
    assert mistyped["warnings"] == [
        "no set here is of BackupJob default/nightli; those that are here: default/nightly, elsewhere/nightly"
    ]
    gone = zygote.result(catalogue(place, deleteAll=True))["catalogue"]
    assert gone["deleted"] == [SET]
    assert {name for name in before if "99999999" in name} == {n for n in files(place) if "99999999" in n}
    assert not [n for n in files(place) if RUN in n]


def test_a_dry_run_says_and_does_nothing(zygote: Zygote, place: Place) -> None:
    sets = [f"2026110{day}T020000Z-1a2b3c4d.1" for day in range(1, 5)]
    for set_id in sets:
        zygote.result(backup(place, setId=set_id))
    before = files(place)
    keep = {"last": 2, "minAgeSeconds": 0}
    told = zygote.result(catalogue(place, keep=keep, dryRun=True), 3600)["catalogue"]
    assert [d["keep"] for d in told["decisions"]] == [False, False, True, True]
    assert (told.get("deleted", []), len(told["entries"])) == ([], 4)
    assert files(place) == before


def test_a_deletion_can_be_undone_for_a_time_and_the_bytes_go_after_it(zygote: Zygote, place: Place) -> None:
    sets = [f"2026110{day}T020000Z-1a2b3c4d.1" for day in range(1, 5)]
    for set_id in sets:
        zygote.result(backup(place, setId=set_id))
    keep = {"last": 2, "minAgeSeconds": 0, "graceSeconds": 72 * 3600}
    told = zygote.result(catalogue(place, keep=keep), 3600)["catalogue"]
    assert told["deleted"] == sets[:2]
    assert (place.files / LAYOUT.manifest(sets[0])).exists()
    # Put back by hand: it is a set again, and its bytes stay although the record is still there.
    record = read(place, LAYOUT.deleted(sets[0]))
    assert record["reason"] == "no rule of retention keeps it"
    (place.files / LAYOUT.catalogue(sets[0])).write_text(json.dumps(record["entry"]))
    kept = {**keep, "pinned": [sets[0]]}
    told = zygote.result(catalogue(place, keep=kept), 100 * 3600)["catalogue"]
    assert [e["setId"] for e in told["entries"]] == [sets[0], *sets[2:]]
    assert told["cleaned"][-1] == f"objects of {sets[1]}"
    assert not [n for n in files(place) if sets[1] in n]
    assert zygote.result(verify(place, sets[0]))["verdict"]["verdict"] == "Verified"


def test_an_entry_without_a_manifest_is_told_and_never_counted(zygote: Zygote, place: Place) -> None:
    zygote.result(backup(place))
    (place.files / LAYOUT.manifest(SET)).unlink()
    told = zygote.result(catalogue(place, keep={"last": 1, "minAgeSeconds": 0}))["catalogue"]
    assert told.get("entries", []) == []
    assert "has an entry and no manifest" in told["warnings"][0]
    assert (place.files / LAYOUT.catalogue(SET)).exists()


def test_an_entry_that_cannot_be_read_is_told_and_left(zygote: Zygote, place: Place) -> None:
    zygote.result(backup(place))
    (place.files / LAYOUT.catalogue("20261101T020000Z-1a2b3c4d.1")).write_text("{")
    told = zygote.result(catalogue(place))["catalogue"]
    assert [e["setId"] for e in told["entries"]] == [SET]
    assert "is not an entry" in told["warnings"][0]


async def test_a_store_that_keeps_what_was_deleted_is_noticed(volume: Place) -> None:
    from docuquery_operator.mover.chunks import once
    from docuquery_operator.mover.sets import Place as SetPlace
    from docuquery_operator.mover.volume import Volume

    class Keeping(Volume):
        async def delete(self, keys: Any) -> None:
            return None

    store = Keeping(volume.files)
    await store.put("a/sets/x/y", once(b"x"))
    with pytest.raises(MoverError, match="still has a/sets/x/y"):
        await catalogue_module.removed(SetPlace(store, Layout("", "a"), Path()), ["a/sets/x/"])


def test_progress_is_short(zygote: Zygote, place: Place) -> None:
    lines = zygote.run(backup(place))["lines"]
    assert lines[-1]["event"] == "result"
    assert sum(line["event"] == "result" for line in lines) == 1
    assert len(lines) < 12
    assert datetime.fromisoformat(lines[-1]["at"]) - datetime.now(UTC) < timedelta(minutes=1)
