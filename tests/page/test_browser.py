"""The status page in a real browser: what people see, on every screen, with every aid, and whatever is written into it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from docuquery_operator.domain.public.page import Facts
from tests.page import world
from tests.page.chromium import Browser, browser
from tests.page.conftest import Served, served
from tests.page.payloads import PAYLOADS

pytestmark = [pytest.mark.services, pytest.mark.asyncio(loop_scope="module")]
PHONE, DESKTOP = (390, 844), (1280, 900)
PICTURES = Path(__file__).resolve().parents[2] / "build" / "page"
LIMIT = 50_000
QUIET = ("index.html", "history.html", "no-such-page")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with browser(tmp_path_factory.mktemp("chromium")) as found:
        # The objects are of a fixed day; a copy of the page is old by the reader's clock.
        script = f"Date.now = () => {int(world.NOW.timestamp() * 1000)};"
        await found.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Served]:
    async with served(world.facts(*world.usual())) as found:
        yield found


def well() -> Facts:
    return world.facts([world.stack()], [], [])


def stale() -> Facts:
    return world.facts(*world.usual(), looked=world.NOW - timedelta(minutes=7))


def full(busy: int = 1) -> Facts:
    """Sixteen components and fifty incidents, ten of them open, with messages of a thousand characters."""
    types = {f"c{n:02}": list(world.TYPES.values())[n % 5] for n in range(16)}
    message = "Some users cannot sign in. We are at it. " * 25
    incidents = [
        world.incident(
            n,
            "Identified" if n < 10 else "Resolved",
            message[:1024] if n % 2 else None,
            component=f"c{n % 16:02}",
            opened=world.NOW - timedelta(hours=30 * n + 1),
        )
        for n in range(50)
    ]
    windows = [world.window(n, world.NOW + timedelta(days=n - 4, hours=1), message=message[:1024]) for n in range(12)]
    return world.facts([world.stack(types=types, busy=busy)], incidents, windows)


async def paths(site: Served, page: Browser) -> list[str]:
    """All kinds of pages: of an open incident, one that is over, a service that is down, one that is well."""
    await page.open(f"{site.url}/index.html")
    links = await page.run("[...document.querySelectorAll('main a')].map(a => a.getAttribute('href'))")
    incidents = [link for link in links if link.startswith("incidents/")]
    components = [link for link in links if link.startswith("components/")]
    return [*QUIET, incidents[0], incidents[-1], *components[:3]]


@pytest.mark.parametrize("facts", [None, well, stale, full], ids=["usual", "well", "stale", "full"])
async def test_axe_finds_nothing(chromium: Browser, site: Served, axe: str, facts: Any) -> None:
    site.show(facts() if facts else world.facts(*world.usual()))
    shown = await paths(site, chromium) if facts is None else ["index.html"]
    found: list[str] = []
    for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)):
        await chromium.look(*size, dark=dark)
        for path in shown:
            await chromium.open(f"{site.url}/{path}")
            await chromium.run(axe + ";0")
            options = "{resultTypes: ['violations'], runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']}"
            violations = await chromium.run(f"axe.run(document, {options}).then(r => r.violations)")
            where = f"{path} {size[0]} {'dark' if dark else 'light'}"
            found += [f"{where}: {v['id']}: {v['nodes'][0]['html'][:200]}" for v in violations]
            assert await chromium.run("axe.run(document).then(r => r.passes.length)") > 10
    assert found == []


async def test_pictures_are_taken_and_nothing_is_wider_than_the_screen(chromium: Browser, site: Served) -> None:
    for name, facts in (("usual", world.facts(*world.usual())), ("well", well()), ("stale", stale())):
        site.show(facts)
        shown = await paths(site, chromium) if name == "usual" else ["index.html"]
        for width, height, looks in ((*PHONE, "phone"), (*DESKTOP, "desktop")):
            for dark, grey in ((False, False), (True, False), (False, True)):
                await chromium.look(width, height, dark=dark)
                for path in shown:
                    await chromium.open(f"{site.url}/{path}")
                    wide = await chromium.run("document.documentElement.scrollWidth - window.innerWidth")
                    assert wide <= 0, (path, looks)
                    kind = "grey" if grey else "dark" if dark else "light"
                    part = path.replace("/", "-").removesuffix(".html")
                    if path not in shown[4:] or path == shown[-2]:
                        await chromium.picture(PICTURES / f"{name}-{looks}-{kind}-{part}.png", grey)


async def test_the_console_is_silent(chromium: Browser, site: Served) -> None:
    """A policy that is broken, a file that is missing, an exception: all of them are told there."""
    site.show(world.facts(*world.usual()))
    shown = [p for p in await paths(site, chromium) if p != "no-such-page"]
    chromium.problems.clear()
    for path in shown:
        await chromium.open(f"{site.url}/{path}")
    assert chromium.problems == []


async def test_it_works_without_script(chromium: Browser, site: Served) -> None:
    site.show(world.facts(*world.usual()))
    await chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        await chromium.open(f"{site.url}/index.html")
        text = await chromium.run("document.body.innerText")
    finally:
        await chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    for said in ("Some services are down", "Log-ins failed for some users", "Under maintenance", "29 Nov 2026, 14:00 UTC"):
        assert said in text
    assert "your time" not in text
    assert "This copy of the page is old" not in text


async def test_the_readers_own_time_stands_beside_utc(chromium: Browser, site: Served) -> None:
    site.show(world.facts(*world.usual()))
    await chromium.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kathmandu")
    try:
        await chromium.open(f"{site.url}/index.html")
        times = await chromium.run("[...document.querySelectorAll('time')].map(t => t.parentNode.innerText)")
    finally:
        await chromium.call("Emulation.setTimezoneOverride", timezoneId="")
    assert all("UTC (" in t and "your time" in t for t in times)
    assert any("13:00 UTC" in t and ("18:45" in t or "6:45" in t) for t in times), times


async def test_a_copy_that_has_grown_old_says_so(chromium: Browser, site: Served) -> None:
    """As a copy in an object store whose cluster is gone."""
    site.show(world.facts(*world.usual()))
    await chromium.open(f"{site.url}/index.html")
    assert await chromium.run("document.getElementById('old').hidden") is True
    later = int((world.NOW + timedelta(minutes=11)).timestamp() * 1000)
    added = await chromium.call("Page.addScriptToEvaluateOnNewDocument", source=f"Date.now = () => {later};")
    try:
        await chromium.open(f"{site.url}/index.html")
        assert await chromium.run("document.getElementById('old').hidden") is False
    finally:
        await chromium.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


async def test_it_is_used_with_the_keyboard_alone(chromium: Browser, site: Served) -> None:
    site.show(world.facts(*world.usual()))
    await chromium.look(*DESKTOP)
    await chromium.open(f"{site.url}/index.html")
    await chromium.press("Tab", 9)
    assert await chromium.run("document.activeElement.textContent") == "Skip to content"
    assert await chromium.run("document.activeElement.getBoundingClientRect().left") >= 0
    links = await chromium.run("document.querySelectorAll('a[href]').length")
    seen = []
    for _ in range(links - 1):
        await chromium.press("Tab", 9)
        style = "getComputedStyle(document.activeElement).outlineStyle"
        seen.append(await chromium.run(f"[document.activeElement.getBoundingClientRect().top + scrollY, {style}]"))
    assert all(outline == "solid" for _, outline in seen)
    assert [top for top, _ in seen[2:]] == sorted(top for top, _ in seen[2:])


async def test_motion_is_only_for_those_who_want_it(chromium: Browser, site: Served) -> None:
    for motion, wanted in ((True, "0.12s"), (False, "0s")):
        await chromium.look(*DESKTOP, motion=motion)
        await chromium.open(f"{site.url}/index.html")
        assert await chromium.run("getComputedStyle(document.querySelector('a')).transitionDuration") == wanted


async def test_every_page_is_small(site: Served, chromium: Browser) -> None:
    async with aiohttp.ClientSession() as session:
        for busy in (1, 2):
            site.show(full(busy))
            sizes = {}
            for path in [*await paths(site, chromium)]:
                async with session.get(f"{site.url}/{path}") as answer:
                    sizes[path] = len(await answer.read())
            assert max(sizes.values()) < LIMIT, sizes
            assert len(sizes) >= 7


def poisoned(begin: int) -> Facts:
    """A payload in each field that can be shown, and in all that cannot."""

    def text(n: int) -> str:
        return PAYLOADS[(begin + n) % len(PAYLOADS)]

    types = {f"c{n:02}": list(world.TYPES.values())[n % 5] for n in range(16)}
    stack = world.stack(types=types)
    for n, component in enumerate(stack["spec"]["components"].values()):
        component["publicTitle"] = text(n)
    for n, status in enumerate(stack["status"]["components"]):
        status["summary"] = text(n)
    incidents = [
        world.incident(
            n, ("Identified", "Resolved")[n > 4], text(n) * 3, f"c{n % 16:02}", title=text(n), description=text(n)
        )
        for n in range(50)
    ]
    windows = [world.window(n, world.NOW + timedelta(days=n - 8, hours=1), message=text(n), title=text(n)) for n in range(9)]
    return world.facts([stack], incidents, windows)


SEEN = """({
  hit: typeof window.hit, scripts: document.scripts.length,
  handlers: [...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length,
  strange: document.querySelectorAll('img,iframe,object,embed,form,input,style,base,video,audio,button,textarea').length,
  links: [...document.querySelectorAll('a')].filter(a => a.protocol !== 'http:').length,
})"""
SAFE = {"hit": "undefined", "scripts": 1, "handlers": 0, "strange": 0, "links": 0}


@pytest.mark.parametrize("begin", range(0, 100, 15))
async def test_what_is_written_is_text_and_nothing_else(chromium: Browser, begin: int) -> None:
    """Begins are closer than there are components: each of the hundred is in each kind of field once."""
    chromium.dialogs.clear()
    facts = poisoned(begin)
    async with served(facts, title=PAYLOADS[begin]) as site, aiohttp.ClientSession() as session:
        await chromium.open(f"{site.url}/index.html")
        assert await chromium.run(SEEN) == SAFE
        assert await chromium.run("document.querySelector('header .title').textContent") == " ".join(
            PAYLOADS[begin].split("\r")
        )
        titles = await chromium.run("[...document.querySelectorAll('.services h3')].map(h => h.textContent)")
        wanted = [" ".join(PAYLOADS[(begin + n) % 100].split()) for n in range(16)]
        assert titles == wanted
        links = await chromium.run("[...document.querySelectorAll('main a[href]')].map(a => a.getAttribute('href'))")
        shown = ["history.html", *links[:2], *[link for link in links if "components" in link][:2]]
        for path in shown:
            await chromium.open(f"{site.url}/{path}")
            assert await chromium.run(SEEN) == SAFE, path
        for path in [*shown, "index.html", *(f"{p}.svg" for p in ("badge", "icon"))]:
            async with session.get(f"{site.url}/{path}") as answer:
                body = await answer.text()
            raw = [p for p in PAYLOADS if "<" in p and p in body]
            assert raw == [], path
        badges = [link.replace(".html", ".svg") for link in links if "components" in link]
        for path in badges[:8]:
            await chromium.open(f"{site.url}/{path}")
            assert (
                await chromium.run("document.documentElement.nodeName + document.querySelectorAll('script').length")
                == "svg0"
            )
            assert await chromium.run("typeof window.hit") == "undefined"
    assert chromium.dialogs == []


async def test_a_payload_would_work_if_it_were_not_escaped() -> None:
    """Else the test above would prove nothing: most of them are markup with a call."""
    assert sum("<" in p and "parent.hit=1" in p for p in PAYLOADS) > 70
    assert dataclasses.is_dataclass(Facts)
