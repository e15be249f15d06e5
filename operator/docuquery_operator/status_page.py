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
    """Command line: page."""
    parser = argparse.ArgumentParser(prog="python -m docuquery_operator", description=__doc__)
    parser.add_argument("command", choices=["page"], help="serve the status page; settings are DOCUQUERY_PAGE_* variables")
    parser.parse_args(argv)
    try:
        settings = PageSettings()
    except ValidationError as error:
        for item in error.errors():
            name = "_".join(str(part) for part in item["loc"]).upper()
            print(f"DOCUQUERY_PAGE_{name}: {item['msg']}", file=sys.stderr)
        return 2
    log.configure(settings.log_level)
    try:
        return asyncio.run(serve(settings, find_access(settings.kubeconfig), SystemClock().now))
    except AccessError as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
