"""Running other programs: always argument lists, never a shell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from docuquery_local.errors import LocalClusterError

PROGRESS_EVERY = 15.0


def say(text: str) -> None:
    """Tell the user one line of progress."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Tell the user one line that needs attention."""
    print(text, file=sys.stderr, flush=True)


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = 300,
) -> str:
    """Run a short command and return its output; a failure carries the last lines of its error output."""
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(
            arguments,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(env),
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise LocalClusterError(f"{arguments[0]} is not installed: install it and try again") from None
    except subprocess.TimeoutExpired:
        raise LocalClusterError(f"no answer within {timeout:.0f} s: {' '.join(arguments)}") from None
    if check and done.returncode != 0:
        raise LocalClusterError(_failure(arguments, done.returncode, done.stderr or done.stdout))
    return done.stdout


def run_long(
    command: Sequence[str | Path],
    *,
    what: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long command into a log file, with a line of progress from time to time."""
    arguments = [str(part) for part in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(env),
                cwd=cwd,
            )
        except FileNotFoundError:
            raise LocalClusterError(f"{arguments[0]} is not installed: install it and try again") from None
        code = _wait_with_progress(process, what, started)
    if code != 0:
        raise LocalClusterError(_failure(arguments, code, tail(log)) + f" (full log: {log})")


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log file, empty when there is none."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _wait_with_progress(process: subprocess.Popen[bytes], what: str, started: float) -> int:
    try:
        while True:
            try:
                return process.wait(timeout=PROGRESS_EVERY)
            except subprocess.TimeoutExpired:
                say(f"  {what} … {time.monotonic() - started:.0f} s")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _environment(extra: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if extra is None else {**os.environ, **extra}


def _failure(arguments: Sequence[str], code: int, output: str) -> str:
    lines = "\n".join(output.strip().splitlines()[-8:])
    return f"{' '.join(arguments[:6])} failed with exit code {code}: {lines}"
