"""Peers of B1. A poller by Gatus' rule (that module cannot be had from the proxy), and Prometheus, blackbox exporter, Alertmanager."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import yaml
from aiohttp import web

from tests.stack.services import free_port

from .services import Server

THRESHOLD = 2
TIMEOUT = 1.0


class Seen:
    """When a peer changed its mind about a service."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.down: dict[str, bool] = {}
        self.changed: dict[str, float] = {}
        self.alarms = 0

    def say(self, service: str, down: bool) -> None:
        """A verdict."""
        if self.down.get(service, False) != down:
            self.down[service], self.changed[service] = down, time.monotonic()
            self.alarms += down

    def down_since(self, service: str, since: float) -> float | None:
        """When it said so after this moment."""
        at = self.changed.get(service, 0.0)
        return at if self.down.get(service, False) and at >= since else None


@contextlib.asynccontextmanager
async def poller(servers: Sequence[Server], interval: float, threshold: int = THRESHOLD) -> AsyncIterator[Seen]:
    """Gatus' rule: a new connection each interval, so many failures in a row are an alert, as many successes its end."""
    seen = Seen("poller by Gatus' rule")

    async def run(server: Server) -> None:
        row, last = 0, True
        while True:
            began = time.monotonic()
            ok = await _ask(server)
            row, last = (row + 1 if ok == last else 1), ok
            if row >= threshold:
                seen.say(server.name, not ok)
            await asyncio.sleep(max(0.0, interval - (time.monotonic() - began)))

    tasks = [asyncio.create_task(run(s)) for s in servers]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(server: Server) -> bool:
    """The cheapest question that tells a dead process from a live one: PostgreSQL's SSLRequest, PING, GET."""
    question, answers = {
        "postgres": (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", (b"N", b"S")),
        "redis": (b"PING\r\n", (b"+PONG",)),
        "api": (b"GET /health HTTP/1.1\r\nHost: stub\r\nConnection: close\r\n\r\n", (b"HTTP/1.1 200",)),
    }[server.name]
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                writer.write(question)
                return (await reader.read(64)).startswith(answers)
            finally:
                writer.transport.abort()
    except OSError:
        return False


@contextlib.asynccontextmanager
async def prometheus(servers: Sequence[Server], folder: Path) -> AsyncIterator[Seen]:
    """Debian's three programs with everything at one second; what they notice comes as Alertmanager's webhook."""
    seen, ports = Seen("Prometheus, blackbox exporter, Alertmanager"), [free_port() for _ in range(4)]

    async def hook(request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            seen.say(alert["labels"]["service"], alert["status"] == "firing")
        return web.Response()

    app = web.Application()
    app.router.add_post("/", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", ports[3]).start()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in _commands(servers, folder, ports):
            with (folder / f"{command[0]}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))
        await asyncio.sleep(5.0)
        yield seen
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        await runner.cleanup()


def _commands(servers: Sequence[Server], folder: Path, ports: Sequence[int]) -> list[list[str]]:
    blackbox, alertmanager, server, sink = ports
    tcp = {"prober": "tcp", "timeout": "1s"}
    ping = {"query_response": [{"send": "PING"}, {"expect": "\\+PONG"}]}
    modules = {"api": {"prober": "http", "timeout": "1s"}, "postgres": tcp, "redis": tcp | {"tcp": ping}}
    route = {
        "receiver": "sink",
        "group_by": ["service"],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    hook = {"name": "sink", "webhook_configs": [{"url": f"http://127.0.0.1:{sink}/", "send_resolved": True}]}
    rule = {"alert": "Down", "expr": "probe_success == 0", "for": "1s"}
    jobs = [_job(s, blackbox) for s in servers]
    files = {
        "blackbox.yml": {"modules": modules},
        "alertmanager.yml": {"route": route, "receivers": [hook]},
        "rules.yml": {"groups": [{"name": "down", "interval": "1s", "rules": [rule]}]},
        "prometheus.yml": {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
            "scrape_configs": jobs,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(json.loads(json.dumps(content))), encoding="utf-8")
    return [
        ["prometheus-blackbox-exporter", "--config.file=blackbox.yml", f"--web.listen-address=127.0.0.1:{blackbox}"],
        ["prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=alertmanager", "--cluster.listen-address=",
         f"--web.listen-address=127.0.0.1:{alertmanager}"],
        ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{server}"],
    ]  # fmt: skip


def _job(server: Server, blackbox: int) -> dict[str, object]:
    target = f"127.0.0.1:{server.port}" + ("/health" if server.name == "api" else "")
    return {
        "job_name": server.name,
        "metrics_path": "/probe",
        "params": {"module": [server.name], "target": [target]},
        "static_configs": [{"targets": [f"127.0.0.1:{blackbox}"], "labels": {"service": server.name}}],
    }
