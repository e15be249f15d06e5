"""Which findings and parameters an expression names."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

_INDEX = re.compile(r"""\[\s*(['"])([A-Za-z_]\w*)\1\s*\]""")
_NO_CODE = re.compile(
    r"""[rR]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*""",
    re.DOTALL,
)
# A name before a bracket is a macro or a function, not a key.
_PATH = re.compile(
    r"(?<![\w.])(?P<root>findings|parameters)\s*\.\s*(?P<name>[A-Za-z_]\w*)\b(?!\s*\()"
    r"(?:\s*\.\s*(?P<key>[A-Za-z_]\w*)\b(?!\s*\())?"
)


@dataclass(frozen=True, order=True)
class Reference:
    """`findings.<name>.<key>` or `parameters.<name>`; key is '' where the whole finding is named."""

    root: str
    name: str
    key: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.root, self.name, self.key) if part)


@functools.lru_cache(maxsize=1024)
def references(expression: str) -> tuple[Reference, ...]:
    """All of an expression that parses, each once, in the order of their names; texts and comments name nothing."""
    code = _NO_CODE.sub("''", _INDEX.sub(r".\2", expression))
    found = (Reference(m["root"], m["name"], m["key"] or "") for m in _PATH.finditer(code))
    return tuple(sorted({Reference(r.root, r.name) if r.root == "parameters" else r for r in found}))
