"""`make demo`: from an empty machine to two faults healed, each told from fault to proof."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml

from tests.demo.kube import CHECKOUT, DemoError, Kube, cluster
from tests.demo.story import Follower, say

NAMESPACE, RELEASE_NAMESPACE = "docuquery", "docuquery-system"
HERE = Path(__file__).resolve().parent
OUT = CHECKOUT / "build" / "demo"
# The shipped runbook waits two minutes after a heal before it believes it; a demo should not.
VERIFY = {"settle": "5s", "symptomClearFor": "15s", "within": "3m", "noRegression": True}
# Here a person opens the incidents; with the default the operator would be quicker and open them itself.
DETECTION = {"interval": "2s", "timeout": "1s", "failures": 3, "recoveries": 3, "openIncidents": False}
FREEZE = 'kill -STOP "$(head -1 "$PGDATA/postmaster.pid")"'


def main() -> int:
    """Exit code 0 when both incidents ended as they should, and the stack proves it itself."""
    began = time.monotonic()
    try:
        kube = prepare()
        outcomes = [frozen_database(kube), leaking_client(kube)]
        finish(kube, outcomes)
    except DemoError as problem:
        print(f"demo failed: {problem}", file=sys.stderr)
        return 1
    say(
        f"done in {time.monotonic() - began:.0f} s. Reports: build/demo/report.md and report.json. Stop the cluster with: make down",
        "",
    )
    for o in outcomes:
        f = o["figures"]
        times = " ".join(f"{k}={f[k]:.1f}" for k in ("detected", "acted", "recovered"))
        print(f"demo: incident {o['incident']} {o['phase']} cause={o['cause']} {times}", flush=True)
    return 0


def prepare() -> Kube:
    """Cluster, images, operator, stack with data in it."""
    say("1. A Kubernetes cluster", "")
    cluster("up")
    say("2. Images: operator, api and worker, PostgreSQL, Redis, Qdrant", "")
    cluster("images")
    kube = Kube(NAMESPACE)
    say("3. The DocuQuery stack, in a fresh namespace, with a few hundred documents", "")
    kube.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", "--timeout=180s")
    overlay = "local" if kube.get("storageclass", "local-loop") else "kind"
    kube.run("apply", "-k", str(CHECKOUT / "deploy" / "stack" / "overlays" / overlay))
    for workload in (
        "statefulset/postgres",
        "statefulset/redis",
        "statefulset/qdrant",
        "deployment/api",
        "deployment/worker",
    ):
        kube.run("rollout", "status", workload, "--timeout=300s")
        say(f"{workload} is ready")
    kube.run("wait", "--for=condition=Complete", "job/seed", "--timeout=300s")
    say(kube.run("logs", "job/seed", "--tail=1").strip() or "seeded")
    say("4. The operator, by its Helm chart: two replicas, rights in this namespace only", "")
    kube.helm(
        "upgrade", "--install", "docuquery-operator", str(CHECKOUT / "charts" / "docuquery-operator"),
        "--namespace", RELEASE_NAMESPACE, "--create-namespace", "--set", f"watchNamespaces={{{NAMESPACE}}}",
        # CRDs outlive releases (crds.keep), so a new release takes over those it finds.
        "--take-ownership", "--wait", "--timeout", "180s",
    )  # fmt: skip
    describe_stack(kube)
    return kube


def describe_stack(kube: Kube) -> None:
    """Apply the Stack and the runbook with the demo's shorter waits, and wait until all is well."""
    stack = yaml.safe_load((CHECKOUT / "deploy" / "stack" / "stack.yaml").read_text())
    stack["spec"]["detection"] = DETECTION
    kube.run("apply", "-f", "-", text=yaml.safe_dump(stack))
    runbooks = CHECKOUT / "operator" / "docuquery_operator" / "runbooks"
    runbook = yaml.safe_load((runbooks / "database-connection-failure.yaml").read_text())
    runbook["spec"]["verify"] = VERIFY
    kube.run("apply", "-f", "-", text=yaml.safe_dump(runbook))
    kube.run("wait", "--for=condition=Ready", "dqs/docuquery", "rb/database-connection-failure", "--timeout=90s")
    print(kube.run("get", "dqs,rb"), flush=True)


