"""Whether Git owns a field (rule 26): a change that a GitOps controller would revert is not fought over.

Argo CD tracks by the annotation argocd.argoproj.io/tracking-id (argo-cd.readthedocs.io, "Resource Tracking"), Flux by labels
(fluxcd.io, "Kustomization", "HelmRelease"). Which fields they own is in metadata.managedFields, or in what was last applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .fields import path_of, value

JSON = Mapping[str, Any]
ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
FLUX_LABELS = {"kustomize.toolkit.fluxcd.io/name": "Kustomization", "helm.toolkit.fluxcd.io/name": "HelmRelease"}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Field managers: Argo CD, Flux' kustomize-controller and helm-controller.
MANAGERS = ("argocd", "kustomize-controller", "helm-controller")


def git_owner(obj: JSON) -> str:
    """Who applies the object from Git, in words; '' when nobody does."""
    meta = obj.get("metadata", {})
    tracking = (meta.get("annotations") or {}).get(ARGO_TRACKING, "")
    if tracking:
        return f"Argo CD ({tracking[:100]})"
    for label, kind in FLUX_LABELS.items():
        name = (meta.get("labels") or {}).get(label, "")
        if name:
            return f"Flux ({kind} {name[:100]})"
    manager = next((m.get("manager", "") for m in _by_git(obj)), "")
    return f"GitOps ({manager[:100]})" if manager else ""


def owner_of(obj: JSON, field: str) -> str:
    """Who would put the field back to what Git says; '' when nobody would. What cannot be told counts as owned."""
    owner = git_owner(obj)
    return owner if owner and _declared(obj, field) else ""


def _declared(obj: JSON, field: str) -> bool:
    records = _by_git(obj)
    if records:
        return any(_holds(r.get("fieldsV1") or {}, path_of(field)) for r in records)
    text = (obj.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED, "")
    if not text:
        return True
    try:
        return value(json.loads(text), field) is not None
    except (ValueError, AttributeError):
        return True


def _by_git(obj: JSON) -> list[JSON]:
    found = obj.get("metadata", {}).get("managedFields") or []
    return [m for m in found if str(m.get("manager", "")).startswith(MANAGERS)]


def _holds(tree: JSON, path: tuple[str, ...]) -> bool:
    for key in path:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            return False
        tree = inner
    return True
