"""What a server needs before a database of a set can be restored on it."""

from __future__ import annotations

from ...domain.backups.manifest import DatabaseFacts, PostgresPart
from ..contracts import MoverError
from .session import Session

EXTENSIONS = """
select name, bool_or(trusted) or (select rolsuper from pg_roles where rolname = current_user) as allowed
  from pg_available_extension_versions group by name
"""
ROLES = "select r as name from unnest($1::text[]) r where r not in (select rolname from pg_roles)"
MEMBER = "select pg_has_role(current_user, $1::text, 'usage') as yes, current_user as me"


async def ready(session: Session, part: PostgresPart, facts: DatabaseFacts) -> tuple[str, ...]:
    """Extensions that the copy has to do without, as only a superuser may create them. MoverError for what is in the way."""
    if session.version // 10000 < part.server_version // 10000:
        text = (
            f"the set is of PostgreSQL {part.server_version // 10000}, which a server {session.version // 10000} cannot hold"
        )
        raise MoverError("ServerTooOld", text, retry=False)
    if gone := [row["name"] for row in await session.rows(ROLES, [sorted({facts.owner, *facts.roles})])]:
        text = f"the server has no role {', '.join(gone)}: create them first, postgres/globals.sql of the set says how"
        raise MoverError("NoRole", text, retry=False)
    member = await session.one(MEMBER, [facts.owner])
    if not member["yes"]:
        text = f"{member['me']} cannot give the copy to {facts.owner}: GRANT {facts.owner} TO {member['me']}"
        raise MoverError("NotOwner", text, retry=False)
    allowed = {row["name"]: row["allowed"] for row in await session.rows(EXTENSIONS)}
    if missing := sorted(facts.extensions.keys() - allowed.keys()):
        text = f"the server lacks the extension {', '.join(missing)}: install it first"
        raise MoverError("ExtensionMissing", text, retry=False)
    return tuple(sorted(name for name in facts.extensions if not allowed[name]))
