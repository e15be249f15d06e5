"""Names the kind of a dependency's failure without repeating text that could hold a secret."""

from dataclasses import dataclass

import psycopg
import redis.exceptions

# libpq hands over no SQLSTATE for a refused log-in, only the server's text.
_CONNECT_TEXTS = (
    ("too many clients", "too_many_connections", "53300"),
    ("too many connections", "too_many_connections", "53300"),
    ("connection slots are reserved", "too_many_connections", "53300"),
    ("password authentication failed", "auth", "28P01"),
    ("no password supplied", "auth", None),
    ("pg_hba.conf", "auth", "28000"),
    ("authentication failed", "auth", "28000"),
    ("is not permitted to log in", "auth", "28000"),
    ("permission denied for database", "auth", "42501"),
    ("could not translate host name", "dns", None),
    ("name or service not known", "dns", None),
    ("failed to resolve host", "dns", None),
    ("temporary failure in name resolution", "dns", None),
    ("starting up", "starting", "57P03"),
    ("not yet accepting connections", "starting", "57P03"),
    ("in recovery mode", "starting", "57P03"),
    ("shutting down", "starting", "57P03"),
    ("no space left on device", "disk_full", "53100"),
    ("ssl", "tls", None),
    ("certificate", "tls", None),
    ("timeout", "timeout", None),
    ("timed out", "timeout", None),
    ("refused", "refused", None),
    ("closed the connection unexpectedly", "refused", None),
    ("no route to host", "refused", None),
    ("unreachable", "refused", None),
)

_SQLSTATES = {
    "28P01": "auth",
    "28000": "auth",
    "42501": "auth",
    "3D000": "missing_database",
    "53300": "too_many_connections",
    "53100": "disk_full",
    "25006": "read_only",
    "57P03": "starting",
    "57P01": "refused",
    "57014": "timeout",
    "55P03": "timeout",
    "08006": "refused",
    "08001": "refused",
}

# redis-py strips the server's first word off the text of these.
_REDIS_CLASSES = (
    (redis.exceptions.AuthenticationError, "auth"),
    (redis.exceptions.NoPermissionError, "auth"),
    (redis.exceptions.ReadOnlyError, "read_only"),
    (redis.exceptions.BusyLoadingError, "starting"),
    (redis.exceptions.MaxConnectionsError, "too_many_connections"),
)

_REDIS_TEXTS = (
    ("MISCONF", "disk_full"),
    ("NOAUTH", "auth"),
    ("WRONGPASS", "auth"),
    ("NOPERM", "auth"),
    ("max number of clients", "too_many_connections"),
    ("Name or service not known", "dns"),
    ("name resolution", "dns"),
    ("No address associated", "dns"),
    ("imeout", "timeout"),
    ("timed out", "timeout"),
    ("certificate", "tls"),
    ("SSL", "tls"),
    ("refused", "refused"),
    ("closed by server", "refused"),
    ("reset by peer", "refused"),
)


@dataclass(frozen=True)
class Failure:
    """The class of a failure, and PostgreSQL's code where it gave one."""

    kind: str
    sqlstate: str | None = None


def database_failure(error: BaseException) -> Failure:
    """Classify what psycopg, its pool or a time-out raised."""
    if isinstance(error, TimeoutError):
        return Failure("timeout")
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is not None:
        return Failure(_SQLSTATES.get(state, "other"), state)
    text = str(error).lower()
    if 'database "' in text and "does not exist" in text:
        return Failure("missing_database", "3D000")
    for fragment, kind, code in _CONNECT_TEXTS:
        if fragment in text:
            return Failure(kind, code)
    return Failure("other")


def redis_failure(error: BaseException) -> Failure:
    """Classify what redis-py or a time-out raised."""
    if isinstance(error, (TimeoutError, redis.exceptions.TimeoutError)):
        return Failure("timeout")
    for known, kind in _REDIS_CLASSES:
        if isinstance(error, known):
            return Failure(kind)
    text = f"{type(error).__name__} {error}"
    for fragment, kind in _REDIS_TEXTS:
        if fragment in text:
            return Failure(kind)
    return Failure("other")