def frozen_database(kube: Kube) -> dict[str, Any]:
    """Fault 1: the postmaster is frozen. It holds its port, answers nobody, and nothing brings it back."""
    say()
    say(
        "5. Fault 1: the postgres process is frozen. Its container runs, nobody is answered, Kubernetes sees no reason to act.",
        "",
    )
    before = pod_uid(kube)

    def fault() -> None:
        kube.run("exec", "postgres-0", "-c", "postgres", "--", "bash", "-c", FREEZE)

    outcome = heal(kube, "db-down", fault)
    expect(outcome["cause"] == "ProcessDown", f"the cause is {outcome['cause']}, not ProcessDown")
    expect(outcome["steps"] == ["restartWorkload Healed"], f"the steps are {outcome['steps']}")
    expect(pod_uid(kube) != before, "the database pod is still the old one")
    say(f"proof: another pod, and the documents are still there: {prove(kube)}")
    return outcome


def leaking_client(kube: Kube) -> dict[str, Any]:
    """Fault 2: a client leaks connections. Restarting the database is *not* what helps."""
    say()
    say(
        "6. Fault 2: a leaking client holds every connection, idle in a transaction. Restarting the database would be wrong.",
        "",
    )
    before = pod_uid(kube)

    def fault() -> None:
        kube.run("apply", "-f", str(HERE / "leak.yaml"))
        say(kube.wait("the leak", 60, lambda: kube.run("logs", "job/leaky-report", "--tail=1", check=False).strip()))

    outcome = heal(kube, "db-crowded", fault)
    expect(outcome["cause"] == "TooManyConnections", f"the cause is {outcome['cause']}, not TooManyConnections")
    expect(all("restart" not in s for s in outcome["steps"]), f"something was restarted: {outcome['steps']}")
    expect(pod_uid(kube) == before, "the database pod was replaced")
    say(f"proof: the database pod is the same one, and the documents are there: {prove(kube)}")
    kube.run("delete", "job", "leaky-report", "--wait=false")
    return outcome


def heal(kube: Kube, name: str, fault: Callable[[], None]) -> dict[str, Any]:
    """Break, apply the incident, follow it to its end."""
    began = datetime.now(UTC)
    fault()
    text = (HERE / "incident.yaml").read_text().replace("name: db-down", f"name: {name}")
    say(f"kubectl apply -f incident.yaml   ({name})", "$")
    kube.run("apply", "-f", "-", text=text)
    follower = Follower(kube, name, began)
    incident = follower.until_resolved(420)
    status = incident["status"]
    print(kube.run("get", "incident", name), flush=True)
    report = kube.get("configmap", status["report"]["configMap"]) or {}
    return {
        "incident": name,
        "phase": status["phase"],
        "cause": (status.get("cause") or {}).get("name"),
        "steps": [f"{s['name']} {s['state']}" for s in status.get("steps") or []],
        "faultAt": began.isoformat(),
        "figures": follower.figures(incident),
        "status": status,
        "report": report.get("data", {}).get("report.md", ""),
    }


def pod_uid(kube: Kube) -> str:
    """Identity of the database pod."""
    pod = kube.get("pod", "postgres-0")
    return str(pod["metadata"]["uid"]) if pod else ""


def prove(kube: Kube) -> str:
    """What the application itself says: asked inside an api pod, not taken from the incident."""
    ask = (
        "import json,urllib.request as u;h=json.load(u.urlopen('http://127.0.0.1:8000/health',timeout=5));"
        "i=json.load(u.urlopen('http://127.0.0.1:8000/info',timeout=5));print(json.dumps([h['status'],i]))"
    )

    def healthy() -> str:
        text = kube.run("exec", "deploy/api", "--", "python3", "-c", ask, check=False).strip()
        return text if text.startswith('["healthy"') else ""

    return str(kube.wait("a healthy answer of the api", 60, healthy))


def expect(holds: bool, otherwise: str) -> None:
    """The demo fails when what it shows is not so."""
    if not holds:
        raise DemoError(otherwise)


def finish(kube: Kube, outcomes: list[dict[str, Any]]) -> None:
    """What people see, and the two report files."""
    say()
    say("7. What the person on call sees", "")
    print(kube.run("get", "inc,dqs,rb"))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "report.json").write_text(json.dumps({"incidents": outcomes}, indent=1, default=str))
    (OUT / "report.md").write_text("\n\n---\n\n".join(o["report"] for o in outcomes))
    print(outcomes[0]["report"])


if __name__ == "__main__":
    sys.exit(main())
