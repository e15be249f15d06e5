"""Settings from the environment: a wrong one stops the start with its name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from docuquery_operator import __main__ as main
from docuquery_operator.settings import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [n for n in os.environ if n.startswith("DOCUQUERY_")]:
        monkeypatch.delenv(name)


def test_the_defaults_stand_in_the_right_order() -> None:
    settings = Settings()
    assert settings.retry_seconds < settings.renew_seconds < settings.lease_seconds
    assert settings.watch_namespaces == []
    assert settings.instance


@pytest.mark.parametrize(
    ("text", "namespaces"),
    [("docuquery", ["docuquery"]), (" a, b,,c ", ["a", "b", "c"]), ("", []), (",", [])],
)
def test_namespaces_are_split(monkeypatch: pytest.MonkeyPatch, text: str, namespaces: list[str]) -> None:
    monkeypatch.setenv("DOCUQUERY_WATCH_NAMESPACES", text)
    assert Settings().watch_namespaces == namespaces


WRONG = [
    ("RENEW_SECONDS", "15"),  # as long as the Lease: two leaders for a moment
    ("RENEW_SECONDS", "60"),
    ("LEASE_SECONDS", "10"),
    ("RETRY_SECONDS", "10"),  # never a second try before the deadline
    ("LEASE_SECONDS", "0"),
    ("RETRY_SECONDS", "-1"),
    ("RENEW_SECONDS", "nan"),
    ("WORKERS", "0"),
    ("WORKERS", "1000"),
    ("HTTP_PORT", "70000"),
    ("LOG_LEVEL", "debug"),
    ("RESYNC_SECONDS", "soon"),
    ("DRAIN_SECONDS", "0"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"DOCUQUERY_{name}", value)
    with pytest.raises(ValidationError):
        Settings()
    assert main.main([]) == 2
    # The one that is set, or the default that does not go with it.
    assert "DOCUQUERY_" in capsys.readouterr().err


def test_a_longer_lease_may_be_chosen_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LEASE": "60", "RENEW": "40", "RETRY": "5"}.items():
        monkeypatch.setenv(f"DOCUQUERY_{name}_SECONDS", value)
    settings = Settings()
    assert (settings.lease_seconds, settings.renew_seconds, settings.retry_seconds) == (60.0, 40.0, 5.0)
