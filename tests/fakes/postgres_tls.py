"""
TLS before a PostgreSQL that was built without it: answers the request for TLS as a server does that has it.

What comes after the handshake goes to the real server and back, byte for byte. For one in a host of a
rehearsal: `python -m tests.fakes.postgres_tls --listen ADDRESS:PORT --to HOST:PORT --certificate DIRECTORY`.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import struct
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

__all__ = ["tls_front"]

# https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)


@asynccontextmanager
async def tls_front(
    reach: Callable[[], Awaitable[Streams]],
    certificate: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[int]:
    """
    Serve TLS as long as the context is open, and yield the port.

    Args:
        reach: Connects to the real server.
        certificate: Directory with `tls.crt` and `tls.key`; None: there is no TLS.
        host: Where to listen.
        port: The port there; 0: any.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await _serve(reader, writer, reach, context)
        writer.close()

    server = await asyncio.start_server(serve, host, port)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    reach: Callable[[], Awaitable[Streams]],
    context: ssl.SSLContext | None,
) -> None:
    first = await reader.readexactly(len(_SSL_REQUEST))
    if first == _SSL_REQUEST:
        writer.write(b"N" if context is None else b"S")
        if context is not None:
            await writer.start_tls(context)
        first = b""
    behind, onward = await reach()
    onward.write(first)
    await asyncio.gather(_pour(reader, onward), _pour(behind, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--listen", "--to", "--certificate"):
        parser.add_argument(name, required=True)
    chosen = parser.parse_args()
    host, _, port = chosen.listen.rpartition(":")
    there, _, its = chosen.to.rpartition(":")

    def reach() -> Awaitable[Streams]:
        return asyncio.open_connection(there, int(its))

    async with tls_front(reach, Path(chosen.certificate), host=host, port=int(port)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
