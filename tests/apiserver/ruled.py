"""A namespace under the chart's admission policies, and users of every sort who write in it."""

from __future__ import annotations

import copy
import functools
import time
from dataclasses import dataclass
from typing import Any

import yaml

from docuquery_operator.api.common import API_VERSION
from tests.apiserver.cel_cases import BASE, POSTGRES, REDIS
from tests.apiserver.conftest import PLURALS
from tests.chart.helm import NAMESPACE, RELEASE, Object, of_kind, render
from tests.harness.apiserver import ApiServer

RULED, FREE = "ruled", "not-ruled"
USERS = {
    "admin": "admin@example.com",
    "on-call": "on-call@example.com",
    "operator": f"system:serviceaccount:{NAMESPACE}:{RELEASE}",
    "editor": "editor@example.com",
    "viewer": "viewer@example.com",
}
MERGE = "application/merge-patch+json"
RBAC = "rbac.authorization.k8s.io"
RESTARTS: list[Object] = [
    {"apiGroups": ["apps"], "resources": ["statefulsets", "deployments"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
]
JOBS: Object = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}
SECRETS: Object = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
# Without it RBAC alone would keep everybody from status, and the policy would prove nothing.
STATUS: Object = {
    "apiGroups": ["ops.docuquery.ai"],
    "resources": [f"{plural}/status" for plural in PLURALS.values()],
    "verbs": ["patch", "update"],
}
# The cluster's own admin role is put together by a controller, which does not run here: these are its parts.
ADMIN = ("system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view")
WRITERS = tuple(f"{RELEASE}-{suffix}" for suffix in ("view", "edit", "admin"))


@dataclass(frozen=True)
class Ruled:
    """The server, and requests in the namespace as one of the users."""

    server: ApiServer

    def grant(self, name: str, user: str, *rules: Object, roles: tuple[str, ...] = ()) -> None:
        """A Role of these rules, and ClusterRoles, for a user in both namespaces."""
        for namespace in (RULED, FREE):
            path = f"/apis/{RBAC}/v1/namespaces/{namespace}"
            if rules:
                _made(self.server.request("POST", f"{path}/roles", {"metadata": {"name": name}, "rules": list(rules)}))
            refs = [("Role", name)] if rules else []
            for number, (kind, role) in enumerate([*refs, *(("ClusterRole", r) for r in roles)]):
                body = {
                    "metadata": {"name": f"{name}-{number}"},
                    "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
                    "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
                }
                _made(self.server.request("POST", f"{path}/rolebindings", body))

    def create(self, body: Object, user: str = "", namespace: str = RULED, dry: bool = False) -> tuple[int, Object]:
        """Create as a user; '' is the administrator."""
        path = f"{_path(body['kind'], namespace)}{'?dryRun=All' if dry else ''}"
        return self.server.request("POST", path, body, user=user)

    def patch(self, kind: str, name: str, change: Object, user: str, status: bool = False) -> tuple[int, Object]:
        """Merge a change as a user, as a trial."""
        path = f"{_path(kind, RULED)}/{name}{'/status' if status else ''}?dryRun=All"
        return self.server.request("PATCH", path, change, MERGE, user=user)


def an_object(kind: str, name: str, spec: Object, annotations: Object | None = None) -> Object:
    """An object of a kind; its spec is the smallest one with these fields."""
    metadata = {"name": name} | ({"annotations": annotations} if annotations else {})
    full = copy.deepcopy(BASE[kind]) | spec
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": full}


def said(answer: tuple[int, Object]) -> str:
    """What came of a request: yes, rule (a policy refused it), rbac, or the answer itself."""
    code, body = answer
    if code in (200, 201):
        return "yes"
    message = str(body.get("message"))
    # A rule that could not be evaluated refuses too, in other words than its own.
    ours = f"ValidatingAdmissionPolicy '{RELEASE}-" in message
    if code == 403 and ours and "resulted in error" not in message and "failed expression" not in message:
        return "rule"
    return "rbac" if code == 403 and " cannot " in message else message


def install(server: ApiServer, **values: object) -> Ruled:
    """The chart's roles and policies as they are rendered, the users, and the moment when the policies hold."""
    for namespace in (RULED, FREE, NAMESPACE):
        _made(server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}))
    kinds = ("Role", "RoleBinding", "ClusterRole", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    objects = of_kind(render({"watchNamespaces": [RULED], **values}), *kinds)
    answer = server.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=yaml.safe_dump_all(objects))
    assert answer.returncode == 0, answer.stderr
    ruled = Ruled(server)
    ruled.grant("admin", USERS["admin"], STATUS, roles=(*ADMIN, *WRITERS))
    ruled.grant("on-call", USERS["on-call"], *RESTARTS, SECRETS, JOBS, STATUS, roles=WRITERS)
    ruled.grant("editor", USERS["editor"], STATUS, roles=WRITERS)
    ruled.grant("viewer", USERS["viewer"], roles=WRITERS[:1])
    # More than the chart gives it: what it is refused then, the policies would have refused.
    ruled.grant("operator", USERS["operator"], roles=WRITERS)
    _wait(ruled)
    return ruled


def remove(server: ApiServer) -> None:
    """The policies are of the whole server."""
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        names = [f"{RELEASE}-{what}" for what in ("incidents", "stacks", "runbooks", "backupjobs", "restorejobs", "status")]
        server.kubectl("delete", kind, *names, "--ignore-not-found")


def _wait(ruled: Ruled) -> None:
    """A policy is in force a moment after it was stored, rights as well: each is tried until it bites."""
    step = [{"action": "restartWorkload"}]
    cause = {"name": "Unknown", "when": "true", "remediate": step}
    _made(ruled.create(an_object("Incident", "probe", {})))
    editor = USERS["editor"]
    trials = [
        functools.partial(ruled.create, an_object("Incident", "trial", {}), editor, dry=True),
        functools.partial(ruled.create, an_object("Stack", "trial", {"components": {"redis": REDIS}}), editor, dry=True),
        functools.partial(ruled.create, an_object("Runbook", "trial", {"causes": [cause]}), editor, dry=True),
        functools.partial(ruled.create, an_object("BackupJob", "trial", {}), editor, dry=True),
        functools.partial(ruled.create, an_object("RestoreJob", "trial", {}), editor, dry=True),
        functools.partial(ruled.patch, "Incident", "probe", {"status": {"summary": "x"}}, editor, True),
    ]
    full = an_object("Stack", "trial", {"components": {"postgres": POSTGRES}})
    deadline = time.monotonic() + 30
    while not all(said(t()) == "rule" for t in trials) or said(ruled.create(full, USERS["on-call"], dry=True)) != "yes":
        assert time.monotonic() < deadline, [t() for t in trials]
        time.sleep(0.1)


def _path(kind: str, namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURALS[kind]}"


def _made(answer: tuple[int, Any]) -> None:
    code, body = answer
    assert code in (201, 409), body
