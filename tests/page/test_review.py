"""The review after an incident in a real browser: nothing to complain of, nothing loaded or run, pictures to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.page.chromium import Browser, browser
from tests.page.payloads import PAYLOADS
from tests.page.reports import DESKTOP, PHONE, self_contained
from tests.page.reviewed import three

pytestmark = [pytest.mark.services, pytest.mark.asyncio(loop_scope="module")]
NAMES = ("full", "bare", "hostile")
RULES = "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with browser(tmp_path_factory.mktemp("reviews")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Addresses of the pages as files, as a person opens them."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in (await three()).items():
        (folder / f"{name}.html").write_text(text)
    return {name: (folder / f"{name}.html").as_uri() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
async def test_axe_finds_nothing(chromium: Browser, pages: Mapping[str, str], axe: str, name: str) -> None:
    found: list[str] = []
    for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)):
        await chromium.look(*size, dark=dark)
        await chromium.open(pages[name])
        await chromium.run(axe + ";0")
        answer = await chromium.run(f"axe.run(document, {{runOnly: {RULES}}}).then(r => [r.violations, r.passes.length])")
        found += [f"{size[0]} {dark} {v['id']}: {v['nodes'][0]['html'][:200]}" for v in answer[0]]
        assert answer[1] > 10
    assert found == []


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_asked_for_nothing_is_refused_and_nothing_is_wider_than_the_screen(
    chromium: Browser, pages: Mapping[str, str], name: str
) -> None:
    await self_contained(chromium, pages[name], f"review-{name}")


async def test_no_text_is_cut_off_or_covered_in_the_plots(chromium: Browser, pages: Mapping[str, str]) -> None:
    outside = """[...document.querySelectorAll('svg')].flatMap(svg => { const box = svg.getBoundingClientRect();
      return [...svg.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();
        return b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1 })
        .map(t => t.textContent) })"""
    for size in (DESKTOP, PHONE):
        await chromium.look(*size)
        await chromium.open(pages["full"])
        # Drawn at least as large as text is written.
        high = "Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height))"
        assert await chromium.run(high) >= 11
        assert await chromium.run("document.querySelectorAll('svg').length") == 2
        assert await chromium.run(outside) == []


async def test_a_hundred_hostile_texts_are_text(chromium: Browser, pages: Mapping[str, str]) -> None:
    chromium.problems.clear()
    await chromium.look(*DESKTOP)
    await chromium.open(pages["hostile"])
    assert await chromium.run("window.hit") is None
    assert (
        await chromium.run("document.querySelectorAll('script,img,iframe,object,embed,form,input,a,link,base').length") == 0
    )
    shown = "".join((await chromium.run("document.body.textContent")).split())
    assert [text for text in PAYLOADS if "".join(text.split()) not in shown] == []
    assert (chromium.problems, chromium.dialogs) == ([], [])


async def test_a_script_in_the_page_would_not_run(chromium: Browser, pages: Mapping[str, str], tmp_path: Path) -> None:
    text = Path(pages["full"].removeprefix("file://")).read_text()
    evil = tmp_path / "evil.html"
    script = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
    evil.write_text(text.replace("</main>", f"{script}</main>"))
    await chromium.open(evil.as_uri())
    assert (await chromium.run("document.title")).startswith("Review of db-down")
