"""Configuration saved and brought back through a real API server."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from docuquery_operator.domain.backups.manifest import ObjectKind
from docuquery_operator.domain.backups.request import ConfigurationRequest, SavedObject
from docuquery_operator.mover.configuration import NAMES, back_up
from docuquery_operator.mover.configuration_restore import cluster, differences, load
from tests.apiserver.conftest import Place
from tests.harness.apiserver import CHECKOUT
from tests.mover.qdrant.memory import Memory, quiet
from tests.mover.test_configuration import manifest_of

CORE = {"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services"}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "api"},
    "spec": {
        "selector": {"matchLabels": {"app": "api"}},
        "template": {
            "metadata": {"labels": {"app": "api"}},
            "spec": {"containers": [{"name": "api", "image": "api:1", "ports": [{"containerPort": 8000}]}]},
        },
    },
}
STACK: dict[str, Any] = {
    **yaml.safe_load((CHECKOUT / "docs" / "examples" / "stack.yaml").read_text()),
    "metadata": {"name": "docuquery"},
}


def where(place: Place, body: dict[str, Any]) -> str:
    """Folder of a kind."""
    if body["kind"] in CORE:
        return f"/api/v1/namespaces/{place.namespace}/{CORE[body['kind']]}"
    if body["kind"] == "Deployment":
        return f"/apis/apps/v1/namespaces/{place.namespace}/deployments"
    return place.path(body["kind"])


def objects() -> list[dict[str, Any]]:
    """One of each."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"password": "p"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": {"ports": [{"port": 80}]}}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"mode": "fast"}}
    return [config, secret, service, DEPLOYMENT, STACK]


async def test_deleted_and_brought_back(place: Place, tmp_path: Path) -> None:
    """As the server told them, deleted, applied, and no difference is left; once more changes nothing."""
    told = []
    for body in objects():
        code, answer = place.server.request("POST", where(place, body), body)
        assert code == 201, answer
        told.append({**answer, "apiVersion": body["apiVersion"], "kind": body["kind"]})
    config, secret, service, deployment, stack = told
    folder = tmp_path / "saved" / "key"
    folder.mkdir(parents=True)
    (folder / "password").write_bytes(base64.b64decode(secret.pop("data")["password"]))
    request = ConfigurationRequest(
        config_maps=[SavedObject(manifest=config)],
        secrets=[SavedObject(manifest=secret)],
        manifests=[SavedObject(manifest=service), SavedObject(manifest=deployment)],
        resources=[SavedObject(manifest=stack)],
    )
    memory = Memory(recipients=True)
    await back_up(request, tmp_path, memory, quiet)
    for body in objects():
        assert place.server.request("DELETE", f"{where(place, body)}/{body['metadata']['name']}")[0] == 200
    saved = await load(manifest_of(memory), memory, list(NAMES))
    (tmp_path / "token").write_text(place.server.token)
    (tmp_path / "ca.crt").write_bytes(place.server.ca.read_bytes())
    async with cluster(place.server.url, place.namespace, tmp_path) as api:
        assert len(differences(saved, await api.live(saved))) == 5
        assert sorted(await api.apply(saved)) == [
            "ConfigMap app made", "Deployment api made", "Secret key made", "Service api made", "Stack docuquery made",
        ]  # fmt: skip
        assert differences(saved, await api.live(saved)) == []
        await api.apply(saved)
        assert differences(saved, await api.live(saved)) == []
    code, back = place.server.request("GET", f"/api/v1/namespaces/{place.namespace}/secrets/key")
    assert (code, base64.b64decode(back["data"]["password"])) == (200, b"p")
    assert memory.encrypted >= {NAMES[ObjectKind.SECRETS]}
