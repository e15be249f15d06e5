"""How a set is restored by hand: commands that need neither Kubernetes nor this operator's CRs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

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


def narrowed(manifest: Manifest, names: set[str]) -> Manifest:
    """What is whole in these objects: nobody shall be told to restore a file that is not there."""
    postgres, qdrant = manifest.postgres, manifest.qdrant
    if postgres is not None:
        databases = [each for each in postgres.databases if names.issuperset(each.objects)]
        roles = postgres.globals_object if postgres.globals_object in names else ""
        changes = {"databases": databases, "globals_object": roles}
        postgres = postgres.model_copy(update=changes) if databases or roles else None
    if qdrant is not None:
        collections = [each for each in qdrant.collections if names.issuperset(shard.object for shard in each.shards)]
        qdrant = qdrant.model_copy(update={"collections": collections}) if collections else None
    objects = [each for each in manifest.objects if each.name in names]
    return manifest.model_copy(update={"postgres": postgres, "qdrant": qdrant, "objects": objects})


def commands(manifest: Manifest, folder: str) -> list[str]:
    """What restores the unpacked objects, each line for a shell as it stands."""
    lines: list[str] = []
    if manifest.postgres is not None:
        major = manifest.postgres.server_version // 10000
        lines.append(
            f"# PostgreSQL {major} or newer, its own client tools; PGHOST, PGUSER (a superuser) and PGPASSFILE say where"
        )
        if manifest.postgres.globals_object:
            lines.append(f"psql -X -d postgres -f {_file(folder, manifest.postgres.globals_object)}   # roles; no passwords")
            lines.append(
                "#   roles that are there already are told as errors, and are none; then each that logs in gets its"
            )
            lines.append("#   password, the one of its Secret: psql -X -d postgres, and in it \\password ROLE")
        for database in manifest.postgres.databases:
            lines += _database(database, folder)
    if manifest.qdrant is not None:
        lines.append(f"# Qdrant {manifest.qdrant.version} or the next minor version; QDRANT=http://HOST:6333 says where,")
        lines.append("# QDRANT_API_KEY holds the key where one is asked for")
        for collection in manifest.qdrant.collections:
            lines += _collection(collection, folder)
    others = sorted((o for o in manifest.objects if o.kind.startswith("configuration.")), key=_order)
    if others:
        lines.append("# Configuration; look at the files before")
        namespace = shlex.quote(manifest.source.namespace)
        for entry in others:
            if entry.kind == ObjectKind.CUSTOM:
                lines.append("#   last, when the data are back: its BackupJobs begin at once")
            lines.append(f"kubectl apply -n {namespace} -f {_file(folder, entry.name)}")
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
    yield from _around(database, new)
    yield "#   compare the rows of its tables with manifest.json; then the names:"
    before = f"{database.name}_before"
    yield f"#   where a database {database.name!r} is: {_sql(_renamed(database.name, before))}"
    yield _sql(_renamed(new, database.name))


def _around(database: DatabaseFacts, new: str) -> Iterator[str]:
    """What the dump of one database leaves out: rights on it, and its settings."""
    from .postgres.restore import rights, set_statement

    statements = rights(new, database.acl)
    for setting in database.settings:
        if statement := set_statement(new, setting):
            statements.append(statement)
        else:
            yield f"#   it had the setting {setting.setting!r}"
    if statements:
        yield _sql(*statements)


def _renamed(name: str, new: str) -> str:
    from .postgres.session import quoted

    return f"alter database {quoted(name)} rename to {quoted(new)}"


def _sql(*statements: str) -> str:
    words = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
    return shlex.join([*words, *(word for each in statements for word in ("-c", each))])


def _collection(collection: CollectionFacts, folder: str) -> Iterator[str]:
    from .qdrant.build import creation, custom_sharding
    from .qdrant.client import path

    new = f"{collection.name}_restored"
    if custom_sharding(collection.config):
        yield f"# {collection.name!r} is divided by shard keys of its own, and cannot be restored under another name"
    here = path("collections", new)
    yield _curl("PUT", here, creation(collection.config))
    for shard in collection.shards:
        where = f"{path('collections', new, 'shards', shard.id)}/snapshots/upload?priority=snapshot&wait=true"
        yield f"{_curl('POST', where)} -F snapshot=@{_file(folder, shard.object)}"
    for field, schema in collection.payload_schema.items():
        wanted = {"field_name": field, "field_schema": schema.get("params") or schema.get("data_type")}
        yield _curl("PUT", f"{here}/index?wait=true", wanted)
    yield f"{_curl('POST', f'{here}/points/count', {'exact': True})}   # {collection.points_after} at the cut"
    names = collection.aliases or [collection.name]
    gone = _curl("DELETE", path("collections", names[0]))
    yield f"#   then the name; where a collection {names[0]!r} is in the way: {gone}"
    yield _curl("POST", "/collections/aliases", {"actions": _aliases(names, new)})


def _aliases(names: Sequence[str], target: str) -> list[dict[str, Any]]:
    return [{"create_alias": {"collection_name": target, "alias_name": name}} for name in names]


def _curl(method: str, where: str, body: object = None) -> str:
    sent = "" if body is None else f" -H content-type:application/json -d {shlex.quote(json.dumps(body))}"
    return f'curl -sS --fail-with-body -X {method} -H "api-key: $QDRANT_API_KEY" "$QDRANT{where}"{sent}'


def row(entry: CatalogueEntry) -> str:
    """One line of a list."""
    size = entry.stored_bytes / 1e6
    return f"{entry.set_id}  {entry.state:10}  {entry.finished_at:%Y-%m-%d %H:%M}  {size:10.1f} MB  {','.join(entry.parts)}"
