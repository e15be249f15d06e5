"""What every report's page has to be in a browser, whichever report it is."""

from __future__ import annotations

from pathlib import Path

from tests.page.chromium import Browser

DESKTOP, PHONE = (1100, 900), (390, 844)
PICTURES = Path(__file__).resolve().parents[2] / "build" / "reports"


async def self_contained(chromium: Browser, url: str, name: str) -> None:
    """It asks for nothing, nothing of it is refused, and it is no wider than the screen; pictures of it are kept by name."""
    chromium.problems.clear()
    for size, looks in ((DESKTOP, "desktop"), (PHONE, "phone")):
        for dark, grey in ((False, False), (False, True), (True, False)):
            await chromium.look(*size, dark=dark)
            await chromium.open(url)
            wide = await chromium.run("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, looks
            assert await chromium.run("performance.getEntriesByType('resource').length") == 0
            # The style counts: its hash in the policy is the right one.
            assert await chromium.run("getComputedStyle(document.querySelector('h2')).borderBottomStyle") == "solid"
            kind = "grey" if grey else "dark" if dark else "light"
            await chromium.picture(PICTURES / f"{name}-{looks}-{kind}.png", grey)
    assert chromium.problems == []
