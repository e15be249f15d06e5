"""What a TLS connection costs while it is open."""

from __future__ import annotations

from asyncio import sslproto

# Bytes. A TLS record holds 16 KiB at the most (RFC 8446, 5.1); asyncio sets aside 256 KiB for each connection.
READ_BUFFER = 32 * 1024


def spare_buffers() -> None:
    """For connections opened from now on. One watch for each kind and namespace is open for ever: with forty namespaces
    asyncio's buffers alone were as large as the rest of the process."""
    sslproto.SSLProtocol.max_size = READ_BUFFER
