"""
The cluster's DNS server: answers A and SRV questions from a `Zone`, over UDP and TCP.

Names that the zone does not know do not exist: nothing is asked of any other server, so a pod that needs a
name of the internet is found out. The format is that of RFC 1035; answers name a question's own bytes, as it
was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import struct
from typing import TYPE_CHECKING, Final, cast

from deploy.rehearsal.names import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.rehearsal.names import Zone

__all__ = ["DnsServer", "answer"]

TTL_S: Final = 5
"""As Kubernetes' own: short, because pods come and go."""

_A: Final = 1
_CNAME: Final = 5
_SOA: Final = 6
_SRV: Final = 33
_ANY: Final = 255
_NO_SUCH_NAME: Final = 3
_FORMAT_ERROR: Final = 1
_UDP_BYTES: Final = 512
_HEADER: Final = struct.Struct("!HHHHHH")


def _encoded_name(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _question(query: bytes) -> tuple[str, int, int]:
    """Return name, type, and where the question ends."""
    labels, at = [], _HEADER.size
    while query[at]:
        length = query[at]
        if length > 63:
            raise ValueError("a pointer in a question")
        labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    kind, _ = struct.unpack_from("!HH", query, at + 1)
    return ".".join(labels), kind, at + 5


def _record(name: bytes, kind: int, data: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, TTL_S, len(data)) + data


def answer(query: bytes, zone: Zone, *, max_bytes: int = _UDP_BYTES) -> bytes:
    """
    Return the answer to a query, cut where it would be longer than a datagram may be.

    Raises:
        ValueError: The query is none.
    """
    if len(query) < _HEADER.size + 5:
        raise ValueError("too short")
    number, flags, *_ = _HEADER.unpack_from(query)
    try:
        name, kind, end = _question(query)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError):
        return _HEADER.pack(number, 0x8180 | _FORMAT_ERROR, 0, 0, 0, 0)
    question = query[_HEADER.size : end]
    known, records = _records(name.lower(), kind, zone)
    code = 0 if known else _NO_SUCH_NAME
    authority = b"" if records else _start_of_authority(name.lower())
    # Recursion is said to be available, since resolvers insist on it; the answer is authoritative.
    head = 0x8480 | (flags & 0x0100) | code
    whole = b"".join(records) + authority
    if _HEADER.size + len(question) + len(whole) > max_bytes:
        return _HEADER.pack(number, head | 0x0200, 1, 0, 0, 0) + question
    return _HEADER.pack(number, head, 1, len(records), int(bool(authority)), 0) + question + whole


def _records(name: str, kind: int, zone: Zone) -> tuple[bool, list[bytes]]:
    """
    Return whether the name exists, and its records of a type; addresses in random order, as resolvers give
    them.
    """
    owner, records = b"\xc0\x0c", []
    if (target := zone.aliases.get(name)) is not None:
        records.append(_record(owner, _CNAME, _encoded_name(target)))
        owner, name = _encoded_name(target), target.lower()
        if name not in zone.addresses:
            return True, records
    if kind in (_SRV, _ANY) and name in zone.ports:
        for port, host in zone.ports[name]:
            records.append(_record(owner, _SRV, struct.pack("!HHH", 0, 100, port) + _encoded_name(host)))
    addresses = list(zone.addresses.get(name, ()))
    random.shuffle(addresses)
    if kind in (_A, _ANY):
        records += [_record(owner, _A, ipaddress.ip_address(address).packed) for address in addresses]
    # A headless Service without ready pods has no name, as with CoreDNS: clients are to see that nobody is
    # there.
    exists = bool(addresses) or name in zone.ports
    return exists or bool(records), records


def _start_of_authority(name: str) -> bytes:
    """Return the record that says how long "no" may be remembered."""
    owner = DOMAIN if name.endswith(DOMAIN) else ""
    numbers = struct.pack("!IIIII", 1, 7200, 1800, 86400, TTL_S)
    return _record(
        _encoded_name(owner), _SOA, _encoded_name("ns." + DOMAIN) + _encoded_name("none." + DOMAIN) + numbers
    )


class DnsServer(asyncio.DatagramProtocol):
    """
    A server on one address.

    Args:
        zone: Says what to answer now.
    """

    def __init__(self, zone: Callable[[], Zone]) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen on port 53 of an address."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(address, 53))
        self._server = await asyncio.start_server(self._connected, address, 53)

    def close(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # Not every loop's own class says that it is one.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        assert self._transport is not None
        with contextlib.suppress(ValueError):
            self._transport.sendto(answer(data, self._zone(), max_bytes=_limit(data)), addr)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                found = answer(await reader.readexactly(length), self._zone(), max_bytes=65535)
                writer.write(struct.pack("!H", len(found)) + found)
        except (asyncio.IncompleteReadError, OSError, ValueError):
            pass
        finally:
            writer.close()


def _limit(query: bytes) -> int:
    """
    Return how long a datagram may be: more than 512 bytes when the query has an EDNS record that says so.
    """
    additional = _HEADER.unpack_from(query)[5] if len(query) >= _HEADER.size else 0
    if not additional or len(query) < _HEADER.size + 11:
        return _UDP_BYTES
    with contextlib.suppress(IndexError, struct.error, UnicodeDecodeError, ValueError):
        _, _, end = _question(query)
        kind, size = struct.unpack_from("!HH", query, end + 1)
        if kind == 41:
            return max(_UDP_BYTES, min(int(size), 1232))
    return _UDP_BYTES
