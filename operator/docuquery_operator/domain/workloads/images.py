"""Names of container images (github.com/distribution/reference), and what a workload was told to run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]
RECORD = "ops.docuquery.ai/image-update"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DOCKER_HUB, DOCKER_REGISTRY = "docker.io", "registry-1.docker.io"
ROLLING, DONE, UNDOING, UNDONE = "Rolling", "Done", "Undoing", "Undone"


@dataclass(frozen=True)
class Image:
    """Where an image is had: registry (host, with its port if any), repository, tag ('' for none), digest ('' for none)."""

    registry: str
    repository: str
    tag: str
    digest: str
    name: str

    def pinned(self, digest: str) -> str:
        """The same tag, bound to exactly these bytes."""
        return f"{self.name}{':' + self.tag if self.tag else ''}@{digest}"


def parsed(text: str) -> Image | None:
    """None when it is no name of an image. Without tag and digest the tag is latest, as for every runtime."""
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        return None
    head, slash, tail = rest.rpartition("/")
    base, colon, tag = tail.partition(":")
    name = f"{head}{slash}{base}"
    first, _, path = name.partition("/")
    hosted = bool(path) and ("." in first or ":" in first or first == "localhost")
    registry, repository = (first, path) if hosted else (DOCKER_HUB, name)
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    valid = re.fullmatch(rf"{part}(?:/{part})*", repository)
    if not valid or (colon and not re.fullmatch(r"[\w][\w.-]{0,127}", tag)):
        return None
    return Image(registry, repository, tag or ("" if digest else "latest"), digest, name)


def running_digests(pods: list[JSON], container: str) -> set[str]:
    """Digests that the container's pods run, as their kubelets say it.

    An image that was loaded into the node by hand has none: its imageID is the bare hash of its configuration, which no
    registry knows.
    """
    found = set()
    for pod in pods:
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            _, at, digest = str(status.get("imageID", "")).rpartition("@")
            if status.get("name") == container and at and DIGEST.fullmatch(digest):
                found.add(digest)
    return found


@dataclass(frozen=True)
class Record:
    """What an update has written on its workload. before, after: image by container; at: epoch seconds of the state."""

    attempt: str
    state: str
    at: float
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def text(self) -> str:
        """As the annotation holds it."""
        return json.dumps({**self.__dict__, "before": dict(self.before), "after": dict(self.after)}, sort_keys=True)


def record_of(workload: JSON) -> Record | None:
    """What the last update has written; None when there was none, or somebody has spoilt it."""
    text = (workload["metadata"].get("annotations") or {}).get(RECORD, "")
    try:
        raw = json.loads(text) if text else None
        return Record(**raw) if raw else None
    except (ValueError, TypeError):
        return None


def images_of(workload: JSON) -> dict[str, str]:
    """Image by container."""
    containers = workload["spec"]["template"]["spec"].get("containers") or []
    return {c["name"]: c.get("image", "") for c in containers}


def containers_with(workload: JSON, images: Mapping[str, str]) -> list[JSON]:
    """The workload's containers with these images, for a merge patch, which replaces lists as a whole."""
    containers = workload["spec"]["template"]["spec"].get("containers") or []
    return [{**c, "image": images.get(c["name"], c.get("image", ""))} for c in containers]


def short(image: str) -> str:
    """Twelve digits of its digest, or the image itself."""
    digest = DIGEST.search(image)
    return digest[0][7:19] if digest else image
