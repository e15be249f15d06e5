"""Small parts in place of the servers' own: they write real objects, and leave a file where Qdrant would hold a snapshot."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from docuquery_operator.domain.backups.manifest import (
    CollectionFacts,
    ConfigurationPart,
    DatabaseFacts,
    IntentNote,
    ObjectKind,
    PostgresPart,
    QdrantPart,
    ShardFacts,
    TableFacts,
)
from docuquery_operator.mover import clock
from docuquery_operator.mover.chunks import once
from docuquery_operator.mover.contracts import ObjectWriter, Report

MIB = 1 << 20


async def back_up_postgres(request: Any, secrets: Path, writer: ObjectWriter, report: Report, scratch: Path) -> PostgresPart:
    size = int(request.server.port)
    dump = await writer.write("postgres/app.dump", ObjectKind.POSTGRES_DUMP, once(random.Random(1).randbytes(size)))
    roles = await writer.write("postgres/globals.sql", ObjectKind.POSTGRES_GLOBALS, once(b"create role app;\n"))
    tables = [TableFacts(schema="public", name=name, rows=3, content="ab") for name in request.databases if name != "void"]
    database = DatabaseFacts(
        name="app",
        owner="app",
        encoding="UTF8",
        collate="C",
        ctype="C",
        bytes=size,
        schema_sha256="00",
        tables=tables,
        objects=[dump.name],
    )
    return PostgresPart(
        system_identifier="1",
        server_version=150000,
        client_version=150000,
        cut_at=clock.now(),
        finished_at=clock.now(),
        databases=[database],
        globals_object=roles.name,
    )


async def back_up_qdrant(request: Any, secrets: Path, writer: ObjectWriter, report: Report) -> QdrantPart:
    server = secrets / "qdrant-server"
    server.mkdir(exist_ok=True)
    collections = []
    for number, name in enumerate(request.collections):
        held = server / f"{name}-{number}.snapshot"
        await writer.note(IntentNote(collection=name, shard=0, snapshot=held.name, url=str(server)))
        held.write_text("a snapshot")
        entry = await writer.write(f"qdrant/{name}/0.snapshot", ObjectKind.QDRANT_SHARD, once(bytes(300_000)))
        held.unlink()
        shard = ShardFacts(id=0, peer=1, state="Active", points=5, object=entry.name)
        collections.append(
            CollectionFacts(name=name, config={}, status="green", points_before=5, points_after=5, shards=[shard])
        )
    at = clock.now()
    return QdrantPart(version="1.18.3", distributed=False, cut_at=at, finished_at=at, collections=collections)


async def remove_noted(note: IntentNote, secrets: Path) -> list[str]:
    held = Path(note.url) / note.snapshot
    if not held.exists():
        return []
    held.unlink()
    return [note.snapshot]


async def back_up_configuration(request: Any, secrets: Path, writer: ObjectWriter, report: Report) -> ConfigurationPart:
    await writer.write("configuration/configmaps.yaml", ObjectKind.CONFIG_MAPS, once(b"apiVersion: v1\n"))
    return ConfigurationPart(config_maps=["app"], finished_at=clock.now())
