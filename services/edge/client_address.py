"""
Where a request comes from, and whether a token may be used from there.

A client cannot say so itself. Envoy, which is in front of the edge, removes what a client sends under our
name and puts in the address that it sees; only what arrives on our own socket, or over a network that is
ours alone, is believed. Who connects to the edge without Envoy comes from where the connection does.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

__all__ = ["allowed", "of_call", "of_connection"]

_LONGEST = 64
_NETWORK = ("ipv4:", "ipv6:")


def of_connection(peer: Any, said: str, *, trust_network: bool) -> str:
    """
    Say where an HTTP request comes from; empty when it cannot be known.

    Args:
        peer: The other end of its connection: host, port and more over TCP, anything else on a socket.
        said: What stands in our header.
        trust_network: Whether those who call over TCP are ours.
    """
    over_tcp = isinstance(peer, tuple) and bool(peer)
    return _chosen(str(peer[0]) if over_tcp else "", said, trust_network=trust_network)


def of_call(peer: str, said: str, *, trust_network: bool) -> str:
    """
    Say where a gRPC call comes from; empty when it cannot be known.

    Args:
        peer: The other end as gRPC names it, such as `ipv4:192.0.2.1:50000` or `unix:`.
        said: What stands in our metadata.
        trust_network: Whether those who call over TCP are ours.
    """
    host = ""
    if peer.startswith(_NETWORK):
        host = unquote(peer[5:]).rpartition(":")[0].strip("[]")
    return _chosen(host, said, trust_network=trust_network)


def allowed(address: str, within: Sequence[str], outside: Sequence[str]) -> bool:
    """
    Say whether an address is one that a token may be used from.

    Args:
        address: The address. One that is not known is in no network, and may be in any.
        within: Networks that it must lie in; empty for all.
        outside: Networks that it must not lie in.
    """
    if not within and not outside:
        return True
    found = _address(address)
    if found is None or any(found in network for network in _networks(tuple(outside))):
        return False
    return not within or any(found in network for network in _networks(tuple(within)))


def _chosen(host: str, said: str, *, trust_network: bool) -> str:
    if host and not (trust_network and said):
        return host.partition("%")[0][:_LONGEST]
    return said.strip("[]")[:_LONGEST]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # A socket for both kinds shows addresses of the older one like this.
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


@lru_cache(maxsize=1024)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)
