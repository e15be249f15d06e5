"""One backup of a database in a process of its own: `SOCKET_FOLDER PORT DATABASE STORE_FOLDER`. Prints JSON with sizes and memory."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator"))


async def main() -> None:
    """As a Job does it: dump, facts of the same snapshot, zstd, SHA-256, and a store that is a folder."""
    from docuquery_operator.domain.backups.layout import Layout
    from docuquery_operator.domain.backups.request import PostgresRequest, Server
    from docuquery_operator.mover.objects import SetWriter
    from docuquery_operator.mover.postgres.backup import back_up
    from docuquery_operator.mover.volume import Volume

    host, port, database, folder = sys.argv[1:]
    request = PostgresRequest(server=Server(host=host, port=int(port)), databases=[database], globals=False)
    with tempfile.TemporaryDirectory() as place:
        secrets, scratch = Path(place) / "secrets", Path(place) / "scratch"
        (secrets / "postgres").mkdir(parents=True)
        (secrets / "postgres" / "username").write_text("postgres")
        (secrets / "postgres" / "password").write_text("")
        scratch.mkdir()
        writer = SetWriter(Volume(Path(folder)), Layout("", "bench"), "20260101T000000Z-00000000.1", [], lambda *_: None)
        part = await back_up(request, secrets, writer, lambda *_: None, scratch)
        spooled = sum(file.stat().st_size for file in scratch.rglob("*"))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = {
        "stored": sum(entry.stored_bytes for entry in writer.entries),
        "plain": sum(entry.plain_bytes for entry in writer.entries),
        "rss": int(status["VmHWM"].split()[0]) / 1024,
        "spooled": spooled,
        "hashed": all(table.content for table in part.databases[0].tables),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
