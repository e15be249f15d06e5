"""What PostgreSQL and its tools say, told as what is wrong and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...domain.redaction import redact
from ..contracts import MoverError

SHOWN = 600


@dataclass(frozen=True)
class Meaning:
    """What words of the server mean: `advice` says what to do; retry: whether another try may help."""

    pattern: re.Pattern[str]
    reason: str
    advice: str
    retry: bool


def _meaning(pattern: str, reason: str, advice: str, retry: bool = False) -> Meaning:
    return Meaning(re.compile(pattern, re.IGNORECASE), reason, advice, retry)


# The first that fits. Names in quotes are matched lazily, as they are other people's words.
MEANINGS = (
    _meaning(
        r"row-level security policy",
        "RowSecurity",
        "A table hides rows from this role, so a copy would lack them: give the role BYPASSRLS, or leave the table's rows "
        "out by excludeTables.",
    ),
    _meaning(
        r"server version mismatch|server version: .*; pg_\w+ version:",
        "ServerTooNew",
        "The client is older than the server: use an image with the client of the server's major version.",
    ),
    _meaning(
        r"password authentication failed|no password supplied|authentication failed|role \".*\" is not permitted to log in",
        "WrongPassword",
        "Put the role's present username and password into the Secret.",
    ),
    _meaning(
        r"no pg_hba\.conf entry", "NotAdmitted", "pg_hba.conf of the server does not admit this role from here, add a line."
    ),
    _meaning(
        r"lock timeout|could not obtain lock",
        "LockTimeout",
        "Another session holds a lock on a table, such as a migration or VACUUM FULL. Nothing was queued behind it; try "
        "again when it is over.",
        retry=True,
    ),
    _meaning(r"database \".*?\" does not exist", "NoDatabase", "Correct the name of the database, or create it."),
    _meaning(
        r"is being accessed by other users",
        "InUse",
        "Sessions hold the database that cannot be ended, such as a superuser's, or a prepared transaction: end them.",
        retry=True,
    ),
    # In a session of ours: of pg_restore it would mean that the dump lacks something.
    _meaning(r"SQLSTATE 42P01", "TableVanished", "A table was dropped meanwhile; try again.", retry=True),
    _meaning(
        r"no space left on device|disk full|could not extend file",
        "DiskFull",
        "A volume is full: see whose in the message, and give it room.",
        retry=True,
    ),
    _meaning(
        r"permission denied to create extension",
        "ExtensionNotAllowed",
        "Only a superuser may create this extension: create it beforehand, or use a role that may.",
    ),
    _meaning(
        r"must be able to SET ROLE|must be member of role|must be owner of",
        "NotOwner",
        "The role of the restore has to be a member of each owner of the database's objects: GRANT owner TO role.",
    ),
    _meaning(r"permission denied to (create|rename) database", "NotAllowed", "The role of the restore needs CREATEDB."),
    _meaning(r"role \".*?\" does not exist", "NoRole", "Create the role first; the set's globals hold its definition."),
    _meaning(
        r"permission denied",
        "NotAllowed",
        "Give the role what it lacks; for a backup GRANT pg_read_all_data TO it is enough.",
    ),
    _meaning(
        r"too many clients|remaining connection slots|too many connections",
        "TooManyConnections",
        "All connections of the server are taken; try again, or reserve some for this role.",
        retry=True,
    ),
    _meaning(
        r"the database system is|not yet accepting connections",
        "ServerNotReady",
        "The server is starting, stopping or recovering; try again.",
        retry=True,
    ),
    _meaning(
        r"connection refused|could not translate host name|failed to resolve host|no route to host|network is unreachable"
        r"|timeout expired|connection timed out|no such file or directory\s+is the server running",
        "Unreachable",
        "The server does not answer at this address; see whether it runs.",
        retry=True,
    ),
    _meaning(
        r"terminating connection|server closed the connection|connection to server was lost|connection is lost"
        r"|the connection is closed|could not receive data|connection not open",
        "ConnectionLost",
        "The server ended the session, by a restart or by hand; try again.",
        retry=True,
    ),
    _meaning(
        r"is not accepting connections|not currently accepting connections",
        "DatabaseClosed",
        "The database takes no connections: ALTER DATABASE … ALLOW_CONNECTIONS true.",
    ),
    _meaning(
        r"could not import the requested snapshot|invalid snapshot identifier",
        "SnapshotLost",
        "The session that holds the snapshot has ended; connect without a pooler in between, and try again.",
        retry=True,
    ),
    _meaning(
        r"SSL|certificate",
        "Tls",
        "TLS with the server fails: see whether it speaks TLS and whether ca.crt of the Secret is its authority.",
    ),
)
# What keeps a drill from asking, in contrast to what answers it.
LACKING = re.compile(
    r"extension \".*?\" is not available|could not open extension control file|extension \".*?\" has no installation script"
    r"|collation \".*?\" for encoding .* does not exist|could not access file|could not load library|ICU is not supported"
    r"|invalid locale name|no space left on device|could not extend file|access method \".*?\" does not exist"
    r"|could not create locale|text search template .* does not exist",
    re.IGNORECASE,
)


def shortened(text: str, limit: int = SHOWN) -> str:
    """Without secrets, in one line, the beginning and the end of it."""
    line = " | ".join(part.strip() for part in redact(text).splitlines() if part.strip())
    if len(line) <= limit:
        return line
    return f"{line[: limit // 2]} … {line[-limit // 2 :]}"


def explain(what: str, said: str, otherwise: str = "Failed") -> MoverError:
    """The error for what a tool or the server said while doing `what`."""
    # libpq repeats its own address and the names in it before the server's words.
    for meaning in MEANINGS:
        if meaning.pattern.search(said):
            return MoverError(meaning.reason, f"{what}: {meaning.advice} It said: {shortened(said)}", meaning.retry)
    return MoverError(otherwise, f"{what} failed: {shortened(said) or 'it said nothing'}")


def lacking(said: str) -> bool:
    """Whether this only tells that the server at hand cannot hold such a copy."""
    return LACKING.search(said) is not None
