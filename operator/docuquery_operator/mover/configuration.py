"""Configuration's part of a set: objects of the namespace as `kubectl apply -f` takes them, Secrets never in clear."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..domain.backups.manifest import ConfigurationPart, ObjectKind, Skipped
from ..domain.backups.request import ConfigurationRequest, SavedObject
from .chunks import once
from .clock import now
from .contracts import MoverError, ObjectWriter, Report

NAMES = {
    ObjectKind.CONFIG_MAPS: "configuration/config-maps.json",
    ObjectKind.SECRETS: "configuration/secrets.json",
    ObjectKind.MANIFESTS: "configuration/manifests.json",
    ObjectKind.CUSTOM: "configuration/resources.json",
}
# Set by the server, or true only where the object was: owners have another uid after a restore, and would be missed at once.
METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "ownerReferences",
    "finalizers",
    "generateName",
    "namespace",
)
# The first one holds a whole Secret where `kubectl apply` has made it.
ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
)
SPEC = {"Service": ("clusterIPs", "healthCheckNodePort"), "PersistentVolumeClaim": ("volumeName",)}
# The server makes these, and only for a ServiceAccount that is there.
MADE_ANEW = "kubernetes.io/service-account-token"
SECRET_LIMIT = 2 << 20


async def back_up(request: ConfigurationRequest, secrets: Path, writer: ObjectWriter, report: Report) -> ConfigurationPart:
    """Write one object for each kind that is asked for. MoverError for Secrets that nobody could decrypt."""
    skipped: list[Skipped] = []
    saved: dict[ObjectKind, list[str]] = {}
    given = {
        ObjectKind.CONFIG_MAPS: request.config_maps,
        ObjectKind.MANIFESTS: request.manifests,
        ObjectKind.CUSTOM: request.resources,
    }
    for kind, objects in given.items():
        saved[kind] = await _write(writer, kind, [_open_object(each) for each in objects], report)
    kept = [each for each in request.secrets if each.manifest.get("type") != MADE_ANEW]
    skipped += [
        Skipped(what=f"Secret {name_of(each.manifest)}", reason="a ServiceAccount's token, which the server makes anew")
        for each in request.secrets
        if each.manifest.get("type") == MADE_ANEW
    ]
    filled = [with_data(each.manifest, secrets / "saved") for each in kept]
    saved[ObjectKind.SECRETS] = await _write(writer, ObjectKind.SECRETS, filled, report)
    return ConfigurationPart(
        config_maps=saved[ObjectKind.CONFIG_MAPS],
        secrets=saved[ObjectKind.SECRETS],
        manifests=saved[ObjectKind.MANIFESTS],
        resources=saved[ObjectKind.CUSTOM],
        finished_at=now(),
        skipped=skipped,
    )


async def _write(writer: ObjectWriter, kind: ObjectKind, objects: Sequence[dict[str, Any]], report: Report) -> list[str]:
    if not objects:
        return []
    data = as_list(objects)
    report(f"configuration/{kind.value.partition('.')[2]}", 0, len(data))
    # None: as the rest of the set. Secrets are encrypted, or not written at all.
    await writer.write(NAMES[kind], kind, once(data), encrypt=True if kind is ObjectKind.SECRETS else None)
    return [_told(kind, each) for each in objects]


def _told(kind: ObjectKind, each: dict[str, Any]) -> str:
    """Names alone where the kind is clear."""
    alone = kind in {ObjectKind.CONFIG_MAPS, ObjectKind.SECRETS}
    return name_of(each) if alone else f"{each.get('kind')}/{name_of(each)}"


def _open_object(saved: SavedObject) -> dict[str, Any]:
    """What may lie in an object that is not encrypted."""
    if saved.manifest.get("kind") == "Secret":
        message = f"Secret {name_of(saved.manifest)} came among objects that may be stored in clear; name it under secrets"
        raise MoverError("SecretInClear", message, retry=False)
    return cleaned(saved.manifest)


def as_list(objects: Sequence[dict[str, Any]]) -> bytes:
    """A List for `kubectl apply -f`, in JSON."""
    items = sorted(objects, key=lambda each: (str(each.get("kind")), name_of(each)))
    whole = {"apiVersion": "v1", "kind": "List", "items": items}
    return (json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def name_of(manifest: dict[str, Any]) -> str:
    """metadata.name."""
    return str((manifest.get("metadata") or {}).get("name", ""))


def cleaned(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what the server sets, and without its namespace, so that it can be applied anywhere."""
    made = deepcopy(manifest)
    made.pop("status", None)
    metadata = {name: each for name, each in (made.get("metadata") or {}).items() if name not in METADATA}
    annotations = {name: each for name, each in (metadata.get("annotations") or {}).items() if name not in ANNOTATIONS}
    metadata.pop("annotations", None)
    made["metadata"] = metadata | ({"annotations": annotations} if annotations else {})
    spec = made.get("spec")
    if isinstance(spec, dict):
        _clean_spec(str(made.get("kind")), spec)
    return made


def _clean_spec(kind: str, spec: dict[str, Any]) -> None:
    if kind == "Service" and spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
    for name in SPEC.get(kind, ()):
        spec.pop(name, None)
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("metadata"), dict):
        template["metadata"].pop("creationTimestamp", None)


def with_data(manifest: dict[str, Any], saved: Path) -> dict[str, Any]:
    """A Secret with its data, which is mounted below `saved`."""
    name = name_of(manifest)
    folder = saved / name
    if not name or Path(name).name != name or not folder.is_dir():
        message = f"Secret {name!r} is not mounted at {folder}; is it there, and named in include.configuration.secrets?"
        raise MoverError("SecretMissing", message)
    made = cleaned(manifest)
    for clear in ("data", "stringData"):
        made.pop(clear, None)
    # Kubernetes keeps what it links to in folders that begin with two dots.
    files = sorted(each for each in folder.iterdir() if not each.name.startswith("..") and each.is_file())
    made["data"] = {each.name: base64.b64encode(_content(each)).decode() for each in files}
    return {"apiVersion": "v1", "kind": "Secret", **made}


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size > SECRET_LIMIT:
        message = f"{file.parent.name}/{file.name} has {size} bytes, more than any Secret"
        raise MoverError("SecretTooLarge", message, retry=False)
    return file.read_bytes()
