"""`python -m docuquery_operator.status_page`: the status page, without a part of the operator's own process."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from .adapters.access import AccessError, find_access
from .adapters.clock import SystemClock
from .runtime import log
from .web.page.process import serve
from .web.page.settings import PageSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: page or mirror; settings are DOCUQUERY_PAGE_* variables."""
    parser = argparse.ArgumentParser(prog="python -m docuquery_operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("page", help="serve the status page")
    commands.add_parser("mirror", help="copy the status page to an object store, to Statuspage.io, or both")
    command = parser.parse_args(argv).command
    try:
        return _run(command)
    except ValidationError as error:
        for item in error.errors():
            name = "_".join(str(part) for part in item["loc"]).upper()
            print(f"DOCUQUERY_PAGE_{name}: {item['msg']}", file=sys.stderr)
        return 2
    except AccessError as problem:
        print(problem, file=sys.stderr)
        return 2


def _run(command: str) -> int:
    if command == "page":
        settings = PageSettings()
        log.configure(settings.log_level)
        return asyncio.run(serve(settings, find_access(settings.kubeconfig), SystemClock().now))
    from .web.mirror.process import mirror
    from .web.mirror.settings import MirrorSettings
    from .web.mirror.store import StoreProblem

    wanted = MirrorSettings()
    if not (wanted.export_url or wanted.statuspage_page):
        print("nothing to mirror to: set DOCUQUERY_PAGE_EXPORT_URL or DOCUQUERY_PAGE_STATUSPAGE_PAGE", file=sys.stderr)
        return 2
    log.configure(wanted.log_level)
    try:
        return asyncio.run(mirror(wanted, find_access(wanted.kubeconfig), SystemClock().now))
    except StoreProblem as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
