"""What the api does beside its requests: create what is missing, and send what the queue did not take."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import httpx
import psycopg
from psycopg_pool import PoolTimeout

from app import qdrant
from app.config import Settings
from app.database import Documents
from app.queue import TaskQueue

_EVERY = 5.0
_CONFLICT = 409

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[None]]


class Upkeep:
    """Steps that are tried again until they succeed, whichever dependency is away."""

    def __init__(self, settings: Settings, documents: Documents, queue: TaskQueue, client: httpx.AsyncClient) -> None:
        """Prepare the tables and, where there is a Qdrant, the collection."""
        self._documents = documents
        self._queue = queue
        self._client = client
        self._collection = settings.qdrant_collection
        self._missing: list[Step] = [documents.prepare]
        if settings.qdrant_url:
            self._missing.append(self._create_collection)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            for step in list(self._missing):
                if await self._succeeds(step):
                    self._missing.remove(step)
            if self._documents.prepare not in self._missing:
                await self._succeeds(self._flush)
            await asyncio.sleep(_EVERY)

    async def _succeeds(self, step: Step) -> bool:
        try:
            await step()
        except (psycopg.Error, PoolTimeout, httpx.HTTPError, OSError) as error:
            log.warning("%s has to wait: %s", getattr(step, "__name__", "a step").strip("_"), type(error).__name__)
            return False
        return True

    async def _flush(self) -> None:
        if waiting := await self._documents.unsent():
            await self._queue.send(waiting)

    async def _create_collection(self) -> None:
        with contextlib.suppress(httpx.HTTPStatusError):
            (await self._send(qdrant.describe(self._collection))).raise_for_status()
            return
        answer = await self._send(qdrant.create_collection(self._collection))
        if answer.status_code != _CONFLICT:
            answer.raise_for_status()

    async def _send(self, call: qdrant.Call) -> httpx.Response:
        return await self._client.request(call.method, call.path, json=call.json, params=call.params)
