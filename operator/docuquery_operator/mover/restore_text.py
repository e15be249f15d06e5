"""How a set is restored by hand: commands that need neither Kubernetes nor this operator's CRs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..domain.backups.manifest import CatalogueEntry, CollectionFacts, DatabaseFacts, Manifest, ObjectEntry, ObjectKind

WIDTH = 100


def text_of(manifest: Manifest, where: str, root: str) -> str:
    """RESTORE.txt of a set."""
    source = manifest.source
    return "\n".join(
        [
            f"Set {manifest.set_id} of Stack {source.namespace}/{source.stack}, BackupJob {source.backup_job}",
            f"Taken from {manifest.started_at:%Y-%m-%d %H:%M:%S} to {manifest.finished_at:%H:%M:%S} UTC,"
            f" by docuquery-operator {manifest.operator_version}.",
            "",
            "1. Unpack. It checks every byte; --identity is needed where objects are encrypted.",
            f"     docuquery-restore unpack {manifest.set_id} --from {shlex.quote(_place(where, root))} --to ./set"
            + (" --identity key.txt" if any(o.recipients for o in manifest.objects) else ""),
            "   FOLDER holds the folders catalogue/ and sets/; a store that speaks S3 needs --endpoint URL.",
            "   docuquery-restore is in the operator's image. Without it each object is unpacked like this:",
            *(f"     {line}" for line in by_hand(manifest)),
            "",
            "2. Restore into new names, look at the result, then rename.",
            *(f"     {line}" for line in commands(manifest, "./set")),
            "",
        ]
    )


def _place(where: str, root: str) -> str:
    """The Stack's folder. A volume is mounted elsewhere by whoever restores."""
    return "FOLDER" if where.startswith("volume ") else f"{where}/{root.rstrip('/')}"


def by_hand(manifest: Manifest) -> list[str]:
    """age and zstd, for one object of each form."""
    forms: dict[tuple[bool, str], ObjectEntry] = {}
    for entry in manifest.objects:
        forms.setdefault((bool(entry.recipients), entry.compression), entry)
    return [_open(o) for o in forms.values()] or ["(no objects)"]


def _open(entry: ObjectEntry) -> str:
    name = shlex.quote(entry.name)
    steps = ["age -d -i key.txt"] if entry.recipients else []
    steps += ["zstd -d"] if entry.compression == "zstd" else []
    if not steps:
        return f"cp {name} plain"
    first, *rest = steps
    return f"{first} < {name}{''.join(f' | {step}' for step in rest)} > plain"


def commands(manifest: Manifest, folder: str) -> list[str]:
    """What restores the unpacked objects."""
    lines: list[str] = []
    if manifest.postgres is not None:
        major = manifest.postgres.server_version // 10000
        lines.append(f"# PostgreSQL {major} or newer, its own client tools; PGHOST, PGUSER and PGPASSFILE say where")
        if manifest.postgres.globals_object:
            lines.append(f"psql -X -d postgres -f {_file(folder, manifest.postgres.globals_object)}   # roles; no passwords")
        for database in manifest.postgres.databases:
            lines += _database(database, folder)
    if manifest.qdrant is not None:
        lines.append(f"# Qdrant {manifest.qdrant.version} or the next minor version")
        for collection in manifest.qdrant.collections:
            lines += _collection(collection, folder)
    others = [o for o in manifest.objects if o.kind.startswith("configuration.")]
    if others:
        lines.append("# Configuration; look at the files before")
        lines += [f"kubectl apply -f {_file(folder, o.name)}" for o in sorted(others, key=_order)]
    return lines


def _order(entry: ObjectEntry) -> int:
    """What others refer to comes first."""
    known = [ObjectKind.CONFIG_MAPS, ObjectKind.SECRETS, ObjectKind.MANIFESTS, ObjectKind.CUSTOM]
    return known.index(entry.kind)


def _file(folder: str, name: str) -> str:
    return shlex.quote(f"{folder}/{name}")


def _database(database: DatabaseFacts, folder: str) -> Iterator[str]:
    new = f"{database.name}_restored"
    options = [f"--encoding={database.encoding}", f"--lc-collate={database.collate}", f"--lc-ctype={database.ctype}"]
    if database.locale_provider == "i":
        options += ["--locale-provider=icu", f"--icu-locale={database.locale}"]
    yield shlex.join(["createdb", "--template=template0", f"--owner={database.owner}", *options, new])
    if database.dump_format == "directory":
        source = f"--format=directory {_file(folder, database.objects[0].rpartition('/')[0])}"
    else:
        source = _file(folder, database.objects[0])
    yield f"pg_restore --exit-on-error --jobs=4 --dbname={shlex.quote(new)} {source}"
    for setting in database.settings:
        role = f" in database for role {setting.role}" if setting.role else ""
        yield f"#   it had the setting {setting.setting}{role}"


def _collection(collection: CollectionFacts, folder: str) -> Iterator[str]:
    new = f"{collection.name}_restored"
    shards = len(collection.shards)
    yield f"# create {new} with the config of the manifest and shard_number {shards}, then each shard:"
    for shard in collection.shards:
        url = f"$QDRANT/collections/{new}/shards/{shard.id}/snapshots/upload?priority=snapshot&wait=true"
        yield f'curl --fail -X POST "{url}" -F snapshot=@{_file(folder, shard.object)}'
    for alias in collection.aliases:
        yield f"#   it had the alias {alias}: POST $QDRANT/collections/aliases"


def row(entry: CatalogueEntry) -> str:
    """One line of a list."""
    size = entry.stored_bytes / 1e6
    return f"{entry.set_id}  {entry.state:10}  {entry.finished_at:%Y-%m-%d %H:%M}  {size:10.1f} MB  {','.join(entry.parts)}"
