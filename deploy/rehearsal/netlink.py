"""
The wire format of netlink, as far as the rehearsal speaks it: messages, attributes, acknowledgements.

A socket belongs to the network namespace that its thread was in when it was made, and stays usable from
others.
Formats: netlink(7), rtnetlink(7), and the kernel's `nfnetlink.h`.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "NETFILTER",
    "ROUTE",
    "Netlink",
    "attribute",
    "big16",
    "big32",
    "message",
    "native32",
    "nested",
    "text",
]

ROUTE: Final = 0
NETFILTER: Final = 12

REQUEST: Final = 0x1
ACKNOWLEDGE: Final = 0x4
CREATE: Final = 0x400
APPEND: Final = 0x800

_AF_NETLINK: Final = 16
_ERROR: Final = 2
_NESTED: Final = 0x8000
_HEADER: Final = struct.Struct("=IHHII")
# A whole set of rules is one message to the kernel.
_BUFFER_BYTES: Final = 4 << 20


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded to four bytes."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a string with a zero behind it."""
    return attribute(kind, value.encode() + b"\0")


def native32(kind: int, value: int) -> bytes:
    """Return an attribute that holds a number in the machine's order, as rtnetlink has it."""
    return attribute(kind, struct.pack("=I", value))


def big32(kind: int, value: int) -> bytes:
    """Return an attribute that holds a number in network order, as netfilter has it."""
    return attribute(kind, struct.pack("!I", value))


def big16(kind: int, value: int) -> bytes:
    """Return an attribute that holds a short number in network order."""
    return attribute(kind, struct.pack("!H", value))


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a message with its header."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, sequence, 0) + body


class Netlink:
    """
    A socket to the kernel, in the network namespace of the calling thread.

    Args:
        protocol: `ROUTE` or `NETFILTER`.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(_AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        self._socket.bind((0, 0))
        self._socket.settimeout(5)
        self._sequence = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """
        Send one message, and wait until the kernel has done it.

        Raises:
            OSError: The kernel refuses it.
        """
        self.batch([(kind, flags, body)])

    def batch(
        self, requests: Iterable[tuple[int, int, bytes]], around: tuple[bytes, bytes] = (b"", b"")
    ) -> None:
        """
        Send messages in one go, and wait until the kernel has done them.

        Args:
            requests: Kind, flags and body of each; the last one is acknowledged, and any that is refused.
            around: Messages that begin and end a transaction.

        Raises:
            OSError: The kernel refuses one; of a transaction, then nothing is done.
        """
        listed = list(requests)
        if not listed:
            return
        parts = [around[0]]
        for number, (kind, flags, body) in enumerate(listed, start=1):
            self._sequence += 1
            flags |= ACKNOWLEDGE if number == len(listed) else 0  # noqa: PLW2901 - the last one's is wanted
            parts.append(message(kind, flags, self._sequence, body))
        first, last = self._sequence - len(listed) + 1, self._sequence
        self._socket.send(b"".join([*parts, around[1]]))
        self._wait(first, last)

    def _wait(self, first: int, last: int) -> None:
        while True:
            received = self._socket.recv(1 << 16)
            while received:
                length, kind, _, sequence, _ = _HEADER.unpack_from(received)
                if kind == _ERROR and (first <= sequence <= last or sequence == 0):
                    code = -struct.unpack_from("=i", received, _HEADER.size)[0]
                    if code:
                        raise OSError(code, f"netlink, message {sequence - first}: {os.strerror(code)}")
                    if sequence == last:
                        return
                received = received[length + (-length % 4) :]
