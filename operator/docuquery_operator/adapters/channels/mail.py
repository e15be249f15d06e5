"""Mail by SMTP with TLS. One thread an incident and round; the Message-ID is the same for all tries of one message."""

from __future__ import annotations

import asyncio
import hashlib
import re
import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP

from ...domain.paging.messages import Message
from ...ports import Receipt
from .base import SetupError, needed
from .guard import Guard

SUBJECT = 150
ADDRESS = re.compile(r"[^@\s<>,;:\"]{1,64}@[^@\s<>,;:\"]{1,190}")
TRANSPORTS = {"starttls": 587, "implicit": 465, "none": 25}


class Mail:
    """smtplib in a thread of its own; the connection goes to an address that was checked."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try."""
        host = needed(secret, "host", "the mail server")
        transport = secret.get("tls", "").strip() or "starttls"
        if transport not in TRANSPORTS:
            raise SetupError("tls must be starttls, implicit or none")
        if transport == "none" and secret.get("password", "").strip():
            raise SetupError("a password needs TLS: set tls to starttls or implicit")
        port = _port(secret.get("port", "").strip() or str(TRANSPORTS[transport]))
        recipients = [c for c in message.contacts if ADDRESS.fullmatch(c)]
        if not recipients:
            raise SetupError(f"no contact of the group {message.to or '(all)'} is a mail address")
        mail = letter(message, needed(secret, "from", "the sender's address"), recipients)
        async with asyncio.timeout(timeout):
            addresses = await self._guard.addresses(host, port)
            link = _Link(host, port, addresses[0][1], timeout)
            return await asyncio.to_thread(_deliver, link, transport, dict(secret), mail)


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SetupError("port must be a number from 1 to 65535")
    return int(text)


class _Link:
    """Where to connect to, and the name that the server's certificate must bear."""

    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        self.host, self.port, self.address, self.timeout = host, port, address, timeout


class _Smtp(smtplib.SMTP):
    """Connects to the checked address, whatever the name means by now."""

    def __init__(self, link: _Link) -> None:
        self._address = link.address
        super().__init__(link.host, link.port, local_hostname="docuquery-operator", timeout=link.timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self._address, port), timeout)


class _SmtpTls(smtplib.SMTP_SSL):
    def __init__(self, link: _Link, context: ssl.SSLContext) -> None:
        self._address, self._checked = link.address, context
        super().__init__(link.host, link.port, local_hostname="docuquery-operator", timeout=link.timeout, context=context)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((self._address, port), timeout)
        return self._checked.wrap_socket(plain, server_hostname=host)


def _deliver(link: _Link, transport: str, secret: Mapping[str, str], mail: EmailMessage) -> Receipt:
    try:
        context = ssl.create_default_context(cadata=secret.get("ca.crt") or None)
    except ssl.SSLError as problem:
        raise SetupError("ca.crt holds no certificates in PEM form") from problem
    try:
        with _SmtpTls(link, context) if transport == "implicit" else _Smtp(link) as server:
            if transport == "starttls":
                server.starttls(context=context)
            if secret.get("username", "").strip():
                server.login(secret["username"].strip(), secret.get("password", "").strip())
            refused = server.send_message(mail)
            return Receipt(True, f"{len(refused)} of the recipients were refused" if refused else "")
    except ssl.SSLCertVerificationError:
        return Receipt(False, "the server's certificate is not trusted", hard=True)
    except smtplib.SMTPNotSupportedError:
        return Receipt(False, "the server offers no STARTTLS or no login", hard=True)
    except smtplib.SMTPRecipientsRefused as problem:
        codes = [code for code, _ in problem.recipients.values()]
        return Receipt(False, f"SMTP {codes[0]}: recipients refused", hard=all(code >= 500 for code in codes))
    except smtplib.SMTPResponseException as problem:
        return Receipt(False, f"SMTP {problem.smtp_code}: {type(problem).__name__}", hard=problem.smtp_code >= 500)
    except smtplib.SMTPException as problem:
        return Receipt(False, type(problem).__name__)


def letter(message: Message, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Plain text; all mails of a round refer to one that was never sent, which makes them a thread."""
    if not ADDRESS.fullmatch(sender):
        raise SetupError("from must be one plain mail address, such as operator@example.org")
    domain = sender.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = " ".join(message.title.split())[:SUBJECT] or message.incident
    mail["Date"] = message.at
    mail["Message-ID"] = f"<{_digest(message.key)}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<{_digest(message.thread)}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    links = "".join(f"\n{text}: {href}" for text, href in message.links)
    mail.set_content(f"{message.text}\n{links}\n")
    return mail


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
