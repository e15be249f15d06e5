"""Local receivers of messages that hold them to the wire formats: Slack, PagerDuty, a signed webhook, mail."""

from __future__ import annotations

import asyncio
import email.policy
import hashlib
import hmac
import json
import re
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiohttp import web

KEY = "0123456789abcdef-webhook"
ROUTING = "R" * 32
Answer = Callable[[int], tuple[int, dict[str, str]]]


@dataclass
class Sink:
    """What has come, and what is answered: status and headers by the number of the request. slow: seconds before an answer.

    hook: told of each message before it is taken and after, before the answer goes out; True: it was lost on the way.
    """

    answer: Answer = lambda _n: (0, {})
    slow: float = 0.0
    requests: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    url: str = ""
    hook: Callable[[str, dict[str, Any]], bool] = lambda _side, _body: False


def checked_slack(body: Any) -> list[str]:
    """What Slack would refuse (wire formats, 4)."""
    wrong = []
    if not body.get("text"):
        wrong.append("no fallback text")
    blocks = body.get("blocks", [])
    if len(blocks) > 50 or len(json.dumps(body, ensure_ascii=False)) > 10_000:
        wrong.append("msg_blocks_too_long")
    for block in blocks:
        if block["type"] == "actions":
            wrong += _wrong_buttons(block["elements"])
            continue
        text = block["text"]["text"]
        if block["type"] != "section" or not 1 <= len(text) <= 3000:
            wrong.append("invalid_blocks")
        plain = re.sub(r"<(@[UW][A-Z0-9]+|!subteam\^S[A-Z0-9]+|https://[^<>|]+\|[^<>|]*)>", "", text)
        if "<" in plain or ">" in plain or re.search(r"&(?!amp;|lt;|gt;)", plain):
            wrong.append(f"not escaped: {plain!r}")
    return wrong


def _wrong_buttons(elements: Any) -> list[str]:
    names = [e["action_id"] for e in elements]
    fine = 1 <= len(elements) <= 25 and len(set(names)) == len(names)
    for e in elements:
        fine = fine and 1 <= len(e["text"]["text"]) <= 75 and len(e["value"]) <= 2000 and len(e["action_id"]) <= 255
        fine = fine and e.get("style", "primary") in ("primary", "danger")
    return [] if fine else ["invalid_blocks: actions"]


def checked_change(body: Any) -> list[str]:
    """What PagerDuty would refuse of a change event (wire formats, 3)."""
    wrong = []
    if len(body.get("routing_key", "")) != 32 or set(body) - {"routing_key", "payload", "links", "images"}:
        wrong.append("routing_key or unknown field")
    payload = body["payload"]
    if not 1 <= len(payload["summary"]) <= 1024 or not payload["source"] or not isinstance(payload["custom_details"], dict):
        wrong.append("payload")
    if len(json.dumps(body)) > 512_000 or any(set(link) != {"href", "text"} for link in body.get("links", [])):
        wrong.append("size or links")
    return wrong


def checked_pagerduty(body: Any) -> list[str]:
    """What PagerDuty would refuse (wire formats, 3)."""
    wrong = []
    if len(body.get("routing_key", "")) != 32 or body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        wrong.append("routing_key or event_action")
    if not 1 <= len(body.get("dedup_key", "")) <= 255 or len(json.dumps(body)) > 512_000:
        wrong.append("dedup_key or size")
    if body.get("event_action") != "trigger":
        return wrong
    payload = body["payload"]
    if not 1 <= len(payload["summary"]) <= 1024 or not payload["source"] or not isinstance(payload["custom_details"], dict):
        wrong.append("payload")
    if payload["severity"] not in ("critical", "error", "warning", "info"):
        wrong.append("severity")
    if any(set(link) != {"href", "text"} for link in body.get("links", [])):
        wrong.append("links")
    return wrong


def checked_webhook(request: web.Request, raw: bytes, now: float) -> list[str]:
    """The signature as a receiver would check it."""
    stamp, given = request.headers["X-DocuQuery-Timestamp"], request.headers["X-DocuQuery-Signature"]
    wanted = "v1=" + hmac.new(KEY.encode(), b"v1:" + stamp.encode() + b":" + raw, hashlib.sha256).hexdigest()
    wrong = [] if hmac.compare_digest(wanted, given) else ["signature"]
    if abs(now - int(stamp)) > 300:
        wrong.append("timestamp")
    if request.headers["Idempotency-Key"] != json.loads(raw)["key"]:
        wrong.append("idempotency key")
    return wrong


