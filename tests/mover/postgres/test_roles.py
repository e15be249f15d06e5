"""The roles of the reference stack can do what they are for, and nothing else."""

from __future__ import annotations

import psycopg
import pytest

from .conftest import APP, BACKUP, DATABASE, RESTORE, World

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into documents (title) values ('x')",
        "update documents set title = 'x'",
        "delete from documents",
        "truncate documents",
        "drop table documents",
        "create table own (x int)",
        "select setval('counter', 100)",
        "create database own",
        "create role own",
        f"alter database {DATABASE} allow_connections false",
        f"set role {APP}",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'docuquery_operator' or true limit 1",
        "copy documents to '/tmp/own'",
        "copy documents to program 'cat'",
    ],
)
def test_the_backup_role_changes_nothing(world: World, statement: str) -> None:
    with world.connect(BACKUP) as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "create role own",
        "create extension file_fdw",
        "set role postgres",
        "set role docuquery_operator",
        "select rolpassword from pg_authid",
        "alter role docuquery_restore superuser",
        "alter database postgres rename to other",
        "drop database somebody",
        "copy documents to program 'cat'",
    ],
)
def test_the_restore_role_is_no_superuser(world: World, statement: str) -> None:
    world.postgres.run("create database somebody")
    with world.connect(RESTORE) as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(statement.encode())
