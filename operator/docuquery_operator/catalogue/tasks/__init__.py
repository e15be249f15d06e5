"""The tasks that this version serves: one file a task, named like its type; a new one is entered below and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from ...api.maintenance_window import TaskType
from . import (
    capacity_plan,
    database_upkeep,
    error_rate,
    health_check,
    optimize_collections,
    performance_review,
    resource_usage,
    rotate_logs,
    update_images,
    verify_backups,
)
from .base import TaskKind

_KINDS: tuple[TaskKind, ...] = (
    health_check.KIND,
    error_rate.KIND,
    resource_usage.KIND,
    capacity_plan.KIND,
    performance_review.KIND,
    database_upkeep.VACUUM,
    database_upkeep.ANALYZE,
    update_images.KIND,
    rotate_logs.KIND,
    verify_backups.KIND,
    optimize_collections.KIND,
)
TASKS: Mapping[TaskType, TaskKind] = {kind.type: kind for kind in _KINDS}
