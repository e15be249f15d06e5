"""A restore beside the live database: create, fill, compare; nothing live is touched before `swap`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...domain.backups.manifest import Check, DatabaseFacts, DatabaseSetting, Manifest, PostgresPart
from ...domain.backups.request import PostgresRequest
from ..contracts import MoverError, ObjectReader, Report
from .compare import Answer, Copy, compare, timed
from .creation import creation
from .exchange import begun, drop, drop_previous, existing, rollback, swap
from .fill import Dump, fill
from .plan import DatabasePlan, plan
from .preconditions import ready
from .process import Kit
from .reconcile import document_ids, run_sql
from .session import Login, Session, connect, literal, login, quoted
from .state import Names, exclusive, look, marked, names
from .tools import Tools, client
from .words import shortened

__all__ = [
    "DatabasePlan",
    "begun",
    "document_ids",
    "drop_previous",
    "existing",
    "plan",
    "restore_beside",
    "rollback",
    "run_sql",
    "swap",
]

PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")
# Their values are lists of quoted names already.
LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")


async def restore_beside(
    part: PostgresPart,
    facts: DatabaseFacts,
    manifest: Manifest,
    reader: ObjectReader,
    request: PostgresRequest,
    secrets: Path,
    restore_id: str,
    scratch: Path,
    report: Report,
) -> list[Check]:
    """Restore one database of a set as `<database>__r_<restore_id>`; the checks of the copy.

    Begins anew what a killed one has left, and does nothing when the copy is checked or live already. A check that failed
    keeps the copy from going live.
    """
    who, of = login(request.server, secrets), names(facts.name, restore_id)
    dump = Dump(facts, manifest, reader, scratch, report, request.jobs)
    async with exclusive(who, facts.name) as session:
        stands = await look(session, of)
        if stands.live.state == "live":
            return [Check(name=f"{dump.step}/restore", ok=True, detail=f"{of.live} is the restored one already")]
        if stands.copy.state == "checked" and stands.copy.set_id == manifest.set_id:
            return [Check(name=f"{dump.step}/restore", ok=True, detail=f"{of.copy} was restored and checked before")]
        tools = await client(session.version, part.client_version)
        absent = await ready(session, part, facts)
        await drop(session, of, of.copy)
        return await _Restore(part, dump, who, of, tools, absent).run(session)


@dataclass(frozen=True)
class _Restore:
    """One database on its way."""

    part: PostgresPart
    dump: Dump
    who: Login
    of: Names
    tools: Tools
    absent: tuple[str, ...]

    async def run(self, session: Session) -> list[Check]:
        """session: of the maintenance database."""
        facts, of, set_id = self.dump.facts, self.of, self.dump.manifest.set_id
        await session.execute(creation(facts, of.copy))
        await session.execute(marked(of, of.copy, facts.comment, "restoring", set_id))
        for statement in rights(of.copy, facts.acl):
            await session.execute(statement)
        kit = Kit(self.who)
        checks = [await timed(f"{self.dump.step}/restore", lambda: self._fill(kit))]
        async with connect(self.who, of.copy) as copy:
            await copy.execute("analyze")
            checks += await compare(Copy(self.part, facts, copy, kit, self.tools, self.absent))
        checks.append(await timed(f"{self.dump.step}/settings", lambda: self._settings(session)))
        if all(check.ok is not False for check in checks):
            await session.execute(marked(of, of.copy, facts.comment, "checked", set_id))
        return checks

    async def _fill(self, kit: Kit) -> Answer:
        await fill(self.dump, kit, self.tools, self.of.copy, self.absent)
        return True, f"restored as {self.of.copy}"

    async def _settings(self, session: Session) -> Answer:
        """ALTER DATABASE … SET; what this role may not set is told."""
        failed = []
        for setting in self.dump.facts.settings:
            statement = set_statement(self.of.copy, setting)
            try:
                await session.execute(statement or "select 1/0")
            except MoverError as problem:
                name = setting.setting.partition("=")[0]
                failed.append(
                    f"{name}{f' of role {setting.role}' if setting.role else ''} ({shortened(problem.message, 120)})"
                )
        if failed:
            return None, f"set by hand: {'; '.join(failed)}"
        return True, f"{len(self.dump.facts.settings)} settings"


def rights(database: str, acl: Sequence[str]) -> list[str]:
    """Statements that give a new database the recorded rights; none for the usual ones."""
    if not acl:
        return []
    statements = [f"revoke all on database {quoted(database)} from public"]
    for right in acl:
        privilege, _, grantee = right.partition(" ")
        option = " with grant option" if privilege.endswith("*") else ""
        if privilege.rstrip("*") in PRIVILEGES:
            to = "public" if grantee == "public" else quoted(grantee)
            statements.append(f"grant {privilege.rstrip('*')} on database {quoted(database)} to {to}{option}")
    return statements


def set_statement(database: str, setting: DatabaseSetting) -> str:
    """ALTER DATABASE or ALTER ROLE … SET; '' when the name is none."""
    name, _, value = setting.setting.partition("=")
    if not _SETTING.fullmatch(name):
        return ""
    where = f"role {quoted(setting.role)} in database {quoted(database)}" if setting.role else f"database {quoted(database)}"
    written = value if name.lower() in LISTS and value else literal(value)
    return f"alter {where} set {name} to {written}"
