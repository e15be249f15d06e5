"""Daily, weekly and monthly report in a real browser: nothing to complain of, numbers equal to the JSON, pictures to look at."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from docuquery_operator.domain.reports import maintenance as reports
from docuquery_operator.domain.reports.maintenance_parts import Report
from tests.page.chromium import Browser, browser
from tests.page.maintenance import three
from tests.page.reports import DESKTOP, PHONE, self_contained

pytestmark = [pytest.mark.services, pytest.mark.asyncio(loop_scope="module")]
NAMES = ("daily", "weekly", "monthly")
RULES = "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']"
# What the browser has made of the page, read from its DOM.
FIGURES = """Object.fromEntries([...document.querySelectorAll('section.task')].map(task => [task.id.slice(5), {
  figures: [...task.querySelectorAll('dl.figures > div')].map(d =>
    [d.querySelector('dt').textContent, d.querySelector('data') ? d.querySelector('data').value : d.querySelector('dd').textContent]),
  rows: [...task.querySelectorAll('.scroll tbody tr')].map(r => [...r.cells].map(c =>
    c.querySelector('data') ? c.querySelector('data').value : c.textContent)),
  points: [...task.querySelectorAll('table.points tbody td')].map(c => c.textContent).filter(t => t !== ''),
}]))"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with browser(tmp_path_factory.mktemp("reports")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> Mapping[str, Report]:
    return await three()


@pytest.fixture(scope="module")
def pages(made: Mapping[str, Report], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Addresses of the pages as files, as a person opens them."""
    folder = tmp_path_factory.mktemp("pages")
    for name, report in made.items():
        (folder / f"{name}.html").write_text(reports.html_of(report))
    return {name: (folder / f"{name}.html").as_uri() for name in made}


@pytest.mark.parametrize("name", NAMES)
async def test_axe_finds_nothing(chromium: Browser, pages: Mapping[str, str], axe: str, name: str) -> None:
    found: list[str] = []
    for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, False)):
        await chromium.look(*size, dark=dark)
        await chromium.open(pages[name])
        await chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        await chromium.run(axe + ";0")
        answer = await chromium.run(f"axe.run(document, {{runOnly: {RULES}}}).then(r => [r.violations, r.passes.length])")
        found += [f"{size[0]} {dark} {v['id']}: {v['nodes'][0]['html'][:200]}" for v in answer[0]]
        assert answer[1] > 10
    assert found == []


@pytest.mark.parametrize("name", NAMES)
async def test_the_browser_shows_the_numbers_of_the_json(
    chromium: Browser, pages: Mapping[str, str], made: Mapping[str, Report], name: str
) -> None:
    await chromium.look(*DESKTOP)
    await chromium.open(pages[name])
    shown = await chromium.run(FIGURES)
    told = {t["type"]: t["outcome"] for t in json.loads(reports.json_of(made[name]))["tasks"]}
    assert list(shown) == list(told)
    for task, outcome in told.items():
        assert [[n, plain(v)] for n, v in shown[task]["figures"]] == [[n, plain(v)] for n, v in outcome["figures"].items()]
        rows = [row for table in outcome["tables"] for row in table["rows"]]
        assert [[plain(c) for c in row] for row in shown[task]["rows"]] == [[plain(c) for c in row] for row in rows]
        points = sorted(v for s in outcome["series"] for _, v in s["points"] if v is not None)
        assert sorted(map(float, shown[task]["points"])) == points
    assert sum(len(o["figures"]) + len(o["tables"]) for o in told.values()) > 4


def plain(value: Any) -> Any:
    """A number as such, whether the browser has it as text or the JSON as a number; other words as words."""
    if value is None:
        return "no data"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return float(value)
    except ValueError:
        return " ".join(value.split())


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_asked_for_nothing_is_refused_and_nothing_is_wider_than_the_screen(
    chromium: Browser, pages: Mapping[str, str], name: str
) -> None:
    await self_contained(chromium, pages[name], name)


async def test_a_script_in_the_page_would_not_run(chromium: Browser, pages: Mapping[str, str], tmp_path: Path) -> None:
    text = Path(pages["daily"].removeprefix("file://")).read_text()
    evil = tmp_path / "evil.html"
    evil.write_text(
        text.replace("</main>", "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\"></main>")
    )
    await chromium.open(evil.as_uri())
    assert await chromium.run("document.title") == "Daily maintenance"
