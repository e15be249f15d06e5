"""A small stack in a namespace of its own, with a Stack and a Runbook whose times suit a test."""

from __future__ import annotations

import contextlib
import copy
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.harness import cluster
from tests.harness.cluster import CHECKOUT, JSON, Namespace, kubectl, wait_for

OVERLAY = CHECKOUT / "deploy" / "stack" / "overlays" / "e2e"
RUNBOOKS = CHECKOUT / "operator" / "docuquery_operator" / "runbooks"
LABELS = {"app.kubernetes.io/part-of": "docuquery-tests", "pod-security.kubernetes.io/enforce": "restricted"}
RUNBOOK = "database-connection-failure"
REDIS_RUNBOOK = "redis-connection"
QDRANT_RUNBOOK = "vector-store-performance"
LOCAL = CHECKOUT / "deploy" / "stack" / "overlays" / "local"
INCIDENT_TYPE = "DatabaseConnectionFailure"
COMPONENTS = ("api", "postgres", "redis")
DETECTION = {"interval": "1s", "timeout": "1s", "failures": 2, "recoveries": 2, "openIncidents": False}
VERIFY = {"settle": "2s", "symptomClearFor": "5s", "within": "60s", "noRegression": True}
APP_ROLE = ("docuquery", "local-only-app")


