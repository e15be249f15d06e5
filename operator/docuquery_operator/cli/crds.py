"""`crds`: write, check or print the CustomResourceDefinitions and their reference page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from docuquery_operator.api.crd import KINDS, crd_of, text_of
from docuquery_operator.api.reference import page_of

CHART = Path("charts/docuquery-operator/files/crds")
PAGE = Path("docs/reference/crds.md")


def files() -> dict[str, str]:
    """Name and text of each CRD file: one a kind."""
    return {f"{model.meta_of_kind.plural}.yaml": text_of(model) for model in KINDS}


def crd_dir() -> Path:
    """`crds/` of the checkout, else the copy inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "crds"
    checkout = package.parents[1] / "crds"
    return checkout if checkout.is_dir() or not packaged.is_dir() else packaged


def write(folder: Path) -> None:
    """Write the CRDs to the folder; in a checkout also the chart's copy and the reference page."""
    for path, text in _wanted(folder).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in _leftovers(folder):
        path.unlink()


def check(folder: Path) -> list[str]:
    """What differs between the models and the files; each line says the file and what to do."""
    stale = [
        f"{path}: {'differs from' if path.exists() else 'is missing beside'} the models; run `make generate`"
        for path, text in _wanted(folder).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    return stale + [f"{path}: no model has this kind; run `make generate`" for path in _leftovers(folder)]


def _folders(folder: Path) -> list[Path]:
    root = _checkout_of(folder)
    return [folder, root / CHART] if root else [folder]


def _checkout_of(folder: Path) -> Path | None:
    root = folder.resolve().parent
    return root if folder.name == "crds" and (root / "pyproject.toml").exists() else None


def _wanted(folder: Path) -> dict[Path, str]:
    wanted = {place / name: text for place in _folders(folder) for name, text in files().items()}
    root = _checkout_of(folder)
    return wanted | ({root / PAGE: page_of([crd_of(model) for model in KINDS])} if root else {})


def _leftovers(folder: Path) -> Iterator[Path]:
    known = set(files())
    for place in _folders(folder):
        yield from (path for path in sorted(place.glob("*.yaml")) if path.name not in known)


def main(argv: list[str]) -> int:
    """Entry point of `python -m docuquery_operator crds`."""
    options = _parse(argv)
    folder: Path = options.dir
    if options.print:
        sys.stdout.write("---\n".join(files().values()))
        return 0
    if options.write:
        write(folder)
        return 0
    problems = check(folder)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="docuquery-operator crds", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the files from the models")
    what.add_argument("--check", action="store_true", help="exit 1 when a file differs from the models")
    what.add_argument("--print", action="store_true", help="print all CRDs as one YAML stream")
    parser.add_argument("--dir", type=Path, default=crd_dir(), help="folder of the CRDs (default: %(default)s)")
    return parser.parse_args(argv)
