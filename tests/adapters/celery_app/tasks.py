"""A Celery application for tests of the adapter: `python -m celery -A tasks worker`, in the application's environment."""

import os
import pathlib
import time

from celery import Celery

celery = Celery("tests", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
celery.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    result_extended=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 120, "global_keyprefix": os.environ.get("PREFIX", "")},
)


class OddError(Exception):
    """A failure of this application's own."""


@celery.task(name="tasks.note")  # type: ignore[untyped-decorator]
def note(number: int) -> int:
    """Write down that this number was worked on."""
    with pathlib.Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{number}\n")
    return number


@celery.task(name="tasks.stuck")  # type: ignore[untyped-decorator]
def stuck(seconds: float) -> None:
    """Do nothing for long."""
    time.sleep(seconds)


@celery.task(name="tasks.fail")  # type: ignore[untyped-decorator]
def fail(secret: str) -> None:
    """Fail with something that must not be told."""
    raise OddError(secret)
