"""The peer: what kopf's first pages suggest. Create and update handlers, `patch.status`, all defaults, the big client imported."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import kopf
import kubernetes

# Imported as kopf's tutorial does for children of an object; the models of the big client come with it.
MODELS = kubernetes.client


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@kopf.on.create("ops.docuquery.ai", "v1alpha1", "incidents")
def created(patch: kopf.Patch, **_: Any) -> None:
    """Say what our operator says of an observed incident: phase and cause."""
    patch.status["phase"] = "Identified"
    patch.status["summary"] = "the workload that the Stack names does not exist"
    patch.status["cause"] = {
        "name": "WorkloadMissing",
        "message": "the workload that the Stack names does not exist",
        "confidence": "High",
        "since": _now(),
    }


@kopf.on.update("ops.docuquery.ai", "v1alpha1", "incidents")
def updated(spec: Mapping[str, Any], meta: Mapping[str, Any], patch: kopf.Patch, **_: Any) -> None:
    """Take over who has acknowledged."""
    by = (spec.get("acknowledged") or {}).get("by")
    if by is None:
        return
    patch.status["conditions"] = [
        {
            "type": "Acknowledged",
            "status": "True",
            "reason": "ByPerson",
            "message": f"by {by}",
            "lastTransitionTime": _now(),
            "observedGeneration": meta["generation"],
        }
    ]
