"""The receiver as a process of its own: builds it by hand, top to bottom. It loads nothing of the operator's own clients."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import suppress

from .adapters.access import find_access
from .adapters.clock import SystemClock
from .adapters.kubernetes import KubernetesCluster
from .adapters.slack_reply import SlackReply
from .starting import start
from .web.receiver.app import Receiver, serve
from .web.receiver.settings import ReceiverSettings

NAME = "docuquery-receiver"
logger = logging.getLogger("docuquery_operator.receiver")


async def run(settings: ReceiverSettings) -> int:
    """Serve until SIGTERM; requests that run end first."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with KubernetesCluster(find_access(settings.kubeconfig), NAME, timeout=3.0) as cluster:
        receiver = Receiver(settings, cluster, SystemClock(), SlackReply(settings.notify_allow))
        health, health_port = await serve(receiver.health(), settings.http_host, settings.http_port, 0.0)
        runner, port = await serve(receiver.app(), settings.receiver_host, settings.receiver_port, settings.drain_seconds)
        logger.info("receiving", extra={"port": port, "health": health_port})
        await stop.wait()
        await runner.cleanup()
        await receiver.ended()
        await health.cleanup()
    return 0


def main() -> int:
    """Settings are DOCUQUERY_* variables."""
    with suppress(KeyboardInterrupt):
        return start(ReceiverSettings, run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
