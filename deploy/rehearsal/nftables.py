"""
The kernel's packet filter, spoken to directly: expressions, rules, and the exchange of all rules of a chain
at once.

Formats and numbers: the kernel's `nf_tables.h`. A rule is a list of expressions, all of which must hold; the
last one is what happens.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.netlink import (
    APPEND,
    CREATE,
    Netlink,
    attribute,
    big32,
    message,
    nested,
    text,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ACCEPT",
    "DROP",
    "Chain",
    "Rule",
    "comes_in",
    "destination",
    "dnat",
    "established",
    "every",
    "goes_out",
    "install",
    "port",
    "protocol",
    "refuse",
    "replace",
    "source",
    "verdict",
]  # fmt: skip

ACCEPT: Final = 1
DROP: Final = 0

_SUBSYSTEM: Final = 10 << 8
_NEWTABLE, _NEWCHAIN, _NEWRULE, _DELRULE = (_SUBSYSTEM | number for number in (0, 3, 6, 8))
_BEGIN: Final = 0x10
_END: Final = 0x11
_NFPROTO_INET: Final = 1
_TABLE: Final = "rehearsal"

_REGISTER: Final = 1  # the first of 16 bytes; the second begins at 2
_EQUAL: Final = 0
_NOT_EQUAL: Final = 1

Expression = bytes
Rule = tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """
    A chain that the kernel runs packets through.

    Args:
        name: Its name.
        kind: `filter` or `nat`.
        hook: Where: 0 before routing, 1 input, 2 forward, 3 output.
        priority: Order among the chains of a hook.
    """

    name: str
    kind: str
    hook: int
    priority: int


def _expression(name: str, *attributes: bytes) -> Expression:
    return nested(1, text(1, name), nested(2, *attributes))


def _value(data: bytes) -> bytes:
    return attribute(1, data)


def _compare(data: bytes, operation: int = _EQUAL, register: int = _REGISTER) -> Expression:
    return _expression("cmp", big32(1, register), big32(2, operation), nested(3, _value(data)))


def _payload(layer: int, offset: int, length: int) -> Expression:
    return _expression("payload", big32(1, _REGISTER), big32(2, layer), big32(3, offset), big32(4, length))


def _masked(mask: bytes) -> Expression:
    return _expression(
        "bitwise",
        big32(1, _REGISTER),
        big32(2, _REGISTER),
        big32(3, len(mask)),
        nested(4, _value(mask)),
        nested(5, _value(bytes(len(mask)))),
    )


def _meta(key: int, data: bytes, operation: int = _EQUAL) -> Rule:
    return (_expression("meta", big32(1, _REGISTER), big32(2, key)), _compare(data, operation))


def _is_ipv4() -> Rule:
    return _meta(15, bytes([2]))


def _address(offset: int, network: str, *, negate: bool) -> Rule:
    parsed = ipaddress.ip_network(network)
    operation = _NOT_EQUAL if negate else _EQUAL
    return (
        *_is_ipv4(),
        _payload(1, offset, 4),
        _masked(parsed.netmask.packed),
        _compare(parsed.network_address.packed, operation),
    )


def source(network: str, *, negate: bool = False) -> Rule:
    """Match packets from a network, such as `10.42.0.7/32`."""
    return _address(12, network, negate=negate)


def destination(network: str, *, negate: bool = False) -> Rule:
    """Match packets to a network."""
    return _address(16, network, negate=negate)


def comes_in(name: str, *, negate: bool = False) -> Rule:
    """Match packets that come in on an interface, such as `lo`."""
    return _meta(6, name.encode().ljust(16, b"\0"), _NOT_EQUAL if negate else _EQUAL)


def goes_out(name: str, *, negate: bool = False) -> Rule:
    """Match packets that go out on an interface."""
    return _meta(7, name.encode().ljust(16, b"\0"), _NOT_EQUAL if negate else _EQUAL)


def established() -> Rule:
    """Match packets of a connection that was allowed, and errors about one."""
    return (
        _expression("ct", big32(1, _REGISTER), big32(2, 0)),
        _masked(struct.pack("=I", 0b110)),
        _compare(bytes(4), _NOT_EQUAL),
    )


def protocol(name: str) -> Rule:
    """Match packets of `TCP` or `UDP`."""
    return _meta(16, bytes([socket.IPPROTO_TCP if name == "TCP" else socket.IPPROTO_UDP]))


def port(first: int, last: int | None = None) -> Rule:
    """Match packets to a port, or to one of a range; after `protocol`."""
    load = _payload(2, 2, 2)
    if last is None or last == first:
        return (load, _compare(struct.pack("!H", first)))
    low, high = nested(3, _value(struct.pack("!H", first))), nested(4, _value(struct.pack("!H", last)))
    return (load, _expression("range", big32(1, _REGISTER), big32(2, _EQUAL), low, high))


def verdict(code: int) -> Rule:
    """Let the packet pass this chain, or make it vanish."""
    return (_expression("immediate", big32(1, 0), nested(2, nested(2, big32(1, code)))),)


def refuse() -> Rule:
    """Answer that nobody is there: with a reset for TCP, else with an ICMP message."""
    return (_expression("reject", big32(1, 2), attribute(2, bytes([1]))),)


def every(count: int) -> Rule:
    """Match one of `count` packets, by chance."""
    number = _expression("numgen", big32(1, _REGISTER), big32(2, count), big32(3, 1))
    return (number, _compare(struct.pack("=I", 0)))


def dnat(address: str, to_port: int) -> Rule:
    """Send the connection to another address and port."""
    load = _expression("immediate", big32(1, 1), nested(2, _value(ipaddress.ip_address(address).packed)))
    load_port = _expression("immediate", big32(1, 2), nested(2, _value(struct.pack("!H", to_port))))
    nat = _expression("nat", big32(1, 1), big32(2, socket.AF_INET), big32(3, 1), big32(5, 2))
    return (load, load_port, nat)


def install(netlink: Netlink, chains: Sequence[Chain]) -> None:
    """Make chains, without rules."""
    requests = [(_NEWTABLE, CREATE, _header() + text(1, _TABLE))]
    for chain in chains:
        hook = nested(4, big32(1, chain.hook), attribute(2, struct.pack("!i", chain.priority)))
        body = text(1, _TABLE) + text(3, chain.name) + hook + text(7, chain.kind) + big32(5, ACCEPT)
        requests.append((_NEWCHAIN, CREATE, _header() + body))
    _transaction(netlink, requests)


def replace(netlink: Netlink, rules: Mapping[str, Sequence[Rule]]) -> None:
    """Exchange all rules of chains in one step, so that no packet meets half of them."""
    requests = []
    for chain, listed in rules.items():
        place = text(1, _TABLE) + text(2, chain)
        requests.append((_DELRULE, 0, _header() + place))
        requests += [(_NEWRULE, CREATE | APPEND, _header() + place + nested(4, *rule)) for rule in listed]
    _transaction(netlink, requests)


def _header(family: int = _NFPROTO_INET, resource: int = 0) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _transaction(netlink: Netlink, requests: Sequence[tuple[int, int, bytes]]) -> None:
    around = _header(0, 10)
    netlink.batch(requests, (message(_BEGIN, 0, 0, around), message(_END, 0, 0, around)))
