"""The Celery application: `celery -A app.background.worker worker`."""

import contextlib
import logging
import pathlib
import tempfile
import uuid
from typing import Any

import httpx
import psycopg
from celery import Celery, Task
from celery.signals import worker_ready, worker_shutdown
from psycopg_pool import PoolTimeout

from app.background.processing import DocumentMissing, Processor
from app.config import settings

# /tmp in the image; the readiness probe looks there.
READY_FILE = pathlib.Path(tempfile.gettempdir()) / "worker-ready"

logging.getLogger("httpx").setLevel(logging.WARNING)

celery = Celery("docuquery", broker=settings().redis_url, backend=settings().redis_url)
celery.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_track_started=True,
    task_time_limit=60,
    result_expires=86_400,
    result_extended=True,
    task_serializer="json",
    accept_content=["json"],
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A task of a worker that was killed comes back after this time; longer than any task and any retry.
    broker_transport_options={
        "visibility_timeout": 120,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "client_name": "docuquery-celery",
    },
    redis_socket_timeout=5,
    redis_socket_connect_timeout=2,
    redis_backend_health_check_interval=10,
)

# What a dependency that comes back may cure.
AWAY = (psycopg.OperationalError, PoolTimeout, httpx.TransportError, httpx.HTTPStatusError)
MAX_RETRIES = 30
LONGEST_WAIT = 30


@celery.task(bind=True, max_retries=MAX_RETRIES)  # type: ignore[untyped-decorator]
def process_document(self: "Task[[str], dict[str, Any]]", document_id: str) -> dict[str, Any]:
    """Cut, embed and store one document; doing it twice changes nothing."""
    document = uuid.UUID(document_id)
    try:
        return {"document": document_id, "chunks": processor().run(document)}
    except AWAY as error:
        processor.reset()
        if self.request.retries >= MAX_RETRIES:
            _give_up(document, error)
            raise
        raise self.retry(exc=error, countdown=min(LONGEST_WAIT, 2**self.request.retries)) from error
    except (DocumentMissing, psycopg.Error) as error:
        _give_up(document, error)
        raise


def _give_up(document: uuid.UUID, error: Exception) -> None:
    # The result back end keeps the failure even where the database cannot.
    with contextlib.suppress(psycopg.Error, PoolTimeout):
        processor().fail(document, type(error).__name__)


class _ProcessorSlot:
    """One processor in each pool process, opened after the fork."""

    def __init__(self) -> None:
        self._processor: Processor | None = None

    def __call__(self) -> Processor:
        if self._processor is None:
            self._processor = Processor.open(settings())
        return self._processor

    def reset(self) -> None:
        """Close, so that the next task connects afresh."""
        if self._processor is not None:
            self._processor.close()
            self._processor = None


processor = _ProcessorSlot()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _mark_ready(**_: object) -> None:
    READY_FILE.touch()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _mark_stopped(**_: object) -> None:
    READY_FILE.unlink(missing_ok=True)
