"""Which log lines tell an error, and what is left of one when all that differs from time to time is taken out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..redaction import redact

# A line without one of these needs no closer look; on bytes, as it is asked of every line.
SUSPECT = re.compile(rb"error|exception|critical|fatal|panic|traceback|severe", re.IGNORECASE)
_BAD = ("error", "err", "critical", "crit", "fatal", "panic", "alert", "emerg", "emergency", "severe")
_LEVEL_KEYS = ("level", "levelname", "severity", "lvl", "log.level")
_TEXT_KEYS = ("message", "msg", "event", "error", "detail")
_TRACE_KEYS = ("exc_info", "exception", "stack_trace", "stack", "traceback")
_WORDS = "|".join(_BAD)
_KEYED = re.compile(r"\b(?:level|levelname|severity|lvl)[\"']?\s?[=:]\s?[\"']?([A-Za-z]+)")
_PLAIN = re.compile(
    r"(?<![\w.-])(?:ERROR|CRITICAL|FATAL|PANIC|SEVERE|EMERG|ALERT)(?![\w-])|^\s*(?:error|fatal|panic)\b", re.MULTILINE
)
_PLAIN_OTHER = re.compile(
    r"(?<![\w.-])(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|LOG|STATEMENT|DETAIL|HINT|CONTEXT|QUERY)(?=:|\]|\s)"
)
# What Python writes below a trace: a class, by habit in capitals and small letters, and its words.
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*(?=\w*[a-z])[A-Z]\w*(?:: |:?$)|^KeyboardInterrupt|^[a-z_]\w*\.\w*[Ee]rror\b")
_ERROR_FIRST = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Fault)\b(?::|$)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CLOCK = r"(?:\d{4}[-/]\d\d[-/]\d\d[T ])?\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\s?(?:Z|[A-Z]{3,4}|[+-]\d\d:?\d\d)?"
_HEAD = re.compile(rf"^(?:[\[(]?{_CLOCK}[\])]?[\s|:,-]*)+")
_RULES = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<uuid>"),
    (re.compile(r"\b\d{4}[-/]\d\d[-/]\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?)?(?:Z\b|[+-]\d\d:?\d\d\b)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+\b"), "<mail>"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{6,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"'[^'\n]{41,}'|\"[^\"\n]{41,}\""), "<text>"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "#"),
)
LONGEST = 200
SAMPLE = 300


def is_error(text: str) -> bool:
    """Whether a line tells an error. A level that is told counts; without one, the words at their usual places."""
    fields = fields_of(text)
    if fields is not None:
        level = _first(fields, _LEVEL_KEYS)
        return level.lower() in _BAD if level else bool(_first(fields, ("error", *_TRACE_KEYS)))
    keyed = _KEYED.search(text)
    if keyed:
        return keyed[1].lower() in _BAD
    plain, other = _PLAIN.search(text), _PLAIN_OTHER.search(text)
    if plain and not (other and other.start() < plain.start()):
        return True
    return other is None and bool(_ERROR_FIRST.match(_HEAD.sub("", text)))


def raised(text: str) -> bool:
    """Whether a line is the last one of a Python trace: an exception and what it says."""
    return bool(_RAISED.match(text))


def message_of(text: str) -> str:
    """What a line says, without its frame of JSON; an exception wins over the words around it."""
    fields = fields_of(text)
    if fields is None:
        return text
    trace = _first(fields, _TRACE_KEYS).strip()
    last = trace.splitlines()[-1].strip() if trace else ""
    said = _first(fields, _TEXT_KEYS)
    return f"{said} | {last}" if last and last not in said else said or text


def fields_of(text: str) -> Mapping[str, Any] | None:
    """The fields of a line in JSON, None of another one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _first(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((str(fields[k]) for k in keys if fields.get(k)), "")


def fingerprint(text: str) -> str:
    """The same for the same error whatever its ids, numbers, addresses and times; idempotent, at most 200 characters."""
    flat = " ".join(_ANSI.sub("", text[:500]).split())
    flat = redact(_HEAD.sub("", flat))
    for pattern, name in _RULES:
        flat = pattern.sub(name, flat)
    return flat[:LONGEST].strip() or "(empty)"


def sample_of(text: str) -> str:
    """One as it came, without secrets, in one line."""
    return " ".join(redact(_ANSI.sub("", text[:2000])).split())[:SAMPLE]
