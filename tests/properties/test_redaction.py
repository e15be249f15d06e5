"""Whatever is logged is one JSON object a line, and masking twice is masking once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.redaction import redact
from tests.unit.runtime.test_log import line

PIECES = st.sampled_from(
    [
        "password",
        "token",
        "=",
        ": ",
        '"',
        "'",
        "\\",
        "{",
        "}",
        ",",
        " ",
        "\n",
        "a://b:",
        "@",
        "Bearer ",
        "eyJ",
        "-----",
        "é",
        "x" * 9,
    ]
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    message=st.lists(PIECES, max_size=12).map("".join),
    value=st.one_of(st.none(), st.integers(), st.text(max_size=20), st.lists(PIECES, max_size=8).map("".join)),
)
def test_every_line_is_one_json_object(message: str, value: object) -> None:
    _, found = line("%s", message, token=value, field={"password": value, "other": [value]})
    assert isinstance(found, dict)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(text=st.lists(PIECES, max_size=16).map("".join))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)
