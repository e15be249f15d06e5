"""Settings, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Settings:
    """Everything a deployment may set; the defaults fit the manifests."""

    database_host: str = "postgres"
    database_port: int = 5432
    database_name: str = "docuquery_ai"
    database_user: str = "docuquery"
    database_password: str = ""
    database_sslmode: str = "prefer"
    database_pool_max: int = 5
    redis_url: str = "redis://redis:6379/0"
    qdrant_url: str = "http://qdrant:6333"
    qdrant_collection: str = "documents"
    rate_limit_requests: int = 100
    rate_limit_window: int = 60
    trusted_proxies: str = ""
    health_timeout: float = 2.0
    api_url: str = "http://api:8000"

    def connection(self, application: str, connect_timeout: int = 2) -> dict[str, str | int]:
        """Connection parameters under which a dead or stuck database cannot hang the caller."""
        return {
            "host": self.database_host,
            "port": self.database_port,
            "dbname": self.database_name,
            "user": self.database_user,
            "password": self.database_password,
            "sslmode": self.database_sslmode,
            "application_name": application,
            "connect_timeout": connect_timeout,
            "tcp_user_timeout": 5000,
            "keepalives_idle": 10,
            "options": "-c statement_timeout=5000 -c lock_timeout=3000",
        }


def load(environ: Mapping[str, str]) -> Settings:
    """Build the settings from `environ`; an empty QDRANT_URL means that the stack has no Qdrant."""
    given = {name: kind(environ[name.upper()]) for name, kind in _KINDS.items() if name.upper() in environ}
    return Settings(**given)


_KINDS = {name: type(getattr(Settings, name)) for name in Settings.__dataclass_fields__}


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load(os.environ)
