"""What PostgreSQL says, and what a person is told to do about it."""

from __future__ import annotations

import pytest

from docuquery_operator.mover.postgres.facts import normalised, sequences_of
from docuquery_operator.mover.postgres.words import explain, lacking, shortened


@pytest.mark.parametrize(
    ("said", "reason", "retry"),
    [
        ('FATAL:  password authentication failed for user "x"', "WrongPassword", False),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "x"', "NotAdmitted", False),
        ('ERROR:  query would be affected by row-level security policy for table "t"', "RowSecurity", False),
        ("pg_dump: error: aborting because of server version mismatch", "ServerTooNew", False),
        ("ERROR:  canceling statement due to lock timeout", "LockTimeout", True),
        ("ERROR:  permission denied for table secret", "NotAllowed", False),
        ('ERROR:  permission denied to create extension "pg_stat_statements"', "ExtensionNotAllowed", False),
        ("ERROR:  permission denied to create database", "NotAllowed", False),
        ('ERROR:  must be able to SET ROLE "app"', "NotOwner", False),
        ('ERROR:  must be member of role "app"', "NotOwner", False),
        ('ERROR:  role "app" does not exist', "NoRole", False),
        ('FATAL:  database "app" does not exist', "NoDatabase", False),
        ("pg_dump: error: could not write to file: No space left on device", "DiskFull", True),
        ('ERROR:  could not extend file "base/1/2": No space left on device', "DiskFull", True),
        ("FATAL:  sorry, too many clients already", "TooManyConnections", True),
        ("FATAL:  the database system is starting up", "ServerNotReady", True),
        ('connection to server at "h", port 1 failed: Connection refused', "Unreachable", True),
        ("server closed the connection unexpectedly", "ConnectionLost", True),
        ("FATAL:  terminating connection due to administrator command", "ConnectionLost", True),
        ('FATAL:  database "x" is not currently accepting connections', "DatabaseClosed", False),
        ('ERROR:  database "x" is being accessed by other users', "InUse", True),
        ("ERROR:  could not import the requested snapshot", "SnapshotLost", True),
        ("server does not support SSL, but SSL was required", "Tls", False),
        ('ERROR:  relation "public.x" does not exist', "Failed", True),
        ('relation "public.x" does not exist (SQLSTATE 42P01)', "TableVanished", True),
        ("something new", "Failed", True),
    ],
)
def test_each_failure_has_a_reason_and_what_to_do(said: str, reason: str, retry: bool) -> None:
    found = explain("pg_dump", said)
    assert (found.reason, found.retry) == (reason, retry)
    assert found.message.startswith("pg_dump")
    assert said[:20] in found.message


def test_what_was_said_is_short_and_holds_no_password() -> None:
    text = shortened("line\n" * 500 + "postgresql://user:hunter2marker@host/db")
    assert len(text) < 610
    assert "hunter2marker" not in text
    assert "\n" not in text


def test_lacking_is_told_from_broken() -> None:
    assert lacking('ERROR:  extension "vector" is not available')
    assert lacking('ERROR:  collation "de_DE" for encoding "UTF8" does not exist')
    assert not lacking("pg_restore: error: could not read from input file: end of file")
    assert not lacking('ERROR:  duplicate key value violates unique constraint "x"')


HEAD = (
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict {key}\n\n-- Dumped from database version {version}\n\nSET x = 0;\n\n"
)
ONE = "--\n-- Name: one; Type: TABLE; Schema: public; Owner: a\n--\n\nCREATE TABLE one ();\n\n\n"
TWO = "--\n-- Name: two; Type: TABLE; Schema: public; Owner: a\n--\n\nCREATE TABLE two ();\n\n\n"
EXTENSION = (
    "--\n-- Name: vector; Type: EXTENSION; Schema: -; Owner: -\n--\n\nCREATE EXTENSION vector;\n\n\n"
    "--\n-- Name: EXTENSION vector; Type: COMMENT; Schema: -; Owner: \n--\n\nCOMMENT ON EXTENSION vector IS 'v';\n\n\n"
)
TAIL = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict {key}\n\n"


def test_a_schema_is_the_same_whatever_the_key_version_and_order() -> None:
    first = normalised(HEAD.format(key="k1", version="15.1") + EXTENSION + ONE + TWO + TAIL.format(key="k1"))
    second = normalised(HEAD.format(key="k2", version="17.2") + TWO + ONE + TAIL.format(key="k2"))
    assert first == second
    assert first != normalised(HEAD.format(key="k", version="1") + ONE + TAIL.format(key="k"))
    assert first != normalised(
        HEAD.format(key="k", version="1") + ONE + TWO.replace("two ()", "two (a int)") + TAIL.format(key="k")
    )


def test_sequences_with_unusual_names_are_read() -> None:
    script = b"""SELECT pg_catalog.setval('public.plain_seq', 42, true);
SELECT pg_catalog.setval('"My Schema"."it''s ""quoted"".seq"', -7, false);
"""
    found = [(s.schema_name, s.name, s.last_value, s.is_called) for s in sequences_of(script)]
    assert found == [("public", "plain_seq", 42, True), ("My Schema", 'it\'s "quoted".seq', -7, False)]
