"""Which keys of a Redis may be dropped: those that its owner calls a cache, and that hold nobody's work."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ...api.stack import Component, ComponentType, Stack

# What kombu and Celery keep on a broker beside the queues (kombu.transport.redis, celery.backends.redis).
BROKER_KEYS = ("unacked", "unacked_index", "unacked_mutex", "_kombu.binding.celery", "docuquery:quarantine:0")


def work(stack: Stack, name: str) -> list[str]:
    """Names of keys in this Redis that hold the work of others, one for each sort."""
    found: list[str] = []
    for component in stack.spec.components.values():
        if component.type is ComponentType.CELERY_WORKER and component.celery is not None and _rests_on(component, name):
            prefix, celery = component.celery.key_prefix, component.celery
            found += [prefix + key for key in (*celery.queues, *BROKER_KEYS, f"{celery.result_prefix}0")]
        if component.type is ComponentType.API and name in component.depends_on:
            limits = component.rate_limit.key_pattern if component.rate_limit else "*rate_limit*"
            found.append(limits.replace("*", "").replace("?", ""))
    return found


def _rests_on(worker: Component, name: str) -> bool:
    broker = worker.celery.broker if worker.celery else None
    return broker == name if broker else name in worker.depends_on or not worker.depends_on


def clash(patterns: Sequence[str], keys: Sequence[str]) -> str:
    """The first pattern that would reach work, and the key in question; '' when none does."""
    for pattern in patterns:
        for key in keys:
            if fnmatchcase(key, pattern):
                return f"{pattern} also matches {key}"
    return ""
