"""CREATE DATABASE in the form of the original."""

from __future__ import annotations

from ...domain.backups.manifest import DatabaseFacts
from .session import literal, quoted


def creation(facts: DatabaseFacts, name: str, owner: str = "") -> str:
    """With encoding, locale and owner of the original."""
    words = [f"owner {quoted(owner or facts.owner)}", "template template0", f"encoding {literal(facts.encoding)}"]
    words += [f"lc_collate {literal(facts.collate)}", f"lc_ctype {literal(facts.ctype)}"]
    if facts.locale_provider == "i":
        words += ["locale_provider icu", f"icu_locale {literal(facts.locale)}"]
    elif facts.locale_provider == "b":
        words += ["locale_provider builtin", f"builtin_locale {literal(facts.locale)}"]
    return f"create database {quoted(name)} {' '.join(words)}"


def plain_creation(facts: DatabaseFacts, name: str) -> str:
    """With the locale C, for a server that has not the original's: it changes sorting and nothing of the content."""
    words = f"owner {quoted(facts.owner)} template template0 encoding {literal(facts.encoding)} locale 'C'"
    return f"create database {quoted(name)} {words}"
