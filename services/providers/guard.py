"""
Keeps calls whose address a client or an account chose out of networks that are not public.

A name is resolved once, every address that it has is looked at, and exactly those are connected to: a name
that changes its mind between a look and a connection gains nothing.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from aiohttp.abc import ResolveResult

__all__ = ["AddressGuard", "GuardedResolver"]

# Lookups run in the loop's few threads: names whose servers never answer must leave some for other names.
_AT_ONCE: Final = 2
_NAT64: Final = ip_network("64:ff9b::/96")
# Not public, though the registries that `is_global` follows say or said otherwise.
_NEVER: Final = (
    ip_network("192.0.0.0/24"),  # holds a cloud's metadata service
    ip_network("168.63.129.16/32"),  # Azure's host agent, a public address that leads nowhere else
    ip_network("fec0::/10"),
)


class AddressGuard:
    """
    Tells public addresses from others.

    Args:
        allowed: Networks that may be called although they are not public.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = tuple(ip_network(text) for text in allowed)

    @property
    def is_open(self) -> bool:
        """True when every address may be called."""
        return any(network.prefixlen == 0 for network in self._allowed)

    def check(self, host: str) -> None:
        """
        Look at the host of a URL, when it is an address already. Names are looked at when they are resolved.

        Raises:
            GatewayError: INVALID_REQUEST; it may not be called.
        """
        try:
            address = ip_address(host.partition("%")[0].strip("[]"))
        except ValueError:
            return
        if not self._permits(address):
            raise _refused()

    def check_all(self, addresses: Iterable[str]) -> None:
        """
        Look at every address of a name.

        Raises:
            GatewayError: INVALID_REQUEST; at least one may not be called.
        """
        for text in addresses:
            try:
                permitted = self._permits(ip_address(text.partition("%")[0]))
            except ValueError:
                permitted = False
            if not permitted:
                raise _refused()

    def _permits(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address in network for network in self._allowed):
            return True
        if isinstance(address, IPv6Address):
            inner = _inside(address)
            if inner is not None:
                return self._permits(inner)
        return (
            address.is_global
            and not (address.is_multicast or address.is_reserved or address.is_unspecified)
            and not any(address in network for network in _NEVER)
        )


class GuardedResolver(AbstractResolver):
    """
    Resolves names to addresses that may be called, a few at a time.

    Args:
        guard: Looks at them.
        resolver: Finds them.
    """

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver) -> None:
        self._guard = guard
        self._resolver = resolver
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily | int = 0
    ) -> list[ResolveResult]:
        """
        Return the addresses of a name.

        Raises:
            GatewayError: INVALID_REQUEST; at least one of them may not be called.
        """
        await self._slots.acquire()
        task = asyncio.create_task(self._resolver.resolve(host, port, family))  # type: ignore[arg-type]  # 0: any
        task.add_done_callback(self._done)
        # The thread is busy until the name is found, whoever has given up by then.
        found = await asyncio.shield(task)
        self._guard.check_all(result["host"] for result in found)
        return found

    def _done(self, task: asyncio.Task[list[ResolveResult]]) -> None:
        self._slots.release()
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report one that nobody waited for

    async def close(self) -> None:
        """Close the resolver behind this."""
        await self._resolver.close()


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _refused() -> GatewayError:
    # Does not say what was found: that would tell of the operator's network.
    return GatewayError(
        Reason.INVALID_REQUEST,
        "That address leads, or may lead, into a network that is not public, and is not called.",
        param="base_url",
    )