def checked_apprise(request: web.Request, raw: bytes) -> list[str]:
    """What apprise's json:// sends, with the key of the message where the URL asked for it."""
    body = json.loads(raw)
    fine = body["title"] and body["message"] and body["type"] in ("failure", "warning", "info", "success")
    return [] if fine and request.headers.get("Idempotency-Key") == body.get("key") else ["apprise"]


class Sinks:
    """One HTTP server for all three; use as a context manager."""

    def __init__(self, context: ssl.SSLContext | None = None, now: Callable[[], float] = time.time) -> None:
        self.slack, self.pagerduty, self.webhook, self.changes, self.apprise = Sink(), Sink(), Sink(), Sink(), Sink()
        self._context, self._now = context, now
        self._runner: web.AppRunner | None = None
        self.elsewhere = 0

    async def __aenter__(self) -> Sinks:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post(
            "/services/T/B/x", self._handler(self.slack, lambda _r, raw: checked_slack(json.loads(raw)), 200)
        )
        app.router.add_post(
            "/v2/enqueue", self._handler(self.pagerduty, lambda _r, raw: checked_pagerduty(json.loads(raw)), 202)
        )
        app.router.add_post(
            "/v2/change/enqueue", self._handler(self.changes, lambda _r, raw: checked_change(json.loads(raw)), 202)
        )
        app.router.add_post("/hook", self._handler(self.webhook, lambda r, raw: checked_webhook(r, raw, self._now()), 204))
        app.router.add_post("/apprise/{token}", self._handler(self.apprise, checked_apprise, 200))
        app.router.add_route("*", "/elsewhere", self._elsewhere)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        port = self._runner.addresses[0][1]
        base = f"{'https' if self._context else 'http'}://localhost:{port}"
        self.slack.url, self.pagerduty.url = f"{base}/services/T/B/x", f"{base}/v2/enqueue"
        self.webhook.url = f"{base}/hook"
        self.apprise.url = f"{base.replace('http', 'json', 1)}/apprise/"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response()

    def _handler(
        self, sink: Sink, check: Callable[[web.Request, bytes], list[str]], fine: int
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            raw = await request.read()
            sink.requests += 1
            if sink.hook("before", json.loads(raw)):
                return web.Response(status=503)
            status, headers = sink.answer(sink.requests)
            if sink.slow:
                await asyncio.sleep(sink.slow)
            if status:
                return web.Response(status=status, headers=headers)
            wrong = check(request, raw)
            sink.wrong += wrong
            if wrong:
                return web.Response(status=400)
            sink.taken.append(json.loads(raw))
            sink.times.append(self._now())
            sink.hook("after", sink.taken[-1])
            return web.Response(status=fine)

        return handle


class MailSink:
    """A mail server, as far as one message is handed over; with a certificate it offers STARTTLS."""

    def __init__(self, context: ssl.SSLContext | None = None, refuse: int = 0, user: str = "") -> None:
        self.mails: list[EmailMessage] = []
        self.said: list[str] = []
        self.port = 0
        self._context, self._refuse, self._user = context, refuse, user
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> MailSink:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure = False
        writer.write(b"220 sink\r\n")
        while line := (await reader.readline()).decode().strip():
            self.said.append(line.split(":")[0])
            word = line.split(" ")[0].upper()
            if word == "EHLO":
                more = ([] if secure or not self._context else ["STARTTLS"]) + (["AUTH PLAIN"] if self._user else [])
                lines = ["sink", *more]
                writer.write(
                    "".join(f"250{'-' if i < len(lines) - 1 else ' '}{t}\r\n" for i, t in enumerate(lines)).encode()
                )
            elif word == "STARTTLS":
                writer.write(b"220 go\r\n")
                await writer.drain()
                await writer.start_tls(self._context)  # type: ignore[arg-type]
                secure = True
            elif word == "RCPT" and self._refuse:
                writer.write(f"{self._refuse} no\r\n".encode())
            elif word == "DATA":
                writer.write(b"354 go\r\n")
                raw = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
                self.mails.append(email.message_from_bytes(raw, _class=EmailMessage, policy=email.policy.default))
                writer.write(b"250 taken\r\n")
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"235 in\r\n" if word == "AUTH" else b"250 ok\r\n")
            await writer.drain()
        writer.close()


def certificate(folder: Path, name: str = "localhost") -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate of its own for this name, and the certificate to trust."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert.read_text()


def signed_slack(secret: str, body: bytes, timestamp: int) -> dict[str, str]:
    """Headers of a request as Slack signs it."""
    made = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": str(timestamp), "X-Slack-Signature": f"v0={made}"}


def signed_pagerduty(secret: str, body: bytes) -> str:
    """One signature of a webhook as PagerDuty makes it."""
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
