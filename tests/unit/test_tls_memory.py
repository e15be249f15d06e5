"""The buffer of a TLS connection is what we say, in the Python that runs us."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto

import pytest

from docuquery_operator.adapters.tls_memory import READ_BUFFER, spare_buffers


def test_a_connection_sets_aside_no_more_than_a_record_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", 256 * 1024)
    spare_buffers()

    async def size() -> int:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context()
        made = sslproto.SSLProtocol(loop, asyncio.Protocol(), context, loop.create_future())
        made._get_app_transport()._closed = True  # never opened
        return len(memoryview(made.get_buffer(0)))

    assert asyncio.run(size()) == READ_BUFFER >= 16 * 1024
