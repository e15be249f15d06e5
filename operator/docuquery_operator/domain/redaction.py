"""Secrets out of text before it is stored, shown or logged."""

from __future__ import annotations

import re

MASK = "[redacted]"
SECRET_NAME = re.compile(r"(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|access[_-]?key)$", re.IGNORECASE)
_RULES = (
    # scheme://user:password@host; a password may hold an @ that nobody has encoded
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]{0,100}:)[^\s/\"']{1,200}(@)", re.IGNORECASE), rf"\1{MASK}\2"),
    # "password": "…", with everything up to the closing quote
    (
        re.compile(
            rf"({SECRET_NAME.pattern[:-1]}(?:\\*[\"'])?\s*[=:]\s*)(?:(\")(?:[^\"\\]|\\.){{0,400}}\"|(')(?:[^'\\]|\\.){{0,400}}')",
            re.IGNORECASE,
        ),
        rf"\1\2\3{MASK}\2\3",
    ),
    # password=…, token: …, Authorization: Basic …
    (
        re.compile(
            rf"({SECRET_NAME.pattern[:-1]}(?:\\*[\"'])?\s*[=:]\s*(?:\\*[\"'])?)(?:(?:bearer|basic)\s+)?"
            r"(?!\s)[^\s\"',;}]{1,400}",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # ALTER ROLE … PASSWORD '…', also where the statement was cut
    (re.compile(r"(\bpassword\s+(?:e|u&)?')(?:[^'\\\n]|\\.|''){1,400}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(bearer\s+)[A-Za-z0-9._~+/-]{8,}=*", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Text without anything that looks like a secret, and without the secrets that are known."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
