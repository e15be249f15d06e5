"""One PostgreSQL, Redis, Qdrant double and application for all tests of the stack."""

import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.stack.services import APP, Application, Postgres, QdrantDouble, Redis, open_folder, prepared, running

# The application is not installed in the project's environment; its pure modules are tested from its folder.
sys.path.insert(0, str(APP))


@dataclass(frozen=True)
class Stack:
    """Everything that runs."""

    postgres: Postgres
    redis: Redis
    qdrant: QdrantDouble
    app: Application


@pytest.fixture(scope="session")
def folder() -> Iterator[pathlib.Path]:
    """One for the whole run."""
    with open_folder("stack") as made:
        yield made


@pytest.fixture(scope="session")
def qdrant(folder: pathlib.Path) -> Iterator[QdrantDouble]:
    """The double alone."""
    double = QdrantDouble(prepared(folder / "qdrant"))
    with running(double):
        yield double


@pytest.fixture(scope="session")
def stack(folder: pathlib.Path, qdrant: QdrantDouble) -> Iterator[Stack]:
    """The whole stack, without the worker."""
    postgres = Postgres(prepared(folder / "postgres"))
    redis = Redis(prepared(folder / "redis"))
    app = Application(prepared(folder / "app"), settings(postgres, redis, qdrant))
    with running(postgres):
        postgres.run("CREATE ROLE docuquery LOGIN PASSWORD 'right'", "CREATE DATABASE docuquery_ai OWNER docuquery")
        with running(redis, app):
            yield Stack(postgres, redis, qdrant, app)


def settings(postgres: Postgres, redis: Redis, qdrant: QdrantDouble) -> dict[str, str]:
    """The application's environment for these servers."""
    return {
        "DATABASE_HOST": "127.0.0.1",
        "DATABASE_PORT": str(postgres.port),
        "DATABASE_PASSWORD": "right",
        "REDIS_URL": redis.url,
        "QDRANT_URL": qdrant.url,
        "RATE_LIMIT_REQUESTS": "100",
        "RATE_LIMIT_WINDOW": "60",
        "TRUSTED_PROXIES": "127.0.0.0/8",
    }