class StackNamespace:
    """The e2e overlay in one namespace, and how a person would look at it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.api = Namespace(name)

    def deploy(
        self,
        detection: Mapping[str, Any] = DETECTION,
        verify: Mapping[str, Any] = VERIFY,
        edit: Callable[[JSON], None] = lambda _runbook: None,
        wait: float = 150,
        edit_redis: Callable[[JSON], None] = lambda _runbook: None,
        qdrant: bool = False,
        edit_objects: Callable[[list[JSON]], list[JSON]] = lambda objects: objects,
    ) -> None:
        """Workloads, Stack and Runbooks (changed by `edit` and the like); returns when the stack is healthy by its own word."""
        components, more = COMPONENTS, []
        cluster.ensure_namespace(self.name, LABELS)
        text = kubectl("kustomize", str(OVERLAY))
        objects = [quickened(o) for o in yaml.safe_load_all(text)]
        if qdrant:
            components, more = (*COMPONENTS, "qdrant"), [runbook(verify, QDRANT_RUNBOOK)]
            objects = with_qdrant(objects)
        self.api.apply(*edit_objects(objects))
        ours, of_redis = runbook(verify), runbook(verify, REDIS_RUNBOOK)
        edit(ours)
        edit_redis(of_redis)
        self.api.apply(stack(detection, components), ours, of_redis, *more)
        wait_for(f"a healthy stack in {self.name}", self.healthy, wait, 0.5)

    def remove(self) -> None:
        """Delete the workloads and all that tests made, but keep the namespace and the operator's rights in it."""
        ours = "incidents,maintenancewindows,stacks,runbooks,backupjobs,restorejobs"
        for kind in (ours, "statefulsets,deployments,jobs,services,networkpolicies,pdb"):
            kubectl("-n", self.name, "delete", kind, "--all", "--wait=false", "--ignore-not-found")
        kubectl("-n", self.name, "delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false", check=False)
        kubectl("-n", self.name, "delete", "pvc", "--all", "--wait=false")
        self.forget_attempts()

    def forget_attempts(self) -> None:
        """Delete the ledgers, so that budgets and cooldowns of one run do not bind the next."""
        for lease in self.api.list("leases"):
            if lease["metadata"]["name"].startswith("docuquery-target-"):
                self.api.delete("leases", lease["metadata"]["name"])

    # What a person sees, without asking the operator.

    def health(self) -> JSON | None:
        """The api's /health through its Service, or None without an answer."""
        service = self.api.get("services", "api")
        if service is None:
            return None
        try:
            with urllib.request.urlopen(f"http://{service['spec']['clusterIP']}:8000/health", timeout=4) as answer:
                found: JSON = json.load(answer)
                return found
        except urllib.error.HTTPError as refusal:
            with refusal:
                return _json(refusal.read())
        except OSError:
            return None

    def healthy(self) -> bool:
        """The api says so, and a client of our own can log in and write."""
        health = self.health()
        return health is not None and health.get("status") == "healthy" and self.database_problem() == ""

    def database_problem(self) -> str:
        """'' when the application's role can log in and write now, else what PostgreSQL says."""
        try:
            with self.connect() as connection:
                connection.execute("create temporary table e2e_proof (x int)")
                connection.execute("insert into e2e_proof values (1)")
                connection.rollback()
            return ""
        except psycopg.Error as problem:
            return str(problem).strip() or type(problem).__name__

    def connect(self, timeout: int = 2) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of the application's role through the Service."""
        service = self.api.read("services", "postgres")
        user, password = APP_ROLE
        return psycopg.connect(
            host=service["spec"]["clusterIP"],
            port=5432,
            dbname="docuquery_ai",
            user=user,
            password=password,
            connect_timeout=timeout,
            application_name="e2e-proof",
        )

    def redis_problem(self) -> str:
        """'' when a client of our own can write to Redis now, else what Redis or the network says."""
        try:
            with contextlib.closing(self.redis_client()) as client:
                client.set("e2e:proof", "1", px=1000)
            return ""
        except (redis.RedisError, OSError) as problem:
            return str(problem).strip() or type(problem).__name__

    def redis_client(self) -> redis.Redis:
        """One connection through the Service, that is made once."""
        host = self.api.read("services", "redis")["spec"]["clusterIP"]
        never = Retry(NoBackoff(), 0)
        return redis.Redis(host, socket_timeout=2, socket_connect_timeout=2, single_connection_client=True, retry=never)

    def redis_cli(self, *command: str) -> str:
        """A command as the administrator, inside the pod."""
        return self.api.exec("redis-0", "redis-cli", "-h", "127.0.0.1", *command).strip()

    def psql(self, statement: str) -> str:
        """A statement as the superuser, inside the pod."""
        return self.api.exec(
            "postgres-0", "psql", "-U", "postgres", "-h", "/var/run/postgresql", "-d", "postgres", "-Atqc", statement
        )

    def freeze(self) -> None:
        """Stop the postmaster without ending it: it listens and answers nobody, and no probe restarts it."""
        self.api.exec("postgres-0", "pkill", "-STOP", "-o", "postgres")

    def database_pod(self) -> JSON:
        """The pod of the database."""
        return self.api.read("pods", "postgres-0")

    def restarts_ordered(self, workload: str = "postgres") -> list[str]:
        """Attempt ids that were ever put into the pod template of a StatefulSet, oldest first."""
        found = sorted(self.api.list("controllerrevisions", **{"app.kubernetes.io/name": workload}), key=_revision)
        ids = [attempt_of(r["data"]) for r in found]
        return [i for i in ids if i]

    # Incidents.

    def open(self, name: str, **spec: Any) -> JSON:
        """Open an incident, as a person does with kubectl apply."""
        body = {
            "apiVersion": "ops.docuquery.ai/v1alpha1",
            "kind": "Incident",
            "metadata": {"name": name},
            "spec": {"stackRef": {"name": "docuquery"}, "type": INCIDENT_TYPE, **spec},
        }
        return self.api.create("incidents", body)

    def incident(self, name: str) -> JSON:
        """Its status."""
        status: JSON = self.api.read("incidents", name).get("status") or {}
        return status

    def wait_incident(self, name: str, what: str, holds: Any, seconds: float = 60) -> JSON:
        """Until the status fulfils the condition; the failure shows the summary."""
        last: JSON = {}

        def ask() -> JSON | None:
            nonlocal last
            last = self.incident(name)
            return last if last and holds(last) else None

        try:
            return wait_for(f"{name}: {what}", ask, seconds)
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{brief(last)}") from None

    def wait_resolved(self, name: str, seconds: int = 120) -> JSON:
        """kubectl wait, as a script of a person on call would."""
        try:
            kubectl("-n", self.name, "wait", "--for=condition=Resolved", f"inc/{name}", f"--timeout={seconds}s")
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{brief(self.incident(name))}") from None
        return self.incident(name)

    def report(self, name: str) -> dict[str, str]:
        """Data of the report's ConfigMap."""
        data: dict[str, str] = self.api.read("configmaps", f"{name}-report").get("data") or {}
        return data

    def attempts(self, component: str = "postgres") -> list[JSON]:
        """Entries of the target's ledger."""
        lease = self.api.get("leases", f"docuquery-target-docuquery-{component}")
        text = ((lease or {}).get("metadata", {}).get("annotations") or {}).get("ops.docuquery.ai/attempts", "[]")
        found: list[JSON] = json.loads(text)
        return found


