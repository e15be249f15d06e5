"""`python -m docuquery_operator.status_page`: the status page, without a part of the operator's own process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .adapters.access import find_access
from .adapters.clock import SystemClock
from .starting import start
from .web.page.process import serve
from .web.page.settings import PageSettings

if TYPE_CHECKING:
    from .web.mirror.settings import MirrorSettings

PREFIX = "DOCUQUERY_PAGE_"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: page or mirror; settings are DOCUQUERY_PAGE_* variables."""
    parser = argparse.ArgumentParser(prog="python -m docuquery_operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("page", help="serve the status page")
    commands.add_parser("mirror", help="copy the status page to an object store, to Statuspage.io, or both")
    if parser.parse_args(argv).command == "page":
        return start(PageSettings, _page, PREFIX)
    from .web.mirror.settings import MirrorSettings

    return start(MirrorSettings, _mirror, PREFIX)


async def _page(settings: PageSettings) -> int:
    return await serve(settings, find_access(settings.kubeconfig), SystemClock().now)


async def _mirror(wanted: MirrorSettings) -> int:
    from .web.mirror.process import mirror
    from .web.mirror.store import StoreProblem

    if not (wanted.export_url or wanted.statuspage_page):
        print("nothing to mirror to: set DOCUQUERY_PAGE_EXPORT_URL or DOCUQUERY_PAGE_STATUSPAGE_PAGE", file=sys.stderr)
        return 2
    try:
        return await mirror(wanted, find_access(wanted.kubeconfig), SystemClock().now)
    except StoreProblem as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
