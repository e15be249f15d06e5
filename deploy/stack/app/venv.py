"""Makes a virtual environment for the application's tests, once for each content of requirements.txt.

Prints the path of its Python. Start tools as `python -m NAME`: their scripts name the folder that the environment was
made in, not the one it was moved to. The application's libraries stay out of the project's own environment.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def cache() -> pathlib.Path:
    """The folder that outlives the checkout."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return pathlib.Path(os.environ.get("DOCUQUERY_CACHE") or home / "docuquery-operator")


def ensure(name: str, requirements: pathlib.Path) -> pathlib.Path:
    """Return the Python of an environment that holds `requirements`, made on first use."""
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = cache() / "venvs" / f"{name}-{key}"
    python = target / "bin" / "python"
    if (target / "complete").exists():
        return python
    target.parent.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    try:
        fill(work, requirements)
        publish(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return python


def fill(work: pathlib.Path, requirements: pathlib.Path) -> None:
    """Make the environment in `work`."""
    # Isolated, because this file's own name would hide the standard library's module.
    subprocess.run([sys.executable, "-I", "-m", "venv", str(work)], check=True)
    pip = [str(work / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(requirements)], check=True, stdout=sys.stderr)
    (work / "complete").touch()


def publish(work: pathlib.Path, target: pathlib.Path) -> None:
    """Move the finished environment into place; another process may have been faster."""
    if target.exists() and not (target / "complete").exists():
        shutil.rmtree(target)
    try:
        work.rename(target)
    except OSError:
        if not (target / "complete").exists():
            raise


def main() -> int:
    """Make one environment and print its Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="app", help="prefix of the folder (default app)")
    parser.add_argument("requirements", nargs="?", type=pathlib.Path, default=HERE / "requirements.txt")
    options = parser.parse_args()
    print(ensure(options.name, options.requirements.resolve()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
