"""A registry of container images, asked without credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..domain.workloads.images import Image


@dataclass(frozen=True)
class TagAnswer:
    """What a tag means now. digest: of the index or manifest; platforms: of the manifests that an index names.

    problem: why it is not known; credentials: it would be told to somebody who logs in.
    """

    digest: str = ""
    platforms: tuple[str, ...] = ()
    problem: str = ""
    credentials: bool = False


class Registry(Protocol):
    """The OCI distribution API; never raises for a sick registry: the answer says it."""

    async def tag(self, image: Image, timeout: float) -> TagAnswer:
        """What the image's tag points at."""


class NoRegistry:
    """Where nothing can be asked."""

    async def tag(self, image: Image, timeout: float) -> TagAnswer:
        """Nothing is known."""
        return TagAnswer(problem="no registry can be asked")
