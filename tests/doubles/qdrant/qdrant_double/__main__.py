"""`python -m qdrant_double --storage DIR --snapshots DIR --port 6333`."""

import argparse
import logging
import pathlib

from aiohttp import web

from qdrant_double import server


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="qdrant_double", description=__doc__)
    parser.add_argument("--storage", type=pathlib.Path, default=pathlib.Path("/qdrant/storage"))
    parser.add_argument("--snapshots", type=pathlib.Path, default=pathlib.Path("/qdrant/snapshots"))
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=6333)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    application = server.make(options.storage, options.snapshots)
    web.run_app(application, host=options.host, port=options.port, shutdown_timeout=5)


if __name__ == "__main__":
    main()
