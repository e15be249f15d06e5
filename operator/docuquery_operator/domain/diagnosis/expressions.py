"""CEL over findings, with three answers: True, False, and None where a fact that the expression needs is missing.

Source of the language: github.com/google/cel-spec. As it demands, logic absorbs errors: `false && <missing>` is false.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

# Each of these walks a list; three inside each other could keep the whole process busy for minutes.
MACROS_ALLOWED = 2
_MACRO = re.compile(r"\b(?:map|filter|all|exists|exists_one)(?:\s|//[^\n]*\n)*\((?:\s*([A-Za-z_]\w*)\s*,)?")
_TYPES = {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}
VARIABLES = {"findings", "parameters"}
# Functions of the language that the engine has; what it does not know it says only when it comes to the call.
FUNCTIONS = {
    *("size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "type", "dyn"),
    *("duration", "timestamp", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
}


class ExpressionError(ValueError):
    """The expression cannot be used; the text says why."""


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
    """Parsed once, kept; ExpressionError when it does not parse, names what there is not, or could take too long."""
    if len(_MACRO.findall(text)) > MACROS_ALLOWED:
        raise ExpressionError(
            f"'{text}' could take too long: at most {MACROS_ALLOWED} of map, filter, all, exists and exists_one are allowed"
        )
    try:
        program = _cel.compile(text)
    except ValueError as problem:
        raise ExpressionError(f"'{text}' is not CEL: {str(problem).splitlines()[0]}") from problem
    _known(text, program)
    return program


def _known(text: str, program: Any) -> None:
    """Every name must be known: a misspelt one would never give an answer. Operators of the engine begin with no letter."""
    functions = sorted(f for f in set(program.functions()) - FUNCTIONS if f[0].isalpha())
    if functions:
        raise ExpressionError(
            f"'{text}' calls {functions[0]}, which there is not; there are: {', '.join(sorted(FUNCTIONS))}"
        )
    own = {name for name in _MACRO.findall(text) if name}
    variables = sorted(v for v in set(program.variables()) - VARIABLES - _TYPES - own if v[0].isalpha())
    if variables:
        raise ExpressionError(f"'{text}' names {variables[0]}, which there is not; there are: findings, parameters")


def holds(text: str, facts: Mapping[str, Any]) -> bool | None:
    """True, False, or None when a needed fact is missing or the answer is no bool."""
    try:
        answer = compile_expression(text).execute(dict(facts))
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError, ArithmeticError):
        return None
    return answer if isinstance(answer, bool) else None


def rule_holds(rule: str, value: Any) -> bool:
    """Whether a rule of our own CRDs holds for a value; also true where the value is too wrong to be asked."""
    try:
        answer = _cel.compile(rule).execute({"self": value})
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError, ArithmeticError):
        return True
    return answer is not False
