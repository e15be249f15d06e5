"""Runbooks of one's own: the worked example heals, probes give what they declare, and the object says what lint says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.base import ProbeContext, Round
from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.cli.lint import lint_document
from docuquery_operator.controllers.runbook import RunbookController
from docuquery_operator.domain.remedies import temporary
from docuquery_operator.ports import (
    CLAIM,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    RUNBOOK,
    STACK,
    STATEFUL_SET,
    Aside,
    Blocker,
    CeleryFacts,
    CeleryTask,
    DatabaseFacts,
    HttpAnswer,
    Key,
)
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

# A whole simulated world lives through minutes in each of these; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "runbook.yaml"


def with_example(parameters: dict[str, Any] | None = None) -> tuple[Rig, Key, list[HttpAnswer]]:
    """A world with the example's runbook and an incident of its type; the api answers what the list holds first."""
    rig = Rig()
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    rig.server.put(RUNBOOK, document | {"metadata": {"name": "api-wedged", "namespace": NAMESPACE}})
    answers = [HttpAnswer(0, problem="timeout")]

    def http(_host: str, _path: str) -> HttpAnswer:
        restarted = any(name.startswith("api") for name, _ in rig.simulator.created)
        return HttpAnswer(200, "{}", latency_ms=12) if restarted else answers[0]

    rig.network.http = http
    return rig, rig.incident("silent", type="ApiWedged", parameters=parameters), answers


async def test_the_example_heals_a_wedged_api() -> None:
    rig, key, _ = with_example()
    status = await rig.run(key)
    assert (status["phase"], status["cause"]["name"]) == ("Resolved", "Wedged")
    assert steps(status) == [("waitForRecovery", "NotHealed"), ("restartWorkload", "Healed")]
    assert {name.partition("-")[0] for name, _ in rig.simulator.created} == {"api"}


async def test_the_example_takes_slow_for_silent_within_its_parameter() -> None:
    for limit, healed in ((1500, True), (1700, False)):
        rig, key, answers = with_example({"slowMs": limit})
        answers[0] = HttpAnswer(200, "{}", latency_ms=1600)
        status = await rig.run(key, seconds=900)
        assert bool(rig.simulator.created) is healed, status["summary"]


async def test_the_example_leaves_the_api_alone_while_its_database_is_down() -> None:
    rig, key, _ = with_example()
    rig.freeze()
    status = await rig.run(key, seconds=300)
    assert status["cause"]["name"] == "DatabaseDown"
    assert condition(status, "NeedsHuman")
    assert not rig.simulator.created


def volume(rig: Rig) -> None:
    """The database's pod has a claim, and the claim a size."""
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    rig.server.edit(POD, NAMESPACE, "postgres-0", lambda pod: pod["spec"].update(volumes=[claim]))
    status = {"capacity": {"storage": "1Gi"}}
    rig.server.put(CLAIM, {"metadata": {"name": "data", "namespace": NAMESPACE}, "status": status})


def with_blocking(rig: Rig) -> None:
    """Clients may be kept out."""
    rig.edit_stack(lambda s: [c.update(blocking={"enforcer": "ApiDenySet"}) for c in s["spec"]["components"].values()])


def background(rig: Rig) -> None:
    """A worker that is busy, results, and messages in quarantine."""
    rig.with_worker()
    rig.celery.held, rig.celery.since = {"a1": ["one"]}, {"a1": rig.clock.now().timestamp()}
    task = CeleryTask("t1", "tasks.note", 3.0)

    def busy(facts: CeleryFacts) -> CeleryFacts:
        assert facts.waiting
        waiting = replace(facts.waiting, sent_seconds=5.0, held=1, held_oldest=3.0)
        return replace(facts, nodes=tuple(replace(n, active=(task,)) for n in facts.nodes), waiting=waiting)

    rig.celery_overlay = busy


def set_aside(rig: Rig) -> None:
    """A Redis whose data lies aside."""
    rig.with_redis()
    rig.redis.aside = Aside("aside", 0, 3, "a1", rig.clock.now().timestamp())


def autoscaled(rig: Rig) -> None:
    """An autoscaler keeps the number of the database's pods."""
    spec = {"scaleTargetRef": {"kind": "StatefulSet", "name": "postgres"}, "maxReplicas": 3}
    rig.server.put(HORIZONTAL_POD_AUTOSCALER, {"metadata": {"name": "own", "namespace": NAMESPACE}, "spec": spec})


