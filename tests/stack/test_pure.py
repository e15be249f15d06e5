"""The application's decisions without any server: text, limits, names of failures."""

import uuid

import psycopg
import psycopg.errors
import pytest
import redis.exceptions
from app import failures, ratelimit, text
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.timeout(10)


def test_embedding_is_the_same_everywhere() -> None:
    """A fixed value: another machine, Python or hash seed must not change what is stored."""
    vector = text.embed("the quick brown fox")
    assert len(vector) == 64
    assert {index: round(value, 3) for index, value in enumerate(vector) if value} == {
        20: 0.5,
        33: 0.5,
        44: -0.5,
        59: 0.5,
    }


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_embedding_has_length_one(words: str) -> None:
    """Also where words cancel each other out or there is none."""
    assert sum(value * value for value in text.embed(words)) == pytest.approx(1.0)


def test_equal_words_are_near() -> None:
    """Order and case do not matter; other words do."""
    one, same, other = (text.embed(each) for each in ("Invoice from Vaduz", "vaduz FROM invoice", "kernel of a harbour"))
    assert one == same
    assert sum(a * b for a, b in zip(one, other, strict=True)) < 0.9


@given(st.lists(st.text("abc", min_size=1, max_size=4), max_size=300), st.integers(2, 40), st.integers(0, 39))
@settings(max_examples=100, deadline=None)
def test_chunks_cover_the_text(words: list[str], size: int, overlap: int) -> None:
    """Every word, in order, with the overlap that was asked for and no chunk that adds nothing."""
    overlap = min(overlap, size - 1)
    parts = [part.split() for part in text.chunks(" ".join(words), size, overlap)]
    joined = parts[0] + [word for part in parts[1:] for word in part[overlap:]] if parts else []
    assert joined == words
    assert all(len(part) <= size for part in parts)
    assert all(len(part) > overlap for part in parts[1:])


def test_chunks_refuse_an_endless_overlap() -> None:
    """The window has to move."""
    with pytest.raises(ValueError, match="overlap"):
        text.chunks("a b c", size=2, overlap=2)


def test_ids_follow_from_the_content() -> None:
    """Equal content, equal ids; the border between title and text counts."""
    assert text.document_id("a", "b") == text.document_id("a", "b")
    assert text.document_id("ab", "c") != text.document_id("a", "bc")
    assert text.point_id(uuid.UUID(int=1), 0) != text.point_id(uuid.UUID(int=1), 1)


class FakeCounter:
    """Redis, as far as the limiter knows it."""

    def __init__(self) -> None:
        """Start empty."""
        self.counts: dict[str, int] = {}
        self.blocked: set[str] = set()

    async def hit(self, key: str, ttl: int, client: str) -> tuple[int, bool]:
        """Count."""
        assert ttl >= 60
        self.counts[key] = self.counts.get(key, 0) + 1
        return self.counts[key], client in self.blocked


async def test_limit_counts_each_client_in_each_window() -> None:
    """The third of two is refused until the window ends; another client is not."""
    counter = FakeCounter()
    limiter = ratelimit.RateLimiter(counter, limit=2, length=60)
    verdicts = [await limiter.check("1.2.3.4", now) for now in (119.0, 119.5, 119.9)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, False]
    assert [verdict.remaining for verdict in verdicts[:2]] == [1, 0]
    assert verdicts[2].retry_after == 1
    assert (await limiter.check("1.2.3.4", 120.0)).allowed
    assert (await limiter.check("5.6.7.8", 119.9)).allowed
    assert set(counter.counts) == {"rate_limit:1.2.3.4:1", "rate_limit:1.2.3.4:2", "rate_limit:5.6.7.8:1"}


async def test_blocked_client_is_refused_below_the_limit() -> None:
    """The deny list is not a limit: no time to retry."""
    counter = FakeCounter()
    counter.blocked.add("1.2.3.4")
    verdict = await ratelimit.RateLimiter(counter, 2, 60).check("1.2.3.4", 0)
    assert verdict == ratelimit.Verdict(allowed=False, blocked=True)


async def test_limit_of_zero_is_off_but_a_blocked_client_stays_out() -> None:
    """No number of requests is too many; the deny list is no limit."""
    counter = FakeCounter()
    limiter = ratelimit.RateLimiter(counter, 0, 60)
    assert all([(await limiter.check("1.2.3.4", 0)).allowed for _ in range(500)])
    counter.blocked.add("1.2.3.4")
    assert (await limiter.check("1.2.3.4", 0)).blocked


