"""A worker in a scenario's namespace, with tasks of the scenario's own, and messages as Celery's client writes them."""

from __future__ import annotations

import base64
import json
import os
import signal
import uuid
from collections.abc import Iterable
from typing import Any

import yaml

from tests.harness import stackns
from tests.harness.cluster import CHECKOUT, JSON, kubectl, wait_for
from tests.harness.stackns import StackNamespace, attempt_of

WORKER = CHECKOUT / "deploy" / "stack" / "base" / "worker.yaml"
TASKS = """
import os
import time
import psycopg
from app.background.worker import celery

@celery.task(name="scenario.note", ignore_result=True)
def note(seconds):
    time.sleep(seconds)

# Nothing ends it: that is the fault.
@celery.task(name="scenario.stuck", time_limit=7200)
def stuck(seconds):
    time.sleep(seconds)

@celery.task(name="scenario.query")
def query(seconds):
    with psycopg.connect(host="postgres", dbname="docuquery_ai", user=os.environ["DATABASE_USER"],
                         password=os.environ["DATABASE_PASSWORD"], connect_timeout=5) as session:
        session.execute("select pg_sleep(%s)", [seconds])
"""
# The first process of a container can be neither stopped nor killed from inside it; the worker is its child here.
START = """celery -A scenario worker --loglevel=INFO --concurrency=2 --queues=celery & worker=$!
echo $worker > /tmp/worker.pid
trap 'kill -TERM $worker' TERM
wait $worker; wait $worker"""
SIGNAL = "import os, sys; os.kill(int(open('/tmp/worker.pid').read()), int(sys.argv[1]))"
# Times that a test can wait for.
PARAMETERS = {"taskLimit": "15s", "stallFor": "5s", "maxWaiting": "200", "moveEvery": "30s"}


def deploy_worker(ns: StackNamespace) -> None:
    """The stack's worker with the scenario's tasks, its Stack and its runbook; returns when it listens."""
    image = ns.api.read("deployments", "api")["spec"]["template"]["spec"]["containers"][0]["image"]
    worker = stackns.quickened(yaml.safe_load(WORKER.read_text()))
    pod = worker["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 5
    pod["volumes"].append({"name": "scenario", "configMap": {"name": "scenario"}})
    container = pod["containers"][0] | {"image": image, "command": ["sh", "-c", START]}
    container["env"] = [*container["env"], {"name": "PYTHONPATH", "value": "/scenario:/srv"}]
    container["volumeMounts"] = [*container["volumeMounts"], {"name": "scenario", "mountPath": "/scenario"}]
    container["resources"] = {"requests": {"cpu": "5m", "memory": "64Mi"}}
    pod["containers"] = [container]
    tasks = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scenario"}, "data": {"scenario.py": TASKS}}
    kubectl("apply", "-n", ns.name, "-f", "-", text=yaml.safe_dump_all([tasks, worker, runbook()]))
    kubectl("-n", ns.name, "rollout", "status", "deployment/worker", "--timeout=120s")
    wait_for("a worker that listens", lambda: listens(ns), 60, 0.5)
    watch = yaml.safe_load((CHECKOUT / "deploy" / "stack" / "stack.yaml").read_text())["spec"]["components"]["worker"]
    patch = {"spec": {"components": {"worker": watch | {"dependsOn": ["redis", "postgres"]}}}}
    kubectl("-n", ns.name, "patch", "stacks", "docuquery", "--type=merge", "-p", json.dumps(patch))
    wait_for("a worker that is known to be well", lambda: state(ns, "worker") == "Operational", 60, 0.5)


def runbook() -> JSON:
    """The shipped one, with times of verification and parameters that suit a test."""
    found = stackns.runbook(name="background-task-failure")
    for parameter in found["spec"]["parameters"]:
        parameter["default"] = PARAMETERS.get(parameter["name"], parameter["default"])
    return found


def state(ns: StackNamespace, component: str) -> str:
    """What the Stack says of a component."""
    status = ns.api.read("stacks", "docuquery").get("status") or {}
    return next((str(c["state"]) for c in status.get("components") or [] if c["name"] == component), "")


def listens(ns: StackNamespace) -> bool:
    """Whether Redis knows anybody who listens for remote control."""
    return "psub=1" in ns.redis_cli("client", "list")


def waiting(ns: StackNamespace) -> int:
    """Messages in the queue."""
    return int(ns.redis_cli("llen", "celery"))


def pods(ns: StackNamespace) -> list[JSON]:
    """Pods of the worker that are not ending."""
    found = ns.api.list("pods", **{"app.kubernetes.io/name": "worker"})
    return [p for p in found if not p["metadata"].get("deletionTimestamp")]


def send_signal(ns: StackNamespace, number: int) -> None:
    """To the worker's main process."""
    (pod,) = pods(ns)
    # Whoever ends the container also ends the command that did it.
    ns.api.exec(pod["metadata"]["name"], "python", "-c", SIGNAL, str(int(number)), check=number != signal.SIGKILL)


def signals(processes: Iterable[int], number: int) -> None:
    """To all of them, at one moment."""
    for pid in processes:
        os.kill(pid, number)


def scale(ns: StackNamespace, replicas: int) -> None:
    """By a person's hand; returns when it is so."""
    ns.api.patch("deployments", "worker", {"spec": {"replicas": replicas}})
    wait_for(f"{replicas} workers", lambda: len(pods(ns)) == replicas and listens(ns) == bool(replicas), 60, 0.5)


def send(ns: StackNamespace, task: str, seconds: Iterable[float]) -> None:
    """One message for each number."""
    with ns.redis_client() as client:
        client.lpush("celery", *[message(task, s) for s in seconds])


def message(task: str, argument: Any) -> str:
    """As kombu writes it for Celery's protocol 2."""
    number = str(uuid.uuid4())
    body = [[argument], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    headers = {"lang": "py", "task": task, "id": number, "root_id": number, "parent_id": None, "group": None, "eta": None,
               "expires": None, "retries": 0, "timelimit": [None, None], "origin": "scenario", "ignore_result": task != "scenario.query"}  # fmt: skip
    properties = {
        "correlation_id": number,
        "reply_to": number,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    return json.dumps({
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    })  # fmt: skip


def control(ns: StackNamespace, *command: str) -> None:
    """A word to all workers, as a person says it."""
    (pod,) = pods(ns)
    ns.api.exec(pod["metadata"]["name"], "celery", "-A", "scenario", "control", "--timeout=5", *command)


def failed(ns: StackNamespace) -> int:
    """Tasks that the result back end holds as failed."""
    with ns.redis_client() as client:
        found = [client.get(key) or b"" for key in client.scan_iter("celery-task-meta-*")]
    return sum(json.loads(text).get("status") == "FAILURE" for text in found if isinstance(text, bytes))


def restarts_ordered(ns: StackNamespace) -> list[str]:
    """Attempt ids that were ever put into the worker's pod template."""
    found = ns.api.list("replicasets", **{"app.kubernetes.io/name": "worker"})
    return [i for i in (attempt_of(r) for r in found) if i]


def works(ns: StackNamespace) -> bool:
    """Whether a task that is sent now is taken and ended: the proof that rests on nobody's word."""
    send(ns, "scenario.note", [0.0])
    wait_for("an empty queue", lambda: waiting(ns) == 0, 30, 0.5)
    return True
