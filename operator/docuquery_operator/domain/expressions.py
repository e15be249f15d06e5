"""CEL over findings, with three answers: True, False, and None where a fact that the expression needs is missing.

Source of the language: github.com/google/cel-spec. As it demands, logic absorbs errors: `false && <missing>` is false.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any


class ExpressionError(ValueError):
    """The expression does not parse; the text says where."""


def _engine() -> ModuleType:
    """The compiled module `cel.cel` alone.

    Importing the package `cel` also imports its command line with a terminal toolkit: 25 MiB that an operator never uses.
    """
    known = sys.modules.get("cel.cel")
    if known is not None:
        return known
    package = PathFinder.find_spec("cel")
    spec = PathFinder.find_spec("cel.cel", package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        raise ImportError("the package common-expression-language is not installed")
    module = module_from_spec(spec)
    # Known by its name: a second import would set the compiled module up twice.
    sys.modules["cel.cel"] = module
    spec.loader.exec_module(module)
    return module


_cel = _engine()


@functools.lru_cache(maxsize=512)
def compile_expression(text: str) -> Any:
    """Parsed once, kept; ExpressionError when it does not parse."""
    try:
        return _cel.compile(text)
    except ValueError as problem:
        raise ExpressionError(f"'{text}' is not CEL: {str(problem).splitlines()[0]}") from problem


def holds(text: str, facts: Mapping[str, Any]) -> bool | None:
    """True, False, or None when a needed fact is missing or the answer is no bool."""
    try:
        answer = compile_expression(text).execute(dict(facts))
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return None
    return answer if isinstance(answer, bool) else None
