"""`python -m docuquery_operator.mover [COMMAND] --request FILE`: one piece of work, told on standard output.

Exit codes: 0 done, 1 failed, 2 the request cannot be read, 143 ended by SIGTERM. A result is written in each case.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from ..domain.backups.report import Result
from ..domain.backups.request import AnyRequest, BackupRequest, CatalogueRequest, RestoreRequest, VerifyRequest
from ..domain.maintenance.task_outcome import TaskOutcome
from ..domain.maintenance.task_requests import AnyTaskRequest, RotateRequest, UpkeepRequest
from .clock import now
from .contracts import MoverError
from .leaving import leave
from .report_out import Reporter

REQUEST: TypeAdapter[AnyRequest | AnyTaskRequest] = TypeAdapter(
    Annotated[AnyRequest | AnyTaskRequest, Field(discriminator="command")]
)
COMMANDS = ("backup", "verify", "catalogue", "restore", "upkeep", "rotate")
FAILED, BAD_REQUEST, TERMINATED = 1, 2, 143
# After SIGTERM: time to abort uploads and remove snapshots; the pod has a minute.
GRACE = 45.0
log = logging.getLogger("docuquery_operator.mover")


def main(arguments: Sequence[str] | None = None) -> int:
    """Its exit code."""
    parser = argparse.ArgumentParser(prog="docuquery-mover", description=__doc__)
    parser.add_argument("command", nargs="?", choices=COMMANDS, help="must be that of the request")
    parser.add_argument("--request", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    reporter = Reporter()
    try:
        request = _read(options.request, options.command)
    except MoverError as error:
        reporter.end(failed(error))
        return BAD_REQUEST
    return asyncio.run(_run(request, reporter))


def _read(file: Path, command: str | None) -> AnyRequest | AnyTaskRequest:
    try:
        request = REQUEST.validate_json(file.read_bytes())
    except OSError as error:
        raise MoverError("BadRequest", f"cannot read {file}: {error.strerror}", retry=True) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        text = f"{file} is no request: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise MoverError("BadRequest", text, retry=False) from None
    if command not in (None, request.command):
        raise MoverError("BadRequest", f"{file} asks for {request.command}, not for {command}", retry=False)
    return request


async def _run(request: AnyRequest | AnyTaskRequest, reporter: Reporter) -> int:
    work = asyncio.ensure_future(_work(request, reporter))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _terminate, work, reporter)
    try:
        result = await work
    except MoverError as error:
        log.error("%s: %s", error.reason, error.message)
        result = failed(error)
    except asyncio.CancelledError:
        reporter.end(terminated())
        return TERMINATED
    except Exception as error:
        log.exception("crashed")
        result = Result(ok=False, reason="Crashed", message=f"{type(error).__name__}: {error}", at=now())
    reporter.end(result)
    return 0 if result.ok else FAILED


def _terminate(work: asyncio.Future[Result], reporter: Reporter) -> None:
    work.cancel()
    timer = threading.Timer(GRACE, _give_up, [reporter])
    timer.daemon = True
    timer.start()


def _give_up(reporter: Reporter) -> None:
    reporter.end(terminated())
    os._exit(TERMINATED)


async def _work(request: AnyRequest | AnyTaskRequest, reporter: Reporter) -> Result:
    match request:
        case BackupRequest():
            from .backup import back_up

            return await back_up(request, reporter)
        case VerifyRequest():
            from .verify import verify

            return await verify(request, reporter)
        case CatalogueRequest():
            from .catalogue import catalogue

            return await catalogue(request, reporter)
        case RestoreRequest():
            return await _restore(request, reporter)
        case UpkeepRequest():
            from .postgres.upkeep import upkeep

            return ended(await upkeep(request, reporter))
        case RotateRequest():
            from .logs.work import rotate_all

            return ended(await rotate_all(request, reporter))


async def _restore(request: RestoreRequest, reporter: Reporter) -> Result:
    from importlib import import_module

    try:
        module = import_module("docuquery_operator.mover.restore")
    except ModuleNotFoundError:
        raise MoverError("NotSupported", "this image cannot restore; use a newer one", retry=False) from None
    result: Result = await module.restore(request, reporter, reporter.say)
    return result


def ended(outcome: TaskOutcome) -> Result:
    """A task has said by its outcome how it ended."""
    ok = outcome.state in ("Succeeded", "Skipped")
    return Result(ok=ok, reason=outcome.state, message=outcome.summary, retry=False, at=now(), outcome=outcome)


def failed(error: MoverError) -> Result:
    """What a person reads."""
    return Result(ok=False, reason=error.reason, message=error.message, retry=error.retry, at=now())


def terminated() -> Result:
    """The pod was told to go."""
    return Result(ok=False, reason="Terminated", message="the pod was ended before the work was done", at=now())


if __name__ == "__main__":
    leave(main())
