"""VacuumDatabase and AnalyzeTables: a Job that visits each table of the Stack's PostgreSQL databases."""

from __future__ import annotations

from typing import Any

from ...api.common import SecretRef, seconds
from ...api.maintenance_window import AnalyzeTablesTask, TaskType, VacuumDatabaseTask
from ...api.stack import Component, ComponentType
from ...domain.backups.request import Server
from ...domain.maintenance.task_outcome import TaskOutcome
from ...domain.maintenance.task_requests import UpkeepRequest
from .. import shared
from ..base import Round
from .base import Heavy, JobWanted, TaskContext, parameters

KEYS = ("username", "password")


async def vacuum(context: TaskContext) -> JobWanted | TaskOutcome:
    """VACUUM each table, and rebuild named indexes."""
    wanted: VacuumDatabaseTask = parameters(context, "vacuum_database", VacuumDatabaseTask)
    request = {"analyze": wanted.analyze, "parallel": wanted.parallel, "reindex": wanted.reindex}
    return await _job(context, wanted.databases, wanted.lock_timeout, wanted.credentials, request)


async def analyze(context: TaskContext) -> JobWanted | TaskOutcome:
    """ANALYZE each table."""
    wanted: AnalyzeTablesTask = parameters(context, "analyze_tables", AnalyzeTablesTask)
    return await _job(context, wanted.databases, wanted.lock_timeout, wanted.credentials, {"vacuum": False})


async def _job(
    context: TaskContext, databases: list[str], lock_timeout: str, own: SecretRef | None, more: dict[str, Any]
) -> JobWanted | TaskOutcome:
    found = component_of(context)
    if isinstance(found, TaskOutcome):
        return found
    name, component = found
    secret = own or component.credentials
    if secret is None or component.endpoint is None:
        return _failed(f"component {name} needs endpoint and credentials")
    round_ = Round(context.stack, context.ports, 3.0, context.ports.clock.now())
    keys = await shared.credentials(round_, secret.secret_name)
    missing = [key for key in KEYS if not keys.get(key)]
    if missing:
        return _failed(f"Secret '{secret.secret_name}' is missing or has no {' and no '.join(missing)}; create it")
    host = await shared.address(round_, component)
    if not host:
        return _failed(f"the Service of {name} has no address")
    request = UpkeepRequest(
        attempt_id=context.attempt_id,
        budget_seconds=context.left(),
        server=Server(host=host, port=component.endpoint.port),
        databases=databases or [component.database or ""],
        lock_timeout_seconds=seconds(lock_timeout),
        **more,
    )
    return JobWanted(request, {"postgres": secret.secret_name})


def component_of(context: TaskContext) -> tuple[str, Component] | TaskOutcome:
    """The window's PostgreSQL component, else the Stack's; one, or the window must name it."""
    found = [(n, c) for n, c in context.stack.spec.components.items() if c.type is ComponentType.POSTGRESQL]
    named = [(n, c) for n, c in found if n in context.window.spec.components] or found
    if len(named) == 1:
        return named[0]
    if not named:
        return TaskOutcome(state="Skipped", summary="the Stack has no PostgreSQL component")
    names = ", ".join(sorted(n for n, _ in named))
    return _failed(f"the Stack has several PostgreSQL components ({names}): name one in spec.components of the window")


def _failed(why: str) -> TaskOutcome:
    return TaskOutcome(state="Failed", summary=why[:512])


VACUUM = Heavy(TaskType.VACUUM_DATABASE, "VACUUM of each table within a budget, and named indexes rebuilt", vacuum)
ANALYZE = Heavy(TaskType.ANALYZE_TABLES, "ANALYZE of each table", analyze)