def with_limit(rig: Rig) -> None:
    """A limit was changed for a while."""
    change: Any = {"id": "a", "cause": "", "until": "2100-01-01T00:00:00Z", "field": "env/api/RATE_LIMIT_REQUESTS"}
    former, ours = ({"name": "RATE_LIMIT_REQUESTS", "value": v} for v in ("100", "200"))

    def edit(workload: Any) -> None:
        record = json.dumps([change | {"former": former, "ours": ours}])
        workload["metadata"].setdefault("annotations", {})[temporary.KEY] = record
        workload["spec"]["template"].setdefault("spec", {})["containers"] = [{"name": "api", "env": [ours]}]

    rig.server.edit(STATEFUL_SET, NAMESPACE, "postgres", edit)


def worlds() -> dict[str, Callable[[Rig], Any]]:
    """States in which the probes find as much and as little as they can."""
    blocker = Blocker(7, "start", "docuquery", "report", 5, 90.0)
    health = '{"dependencies": {"database": {"status": "down", "error": "auth"}, "redis": "up"}}'

    def outcome(word: str) -> Callable[[Rig], Any]:
        return lambda rig: setattr(rig, "overlay", lambda _facts: DatabaseFacts(word, word))

    return {
        "fine": lambda rig: None,
        "frozen": lambda rig: rig.freeze(),
        "crowded": lambda rig: rig.idle_sessions(40),
        "locked": lambda rig: setattr(rig, "overlay", lambda f: replace(f, waiting_on_locks=9, blockers=(blocker,))),
        "full": lambda rig: setattr(rig, "overlay", lambda f: replace(f, write="disk_full")),
        "no connection left": outcome("too_many_connections"),
        "starting": outcome("starting"),
        "api with dependencies": lambda rig: setattr(rig.network, "http", lambda _h, _p: HttpAnswer(503, health)),
        "api silent": lambda rig: setattr(rig.network, "http", lambda _h, _p: HttpAnswer(0, problem="timeout")),
        "with a volume": volume,
        "with blocking": with_blocking,
        "background tasks": background,
        "autoscaled": autoscaled,
        "set aside": set_aside,
        "with a limit": with_limit,
        "no workload": lambda rig: rig.server.remove(STATEFUL_SET, NAMESPACE, "postgres"),
    }


async def found_by(probe: str, world: Callable[[Rig], Any]) -> set[str]:
    """Keys of the probe's finding about every component of this world that it can look at."""
    rig = Rig()
    world(rig)
    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    keys: set[str] = set()
    for name, component in stack.spec.components.items():
        if name == ("postgres" if probe == "httpHealth" else "api") and probe != "workload":
            continue
        round_ = Round(stack, rig.life.ports, 1.0, rig.clock.now())
        keys |= set(await PROBES[probe].look(ProbeContext(round_, name, component)))
    return keys


# What needs a history is looked at in test_service_level.py, test_ratelimit.py and test_qdrant_probes.py.
HISTORY = {"serviceLevel", "rollout", "apiRefusals", "apiTraffic", "rateLimits", "rateLimitKeys"} | {
    p for p in PROBES if p.startswith("qdrant")
}


@pytest.mark.parametrize("probe", sorted(set(PROBES) - HISTORY))
async def test_a_probe_gives_exactly_what_it_declares(probe: str) -> None:
    """Over all worlds; what is named by `*` is the health answer's own."""
    given = set().union(*[await found_by(probe, world) for world in worlds().values()])
    declared = {key for key in PROBES[probe].gives if "*" not in key}
    named = {"database", "databaseError", "redis"} if probe == "httpHealth" else set()
    assert given == declared | named | {"summary"}


MISNAMED = [
    ("symptom", "!findings.redy.ok", "UnknownFinding"),
    ("symptom", "!findings.ready.okay", "UnknownFinding"),
    ("symptom", "findings.ready.ok == parameters.limit", "UnknownParameter"),
    ("parameters", [{"name": "limit", "type": "Integer", "default": "x"}], "InvalidParameters"),
]


@pytest.mark.parametrize(("field", "value", "reason"), MISNAMED, ids=[f"{m[0]}: {m[1]}" for m in MISNAMED])
async def test_the_object_says_what_lint_says(field: str, value: Any, reason: str) -> None:
    rig = Rig()
    rig.put_runbook(**{field: value})
    await RunbookController(rig.life.ports).reconcile(Key(RUNBOOK.plural, NAMESPACE, "own"))
    stored = rig.server.find(RUNBOOK, NAMESPACE, "own")
    assert stored is not None
    ready = next(c for c in stored["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    document = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "Runbook"} | stored
    told = [f"{path}: {text}" for level, path, text in lint_document(document) if level == "error"]
    assert told == [f"spec.{ready['message']}"]
    status = await rig.run(rig.incident(), seconds=60)
    assert condition(status, "NeedsHuman") == "RunbookInvalid"
