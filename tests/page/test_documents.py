"""Every document that the server gives: feeds by their rules and by readers that are not ours, JSON, badges, headers, caches."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import feedparser
import pytest

from docuquery_operator.domain.public.page import Facts
from docuquery_operator.web.page.statuspage import encoded
from tests.page import world
from tests.page.conftest import NODE, Served, served
from tests.page.payloads import PAYLOADS

pytestmark = pytest.mark.services
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
async def site() -> AsyncIterator[Served]:
    async with served(world.facts(*world.usual())) as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def body(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url) as answer:
        assert answer.status == 200, url
        return await answer.read()


def poisoned() -> Facts:
    stack = world.stack(types={f"c{n}": "Api" for n in range(16)})
    for n, component in enumerate(stack["spec"]["components"].values()):
        component["publicTitle"] = PAYLOADS[n * 6]
    incidents = [world.incident(n, message="\x00\x1b\ufffe" + PAYLOADS[n], component=f"c{n % 16}") for n in range(50)]
    windows = [world.window(n, world.NOW + timedelta(days=n), message=PAYLOADS[50 + n]) for n in range(12)]
    return world.facts([stack], incidents, windows)


async def test_nothing_internal_is_in_any_document(site: Served, http: aiohttp.ClientSession) -> None:
    """All links are followed from the front page, data included."""
    seen, waiting = set[str](), ["index.html", "badge.svg", "icon.svg"]
    api = "api/v2/{}.json"
    waiting += [api.format(n) for n in ("summary", "status", "components", "incidents", "scheduled-maintenances")]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        text = (await body(http, f"{site.url}/{path}")).decode()
        assert [s for s in world.SECRETS if s in text] == [], path
        if path.endswith(".html"):
            folder = path.rpartition("/")[0]
            for link in re.findall(r'(?:href|src)="([^"#]+)', text):
                joined = f"{folder}/{link}" if folder else link
                waiting.append(re.sub(r"(^|/)[^/]+/\.\./", r"\1", joined))
    assert len(seen) > 40


@pytest.mark.parametrize("path", ["feed", "components/database"])
async def test_atom_keeps_its_rules_and_is_read(site: Served, http: aiohttp.ClientSession, path: str) -> None:
    text = await body(http, f"{site.url}/{path}.atom")
    feed = ET.fromstring(text)
    assert feed.tag == f"{ATOM}feed"
    for node in (feed, *feed.findall(f"{ATOM}entry")):
        # RFC 4287, 4.1.1 and 4.1.2: exactly one each; an author in the feed serves its entries.
        for name in ("id", "title", "updated"):
            assert len(node.findall(ATOM + name)) == 1
        assert [link.get("rel") for link in node.findall(f"{ATOM}link")].count("alternate") == 1
        updated = node.findtext(f"{ATOM}updated")
        assert updated is not None
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", updated)
    assert len(feed.findall(f"{ATOM}author/{ATOM}name")) == 1
    ids = [e.findtext(f"{ATOM}id") for e in feed.iter() if e.tag in (f"{ATOM}entry", f"{ATOM}feed")]
    assert len(ids) == len(set(ids))
    found = feedparser.parse(text)
    assert not found.bozo, found.bozo_exception
    assert {t.term for e in found.entries for t in e.tags} >= {"incident", "maintenance", "resolved"}
    assert [e.updated for e in found.entries] == sorted((e.updated for e in found.entries), reverse=True)


async def test_json_feed_keeps_its_rules(site: Served, http: aiohttp.ClientSession) -> None:
    feed = json.loads(await body(http, f"{site.url}/feed.json"))
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    atom = feedparser.parse(await body(http, f"{site.url}/feed.atom"))
    assert [i["id"] for i in feed["items"]] == [e.id for e in atom.entries]
    for item in feed["items"]:
        assert set(item) == {"id", "url", "title", "content_text", "date_published", "date_modified", "tags"}
        assert datetime.fromisoformat(item["date_modified"]).tzinfo is not None


async def test_links_are_absolute_where_the_address_is_known(http: aiohttp.ClientSession) -> None:
    async with served(world.facts(*world.usual()), url="https://status.example/s/") as site:
        feed = json.loads(await body(http, f"{site.url}/components/database.json"))
        assert feed["feed_url"] == "https://status.example/s/components/database.json"
        assert all(i["url"].startswith("https://status.example/s/") for i in feed["items"])
        summary = json.loads(await body(http, f"{site.url}/api/v2/summary.json"))
        assert summary["page"]["url"] == "https://status.example/s"


async def test_a_component_has_only_its_own_in_its_feed(site: Served, http: aiohttp.ClientSession) -> None:
    feed = json.loads(await body(http, f"{site.url}/components/search.json"))
    kinds = [(i["tags"][0], "Search" in i["title"] or "all services" in i["title"]) for i in feed["items"]]
    assert kinds
    assert all(own and kind == "maintenance" for kind, own in kinds)


async def test_readers_that_are_not_ours_understand_it(
    site: Served, http: aiohttp.ClientSession, node_modules: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *("node", str(NODE / "read.cjs"), str(node_modules), site.url), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    found = json.loads(out)
    assert found["status"]["status"] == {"indicator": "major", "description": "Some services are down"}
    assert {c["name"]: c["status"] for c in found["components"]["components"]} == {
        "API": "degraded_performance",
        "Database": "major_outage",
        "Search": "degraded_performance",
        "Cache": "under_maintenance",
        "Background processing": "operational",
    }
    assert {i["status"] for i in found["incidents"]["incidents"]} == {"monitoring", "investigating", "resolved"}
    assert len(found["unresolved"]["incidents"]) == len(found["summary"]["incidents"]) == 2
    first = found["unresolved"]["incidents"][0]["incident_updates"]
    assert any("Log-ins failed" in u["body"] for i in found["unresolved"]["incidents"] for u in i["incident_updates"])
    assert first[0]["created_at"] >= first[-1]["created_at"]
    assert [w["status"] for w in found["upcoming"]["scheduled_maintenances"]] == ["scheduled"]
    assert len(found["summary"]["scheduled_maintenances"]) == 2
    by_summary = {e["summary"]: e for e in found["events"]}
    assert len(found["events"]) == len({e["uid"] for e in found["events"]}) == 3
    coming = by_summary["Scheduled maintenance: Search"]
    assert (coming["begin"], coming["end"]) == ("2026-12-01T14:00:00.000Z", "2026-12-01T16:00:00.000Z")
    assert coming["description"].startswith("The search is rebuilt. Results may be incomplete")


async def test_poison_reaches_the_calendar_as_text(http: aiohttp.ClientSession, node_modules: Path) -> None:
    async with served(poisoned()) as site:
        process = await asyncio.create_subprocess_exec(
            *("node", str(NODE / "read.cjs"), str(node_modules), site.url), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        found = json.loads(out)
        assert len(found["events"]) == 12
        texts = " ".join(e["description"] for e in found["events"])
        assert sum(PAYLOADS[50 + n].replace("\r\n", "\n").strip() in texts for n in range(12)) == 12
        feed = await body(http, f"{site.url}/feed.atom")
        assert not feedparser.parse(feed).bozo
        ET.fromstring(await body(http, f"{site.url}/badge.svg"))
        for component in found["components"]["components"]:
            ET.fromstring(await body(http, f"{site.url}/components/{component['id']}.svg"))
        for path in ("api/v2/summary.json", "feed.json", "api/v2/incidents.json"):
            assert b"<" not in await body(http, f"{site.url}/{path}")


def test_json_is_never_taken_for_markup() -> None:
    assert json.loads(encoded({"a": "</script>&\u2028"})) == {"a": "</script>&\u2028"}
    assert b"<" not in encoded({"a": "</script>"})


async def test_every_answer_carries_the_policy(site: Served, http: aiohttp.ClientSession) -> None:
    for path in ("", "history.html", "nothing", "api/v2/summary.json", "feed.atom", "badge.svg", "style.css"):
        async with http.get(f"{site.url}/{path}") as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert ("Access-Control-Allow-Origin" in answer.headers) is (path.endswith((".json", ".atom", ".svg")))
            assert answer.status == (404 if path == "nothing" else 200)


async def test_caches_are_told_what_is_new(site: Served, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{site.url}/index.html") as first:
        etag, plain = first.headers["ETag"], await first.read()
        assert first.headers["Cache-Control"].startswith("public, max-age=15")
    for sent in (etag, f'W/"x", {etag}', "*"):
        async with http.get(f"{site.url}/index.html", headers={"If-None-Match": sent}) as again:
            assert (again.status, await again.read()) == (304, b"")
    site.show(world.facts([world.stack()], [], []))
    async with http.get(f"{site.url}/index.html", headers={"If-None-Match": etag}) as changed:
        assert changed.status == 200
        assert changed.headers["ETag"] != etag
    async with http.head(f"{site.url}/index.html") as head:
        assert (head.status, await head.read()) == (200, b"")
    async with (
        aiohttp.ClientSession(auto_decompress=False) as raw,
        raw.get(f"{site.url}/index.html", headers={"Accept-Encoding": "gzip"}) as packed,
    ):
        assert b"All systems operational" in gzip.decompress(await packed.read())
        assert int(packed.headers["Content-Length"]) < len(plain) / 2


async def test_seconds_make_no_new_page(site: Served, http: aiohttp.ClientSession) -> None:
    tags = set()
    for seconds in (1, 20, 59):
        site.now = world.NOW + timedelta(seconds=seconds)
        site.facts = Facts(site.facts.stacks, site.facts.incidents, site.facts.windows, site.now)
        async with http.get(f"{site.url}/index.html") as answer:
            tags.add(answer.headers["ETag"])
    assert len(tags) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_sent(site: Served, http: aiohttp.ClientSession, method: str) -> None:
    async with http.request(method, f"{site.url}/index.html", data=b"x" * 10_000) as answer:
        assert answer.status == 405


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "templates/base.html.j2", "index.html/", "%00", "static/page.js"],
)
async def test_only_documents_are_given(site: Served, http: aiohttp.ClientSession, path: str) -> None:
    from yarl import URL

    async with http.get(URL(f"{site.url}/{path}", encoded=True)) as answer:
        assert answer.status in (400, 404)
        assert "root:" not in await answer.text()


async def test_until_all_has_been_read_nothing_is_said(http: aiohttp.ClientSession) -> None:
    """A page without incidents because they were not read yet would be a lie."""
    async with served(world.facts([world.stack()], [], [])) as site:
        site.missing = "incidents"
        for path, status in (("livez", 200), ("readyz", 503), ("index.html", 503), ("api/v2/summary.json", 503)):
            async with http.get(f"{site.url}/{path}") as answer:
                assert answer.status == status
                assert "operational" not in (await answer.text()).lower()
        site.missing = ""
        async with http.get(f"{site.url}/readyz") as answer:
            assert answer.status == 200


async def test_old_data_are_said_to_be_old_everywhere(http: aiohttp.ClientSession) -> None:
    async with served(world.facts([world.stack()], [], [], looked=world.NOW - timedelta(minutes=5))) as site:
        assert b"The data on this page are old" in await body(http, f"{site.url}/index.html")
        status: dict[str, Any] = json.loads(await body(http, f"{site.url}/api/v2/status.json"))
        assert status["status"] == {"indicator": "minor", "description": "No current data"}
        assert status["page"]["updated_at"] == "2026-11-29T13:55:00.000Z"
        for path in ("badge.svg", "components/database.svg"):
            assert b"No current data" in await body(http, f"{site.url}/{path}")


async def test_a_rush_is_answered(site: Served, http: aiohttp.ClientSession) -> None:
    began = time.monotonic()
    answers = await asyncio.gather(*(body(http, f"{site.url}/index.html") for _ in range(500)))
    assert len({a[:100] for a in answers}) == 1
    assert time.monotonic() - began < 10
