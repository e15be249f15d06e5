"""What tasks that only look have in common."""

from __future__ import annotations

from collections.abc import Mapping

from ...api.common import seconds
from ...api.stack import Component
from ..base import Round
from .base import TaskContext


def round_of(context: TaskContext) -> Round:
    """One round of reads; what one has read, the others need not read again."""
    timeout = seconds(context.stack.spec.detection.timeout)
    return Round(context.stack, context.ports, timeout, context.ports.clock.now())


def components_of(context: TaskContext) -> Mapping[str, Component]:
    """The components that the window is about."""
    wanted = context.window.spec.components
    return {name: c for name, c in context.stack.spec.components.items() if not wanted or name in wanted}
