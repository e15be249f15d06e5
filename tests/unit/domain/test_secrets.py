"""What other people's texts hold never reaches status, Events, logs or reports."""

from __future__ import annotations

import json

import pytest

from docuquery_operator.catalogue.probes.http import dependencies
from docuquery_operator.domain.diagnosis.causes import evidence
from docuquery_operator.domain.redaction import MASK, redact
from docuquery_operator.domain.reports.incident import EVIDENCE_LIMIT, capped_evidence

SECRET = "hunter2-marker"


@pytest.mark.parametrize(
    "text",
    [
        f"ALTER ROLE app WITH PASSWORD '{SECRET}'",
        f"alter user app password E'{SECRET}' valid until 'infinity'",
        f"CREATE USER app ENCRYPTED PASSWORD '{SECRET}",
        f"create user mapping for app options (user 'a', password '{SECRET}')",
    ],
)
def test_a_password_in_a_statement_is_masked(text: str) -> None:
    assert SECRET not in redact(text)
    assert MASK in redact(text)
    assert SECRET not in redact(json.dumps({"query": text}))


@pytest.mark.parametrize("text", ["password authentication failed for user 'app'", "the password 'or' the user is wrong"])
def test_the_servers_own_words_stay_readable(text: str) -> None:
    assert redact(text).startswith(text[:12])


def test_what_an_api_says_of_its_database_is_masked_before_it_is_cut() -> None:
    url = f"cannot connect to postgresql://app:{SECRET}@db-{'x' * 60}:5432/docs"
    found = dependencies(json.dumps({"dependencies": {"database": {"status": "down", "error": url}}}))
    assert found["database"] == "down"
    assert "hunter" not in found["databaseError"]


def test_evidence_of_a_cause_is_masked() -> None:
    assert SECRET not in str(evidence({"api": {"summary": f"GET /health: 503 password={SECRET}"}}))


def test_a_health_answer_that_nobody_can_read_is_no_answer() -> None:
    assert dependencies("[" * 60_000) == {}


def test_evidence_is_bounded_as_it_is_stored() -> None:
    parts = {f"log p-{n}": "\x00é\n" * 60_000 for n in range(7)}
    stored = json.dumps(capped_evidence(parts), indent=1)
    assert len(stored.encode()) <= EVIDENCE_LIMIT
    assert len(stored.encode()) > EVIDENCE_LIMIT * 0.9
    assert capped_evidence({"log": "first\nlast"}) == {"log": "first\nlast"}
