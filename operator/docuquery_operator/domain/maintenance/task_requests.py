"""What the Job of a heavy task is asked to do: one JSON document, without secrets."""

from __future__ import annotations

from typing import Literal

from ...api.backup_job import Destination
from ..backups.manifest import Document
from ..backups.request import Server


class TaskRequest(Document):
    """budget_seconds: the task ends by itself within it, and says how far it came."""

    attempt_id: str
    secrets_dir: str = "/etc/docuquery/secrets"
    scratch_dir: str = "/scratch"
    budget_seconds: float = 1800.0


class UpkeepRequest(TaskRequest):
    """VACUUM, ANALYZE or both on each table of these databases, and REINDEX CONCURRENTLY of named indexes (schema.name)."""

    command: Literal["upkeep"] = "upkeep"
    server: Server
    databases: list[str]
    vacuum: bool = True
    analyze: bool = True
    parallel: int = 1
    lock_timeout_seconds: float = 5.0
    reindex: list[str] = []


class LogStore(Document):
    """Where copies of archives go. folders: names in the store, one for each folder of the request."""

    destination: Destination
    stack: str
    folders: list[str]
    recipients: list[str] = []
    volume_dir: str = "/store"


class RotateRequest(TaskRequest):
    """Rotate the files of these folders that match; stamp: part of the archives' names. Zero: without that bound."""

    command: Literal["rotate"] = "rotate"
    folders: list[str]
    pattern: str
    stamp: str
    keep: int
    max_age_seconds: float = 0.0
    max_bytes: int = 0
    store: LogStore | None = None


AnyTaskRequest = UpkeepRequest | RotateRequest