@given(st.floats(0, 4e9), st.integers(1, 3600))
def test_window_arithmetic(now: float, length: int) -> None:
    """A moment lies in its window, and waiting as told leaves it."""
    window = ratelimit.window_at(now, length)
    assert window.index * length <= now < (window.index + 1) * length
    assert 1 <= window.seconds_left <= length
    assert now + window.seconds_left >= (window.index + 1) * length


@pytest.mark.parametrize(
    ("forwarded", "peer", "client"),
    [
        ("203.0.113.9", "10.0.0.2", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.1", "10.0.0.2", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "10.0.0.2", "203.0.113.9"),
        ("198.51.100.1", "203.0.113.9", "203.0.113.9"),
        (None, "10.0.0.2", "10.0.0.2"),
        ("*\r\nFLUSHALL", "10.0.0.2", "10.0.0.2"),
        ("203.0.113.9, *", "10.0.0.2", "10.0.0.2"),
        ("2001:db8::0:1", "10.0.0.2", "2001:db8::1"),
        ("::ffff:203.0.113.9", "::ffff:10.0.0.2", "203.0.113.9"),
        ("203.0.113.9", None, "unknown"),
        ("", None, "unknown"),
    ],
)
def test_client_is_the_last_address_that_is_no_trusted_proxy(forwarded: str | None, peer: str | None, client: str) -> None:
    """Free text never reaches a key, and nobody can put the blame on another's address."""
    assert ratelimit.Proxies.parse("10.0.0.0/24").client(forwarded, peer) == client


def test_without_proxies_the_header_says_nothing() -> None:
    """Else a client would choose whose limit it uses up."""
    assert ratelimit.Proxies.parse("").client("203.0.113.9", "127.0.0.1") == "127.0.0.1"
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        ratelimit.Proxies.parse("10.0.0.1/8")


_AT = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("message", "kind", "sqlstate"),
    [
        (_AT + "Connection refused\n\tIs the server running on that host", "refused", None),
        (_AT + 'FATAL:  password authentication failed for user "docuquery"', "auth", "28P01"),
        (_AT + 'FATAL:  database "docuquery_ai" does not exist', "missing_database", "3D000"),
        (_AT + "FATAL:  sorry, too many clients already", "too_many_connections", "53300"),
        (
            _AT + "FATAL:  remaining connection slots are reserved for roles with SUPERUSER",
            "too_many_connections",
            "53300",
        ),
        (_AT + 'FATAL:  too many connections for role "docuquery"', "too_many_connections", "53300"),
        (_AT + "FATAL:  the database system is starting up", "starting", "57P03"),
        (_AT + "FATAL:  the database system is in recovery mode", "starting", "57P03"),
        (_AT + "FATAL:  the database system is shutting down", "starting", "57P03"),
        (_AT + "SSL error: certificate verify failed", "tls", None),
        (_AT + "server does not support SSL, but SSL was required", "tls", None),
        ("failed to resolve host 'postgres': [Errno -2] Name or service not known", "dns", None),
        ("connection timeout expired", "timeout", None),
        (_AT + "FATAL:  could not write init file: No space left on device", "disk_full", "53100"),
        ("something new", "other", None),
    ],
)
def test_refused_connections_have_names(message: str, kind: str, sqlstate: str | None) -> None:
    """libpq gives text only."""
    assert failures.database_failure(psycopg.OperationalError(message)) == failures.Failure(kind, sqlstate)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.ReadOnlySqlTransaction(), "read_only"),
        (psycopg.errors.DiskFull(), "disk_full"),
        (psycopg.errors.QueryCanceled(), "timeout"),
        (psycopg.errors.AdminShutdown(), "refused"),
        (psycopg.errors.UndefinedTable(), "other"),
        (TimeoutError(), "timeout"),
    ],
)
def test_failed_statements_have_names(error: Exception, kind: str) -> None:
    """With the server's code."""
    assert failures.database_failure(error).kind == kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis.exceptions.ConnectionError("Error 111 connecting to redis:6379. Connection refused."), "refused"),
        (redis.exceptions.ConnectionError("Error -2 connecting to redis:6379. Name or service not known."), "dns"),
        (redis.exceptions.AuthenticationError("WRONGPASS invalid username-password pair"), "auth"),
        (redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "disk_full"),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), "read_only"),
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "starting"),
        (redis.exceptions.MaxConnectionsError("Too many connections"), "too_many_connections"),
        (redis.exceptions.ConnectionError("max number of clients reached"), "too_many_connections"),
        (redis.exceptions.TimeoutError("Timeout reading from socket"), "timeout"),
        (TimeoutError(), "timeout"),
    ],
)
def test_redis_failures_have_names(error: Exception, kind: str) -> None:
    """redis-py's classes tell less than the text."""
    assert failures.redis_failure(error).kind == kind
