"""One message to URLs of apprise, in a process of its own: reads a request from stdin, writes one line for each URL.

Why a process: apprise loads some two hundred services (44 MiB), blocks, and can be ended in no other way; and its services
read files and connect wherever an URL says. Whoever may write a Stack's Secret must not read the operator's own token or
reach the metadata service by that. So an audit hook (PEP 578), which nothing can take off again, lets this process neither
open files outside of Python nor start processes, and connect only to addresses that adapters/addresses.py lets through.

Request: {"urls": [[number, url]], "title", "body", "type", "ca", "plain", "allowed", "refused", "seconds"}.
Answer: {"url": number, "taken": bool, "note", "hard", "wait"}; a note is of fixed words and figures, so it holds no secret.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docuquery_operator.adapters.addresses import Addresses

AGAIN_LATER = (408, 425, 429)
MEMORY, STACK, BODY = 128 * 1024 * 1024, 1024 * 1024, 256 * 1024
DEFAULT_WAIT, BUNDLE = 30.0, "/etc/ssl/certs/ca-certificates.crt"
# They would tell the pod's own desktop or log, where nobody is, and call that a success.
LOCAL = ("syslog", "dbus", "glib", "gnome", "kde", "qt", "macosx", "windows", "blink1")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn")
READABLE = ("/etc/ssl", "/etc/mime.types", "/etc/localtime", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom")


@dataclass
class Seen:
    """What one address was seen to answer. refused: why it was not sent to at all."""

    status: int = 0
    wait: float = 0.0
    refused: str = ""


_threads = threading.local()


def _seen() -> Seen:
    if not hasattr(_threads, "seen"):
        _threads.seen = Seen()
    found: Seen = _threads.seen
    return found


def confine(addresses: Addresses) -> None:
    """For the rest of this process."""
    roots = tuple(os.path.realpath(p) for p in (*sysconfig.get_paths().values(), *sys.path, *READABLE) if p)

    def opens(path: Any, flags: int) -> None:
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        inside = any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)
        if not inside or (flags & (os.O_WRONLY | os.O_RDWR) and real != "/dev/null"):
            _seen().refused = "it wants to read or write a file of the operator: leave that part away"
            raise PermissionError("files are not for this process")

    def connects(address: Any) -> None:
        why = addresses.refuses(str(address[0])) if isinstance(address, tuple) else "it is a socket of this machine"
        if why:
            _seen().refused = f"the address is refused: {why}"
            raise PermissionError("the address is refused")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            opens(args[0], args[2] or 0)
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and args[1] is not None:
            connects(args[1])
        elif event in PROCESSES:
            raise PermissionError("no processes")

    sys.addaudithook(hook)


def _trusted(ca: str) -> str:
    """Path of the certificates to trust: those of the Secret, in memory alone, or the system's as for the other channels."""
    if not ca:
        return BUNDLE if Path(BUNDLE).exists() else ""
    held = os.memfd_create("ca", 0)
    os.write(held, ca.encode())
    return f"/proc/self/fd/{held}"


