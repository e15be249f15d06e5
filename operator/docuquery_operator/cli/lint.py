"""`lint`: what is wrong with runbooks in files, without a cluster.

An error is what the API server or the operator refuses; a warning is what they take and is surely not meant.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from ..api.common import API_VERSION, GROUP
from ..api.crd import KINDS
from ..api.runbook import Runbook
from ..catalogue.mistakes import among, mistakes
from . import lint_advice, lint_schema

KIND = Runbook.meta_of_kind.kind
Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Line:
    """One thing that is wrong. document counts from 1; 0 is the whole file."""

    file: str
    document: int
    level: Level
    path: str
    message: str

    def __str__(self) -> str:
        message = " ".join(self.message.split())
        return f"{self.file}:{self.document}: {self.level}: {self.path}: {message}"


def lint(texts: Iterable[tuple[str, str]]) -> list[Line]:
    """All lines of these files, given by name and text."""
    lines: list[Line] = []
    served: dict[tuple[str, str], str] = {}
    for file, text in texts:
        lines += _file(file, text, served)
    return lines


def lint_document(document: Any) -> list[tuple[Level, str, str]]:
    """Level, path and message of each thing that is wrong with one Runbook."""
    found: list[tuple[Level, str, str]] = [("error", *item) for item in lint_schema.problems(document)]
    if document.get("apiVersion") != API_VERSION:
        found.insert(0, ("error", "apiVersion", f"must be {API_VERSION}"))
    if found:
        return found
    spec = Runbook.model_validate(document).spec
    found += [("error", f"spec.{m.path}", m.message) for m in mistakes(spec)]
    return found + [("warning", f"spec.{path}", text) for path, text in lint_advice.warnings(spec, document["spec"])]


def _file(file: str, text: str, served: dict[tuple[str, str], str]) -> Iterator[Line]:
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        yield Line(file, 0, "error", "", f"is not YAML: {problem}")
        return
    runbooks = 0
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        kind = _problem_of_kind(document)
        if kind:
            yield Line(file, number, "error", "kind", kind)
        elif document["kind"] == KIND:
            runbooks += 1
            for level, path, message in lint_document(document):
                yield Line(file, number, level, path, message)
            yield from _twice(file, number, document, served)
    if not runbooks:
        yield Line(file, 0, "error", "kind", f"the file holds no {KIND}")


def _problem_of_kind(document: Any) -> str:
    """Documents of other kinds are nobody's business here, but they must be of some kind."""
    if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
        return f"the document says no kind; write kind: {KIND}"
    ours = [model.meta_of_kind.kind for model in KINDS]
    if str(document.get("apiVersion", "")).startswith(f"{GROUP}/") and document["kind"] not in ours:
        return f"kind '{document['kind']}' is unknown{among(document['kind'], ours)}"
    return ""


def _twice(file: str, number: int, document: Any, served: dict[tuple[str, str], str]) -> Iterator[Line]:
    """Two runbooks for one type of incident in one namespace are both refused."""
    spec, metadata = document.get("spec"), document.get("metadata")
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        return
    key = (str(metadata.get("namespace", "")), str(spec.get("incidentType", "")))
    here = f"{file}:{number}"
    if key in served:
        text = f"{key[1]} is also served by {served[key]}; a namespace can have one runbook for a type"
        yield Line(file, number, "warning", "spec.incidentType", text)
    served.setdefault(key, here)


def main(argv: list[str]) -> int:
    """Entry point of `python -m docuquery_operator lint`."""
    options = _parse(argv)
    texts, lines = [], []
    for name in options.files:
        try:
            texts.append((name, sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as problem:
            lines.append(Line(name, 0, "error", "", f"cannot be read: {problem}"))
    lines += lint(texts)
    if options.strict:
        lines = [replace(line, level="error") for line in lines]
    if options.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if any(line.level == "error" for line in lines) else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m docuquery_operator lint", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML files of one or more documents; - is standard input")
    parser.add_argument("--strict", action="store_true", help="make warnings errors")
    parser.add_argument("--json", action="store_true", help="print a list of {file, document, level, path, message}")
    return parser.parse_args(argv)
