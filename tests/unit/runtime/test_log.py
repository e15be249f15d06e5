"""Logs: one JSON object a line, whatever is logged, and no secret in message, fields or traceback."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from docuquery_operator.domain.redaction import MASK, redact
from docuquery_operator.runtime.log import RedactingFormatter, configure

SECRET = "hunter2-Xq9"


def line(message: str, *args: object, error: BaseException | None = None, **extra: Any) -> tuple[str, dict[str, Any]]:
    """What one record becomes: the text, and the object that it must be."""
    record = logging.LogRecord("docuquery_operator.x", logging.ERROR, "f.py", 1, message, args, None)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    record.__dict__.update(extra)
    fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
    text = RedactingFormatter(fields, rename_fields={"levelname": "level"}).format(record)
    assert "\n" not in text
    return text, json.loads(text)


TEXTS = [
    f"password={SECRET}",
    f"password: {SECRET}, next",
    f'password="{SECRET} with spaces"',
    f"PGPASSWORD='{SECRET}'",
    f'{{"password": "{SECRET}", "user": "op"}}',
    f'{{\\"token\\": \\"{SECRET}\\"}}',
    f"Authorization: Bearer {SECRET}",
    f"authorization: Basic {SECRET}",
    f"got 401 for Bearer {SECRET}",
    f"postgresql://op:{SECRET}@postgres:5432/db",
    f"redis://:{SECRET}@redis:6379/0",
    f"postgres://op:p@{SECRET}@postgres/db",
    f"api_key={SECRET}&x=1",
    f"apikey: {SECRET}",
    f"access_token={SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    f"token eyJhbGciOiJIUzI1NiJ9.eyJ{SECRET.replace('-', '')}zdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
]


def leaked(text: str) -> bool:
    return SECRET in text or SECRET.replace("-", "") in text


@pytest.mark.parametrize("text", TEXTS)
def test_no_secret_in_the_message(text: str) -> None:
    raw, found = line("connecting with %s", text)
    assert not leaked(raw)
    assert MASK in found["message"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_secret_in_a_field_however_deep(text: str) -> None:
    raw, found = line("x", problem=text, deep={"list": [text, {"more": (text,)}]}, error_object=ValueError(text))
    assert not leaked(raw)
    assert MASK in found["problem"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_secret_in_a_traceback(text: str) -> None:
    try:
        try:
            raise ValueError(text)
        except ValueError as inner:
            raise RuntimeError("outer") from inner
    except RuntimeError as error:
        raw, found = line("failed", error=error)
    assert not leaked(raw)
    assert "Traceback" in found["exc_info"]
    # After a key without an end nothing can be told apart any more.
    assert "RuntimeError: outer" in found["exc_info"] or text.startswith("-----BEGIN PRIVATE")


@pytest.mark.parametrize("name", ["password", "db_password", "token", "apiKey", "secret", "authorization"])
def test_a_field_that_is_called_a_secret_is_masked_whole(name: str) -> None:
    raw, found = line("x", **{name: f"any thing, {SECRET}"}, nested={name: [SECRET]})
    assert not leaked(raw)
    assert found[name] == MASK


def test_what_is_no_secret_stays_readable() -> None:
    _, found = line("looking at %s", "incidents/db-down", seconds=1.5, attempt="a1b2", ready=True, none=None, count=3)
    assert found["message"] == "looking at incidents/db-down"
    assert (found["seconds"], found["ready"], found["none"], found["count"], found["attempt"]) == (
        1.5,
        True,
        None,
        3,
        "a1b2",
    )
    assert (found["level"], found["name"]) == ("ERROR", "docuquery_operator.x")


@pytest.mark.parametrize(
    "text",
    [
        "Secret 'postgres-operator' is missing or has no password; create it",
        "https://kubernetes.default.svc:443/apis",
        "the token bucket is empty",
        "spec.credentials.secretName: postgres-operator",
        "mail to ops@example.org about http://grafana:3000/d/1",
    ],
)
def test_plain_sentences_are_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text", ["password=" * 4000, "a://b:" * 4000, "token: '" * 4000, "eyJ" * 8000, "-----BEGIN PRIVATE KEY" * 900]
)
def test_hostile_text_takes_no_long_time(text: str) -> None:
    """The limit of the test is the assertion: a pattern that backtracks would take minutes."""
    assert redact(text)


@pytest.fixture
def untouched() -> Iterator[None]:
    """The loggers as they were."""
    root, ours, kopf = (logging.getLogger(name) for name in (None, "docuquery_operator", "kopf"))
    before, levels = root.handlers[:], (root.level, ours.level, kopf.level)
    # The handlers that are there would be closed; pytest still needs them.
    root.handlers[:] = []
    yield
    root.handlers[:] = before
    for logger, level in zip((root, ours, kopf), levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("untouched")
def test_our_level_is_set_and_the_clients_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure("DEBUG")
    logging.getLogger("docuquery_operator.domain").debug("ours")
    for client in ("kopf.objects", "kopf._core", "aiohttp.client", "psycopg"):
        logging.getLogger(client).info("theirs: a whole object with password=%s", SECRET)
    logging.getLogger("kopf").warning("password=%s", SECRET)
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [(entry["level"], entry["message"]) for entry in lines] == [("DEBUG", "ours"), ("WARNING", f"password={MASK}")]
    assert all(entry["time"] and entry["logger"] for entry in lines)