def _watch(plain: bool) -> None:
    """Status and Retry-After of answers, TLS alone unless the Secret allows less, and no redirects, in whatever service."""
    import requests
    from requests.adapters import HTTPAdapter

    class Watched(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            if not plain and not str(request.url).startswith("https:"):
                _seen().refused = PLAIN
                raise requests.exceptions.InvalidURL("no TLS")
            try:
                answer: Any = super().send(request, *args, **kwargs)
            except requests.exceptions.SSLError as problem:
                if "CERTIFICATE_VERIFY_FAILED" in str(problem):
                    _seen().refused = "the server's certificate is not trusted"
                raise
            # Whoever is sent to may answer without end.
            answer._content, answer._content_consumed = answer.raw.read(BODY, decode_content=True), True
            answer.close()
            _seen().status, _seen().wait = answer.status_code, _seconds(answer.headers.get("Retry-After", ""))
            return answer

    def nowhere(_session: Any, _response: Any) -> None:
        return None

    sessions: Any = requests.sessions
    sessions.HTTPAdapter, sessions.Session.get_redirect_target = Watched, nowhere


PLAIN = "it sends without TLS: write its form with TLS, such as jsons:// for json://, or set allowHttp to true"


def _seconds(text: str) -> float:
    """Retry-After in seconds; a date is taken for the usual wait."""
    return float(text) if text.isdecimal() else DEFAULT_WAIT if text else 0.0


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _service(url: str, plain: bool) -> Any:
    """The service of an URL, or in words what to write instead."""
    import apprise

    asset = apprise.AppriseAsset(
        async_mode=False, http_redirects=False, pgp_autogen=False, pem_autogen=False, allow_templates=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY, service_timeout=0, app_id="DocuQuery operator",
        app_desc="DocuQuery operator", app_url="",
    )  # fmt: skip
    schema = url.partition("://")[0].lower()
    if schema in LOCAL:
        return "nobody sees what the pod tells itself: write the URL of a service that people read"
    found: Any = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if found is None:
        return "apprise cannot use it: write it as its documentation shows, and try it with the command apprise"
    if not found.verify_certificate:
        return "verify=no is refused: put the server's certificate into ca.crt"
    if not plain and found.secure_protocol and schema in _names(found.protocol):
        return PLAIN
    # The outbox tries again; one message is one message, however long; and what was not taken was not taken.
    found.retry, found.optional, found.redirects = 0, False, False
    found.overflow_mode = apprise.OverflowMode.TRUNCATE
    return found


def _send(request: Mapping[str, Any], url: str) -> dict[str, Any]:
    import apprise

    service = _service(url, bool(request["plain"]))
    if isinstance(service, str):
        return _answer(service, hard=True)
    alone = apprise.Apprise(asset=service.asset)
    alone.add(service)
    what = {"body": request["body"], "title": request["title"], "notify_type": request["type"], "body_format": "text"}
    return {**_answer(""), "taken": True} if alone.notify(**what) else _failure(_seen())


def _failure(seen: Seen) -> dict[str, Any]:
    status = seen.status
    if seen.refused:
        return _answer(seen.refused, hard=True)
    if not status:
        return _answer("not reached")
    if status in AGAIN_LATER or status >= 500:
        return _answer(f"HTTP {status}", wait=seen.wait or (DEFAULT_WAIT if status == 429 else 0.0))
    # 2xx: the service said no in its own words, such as {"ok": false}.
    more = ", but not taken" if status < 300 else ": redirects are not followed" if status < 400 else ""
    return _answer(f"HTTP {status}{more}", hard=True)


def _answer(note: str, hard: bool = False, wait: float = 0.0) -> dict[str, Any]:
    return {"taken": False, "note": note, "hard": hard, "wait": wait}


def _one(request: Mapping[str, Any], number: int, url: str, lock: threading.Lock, out: Any) -> None:
    _threads.seen = Seen()
    try:
        outcome = _send(request, url)
    except Exception as problem:  # noqa: BLE001 - whatever a service throws, the others are still to be sent
        outcome = _answer(_seen().refused or type(problem).__name__, hard=bool(_seen().refused))
    with lock:
        out.write(json.dumps({"url": number, **outcome}) + "\n")
        out.flush()


def main() -> None:
    """All URLs side by side; whoever started this ends it when time is up."""
    request = json.load(sys.stdin)
    # The operator shares its limit with this process and must not be ended for it.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    threading.stack_size(STACK)
    # Should that one be killed itself.
    signal.alarm(int(request["seconds"]) + 2)
    out = os.fdopen(os.dup(1), "w")
    # Nothing that a service prints may be taken for an answer.
    os.dup2(2, 1)
    trusted = _trusted(request["ca"])
    if trusted:
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = trusted
    _watch(bool(request["plain"]))
    confine(Addresses(request["allowed"], request["refused"]))
    lock, urls = threading.Lock(), [(int(n), str(u)) for n, u in request["urls"]]
    # The first service that is made loads all of them, which threads must not do side by side.
    _service("json://localhost", True)
    work: Sequence[threading.Thread] = [
        threading.Thread(target=_one, args=(request, number, url, lock, out), daemon=True) for number, url in urls
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


if __name__ == "__main__":
    main()