def quickened(obj: JSON) -> JSON:
    """With short grace and readiness times: a test need not wait for what it does not test."""
    if obj["kind"] not in ("StatefulSet", "Deployment"):
        return obj
    changed = copy.deepcopy(obj)
    pod = changed["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 1
    for container in pod["containers"]:
        container["readinessProbe"]["periodSeconds"] = 1
    return changed


def with_qdrant(objects: list[JSON]) -> list[JSON]:
    """With the double of Qdrant as the local overlay has it, and an api that knows of it."""
    everything = list(yaml.safe_load_all(kubectl("kustomize", str(LOCAL))))
    found = [
        quickened(o) for o in everything if o["metadata"]["name"] == "qdrant" and o["kind"] in ("StatefulSet", "Service")
    ]
    for obj in found:
        del obj["metadata"]["namespace"]
    for settings in (o for o in objects if o["metadata"]["name"].startswith("docuquery-settings")):
        settings["data"]["QDRANT_URL"] = "http://qdrant:6333"
    return [*objects, *found]


def stack(detection: Mapping[str, Any] = DETECTION, components_of: Sequence[str] = COMPONENTS, **spec: Any) -> JSON:
    """The shipped Stack object, with the components that the overlay has."""
    found: JSON = yaml.safe_load((CHECKOUT / "deploy" / "stack" / "stack.yaml").read_text())
    components = {n: c for n, c in found["spec"]["components"].items() if n in components_of}
    for component in components.values():
        if "dependsOn" in component:
            component["dependsOn"] = [d for d in component["dependsOn"] if d in components_of]
    found["spec"] |= {"components": components, "detection": dict(detection), **spec}
    return found


def runbook(verify: Mapping[str, Any] = VERIFY, name: str = RUNBOOK) -> JSON:
    """A shipped runbook with other times of verification: an override like any user's."""
    found: JSON = yaml.safe_load((RUNBOOKS / f"{name}.yaml").read_text())
    assert found["metadata"]["name"] == name
    found["spec"]["verify"] = dict(verify)
    return found


def attempt_of(workload: Mapping[str, Any]) -> str:
    """Attempt id in a pod template, '' without one."""
    meta = workload.get("spec", {}).get("template", {}).get("metadata", {})
    attempt: str = (meta.get("annotations") or {}).get("ops.docuquery.ai/attempt", "")
    return attempt


def condition(status: Mapping[str, Any], type_: str) -> JSON:
    """The condition of this type, empty when it is not there."""
    found = next((c for c in status.get("conditions") or [] if c["type"] == type_), {})
    return dict(found)


def holds(status: Mapping[str, Any], type_: str, reason: str = "") -> bool:
    """Whether the condition is True, for this reason where one is given."""
    found = condition(status, type_)
    return found.get("status") == "True" and reason in ("", found.get("reason"))


def steps(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and state of each step."""
    return [(s["name"], s["state"]) for s in status.get("steps") or []]


def decisions(status: Mapping[str, Any]) -> list[str]:
    """Reasons why something was not done."""
    return [d["reason"] for d in status.get("decisions") or []]


def brief(status: Mapping[str, Any]) -> str:
    """What a failure message shows of an incident."""
    keys = ("phase", "summary", "cause", "steps", "decisions", "timeline")
    return json.dumps({k: status.get(k) for k in keys}, indent=1, default=str)[:6000]


def _revision(revision: JSON) -> int:
    return int(revision["revision"])


def _json(text: bytes) -> JSON | None:
    try:
        found: JSON = json.loads(text)
        return found
    except ValueError:
        return None
