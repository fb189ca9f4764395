"""
A Valkey that sentinels look after: they tell which server is the one to write to.

They are asked when it is not known, and again when that server is away, slow, or has become a replica.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kit.valkey_config import joined
from kit.valkey_node import Node, Pause, Trouble, ValkeyError, theirs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.clock import Clock
    from kit.valkey_config import Target, ValkeyConfig
    from kit.valkey_node import Command

__all__ = ["Sentinels"]


class Sentinels:
    """
    Exchanges with the server that sentinels name.

    Args:
        target: The sentinels, and the name under which they look after it.
        settings: Limits.
        clock: Measures pauses.
    """

    def __init__(self, target: Target, settings: ValkeyConfig, *, clock: Clock) -> None:
        self._target = target
        self._settings = settings
        self._clock = clock
        self._pause = Pause(clock)
        self._sentinels = [
            Node(target.sentinel(address), settings, pause=Pause(clock)) for address in target.addresses
        ]
        self._primary: Node | None = None
        self._finding: asyncio.Task[Node] | None = None

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Carry out commands; see `Servers`."""
        primary = self._primary
        if primary is None:
            self._pause.enter()
            self._pause.unknown()
            primary = await self._found(timeout_s)
        try:
            answers = await primary.exchange(commands, timeout_s)
        except ValkeyError as error:
            if error.trouble is not Trouble.PAUSED:
                await self._forget(primary)
            raise
        if any(isinstance(answer, theirs().ReadOnlyError) for answer in answers):
            await self._forget(primary)
        return answers

    async def close(self) -> None:
        """Close all connections."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.wait((self._finding,))
        for node in (*self._sentinels, *([self._primary] if self._primary else [])):
            await node.close()

    async def _found(self, timeout_s: float) -> Node:
        """Wait for the answer of a sentinel, which is the same for all who wait."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._find(), name="asking sentinels")
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._finding)
        except TimeoutError:
            raise ValkeyError(Trouble.SLOW, "no sentinel answered in time") from None

    async def _find(self) -> Node:
        ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.name)
        for sentinel in list(self._sentinels):
            try:
                (found,) = await sentinel.exchange([ask], self._settings.connect_timeout_s)
            except ValkeyError:
                continue
            if isinstance(found, list) and len(found) == 2:
                address = joined(*(part.decode() for part in found))
                self._primary = Node(self._target.server(address), self._settings, pause=self._pause)
                # Whoever answered is asked first the next time.
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return self._primary
        self._pause.failed()
        raise ValkeyError(Trouble.AWAY, "no sentinel knows the server")

    async def _forget(self, primary: Node) -> None:
        if self._primary is primary:
            self._primary = None
        await primary.close()
