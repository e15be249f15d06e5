"""What a set says of itself: manifest, catalogue entry, intent, verdict. JSON in camelCase, without secrets.

Format 1. Readers ignore fields that they do not know and refuse a higher format. Sizes are bytes, times RFC 3339 in UTC.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ...api.common import Time

FORMAT = 1


class Document(BaseModel):
    """Base of what is kept in a store."""

    model_config = ConfigDict(defer_build=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def to_json(self) -> bytes:
        """One form only: sorted keys, no spaces; a hash of it means something."""
        wire = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(wire, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


class ObjectKind(StrEnum):
    """What an object of a set holds."""

    POSTGRES_DUMP = "postgres.dump"
    POSTGRES_DIRECTORY = "postgres.directory"
    POSTGRES_GLOBALS = "postgres.globals"
    QDRANT_SHARD = "qdrant.shard"
    CONFIG_MAPS = "configuration.configMaps"
    SECRETS = "configuration.secrets"
    MANIFESTS = "configuration.manifests"
    CUSTOM = "configuration.resources"
    # Of no set: an archive of log lines.
    LOG = "log"


class ObjectEntry(Document):
    """One object: name within the set, what went in and what lies in the store."""

    name: str
    kind: ObjectKind
    plain_bytes: int
    plain_sha256: str
    stored_bytes: int
    stored_sha256: str
    compression: Literal["zstd", "none"]
    # Public keys in the form of age that can open it; none: in clear.
    recipients: list[str] = []


class Skipped(Document):
    """Something that is not in the set, and why."""

    what: str
    reason: str


class TableFacts(Document):
    """Rows and content of one table in the snapshot of the dump; `content` is '' where it was not hashed."""

    schema_name: str = Field(alias="schema")
    name: str
    rows: int
    content: str = ""
    bytes: int = 0
    data: bool = True


class SequenceFacts(Document):
    """Last value of a sequence."""

    schema_name: str = Field(alias="schema")
    name: str
    last_value: int | None = None
    is_called: bool = False


class DatabaseSetting(Document):
    """One ALTER DATABASE … SET; role is '' for all."""

    role: str
    setting: str


class DatabaseFacts(Document):
    """One database at the cut."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    locale_provider: str = "c"
    locale: str = ""
    bytes: int
    schema_sha256: str
    extensions: dict[str, str] = {}
    settings: list[DatabaseSetting] = []
    # `CONNECT role`, or `CONNECT* role` with the right to pass it on; role public: everybody. []: the usual rights.
    acl: list[str] = []
    # Roles that own something in it or hold rights.
    roles: list[str] = []
    comment: str = ""
    tables: list[TableFacts] = []
    sequences: list[SequenceFacts] = []
    # Name of the dump's object in the set; for the parallel directory format names of all its files.
    objects: list[str]
    dump_format: Literal["custom", "directory"] = "custom"


class PostgresPart(Document):
    """PostgreSQL in the set; all databases are cut when their own snapshot is exported, as near together as they can be."""

    system_identifier: str
    server_version: int
    client_version: int
    cut_at: Time
    finished_at: Time
    databases: list[DatabaseFacts]
    globals_object: str = ""
    skipped: list[Skipped] = []
    # What the tools said although they succeeded.
    warnings: list[str] = []


class Canary(Document):
    """A search that the copy must answer as the original did; ids as text, best first."""

    vector_name: str = ""
    vector: list[float]
    expected: list[str]
    scores: list[float] = []


class ShardFacts(Document):
    """One shard, taken once, from an active replica."""

    id: int
    peer: int
    state: str
    points: int | None = None
    object: str
    server_sha256: str = ""
    # Of custom sharding.
    key: str = ""


class CollectionFacts(Document):
    """One collection around its snapshot; sample_sha256: over `sample_ids` with payload and vectors, '' when not taken.

    Samples and canaries are only those that answered the same before and after, so the copy must answer the same too.
    """

    name: str
    config: dict[str, Any]
    payload_schema: dict[str, Any] = {}
    aliases: list[str] = []
    status: str
    points_before: int
    points_after: int
    shards: list[ShardFacts]
    canaries: list[Canary] = []
    sample_ids: list[str] = []
    sample_sha256: str = ""
    # One for each of sample_ids, so that a difference can be told by its point.
    sample_hashes: list[str] = []


class PeerFacts(Document):
    """A server of a Qdrant cluster, as the cluster itself named it."""

    id: int
    uri: str = ""


class QdrantPart(Document):
    """Qdrant in the set; cut after PostgreSQL."""

    version: str
    distributed: bool
    # Of a cluster: those that it had, also if no shard was taken from them.
    peers: list[PeerFacts] = []
    cut_at: Time
    finished_at: Time
    collections: list[CollectionFacts]
    skipped: list[Skipped] = []


class ConfigurationPart(Document):
    """Objects of the namespace by name; the data of Secrets only in encrypted objects."""

    config_maps: list[str] = []
    secrets: list[str] = []
    manifests: list[str] = []
    resources: list[str] = []
    finished_at: Time
    skipped: list[Skipped] = []


class Source(Document):
    """Whose data it is."""

    namespace: str
    stack: str
    stack_uid: str = ""
    backup_job: str
    backup_job_uid: str = ""


class Manifest(Document):
    """A set in full."""

    format: int = FORMAT
    set_id: str
    run: str
    source: Source
    operator_version: str
    image: str = ""
    started_at: Time
    finished_at: Time
    objects: list[ObjectEntry]
    postgres: PostgresPart | None = None
    qdrant: QdrantPart | None = None
    configuration: ConfigurationPart | None = None
    # Seconds by step.
    durations: dict[str, float] = {}

    def entry(self, name: str) -> ObjectEntry:
        """The object of this name; KeyError when the set has none."""
        for found in self.objects:
            if found.name == name:
                return found
        raise KeyError(name)


class CatalogueEntry(Document):
    """The commit of a set."""

    format: int = FORMAT
    set_id: str
    run: str
    source: Source
    state: Literal["Complete", "Suspicious"]
    reason: str = ""
    started_at: Time
    finished_at: Time
    manifest_sha256: str
    stored_bytes: int
    plain_bytes: int
    parts: list[Literal["postgres", "qdrant", "configuration"]]


class Intent(Document):
    """Somebody is at work on this set until the lease is over; then it is a leftover."""

    set_id: str
    holder: str
    started_at: Time
    lease_until: Time
    source: Source | None = None


class IntentNote(Document):
    """Something made outside the store that the janitor removes when its maker cannot: a snapshot on a Qdrant server.

    The server chooses the name, so the first note is written without one (snapshot ''): what is new beside `known` and was
    begun just after `not_before`, the server's own time, is ours.
    """

    collection: str
    shard: int | None = None
    snapshot: str
    url: str
    known: list[str] = []
    not_before: Time | None = None


class VerifyLevel(StrEnum):
    """How deep a check went (L0 to L4)."""

    COMMITTED = "Committed"
    CHECKSUM = "Checksum"
    READ = "Read"
    RESTORE = "Restore"
    ASSERTIONS = "Assertions"


class Check(Document):
    """One question of a check. ok is None when it could not be asked."""

    name: str
    ok: bool | None
    detail: str = ""
    seconds: float = 0.0


class Verdict(Document):
    """Result of a check of a set."""

    set_id: str
    at: Time
    level: VerifyLevel
    verdict: Literal["Verified", "Failed", "Unverifiable"]
    reason: str = ""
    checks: list[Check] = []
    seconds: float
    # Seconds from nothing to restored servers, the measured recovery time; None below Restore.
    rto_seconds: float | None = None
    tools: dict[str, str] = {}
