"""CEL over findings, with three answers: True, False, and None where a fact that the expression needs is missing.

Source of the language: github.com/google/cel-spec. As it demands, logic absorbs errors: `false && <missing>` is false.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from cel import cel


class ExpressionError(ValueError):
    """The expression does not parse; the text says where."""


@functools.lru_cache(maxsize=512)
def compile_expression(text: str) -> cel.Program:
    """Parsed once, kept; ExpressionError when it does not parse."""
    try:
        return cel.compile(text)
    except ValueError as problem:
        raise ExpressionError(f"'{text}' is not CEL: {str(problem).splitlines()[0]}") from problem


def holds(text: str, facts: Mapping[str, Any]) -> bool | None:
    """True, False, or None when a needed fact is missing or the answer is no bool."""
    try:
        answer = compile_expression(text).execute(dict(facts))
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return None
    return answer if isinstance(answer, bool) else None
