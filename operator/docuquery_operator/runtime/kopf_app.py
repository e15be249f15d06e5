"""kopf's whole job: say "look at this object again". The only file that imports kopf."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..ports import JOB, LEASE, Key, Kind, owner_key


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """As if the package were not installed (None in sys.modules: docs.python.org, "The import system")."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


# kopf would load the official client, 10 MiB, only to tell its classes apart; no object of it ever comes here.
with hidden("kubernetes"):
    import kopf

PREFIX = "ops.docuquery.ai"
BACKOFF_CAP = 10.0


class EndlessBackoff:
    """1, 2, 4, 8, 10, 10 … seconds with jitter, for ever: kopf's own list ends after 54 s and the watch with it."""

    def __iter__(self) -> Iterator[float]:
        return (min(BACKOFF_CAP, 2.0**n) * random.uniform(0.8, 1.2) for n in itertools.chain(range(4), itertools.repeat(4)))


class NoDiff(kopf.AnnotationsDiffBaseStorage):
    """Nobody here asks what has changed in an object, and to know it kopf would copy each object of each event."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Nothing."""
        return {}


def settings(lease_name: str, exit_seconds: float) -> kopf.OperatorSettings:
    """kopf without scanning, peering, Events, annotations and finalizers."""
    s = kopf.OperatorSettings()
    s.scanning.disabled = True
    s.peering.standalone = True
    s.posting.enabled = False
    s.execution.max_workers = 4
    s.watching.server_timeout = 300
    s.watching.client_timeout = 310
    s.watching.connect_timeout = 10
    s.networking.request_timeout = 30
    s.networking.error_backoffs = EndlessBackoff()
    # Each object has a task of kopf until it was idle for so long; five seconds would hold 500 of them in memory at once.
    s.queueing.idle_timeout = 0.1
    s.queueing.exit_timeout = exit_seconds
    s.process.ultimate_exiting_timeout = exit_seconds + 5
    s.watching.field_selectors[LEASE.group, LEASE.version, LEASE.plural] = f"metadata.name={lease_name}"
    # Only Jobs of ours: those of others are not even sent.
    s.watching.label_selectors[JOB.group, JOB.version, JOB.plural] = "ops.docuquery.ai/attempt"
    s.persistence.finalizer = f"{PREFIX}/finalizer"
    s.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX, v1=False)
    s.persistence.diffbase_storage = NoDiff(prefix=PREFIX)
    return s


def registry(
    kinds: Collection[Kind],
    seen: Callable[[Key, str | None, str], None],
    canary: Callable[[], None],
    kubeconfig: str | None,
    child: Callable[[Key], None] = lambda _key: None,
) -> kopf.OperatorRegistry:
    """Handlers that hand over a key and cannot fail."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found, id="login")
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        if kubeconfig is not None:
            os.environ["KUBECONFIG"] = kubeconfig
        if kubeconfig is None and Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            return kopf.login_with_service_account(**kwargs)
        return kopf.login_with_kubeconfig(**kwargs)

    for kind in kinds:
        _watch(found, kind, seen)

    @kopf.on.event(JOB.group, JOB.version, JOB.plural, id="watch-jobs", registry=found)
    async def job_seen(namespace: str | None, annotations: Any, **_: Any) -> None:
        owner = owner_key(namespace or "", dict(annotations))
        if owner is not None:
            child(owner)

    @kopf.on.event(LEASE.group, LEASE.version, LEASE.plural, id="canary", registry=found)
    async def lease_seen(**_: Any) -> None:
        canary()

    return found


def _watch(found: kopf.OperatorRegistry, kind: Kind, seen: Callable[[Key, str | None, str], None]) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=f"watch-{kind.plural}", registry=found)
    async def event(namespace: str | None, name: str | None, type: str | None, meta: Any, **_: Any) -> None:
        seen(Key(kind.plural, namespace or "", name or ""), type, str(meta.get("resourceVersion") or ""))


async def start(
    handlers: kopf.OperatorRegistry, config: kopf.OperatorSettings, namespaces: Collection[str], stop: asyncio.Event,
    ready: asyncio.Event,
) -> Collection[asyncio.Task[Any]]:  # fmt: skip
    """Spawn kopf's tasks; all namespaces when none is given."""
    return await kopf.spawn_tasks(
        registry=handlers,
        settings=config,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
        ready_flag=ready,
    )


async def run(tasks: Collection[asyncio.Task[Any]], ignored: Collection[asyncio.Task[Any]]) -> None:
    """Wait for kopf's end, without touching our own tasks."""
    await kopf.run_tasks(tasks, ignored=frozenset(ignored))
