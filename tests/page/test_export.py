"""The page as files in a store: whole after any end, only what has changed, and readable without a server."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest

from docuquery_operator.domain.public.page import Page
from docuquery_operator.web.mirror import store
from docuquery_operator.web.mirror.process import copies
from docuquery_operator.web.mirror.settings import MirrorSettings
from docuquery_operator.web.mirror.store import LIST, Export, StoreProblem, opened
from docuquery_operator.web.page.html import environment
from docuquery_operator.web.page.site import Site
from tests.mover.gateway import ACCESS, SECRET, Gateway, serving
from tests.page import world
from tests.page.world import NOW

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with serving() as made:
        yield made


def site(page: Page) -> Site:
    return Site(page, environment(), "https://status.example")


def usual(**more: Any) -> Site:
    return site(world.page(*world.usual(), **more))


def quiet() -> Site:
    return site(world.page([world.stack()], [], []))


def folder_of(path: Path) -> Export:
    return Export(opened(path.as_uri(), {}))


def held(path: Path) -> dict[str, bytes]:
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def same(path: Path, wanted: Site) -> bool:
    files = held(path)
    listed = json.loads(files.pop(LIST))
    documents = {p: d for p in wanted.paths if (d := wanted.document(p)) is not None}
    return files == {p: d.body for p, d in documents.items()} and listed == {p: d.digest for p, d in documents.items()}


async def test_a_folder_holds_the_whole_page(tmp_path: Path) -> None:
    export = folder_of(tmp_path)
    assert await export.write(usual()) > 40
    assert same(tmp_path, usual())
    assert await export.write(usual()) == 0
    # Every link of every page leads to a file, from where that page lies.
    for file in tmp_path.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#]+)', file.read_text()):
            assert (file.parent / link).resolve().is_file(), (file, link)


async def test_only_what_has_changed_is_written_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    await folder_of(tmp_path).write(usual())
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    fresh = folder_of(tmp_path)
    await fresh.write(quiet())
    assert same(tmp_path, quiet())
    assert not list((tmp_path / "incidents").glob("*.html"))
    after = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert before["style.css"] == after["style.css"]
    assert before["index.html"] < after["index.html"]


async def test_ended_at_each_call_and_begun_anew_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning of each call, and at its end: the process dies there; another one finishes."""
    calls = 0
    die_at: tuple[int, bool] = (0, False)

    def dying(real: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == die_at[0] and not die_at[1]:
                raise asyncio.CancelledError
            found = await real(*args, **kwargs)
            if calls == die_at[0] and die_at[1]:
                raise asyncio.CancelledError
            return found

        return call

    small = world.stack(types={"pg-main": "PostgreSQL"})
    one = site(world.page([small], [world.incident(1)], []))
    other = site(world.page([small], [world.incident(2, "Identified", opened=NOW - timedelta(hours=1))], []))
    for name in ("put_async", "delete_async", "get_async"):
        monkeypatch.setattr(store.obstore, name, dying(getattr(obstore, name)))
    await folder_of(tmp_path / "all").write(one)
    await folder_of(tmp_path / "all").write(other)
    total, deaths = calls, 0
    for number in range(1, total + 1, 2):
        for late in (False, True):
            place = tmp_path / f"{number}-{late}"
            for wanted in (one, other):
                calls, die_at = 0, (number, late)
                try:
                    await folder_of(place).write(wanted)
                except asyncio.CancelledError:
                    deaths += 1
                die_at = (0, False)
                await folder_of(place).write(wanted)
                assert same(place, wanted)
                assert await folder_of(place).write(wanted) == 0
    assert deaths > total / 3


async def test_no_page_points_at_what_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = obstore.put_async

    async def put(to: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        order.append(path)
        return await real(to, path, *args, **kwargs)

    monkeypatch.setattr(store.obstore, "put_async", put)
    await folder_of(tmp_path).write(usual())
    written = [p for n, p in enumerate(order) if p not in order[:n]]
    assert set(written[:3]) == {"style.css", "page.js", "icon.svg"}
    assert written[-3:] == ["history.html", "index.html", LIST]


async def test_a_list_that_is_spoiled_is_no_reason_to_stop(tmp_path: Path) -> None:
    await folder_of(tmp_path).write(usual())
    for text in (b"{", b"[]", b"\xff"):
        (tmp_path / LIST).write_bytes(text)
        await folder_of(tmp_path).write(usual())
        assert same(tmp_path, usual())


async def test_a_real_store_gives_it_to_browsers_as_what_it_is(gateway: Gateway) -> None:
    (gateway.folder / "status").mkdir(exist_ok=True)
    options = {
        "endpoint": gateway.endpoint,
        "access_key_id": ACCESS,
        "secret_access_key": SECRET,
        "region": "us-east-1",
    }
    export = Export(opened("s3://status/public", options))
    await export.write(usual())
    assert await Export(opened("s3://status/public", options)).write(usual()) == 0
    kept = gateway.raw("status")
    answer = await obstore.get_async(kept, "public/index.html")
    found = bytes(await answer.bytes_async())
    assert b"Some services are down" in found
    assert dict(answer.attributes)["Content-Type"] == "text/html; charset=utf-8"
    assert dict(answer.attributes)["Cache-Control"] == "public, max-age=60"
    await Export(opened("s3://status/public", options)).write(quiet())
    with pytest.raises(FileNotFoundError):
        await obstore.head_async(kept, f"public/incidents/{world.page(*world.usual()).incidents[0].id}.html")


async def test_a_store_that_refuses_is_said_without_its_key(gateway: Gateway) -> None:
    options = {
        "endpoint": gateway.endpoint,
        "access_key_id": "wrong",
        "secret_access_key": "key-marker-10aa",
        "region": "us-east-1",
    }
    with pytest.raises(StoreProblem) as found:
        await Export(opened("s3://status/public", options)).write(quiet())
    assert "key-marker" not in str(found.value)


@pytest.mark.parametrize(("url", "options"), [("nonsense", {}), ("ftp://a/b", {}), ("s3://a/b", {"colour": "red"})])
def test_what_cannot_be_a_store_is_said_at_the_start(url: str, options: dict[str, str]) -> None:
    with pytest.raises(StoreProblem):
        opened(url, options)


def test_settings_choose_the_copies(tmp_path: Path) -> None:
    def chosen(**more: Any) -> list[str]:
        return [name for name, _ in copies(MirrorSettings(namespace="n", **more))]

    assert chosen() == []
    assert chosen(export_url=tmp_path.as_uri()) == ["export"]
    assert chosen(export_url=tmp_path.as_uri(), statuspage_page="p1") == ["export", "statuspage"]


def test_an_export_that_is_old_says_since_when(tmp_path: Path) -> None:
    """Written while the operator was silent; once the mirror is gone as well, the page's script says it."""
    asyncio.run(folder_of(tmp_path).write(usual(looked=NOW - timedelta(hours=2))))
    text = urllib.request.urlopen((tmp_path / "index.html").as_uri()).read().decode()
    assert "The data on this page are old" in text
    assert 'data-as-of="2026-11-29T12:00:00Z"' in text
