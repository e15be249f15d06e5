"""What of a set a restore is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.backups.manifest import DatabaseFacts, Manifest, ObjectEntry, ObjectKind, PostgresPart, QdrantPart
from ..domain.backups.request import PostgresRequest, QdrantRequest, RestoreRequest
from .contracts import MoverError


@dataclass(frozen=True)
class Parts:
    """What of the set is meant."""

    postgres: tuple[PostgresPart, PostgresRequest, tuple[DatabaseFacts, ...]] | None
    qdrant: tuple[QdrantPart, QdrantRequest] | None
    configuration: bool

    def objects(self, manifest: Manifest) -> list[ObjectEntry]:
        """What will be read of the set."""
        names = {name for facts in (self.postgres[2] if self.postgres else ()) for name in facts.objects}
        kinds = {ObjectKind.QDRANT_SHARD} if self.qdrant else set()
        kinds |= {ObjectKind.SECRETS, ObjectKind.CONFIG_MAPS, ObjectKind.MANIFESTS} if self.configuration else set()
        return [entry for entry in manifest.objects if entry.name in names or entry.kind in kinds]


def parts_of(request: RestoreRequest, manifest: Manifest) -> Parts:
    """MoverError where the set has not what is asked for."""
    postgres = qdrant = None
    if request.postgres is not None and manifest.postgres is not None:
        wanted = chosen(manifest.postgres, request.postgres.databases)
        postgres = (manifest.postgres, request.postgres, wanted)
    elif request.postgres is not None and request.postgres.databases:
        raise MoverError("PartMissing", f"the set {manifest.set_id} holds no PostgreSQL databases", retry=False)
    if request.qdrant is not None and manifest.qdrant is not None:
        qdrant = (manifest.qdrant, request.qdrant)
    elif request.qdrant is not None and request.qdrant.collections not in ([], ["*"]):
        raise MoverError("PartMissing", f"the set {manifest.set_id} holds no Qdrant collections", retry=False)
    configuration = request.configuration is not None
    if configuration and manifest.configuration is None:
        raise MoverError("PartMissing", f"the set {manifest.set_id} holds no configuration", retry=False)
    if postgres is None and qdrant is None and not configuration:
        raise MoverError(
            "NothingToRestore", f"the set {manifest.set_id} has none of the parts that are asked for", retry=False
        )
    return Parts(postgres, qdrant, configuration)


def chosen(part: PostgresPart, wanted: Sequence[str]) -> tuple[DatabaseFacts, ...]:
    """Databases of the set, all when none is named."""
    by_name = {facts.name: facts for facts in part.databases}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        text = f"the set has no database {', '.join(missing)}; it has: {', '.join(sorted(by_name)) or 'none'}"
        raise MoverError("DatabaseMissing", text, retry=False)
    return tuple(by_name[name] for name in wanted) if wanted else tuple(part.databases)
