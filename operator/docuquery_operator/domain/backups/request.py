"""What a mover's Job is asked to do: one JSON document from the operator, without secrets.

Credentials lie in mounted Secrets below `secrets_dir`: `store/`, `postgres/`, `qdrant/`, `identity/`; Secrets to be saved
in `saved/<name>/`.
"""

from __future__ import annotations

from typing import Any, Literal

from ...api.backup_job import Destination, SqlAssertion
from ...api.restore_job import Reconcile, RestoreConfiguration
from .manifest import Document, Source, VerifyLevel


class Server(Document):
    """A server of the stack by its Service address."""

    host: str
    port: int
    tls: bool = False


class PostgresRequest(Document):
    """Databases to save; `credentials` says whether `postgres/` is mounted."""

    server: Server
    databases: list[str]
    exclude_tables: list[str] = []
    globals: bool = True
    jobs: int = 1
    lock_timeout_seconds: float = 30.0
    # A larger table is counted but not hashed, and the manifest says so.
    hash_limit_bytes: int = 64 << 30


class QdrantRequest(Document):
    """Collections to save; ['*']: all."""

    server: Server
    # The peers' own addresses, where the stack has several.
    peers: list[Server] = []
    collections: list[str] = ["*"]
    timeout_seconds: float = 3600.0
    canaries: int = 10
    sample: int = 200


class SavedObject(Document):
    """One object as `kubectl apply` takes it; a Secret's without its data, which is mounted."""

    manifest: dict[str, Any]


class ConfigurationRequest(Document):
    """Objects that the operator has read; Secrets are read from `saved/<name>/`."""

    config_maps: list[SavedObject] = []
    secrets: list[SavedObject] = []
    manifests: list[SavedObject] = []
    resources: list[SavedObject] = []


class RequestBase(Document):
    """What each request says."""

    source: Source
    destination: Destination
    secrets_dir: str = "/etc/docuquery/secrets"
    scratch_dir: str = "/scratch"
    # Where the destination's volume is mounted, for destination.volume.
    volume_dir: str = "/store"
    image: str = ""
    # Another process with the same attempt is the same work started twice.
    attempt_id: str


class BackupRequest(RequestBase):
    """One try of one run."""

    command: Literal["backup"] = "backup"
    set_id: str
    lease_seconds: float = 21600.0
    recipients: list[str] = []
    allow_empty: bool = False
    # Re-read and re-hash each object below this size before the commit.
    reread_limit_bytes: int = 1 << 30
    # Stored bytes of the last good sets, newest first: a set below half of their median is Suspicious.
    previous_bytes: list[int] = []
    postgres: PostgresRequest | None = None
    qdrant: QdrantRequest | None = None
    configuration: ConfigurationRequest | None = None


class VerifyRequest(RequestBase):
    """Check one set; its manifest must have this hash when one is given."""

    command: Literal["verify"] = "verify"
    set_id: str
    level: VerifyLevel
    manifest_sha256: str = ""
    assertions: list[SqlAssertion] = []


class KeepPolicy(Document):
    """api.backup_job.Retention in seconds and numbers; all zero: everything is kept."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    min_age_seconds: float = 86400.0
    grace_seconds: float = 259200.0
    time_zone: str = "Etc/UTC"
    # Runs or sets that are never removed: pinned, or in use by a restore.
    pinned: list[str] = []


class CatalogueRequest(RequestBase):
    """List the sets, clean up after movers that died, and with a policy delete what it does not keep."""

    command: Literal["catalogue"] = "catalogue"
    keep: KeepPolicy | None = None
    dry_run: bool = True
    # Sets whose makers are known to be gone.
    dead_attempts: list[str] = []
    qdrant: QdrantRequest | None = None
    # deletionPolicy Delete of an object that is going: every set of this BackupJob may go, pinned or not.
    delete_all: bool = False


class RestoreRequest(RequestBase):
    """One phase of a restore. `restore_id`: 8 hex digits, part of the names of all copies."""

    command: Literal["restore"] = "restore"
    phase: Literal["plan", "apply", "rollback", "dropPrevious", "scratch"]
    restore_id: str
    set_id: str
    manifest_sha256: str = ""
    plan_digest: str = ""
    postgres: PostgresRequest | None = None
    qdrant: QdrantRequest | None = None
    configuration: ConfigurationRequest | None = None
    # Which objects of the set's configuration; nothing named: all of them.
    wanted_configuration: RestoreConfiguration | None = None
    # The set that holds what is replaced, taken before anything is touched.
    safety: BackupRequest | None = None
    reconcile: Reconcile | None = None
    assertions: list[SqlAssertion] = []
    # Where the application's own api answers, for its /health and /info after the swap.
    api_url: str = ""
    # Scratch: the copy stays so long after its result was told.
    keep_seconds: float = 0.0


AnyRequest = BackupRequest | VerifyRequest | CatalogueRequest | RestoreRequest
