"""Configuration of a namespace: saved without what the server sets, Secrets never in clear, brought back by apply."""

import base64
import json
import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from docuquery_operator.domain.backups.manifest import Manifest, ObjectKind, Source
from docuquery_operator.domain.backups.request import ConfigurationRequest, SavedObject
from docuquery_operator.mover.clock import now
from docuquery_operator.mover.configuration import NAMES, back_up, cleaned
from docuquery_operator.mover.configuration_restore import chosen, cluster, differences, load
from docuquery_operator.mover.contracts import MoverError
from tests.mover.qdrant.memory import Memory

MARKERS = [f"marker-{number:02d}-s3cr3t" for number in range(20)]


def config_map(**data: str) -> dict[str, Any]:
    """As the server tells it."""
    metadata = {
        "name": "app", "namespace": "demo", "uid": "u", "resourceVersion": "5", "managedFields": [{}], "labels": {"a": "b"},
        "creationTimestamp": "2026-11-25T00:00:00Z", "ownerReferences": [{"uid": "x"}], "finalizers": ["f"],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "kept"},
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def secret(name: str, marker: str) -> SavedObject:
    """Without data, as the operator gives it; an annotation that it should not have let through holds the marker."""
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"stringData": {"a": marker}})}
    metadata = {"name": name, "namespace": "demo", "annotations": annotations}
    return SavedObject(manifest={"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata})


def mounted(folder: pathlib.Path, name: str, **data: str) -> None:
    """As the kubelet mounts a Secret: links into a hidden folder."""
    hidden = folder / "saved" / name / "..2026_11_25"
    hidden.mkdir(parents=True)
    (folder / "saved" / name / "..data").symlink_to(hidden.name)
    for key, value in data.items():
        (hidden / key).write_text(value)
        (folder / "saved" / name / key).symlink_to(f"..data/{key}")


def manifest_of(memory: Memory) -> Manifest:
    """Of a set with these objects."""
    return Manifest(
        set_id="20261125T020000Z-1a2b3c4d.1", run="20261125T020000Z-1a2b3c4d", operator_version="0", started_at=now(), finished_at=now(),
        source=Source(namespace="demo", stack="docuquery", backup_job="nightly"), objects=list(memory.entries.values()),
    )  # fmt: skip


async def test_markers_lie_only_in_what_is_encrypted(tmp_path: pathlib.Path) -> None:
    """Twenty of them: as values, and in an annotation that holds the whole Secret."""
    for number, marker in enumerate(MARKERS):
        mounted(tmp_path, f"secret-{number}", password=marker)
    request = ConfigurationRequest(
        config_maps=[SavedObject(manifest=config_map(mode="fast"))],
        secrets=[secret(f"secret-{number}", marker) for number, marker in enumerate(MARKERS)],
        manifests=[
            SavedObject(
                manifest={"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"}, "status": {"a": 1}}
            )
        ],
        resources=[
            SavedObject(manifest={"apiVersion": "ops.docuquery.ai/v1", "kind": "Stack", "metadata": {"name": "docuquery"}})
        ],
    )
    memory, said = Memory(recipients=True), []
    real = memory.write

    async def recorded(name: str, *rest: Any, **more: Any) -> Any:
        entry = await real(name, *rest, **more)
        if not more.get("encrypt"):
            memory.encrypted.discard(name)
        return entry

    memory.write = recorded  # type: ignore[method-assign]
    part = await back_up(request, tmp_path, memory, lambda *line: said.append(line))
    assert memory.encrypted == {NAMES[ObjectKind.SECRETS]}
    outside = [data.decode() for name, data in memory.objects.items() if name not in memory.encrypted]
    outside += [str(said), part.to_json().decode(), manifest_of(memory).to_json().decode()]
    for marker in MARKERS:
        coded = base64.b64encode(marker.encode()).decode()
        assert not any(marker in text or coded in text for text in outside)
        assert coded.encode() in memory.objects[NAMES[ObjectKind.SECRETS]]
    assert (len(part.secrets), part.config_maps, part.manifests, part.resources) == (
        20,
        ["app"],
        ["Deployment/api"],
        ["Stack/docuquery"],
    )


async def test_no_recipients_no_secrets(tmp_path: pathlib.Path) -> None:
    """Nothing is written in clear, also not by a way around."""
    mounted(tmp_path, "one", password=MARKERS[0])
    with pytest.raises(MoverError):
        await back_up(ConfigurationRequest(secrets=[secret("one", "x")]), tmp_path, Memory(), lambda *_: None)
    for field in ("config_maps", "manifests", "resources"):
        memory = Memory()
        with pytest.raises(MoverError, match="may be stored in clear") as error:
            await back_up(ConfigurationRequest(**{field: [secret("one", "x")]}), tmp_path, memory, lambda *_: None)
        assert (error.value.reason, memory.objects) == ("SecretInClear", {})


async def test_a_secret_that_is_not_mounted(tmp_path: pathlib.Path) -> None:
    """Is a failure; a ServiceAccount's token is left out with its reason."""
    for name in ("gone", "../gone", ""):
        with pytest.raises(MoverError, match="is not mounted"):
            await back_up(
                ConfigurationRequest(secrets=[secret(name, "x")]), tmp_path, Memory(recipients=True), lambda *_: None
            )
    token = secret("token", "x")
    token.manifest["type"] = "kubernetes.io/service-account-token"
    part = await back_up(ConfigurationRequest(secrets=[token]), tmp_path, Memory(recipients=True), lambda *_: None)
    assert (part.secrets, [each.what for each in part.skipped]) == ([], ["Secret token"])


def test_what_the_server_sets_is_gone() -> None:
    """And what a user has set is kept."""
    made = cleaned(config_map(mode="fast"))
    assert made["metadata"] == {"name": "app", "labels": {"a": "b"}, "annotations": {"note": "kept"}}
    service = {
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": []},
    }
    assert cleaned(service)["spec"] == {"ports": []}
    headless = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}
    assert cleaned(headless)["spec"] == {"clusterIP": "None"}
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "p"},
        "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"]},
    }
    assert cleaned(claim)["spec"] == {"accessModes": ["ReadWriteOnce"]}


