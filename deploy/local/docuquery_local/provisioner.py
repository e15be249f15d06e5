"""The provisioner of the storage class `local-loop`: claims become loop-mounted files of exactly the size asked for."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path

from docuquery_local import volumes
from docuquery_local.api import Api, ApiError, Object
from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings
from docuquery_local.shell import say

NAME = "local.docuquery.ai/loop"
PERIOD = 0.5
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def main(settings: Settings) -> int:
    """Reconcile for ever; what fails is tried again."""
    provisioner = Provisioner(settings, Api(settings.server, settings.pki, "provisioner"))
    while True:
        try:
            provisioner.reconcile()
        except ApiError as error:
            say(f"the API server did not answer: {error}")
        time.sleep(PERIOD)


class Provisioner:
    """Makes volumes for claims and deletes those that were released."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self._settings = settings
        self._api = api
        self._refused: set[str] = set()

    def reconcile(self) -> None:
        """One pass over claims and volumes."""
        classes = {c["metadata"]["name"] for c in self._api.items(_CLASSES) if c["provisioner"] == NAME}
        claims = [c for c in self._api.items(_CLAIMS) if c["spec"].get("storageClassName") in classes]
        existing = [v for v in self._api.items(_VOLUMES) if _is_ours(v)]
        names = {volume["metadata"]["name"] for volume in existing}
        for claim in claims:
            if claim["status"].get("phase") == "Pending" and volume_name(claim) not in names:
                self._try(claim, self._provision)
        for volume in existing:
            if _is_free(volume):
                self._try(volume, self._delete)
        self._drop_orphans(names | {volume_name(claim) for claim in claims})

    def _try(self, item: Object, step: Callable[[Object], None]) -> None:
        try:
            step(item)
        except LocalClusterError as error:
            self._refuse(item, str(error))

    def _provision(self, claim: Object) -> None:
        if claim["spec"].get("volumeMode") == "Block":
            raise LocalClusterError("local-loop makes file systems only: remove volumeMode: Block")
        size = volumes.check_size(claim["spec"]["resources"]["requests"]["storage"])
        path = volumes.create(self._settings, volume_name(claim), size)
        self._api.request("POST", _VOLUMES, persistent_volume(claim, path, self._settings.node))
        say(f"made {volume_name(claim)} for {claim['metadata']['namespace']}/{claim['metadata']['name']}")

    def _delete(self, volume: Object) -> None:
        name = volume["metadata"]["name"]
        volumes.delete(self._settings, name)
        self._api.request("DELETE", f"{_VOLUMES}/{name}")
        say(f"deleted {name}")

    def _drop_orphans(self, wanted: set[str]) -> None:
        """Delete files whose claim went away before its volume was registered."""
        for name in volumes.names(self._settings):
            if name not in wanted:
                volumes.delete(self._settings, name)

    def _refuse(self, item: Object, reason: str) -> None:
        uid = item["metadata"]["uid"]
        if uid in self._refused:
            return
        self._refused.add(uid)
        say(f"{item['metadata']['name']}: {reason}")
        if "namespace" in item["metadata"]:
            namespace = item["metadata"]["namespace"]
            self._api.request("POST", f"/api/v1/namespaces/{namespace}/events", _event(item, reason))


_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"


def volume_name(claim: Object) -> str:
    """The name of a claim's volume, the same at every try."""
    return f"pvc-{claim['metadata']['uid']}"


def persistent_volume(claim: Object, path: Path, node: str) -> Object:
    """The volume object, bound to its claim from the start."""
    meta, spec = claim["metadata"], claim["spec"]
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: NAME}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "local": {"path": str(path)},
            "claimRef": reference,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _is_ours(volume: Object) -> bool:
    return (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == NAME


def _is_free(volume: Object) -> bool:
    released = bool(volume["status"].get("phase") == "Released")
    return released and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"


def _event(claim: Object, reason: str) -> Object:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    meta = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": reason,
        "source": {"component": NAME},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
