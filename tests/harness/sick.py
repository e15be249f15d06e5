"""A PostgreSQL that is surely sick on a bare API server: what the operator does for it can be seen without a cluster."""

from __future__ import annotations

from typing import Any

from docuquery_operator.ports import OURS
from tests.harness.apiserver import ApiServer

JSON = dict[str, Any]
API = f"/apis/{OURS}/v1alpha1/namespaces"
ATTEMPT = "ops.docuquery.ai/attempt"
DETECTION = {"interval": "1s", "timeout": "1s", "failures": 2, "recoveries": 2, "openIncidents": False}
COMPONENT = {
    "type": "PostgreSQL",
    "workload": {"kind": "StatefulSet", "name": "postgres"},
    "endpoint": {"service": "postgres", "port": 5432},
    "database": "docuquery_ai",
    "credentials": {"secretName": "postgres-operator"},
}


def post(server: ApiServer, path: str, body: JSON) -> JSON:
    """Create; an answer that is no success ends the test."""
    code, answer = server.request("POST", path, body)
    assert code in (200, 201), answer
    return dict(answer)


def sick_database(server: ApiServer, namespace: str) -> None:
    """A PostgreSQL without an address: its pod runs but is not ready, and has ended once before."""
    labels = {"app": "postgres"}
    container = {"name": "postgres", "image": "postgres"}
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data-postgres-0"}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
    spec = {"replicas": 1, "serviceName": "postgres", "selector": {"matchLabels": labels}, "template": template}
    post(server, f"{apps}/statefulsets", {"metadata": {"name": "postgres"}, "spec": spec})
    secret = {"metadata": {"name": "postgres-operator"}, "stringData": {"username": "u", "password": "p"}}
    post(server, f"{core}/secrets", secret)
    service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 5432}]}
    post(server, f"{core}/services", {"metadata": {"name": "postgres"}, "spec": service})
    claim_spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    post(server, f"{core}/persistentvolumeclaims", {"metadata": {"name": "data-postgres-0"}, "spec": claim_spec})
    pod = {"metadata": {"name": "postgres-0", "labels": labels}, "spec": {"containers": [container], "volumes": [claim]}}
    post(server, f"{core}/pods", pod)
    state = {"name": "postgres", "image": "postgres", "imageID": "", "ready": False, "restartCount": 1}
    state |= {"started": True, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    status = {"status": {"phase": "Running", "containerStatuses": [state]}}
    code, answer = server.request("PATCH", f"{core}/pods/postgres-0/status", status, "application/merge-patch+json")
    assert code == 200, answer


def stack(server: ApiServer, namespace: str, name: str = "docuquery", mode: str = "Auto") -> None:
    """A Stack of this database alone, probed each second."""
    spec = {"components": {"postgres": COMPONENT}, "detection": DETECTION, "healing": {"mode": mode}}
    _ours(server, namespace, "Stack", "stacks", name, spec)


def incident(server: ApiServer, namespace: str, name: str = "docuquery", stack_name: str = "docuquery") -> None:
    """An Incident about it."""
    spec = {"stackRef": {"name": stack_name}, "type": "DatabaseConnectionFailure"}
    _ours(server, namespace, "Incident", "incidents", name, spec)


def attempt(server: ApiServer, namespace: str) -> str:
    """Identity of the restart that the operator ordered, '' before."""
    code, found = server.request("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/postgres")
    assert code == 200, found
    annotations = found["spec"]["template"]["metadata"].get("annotations") or {}
    return str(annotations.get(ATTEMPT, ""))


def _ours(server: ApiServer, namespace: str, kind: str, plural: str, name: str, spec: JSON) -> None:
    body = {"apiVersion": f"{OURS}/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    post(server, f"{API}/{namespace}/{plural}", body)
