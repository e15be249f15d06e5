"""What may be called a cache, and what may not."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.api.stack import Stack
from docuquery_operator.domain.remedies.cache_keys import clash, work


def stack(**worker: Any) -> Stack:
    redis = {"workload": {"kind": "StatefulSet", "name": "redis"}, "endpoint": {"service": "redis", "port": 6379}}
    components = {
        "redis": {"type": "Redis", **redis},
        "other": {"type": "Redis", **redis},
        "api": {"type": "Api", "workload": {"kind": "Deployment", "name": "api"}, "endpoint": {"service": "api", "port": 80},
                "dependsOn": ["redis"]},
        "worker": {"type": "CeleryWorker", "workload": {"kind": "Deployment", "name": "worker"}, "dependsOn": ["redis"],
                   "celery": {"app": "a", "queues": ["celery", "slow"], **worker}},
    }  # fmt: skip
    return Stack.model_validate({"metadata": {"name": "s"}, "spec": {"components": components}})


@pytest.mark.parametrize(
    "pattern",
    [
        "celery",
        "cel*",
        "slow",
        "unacked*",
        "_kombu*",
        "celery-task-meta-*",
        "docuquery:*",
        "rate_limit*",
        "rat*:*",
        "rate_limi?",
    ],
)
def test_what_holds_work_is_no_cache(pattern: str) -> None:
    reached = clash([pattern], work(stack(), "redis"))
    assert bool(reached) == (pattern != "rat*:*"), reached


@pytest.mark.parametrize("pattern", ["cache:*", "session:*", "emb:{docuquery}:*", "celery-cache:*"])
def test_a_cache_is_one(pattern: str) -> None:
    assert clash(["cache:*", pattern], work(stack(), "redis")) == ""


def test_only_the_broker_itself_holds_the_queues() -> None:
    assert clash(["slow"], work(stack(), "other")) == ""
    assert clash(["slow"], work(stack(broker="other"), "redis")) == ""
    assert clash(["slow"], work(stack(broker="other"), "other")) == "slow also matches slow"


def test_a_prefix_belongs_to_the_names() -> None:
    assert clash(["p:*"], work(stack(keyPrefix="p:"), "redis")) == "p:* also matches p:celery"