async def test_saved_and_loaded(tmp_path: pathlib.Path) -> None:
    """The List holds what apply takes."""
    mounted(tmp_path, "one", **{"password": "p", "ca.crt": "c"})
    memory = Memory(recipients=True)
    request = ConfigurationRequest(config_maps=[SavedObject(manifest=config_map(a="1"))], secrets=[secret("one", "x")])
    await back_up(request, tmp_path, memory, lambda *_: None)
    found = await load(manifest_of(memory), memory, [ObjectKind.CONFIG_MAPS, ObjectKind.SECRETS])
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [("ConfigMap", "app"), ("Secret", "one")]
    assert {key: base64.b64decode(value) for key, value in found[1]["data"].items()} == {"password": b"p", "ca.crt": b"c"}
    assert chosen(found, "Secret", ["one"]) == [found[1]]
    with pytest.raises(MoverError, match="the set has no Secret two; it has: one"):
        chosen(found, "Secret", ["two"])


def test_differences_name_keys_and_never_values() -> None:
    """What is only in the live object stays, so it is no difference."""
    saved = [cleaned(config_map(a="1", b="2")), {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": MARKERS[0]}}]
    live = [config_map(a="1", b="3", c="4"), {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": MARKERS[1]}}]
    assert differences(saved, live) == ["ConfigMap app would change: data.b", "Secret s would change: data.k"]
    assert differences(saved, []) == ["ConfigMap app would be made", "Secret s would be made"]
    assert differences(saved[:1], [config_map(a="1", b="2")]) == []


@asynccontextmanager
async def api_server(refuse: str = "") -> AsyncIterator[tuple[str, dict[str, Any], list[str]]]:
    """Discovery, get and apply of ConfigMaps and Secrets."""
    store: dict[str, Any] = {}
    seen: list[str] = []

    async def discovery(request: web.Request) -> web.Response:
        kinds = [("configmaps", "ConfigMap"), ("configmaps/status", "ConfigMap"), ("secrets", "Secret")]
        return web.json_response({"resources": [{"name": name, "kind": kind, "namespaced": True} for name, kind in kinds]})

    async def one(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path_qs} {request.headers['Authorization']} {request.content_type}")
        if request.method == "GET":
            found = store.get(request.path)
            return web.json_response(found or {"reason": "NotFound"}, status=200 if found else 404)
        body = await request.json()
        if refuse and request.path.endswith(refuse):
            return web.json_response({"reason": "Forbidden", "message": f"no: {json.dumps(body)}"}, status=403)
        status = 200 if request.path in store else 201
        store[request.path] = body
        return web.json_response(body, status=status)

    application = web.Application()
    application.router.add_get("/api/v1", discovery)
    application.router.add_route("*", "/api/v1/namespaces/{rest:.*}", one)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", store, seen
    finally:
        await runner.cleanup()


async def test_apply_by_the_pods_own_account(tmp_path: pathlib.Path) -> None:
    """Twice is the same; without an account nothing is tried."""
    objects = [
        cleaned(config_map(a="1")),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}},
    ]
    async with api_server() as (url, store, seen):
        with pytest.raises(MoverError, match="no ServiceAccount"):
            async with cluster(url, "demo", tmp_path):
                pass
        (tmp_path / "token").write_text("abc\n")
        async with cluster(url, "demo", tmp_path) as api:
            assert await api.live(objects) == []
            assert await api.apply(objects) == ["ConfigMap app made", "Secret s made"]
            assert await api.apply(objects) == ["ConfigMap app applied", "Secret s applied"]
            assert differences(objects, await api.live(objects)) == []
            with pytest.raises(MoverError, match="knows no Widget of v1"):
                await api.apply([{"apiVersion": "v1", "kind": "Widget", "metadata": {"name": "w"}}])
        assert list(store) == ["/api/v1/namespaces/demo/configmaps/app", "/api/v1/namespaces/demo/secrets/s"]
        patch = next(each for each in seen if each.startswith("PATCH"))
        assert patch.endswith(
            "configmaps/app?fieldManager=docuquery-restore&force=true Bearer abc application/apply-patch+yaml"
        )


async def test_a_refusal_does_not_repeat_a_secret(tmp_path: pathlib.Path) -> None:
    """The server's words quote what was sent."""
    (tmp_path / "token").write_text("abc")
    sent = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": MARKERS[3]}}
    async with api_server(refuse="secrets/s") as (url, _, _), cluster(url, "demo", tmp_path) as api:
        with pytest.raises(MoverError, match="apply Secret s: 403 Forbidden") as error:
            await api.apply([sent])
    assert MARKERS[3] not in error.value.message
    assert not error.value.retry
