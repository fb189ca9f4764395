"""
Network namespaces, and what connects them: bridges, pairs of virtual interfaces, addresses, routes.

Everything here blocks for as long as the kernel takes, which is below a millisecond.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from deploy.rehearsal import syscalls
from deploy.rehearsal.netlink import CREATE, NETFILTER, ROUTE, Netlink, attribute, native32, nested, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Wires", "in_network", "new_network", "open_netfilter", "set_parameter", "wires"]

T = TypeVar("T")

_NEWLINK: Final = 16
_DELLINK: Final = 17
_NEWADDR: Final = 20
_NEWROUTE: Final = 24
_EXCLUSIVE: Final = 0x200

_IFLA_IFNAME: Final = 3
_IFLA_MASTER: Final = 10
_IFLA_ADDRESS: Final = 1
_IFLA_LINKINFO: Final = 18
_IFLA_NET_NS_FD: Final = 28
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1
_UP: Final = 1


def in_network(network: int, function: Callable[[], T]) -> T:
    """Call a function in a thread that is in another network namespace, and return what it returns."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            syscalls.setns(network, syscalls.CLONE_NEWNET)
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def new_network() -> int:
    """
    Make a network namespace, and return a descriptor; it is gone with the last one and the last process in
    it.
    """
    made: list[int] = []

    def run() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not made:
        raise OSError("no new network namespace can be made")
    return made[0]


def open_netfilter(network: int) -> Netlink:
    """Return a socket to the packet filter of a network namespace."""
    return in_network(network, lambda: Netlink(NETFILTER))


def set_parameter(name: str, value: str) -> None:
    """Set a kernel parameter of the calling thread's network namespace, such as `ipv4/ip_forward`."""
    Path("/proc/sys/net", name).write_text(value)


def _header(index: int = 0, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _UP if up else 0, _UP if up else 0)


class Wires:
    """Makes links in the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._netlink = Netlink(ROUTE)

    def close(self) -> None:
        """Close its socket; what it made stays."""
        self._netlink.close()

    def up(self, name: str) -> None:
        """Switch a link on."""
        self._netlink.request(_NEWLINK, 0, _header(socket.if_nametoindex(name), up=True))

    def bridge(self, name: str) -> None:
        """Make a bridge, switched on."""
        info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
        # Its own, of those that anyone may choose: otherwise it takes the least of its ports' addresses,
        # another one whenever a pod comes or goes, and who is plugged in loses its router for seconds.
        own = attribute(_IFLA_ADDRESS, b"\x02" + os.urandom(5))
        body = _header() + own + text(_IFLA_IFNAME, name) + info
        self._netlink.request(_NEWLINK, CREATE | _EXCLUSIVE, body)
        self.up(name)

    def pair(self, name: str, bridge: str, network: int, inner: str = "eth0") -> None:
        """Make a pair of interfaces: one on a bridge, the other in another network namespace."""
        peer = _header() + text(_IFLA_IFNAME, inner) + native32(_IFLA_NET_NS_FD, network)
        data = nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER | 0x8000, peer))
        info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), data)
        master = native32(_IFLA_MASTER, socket.if_nametoindex(bridge))
        body = _header() + text(_IFLA_IFNAME, name) + master + info
        self._netlink.request(_NEWLINK, CREATE | _EXCLUSIVE, body)
        self.up(name)

    def remove(self, name: str) -> None:
        """Remove a link, and so its peer."""
        self._netlink.request(_DELLINK, 0, _header(socket.if_nametoindex(name)))

    def address(self, name: str, address: str, bits: int) -> None:
        """Give a link an address."""
        packed = ipaddress.ip_address(address).packed
        header = struct.pack("=BBBBi", socket.AF_INET, bits, 0, 0, socket.if_nametoindex(name))
        body = header + attribute(1, packed) + attribute(2, packed)
        self._netlink.request(_NEWADDR, CREATE | _EXCLUSIVE, body)

    def default_route(self, gateway: str) -> None:
        """Send everything that has no nearer way to an address."""
        # Main table, as an administrator sets it, everywhere, unicast.
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
        self._netlink.request(
            _NEWROUTE, CREATE | _EXCLUSIVE, header + attribute(5, ipaddress.ip_address(gateway).packed)
        )


@contextmanager
def wires() -> Iterator[Wires]:
    """Make links for a while."""
    made = Wires()
    try:
        yield made
    finally:
        made.close()
