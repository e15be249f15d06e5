"""The status page's part of the chart: what it may do, how it is reached, and that it works with exactly that."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.names import LOOKED_ANNOTATION
from docuquery_operator.web.mirror.settings import MirrorSettings
from docuquery_operator.web.page.settings import PageSettings
from tests.chart.helm import CHECKOUT, NAMESPACE, RELEASE, Object, of_kind, pods, render, template
from tests.harness import sick
from tests.harness.apiserver import ApiServer, install_crds
from tests.harness.operator import HostOperator, settings
from tests.page import world

pytestmark = pytest.mark.timeout(300)
PAGE = {"page.enabled": True, "watchNamespaces": ["one", "two"]}
NAME = f"{RELEASE}-page"
MERGE = "application/merge-patch+json"
COMMAND = ("-m", "docuquery_operator.status_page", "page")


def named(objects: list[Object], kind: str) -> list[Object]:
    return [o for o in of_kind(objects, kind) if o["metadata"]["name"].startswith(NAME)]


def granted(role: Object) -> set[tuple[str, str, str]]:
    return {r for rule in role["rules"] for r in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def test_nothing_of_it_is_there_unless_it_is_wanted() -> None:
    assert not [o for o in render() if o["metadata"]["name"].startswith(NAME)]


def test_it_may_read_three_kinds_and_one_lease_and_nothing_else() -> None:
    objects = render(PAGE)
    roles = {(r["metadata"]["namespace"], r["metadata"]["name"]): r for r in named(objects, "Role")}
    assert set(roles) == {("one", NAME), (NAMESPACE, f"{NAME}-lease")}
    kinds = ("stacks", "incidents", "maintenancewindows")
    wanted = {("ops.docuquery.ai", kind, verb) for kind in kinds for verb in ("list", "watch")}
    assert granted(roles["one", NAME]) == wanted
    lease = roles[NAMESPACE, f"{NAME}-lease"]
    assert granted(lease) == {("coordination.k8s.io", "leases", "get")}
    assert lease["rules"][0]["resourceNames"] == [RELEASE]
    assert not named(objects, "ClusterRole") + named(objects, "ClusterRoleBinding")
    for binding in named(objects, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]


@pytest.mark.parametrize(("section", "part"), [("In the namespace of its Stacks", ""), ("The operator's Lease", "-lease")])
def test_every_right_is_explained_and_no_other(section: str, part: str) -> None:
    text = (CHECKOUT / "docs" / "rbac.md").read_text().partition(f"\n### {section}\n")[2].partition("\n##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    told = {(row[0].strip("`"), verb) for row in rows for verb in row[1].split(", ")}
    role = next(r for r in named(render(PAGE), "Role") if r["metadata"]["name"] == NAME + part)
    assert told == {(resource, verb) for _, resource, verb in granted(role)}


def test_its_pods_are_told_apart_from_the_operators() -> None:
    objects = render(PAGE | {"page.ingress.enabled": True, "page.ingress.host": "status.example"})
    page, operator = (
        named(objects, "Deployment")[0],
        next(o for o in of_kind(objects, "Deployment") if o["metadata"]["name"] == RELEASE),
    )
    labels = page["spec"]["template"]["metadata"]["labels"]
    selectors = [
        page["spec"]["selector"]["matchLabels"],
        named(objects, "Service")[0]["spec"]["selector"],
        named(objects, "NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"],
        named(objects, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= operator["spec"]["template"]["metadata"]["labels"].items()
    assert not operator["spec"]["selector"]["matchLabels"].items() <= labels.items()
    backend = named(objects, "Ingress")[0]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": NAME, "port": {"name": "http"}}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"page.replicas": 1}, "PodDisruptionBudget"),
        ({"page.networkPolicy.enabled": False}, "NetworkPolicy"),
        ({}, "Ingress"),
        ({"rbac.create": False}, "Role"),
    ],
)
def test_toggles(values: Object, kind: str) -> None:
    assert not named(render(PAGE | values), kind)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"watchNamespaces": []}, "page.namespace: say whose Stacks"),
        ({"page.namespace": "three"}, "three is not in watchNamespaces"),
        ({"page.ingress.enabled": True}, "page.ingress.host"),
        ({"page.titel": "x"}, "titel"),
        ({"page.url": "status.example"}, "url"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: Object, said: str) -> None:
    answer = template(PAGE | values)
    assert answer.returncode != 0
    assert said in answer.stderr


def test_values_reach_the_page_as_settings_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(PAGE | {"page.title": 'Our "status"', "page.staleSeconds": 300, "page.namespace": "two"})
    container = named(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert tuple(container["command"][1:]) == COMMAND
    environment = {e["name"]: e["value"] for e in container["env"]}
    assert set(environment) <= {f"DOCUQUERY_PAGE_{name.upper()}" for name in PageSettings.model_fields}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = PageSettings()
    assert (settings.title, settings.stale_seconds, settings.namespace) == ('Our "status"', 300, "two")
    assert (settings.lease_namespace, settings.lease_name) == (NAMESPACE, RELEASE)


COPIES = {
    "page.export": {"enabled": True, "url": "s3://b/p", "options": {"region": "eu"}, "secretName": "store"},
    "page.mirror": {"enabled": True, "page": "abc", "secretName": "key", "components": {"database": "x1"}, "notify": False},
}


def test_the_mirror_runs_once_under_the_pages_account_with_settings_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(PAGE | COPIES)
    mirror = next(o for o in of_kind(objects, "Deployment") if o["metadata"]["name"] == f"{RELEASE}-mirror")
    assert (mirror["spec"]["replicas"], mirror["spec"]["strategy"]) == (1, {"type": "Recreate"})
    spec = mirror["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == NAME
    container = spec["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "store"}}]
    for entry in container["env"]:
        monkeypatch.setenv(entry["name"], entry["value"])
    settings = MirrorSettings()
    assert (settings.export_url, settings.export_options, settings.export_seconds) == ("s3://b/p", {"region": "eu"}, 300)
    assert (settings.statuspage_page, settings.statuspage_components) == ("abc", {"database": "x1"})
    assert settings.statuspage_notify is False
    assert str(settings.statuspage_key_file).startswith(container["volumeMounts"][0]["mountPath"])
    known = {f"DOCUQUERY_PAGE_{name.upper()}" for name in MirrorSettings.model_fields}
    assert {e["name"] for e in container["env"]} <= known
    selector = mirror["spec"]["selector"]["matchLabels"]
    for service in of_kind(objects, "Service"):
        assert not service["spec"]["selector"].items() <= mirror["spec"]["template"]["metadata"]["labels"].items()
    policy = next(o for o in of_kind(objects, "NetworkPolicy") if o["metadata"]["name"] == f"{RELEASE}-mirror")
    assert policy["spec"]["ingress"] == []
    assert policy["spec"]["podSelector"]["matchLabels"] == selector


def test_copies_are_off_unless_they_are_wanted() -> None:
    assert not [o for o in render(PAGE) if o["metadata"]["name"].endswith("-mirror")]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (COPIES | {"page.enabled": False}, "they need page.enabled"),
        ({"page.export.enabled": True}, "page.export.url"),
        ({"page.mirror.enabled": True, "page.mirror.page": "a"}, "page.mirror.secretName"),
        ({"page.export": {"enabled": True, "url": "ftp://x"}}, "url"),
    ],
)
def test_half_a_copy_is_refused(values: Object, said: str) -> None:
    answer = template(PAGE | values)
    assert answer.returncode != 0
    assert said in answer.stderr


class Running:
    """The page as a process under its own account, and what it answers."""

    def __init__(self, server: ApiServer, folder: Path, namespace: str) -> None:
        token = server.kubectl("create", "token", NAME, "-n", NAMESPACE)
        assert token.returncode == 0, token.stderr
        config = yaml.safe_load(server.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token.stdout.strip()}
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environ = {"KUBECONFIG": str(folder / "kubeconfig"), "NAMESPACE": namespace, "HTTP_HOST": "127.0.0.1"}
        environ |= {"HTTP_PORT": str(self.port), "LEASE_NAMESPACE": NAMESPACE, "LEASE_NAME": RELEASE}
        self.log = folder / "page.log"
        settings = {f"DOCUQUERY_PAGE_{k}": v for k, v in environ.items()}
        self.process = HostOperator(settings, self.log, (sys.executable, *COMMAND))

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, (self.get("index.html"), self.log.read_text()[-2000:])
            assert self.process.alive(), self.log.read_text()[-2000:]
            time.sleep(0.1)

    def headline(self) -> str:
        code, text = self.get("api/v2/status.json")
        return str(json.loads(text)["status"]["description"]) if code == 200 else ""


@pytest.fixture
def running(server: ApiServer, tmp_path: Path) -> Iterator[Running]:
    for namespace in (NAMESPACE, world.NAMESPACE):
        code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        assert code in (201, 409), answer
    install_crds(server)
    values = {"page.enabled": True, "watchNamespaces": [world.NAMESPACE], "crds.enabled": False, "admission.enabled": False}
    ours = [o for o in render(values) if o["metadata"]["name"].startswith(NAME)]
    answer = server.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(ours))
    assert answer.returncode == 0, answer.stderr
    page = Running(server, tmp_path, world.NAMESPACE)
    page.process.start()
    try:
        yield page
    finally:
        page.process.kill()


def put(server: ApiServer, kind: str, plural: str, obj: Object) -> None:
    base = f"/apis/ops.docuquery.ai/v1alpha1/namespaces/{world.NAMESPACE}/{plural}"
    meta = {"name": obj["metadata"]["name"], "namespace": world.NAMESPACE}
    body = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": kind, "metadata": meta, "spec": obj["spec"]}
    code, answer = server.request("POST", base, body)
    assert code == 201, answer
    code, answer = server.request("PATCH", f"{base}/{meta['name']}/status", {"status": obj["status"]}, MERGE)
    assert code == 200, answer


def looked(server: ApiServer, at: datetime) -> None:
    lease: Any = {"metadata": {"name": RELEASE, "annotations": {LOOKED_ANNOTATION: format_time(at)}}, "spec": {}}
    base = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    code, answer = server.request("POST", base, lease)
    if code == 409:
        code, answer = server.request("PATCH", f"{base}/{RELEASE}", {"metadata": lease["metadata"]}, MERGE)
    assert code in (200, 201), answer


@pytest.mark.apiserver
def test_the_page_on_a_real_api_server_with_exactly_its_rights(server: ApiServer, running: Running) -> None:
    running.until(lambda: running.get("readyz")[0] == 200)
    assert running.headline() == "No current data"
    now = datetime.now(UTC)
    looked(server, now)
    put(server, "Stack", "stacks", world.stack(now=now))
    running.until(lambda: running.headline() == "All systems operational")
    put(
        server,
        "Incident",
        "incidents",
        world.incident(1, "Identified", "Sign-in is slow.", opened=now - timedelta(minutes=5)),
    )
    # The message was written by the test's own client just now: managedFields say so.
    running.until(lambda: "Sign-in is slow." in running.get("index.html")[1])
    put(
        server,
        "MaintenanceWindow",
        "maintenancewindows",
        world.window(1, now + timedelta(days=1), now=now, message="Index work"),
    )
    running.until(lambda: "Index work" in running.get("maintenance.ics")[1])
    text = running.get("index.html")[1] + running.get("feed.atom")[1] + running.get("api/v2/summary.json")[1]
    assert [s for s in world.SECRETS if s in text] == []
    gone = f"/apis/ops.docuquery.ai/v1alpha1/namespaces/{world.NAMESPACE}/incidents/db-down-1"
    assert server.request("DELETE", gone, None)[0] == 200
    running.until(lambda: running.headline() == "All systems operational")
    assert "forbidden" not in running.log.read_text().lower()
    looked(server, now - timedelta(minutes=10))
    running.until(lambda: running.headline() == "No current data", 30)
    who = f"--as=system:serviceaccount:{NAMESPACE}:{NAME}"
    for verb, what in (
        ("list", "secrets"),
        ("get", "pods"),
        ("patch", "incidents"),
        ("create", "incidents"),
        ("list", "runbooks"),
    ):
        answer = server.kubectl("auth", "can-i", verb, what, "-n", world.NAMESPACE, who)
        assert answer.stdout.strip() == "no", (verb, what)


@pytest.mark.apiserver
def test_the_operator_tells_the_page_what_it_sees(server: ApiServer, running: Running, tmp_path: Path) -> None:
    """Uptime and the last look are written by the real operator, taken by the real API server, and shown."""
    sick.stack(server, world.NAMESPACE, "real")
    running.until(lambda: running.get("readyz")[0] == 200)
    environ = settings(server.kubeconfig, world.NAMESPACE, "operator-1")
    environ |= {"DOCUQUERY_NAMESPACE": NAMESPACE, "DOCUQUERY_LEASE_NAME": RELEASE}
    operator = HostOperator(environ, tmp_path / "operator.log")
    began = datetime.now(UTC)
    operator.start()
    try:
        running.until(lambda: running.headline() in ("All services are down", "Some services are down"), 60)
        found = server.request("GET", f"/apis/ops.docuquery.ai/v1alpha1/namespaces/{world.NAMESPACE}/stacks/real")[1]
        record = found["status"]["uptime"][0]
        assert (record["name"], record["state"]) == ("postgres", "MajorOutage")
        assert began - timedelta(seconds=2) <= datetime.fromisoformat(record["since"]) <= datetime.now(UTC)
        as_of = json.loads(running.get("api/v2/status.json")[1])["page"]["updated_at"]
        assert datetime.fromisoformat(as_of) > began - timedelta(seconds=60)
        assert "the workload does not exist" in json.dumps(found["status"])
        assert "workload" not in running.get("index.html")[1]
    finally:
        operator.kill()


@pytest.mark.apiserver
def test_its_pods_pass_the_restricted_standard(server: ApiServer) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "page-restricted", "labels": label}})
    assert code == 201, answer
    parts = ("status-page", "status-mirror")
    rendered = [p for p in pods(render(PAGE | COPIES)) if p["metadata"]["labels"]["app.kubernetes.io/component"] in parts]
    assert len(rendered) == 2
    for pod in rendered:
        pod["metadata"] |= {"name": "pod", "namespace": "page-restricted"}
        path = "/api/v1/namespaces/page-restricted/pods?dryRun=All&fieldValidation=Strict"
        code, answer = server.request("POST", path, pod)
        assert code == 201, answer
