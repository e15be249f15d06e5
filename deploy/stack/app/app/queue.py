"""The api's side of the task queue."""

import asyncio
import logging
import uuid
from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app.database import Documents

TASK = "app.background.worker.process_document"
QUEUE = "celery"

log = logging.getLogger(__name__)


class TaskQueue:
    """Puts documents on the queue; PostgreSQL remembers those that the queue did not take."""

    def __init__(self, celery: Celery, documents: Documents) -> None:
        """Send through `celery` and note it in `documents`."""
        self._celery = celery
        self._documents = documents

    async def send(self, ids: Sequence[uuid.UUID]) -> bool:
        """Put one task for each id on the queue; False when the broker is away and a later pass will do it."""
        try:
            await asyncio.to_thread(self._publish, ids)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue took no task, the next pass tries again: %s", type(error).__name__)
            return False
        await self._documents.mark_sent(ids)
        return True

    def _publish(self, ids: Sequence[uuid.UUID]) -> None:
        with self._celery.connection_for_write() as connection:
            for document in ids:
                self._celery.send_task(TASK, args=[str(document)], queue=QUEUE, connection=connection, retry=False)
