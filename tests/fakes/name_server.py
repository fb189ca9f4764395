"""A DNS server that knows one set of addresses for every name, and can be told others (RFC 1035)."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["NameServer", "name_server"]

_A: Final = 1
_AUTHORITATIVE_ANSWER: Final = 0x8580
_HEADER_BYTES: Final = 12
_NAME_OF_THE_QUESTION: Final = 0xC00C


class NameServer(asyncio.DatagramProtocol):
    """
    Answers.

    Args:
        addresses: Of every name, to begin with.

    Attributes:
        addresses: Of every name, from now on.
        asked: How often it was asked for them.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.asked = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # of datagrams
        """Begin."""
        self._transport = transport

    @property
    def port(self) -> int:
        """Where it is asked, on 127.0.0.1."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def target(self, port: int) -> str:
        """Return the gRPC target of a name that it knows."""
        return f"dns://127.0.0.1:{self.port}/replicas.test:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question; of other kinds than addresses there are none."""
        end = data.index(b"\0", _HEADER_BYTES) + 5
        question, (kind,) = data[_HEADER_BYTES:end], struct.unpack("!H", data[end - 4 : end - 2])
        self.asked += kind == _A
        found = self.addresses if kind == _A else ()
        header = struct.pack("!2s5H", data[:2], _AUTHORITATIVE_ANSWER, 1, len(found), 0, 0)
        answers = [
            struct.pack("!3HIH", _NAME_OF_THE_QUESTION, _A, 1, 0, 4) + ipaddress.IPv4Address(each).packed
            for each in found
        ]
        assert self._transport is not None
        self._transport.sendto(header + question + b"".join(answers), addr)


@asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[NameServer]:
    """Run one on a port of its own, that knows these addresses to begin with."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(*addresses), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
