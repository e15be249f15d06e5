"""Machines with their own monotonic clocks, and their lines to the API server, for tests of the leader Lease."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from docuquery_operator.ports import JSON, LEASE, Kind, Unavailable
from docuquery_operator.runtime.lease import LeaderLease
from tests.fakes.clock import ManualClock
from tests.fakes.cluster import FakeServer
from tests.unit.runtime.virtual import now

Value = TypeVar("Value")
NAMESPACE, NAME = "docuquery-system", "docuquery-operator"
DURATION, DEADLINE, RETRY = 15.0, 10.0, 2.0


class Host:
    """A machine: its clock has an offset and a rate; its processes can be stopped; its line can be slow, broken or cut."""

    def __init__(self, name: str, server: FakeServer, offset: float = 0.0, rate: float = 1.0) -> None:
        self.name, self.server = name, server
        self.offset, self.rate = offset, rate
        self.there = self.back = 0.01
        self.problem: BaseException | None = None
        self.cut = False
        self.calls: list[str] = []
        self.after_call: Callable[[str], None] = lambda _name: None
        self._running = asyncio.Event()
        self._running.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(HERE.set, self)

    def elector(self, deadline: float = DEADLINE) -> LeaderLease:
        """A new process's elector; a pod keeps its name when its container starts anew."""
        return LeaderLease(self, NAMESPACE, NAME, self.name, DURATION, deadline, RETRY)  # type: ignore[arg-type]

    def start(self, work: Coroutine[Any, Any, Value]) -> asyncio.Task[Value]:
        """Run on this machine."""
        task = asyncio.get_running_loop().create_task(work, context=self._context)
        self._tasks.add(task)
        return task

    def kill(self) -> None:
        """End all processes; requests that are under way still arrive."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def ask(self, question: Callable[[], Value]) -> Value:
        """An answer by the clock of this machine."""
        return self._context.run(question)

    def stop(self) -> None:
        """SIGSTOP: nothing goes on but the clock."""
        self._running.clear()

    def go_on(self) -> None:
        """SIGCONT."""
        self._running.set()

    async def get(self, _kind: Kind, namespace: str, name: str) -> JSON | None:
        return await self._call("get", lambda: self.server.find(LEASE, namespace, name))

    async def create(self, _kind: Kind, namespace: str, body: JSON) -> JSON:
        return await self._call("create", lambda: self.server.create(LEASE, namespace, body))

    async def patch(self, _kind: Kind, namespace: str, name: str, body: JSON, subresource: str = "") -> JSON | None:
        return await self._call("patch", lambda: self.server.patch(LEASE, namespace, name, body, subresource))

    async def _call(self, name: str, effect: Callable[[], Value]) -> Value:
        await self._running.wait()
        self.calls.append(name)
        problem = self.problem
        if problem is not None:
            await asyncio.sleep(self.there)
            raise problem
        if self.cut:
            while self.cut:
                await asyncio.sleep(0.1)
            raise Unavailable("connection reset")
        request = asyncio.create_task(self._on_the_way(effect, self.there, self.back))
        # Who waits for an answer that nobody will hear need not complain about it.
        request.add_done_callback(lambda t: t.cancelled() or t.exception())
        answer = await asyncio.shield(request)
        self.after_call(name)
        await self._running.wait()
        return answer

    @staticmethod
    async def _on_the_way(effect: Callable[[], Value], there: float, back: float) -> Value:
        await asyncio.sleep(there)
        try:
            return effect()
        finally:
            await asyncio.sleep(back)


HERE: contextvars.ContextVar[Host] = contextvars.ContextVar("HERE")


class HostTime:
    """The `time` module as the process on the present machine sees it."""

    sleep = staticmethod(time.sleep)

    @staticmethod
    def monotonic() -> float:
        here = HERE.get()
        return here.offset + here.rate * now()

    @staticmethod
    def time_ns() -> int:
        return int(HostTime.monotonic() * 1e9)


def new_server() -> FakeServer:
    """An API server without a Lease."""
    return FakeServer(ManualClock())


def spec_of(server: FakeServer) -> JSON:
    """spec of the Lease as it stands."""
    found = server.find(LEASE, NAMESPACE, NAME)
    assert found is not None
    spec: JSON = found["spec"]
    return spec
