"""
A Valkey Cluster: several servers, each with a part of the keys.

Commands go to whoever has their key, those of one server in one round trip. Who has what is asked for at the
start, and again whenever a server is away or says that a key has moved. A server that is away takes its own
keys with it and no others.
"""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from typing import TYPE_CHECKING, Any, Final

from kit.valkey_config import joined
from kit.valkey_node import Node, Pause, Trouble, ValkeyError, theirs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.clock import Clock
    from kit.valkey_config import Target, ValkeyConfig
    from kit.valkey_node import Command

__all__ = ["Cluster", "slot_of"]

_SLOTS: Final = 16_384
# While keys move from one server to another, or two say that the other one has them.
_MOST_HOPS: Final = 4
_LEARN_EVERY_S: Final = 0.5
_MAP: Final = ("CLUSTER", "SLOTS")
_WITH_KEYS: Final = frozenset({"EVAL", "EVALSHA"})


def slot_of(key: bytes) -> int:
    """Return the slot of a key, by the cluster's rule: CRC-16 of what is in its braces, or of all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % _SLOTS


class Cluster:
    """
    Exchanges with the servers of a cluster.

    Args:
        target: Some of its servers; the others are heard of from them.
        settings: Limits, for each server.
        clock: Measures pauses.
    """

    def __init__(self, target: Target, settings: ValkeyConfig, *, clock: Clock) -> None:
        self._target = target
        self._settings = settings
        self._clock = clock
        self._nodes: dict[str, Node] = {}
        self._owners: list[str] = []
        self._learning: asyncio.Task[None] | None = None
        self._learnt_s = float("-inf")

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Carry out commands; see `Servers`."""
        if not self._owners:
            await self._know(timeout_s)
        answers: list[Any] = [None] * len(commands)
        left = [(place, self._owner(command), False) for place, command in enumerate(commands)]
        for _ in range(_MOST_HOPS):
            await self._ask_each(commands, left, answers, timeout_s)
            left = [(place, *hop) for place, _, _ in left if (hop := self._hop(answers[place])) is not None]
            if not left:
                break
        if all(isinstance(answer, ValkeyError) for answer in answers):
            raise answers[0]
        return answers

    async def close(self) -> None:
        """Close all connections."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait((self._learning,))
        for node in self._nodes.values():
            await node.close()

    async def _ask_each(
        self,
        commands: Sequence[Command],
        asked: Sequence[tuple[int, str, bool]],
        answers: list[Any],
        timeout_s: float,
    ) -> None:
        """Ask every server for its part, all at the same time."""
        by_owner: dict[str, list[tuple[int, bool]]] = {}
        for place, owner, asking in asked:
            by_owner.setdefault(owner, []).append((place, asking))
        parts = [self._ask(owner, commands, places, answers, timeout_s) for owner, places in by_owner.items()]
        if len(parts) == 1:
            await parts[0]
        else:
            await asyncio.gather(*parts)

    async def _ask(
        self,
        owner: str,
        commands: Sequence[Command],
        places: Sequence[tuple[int, bool]],
        answers: list[Any],
        timeout_s: float,
    ) -> None:
        sent: list[Command] = []
        for place, asking in places:
            if asking:  # a key that is on its way there
                sent.append(("ASKING",))
            sent.append(commands[place])
        try:
            found = iter(await self._node(owner).exchange(sent, timeout_s))
        except ValkeyError as error:
            self._learn_soon()
            for place, _ in places:
                answers[place] = error
            return
        for place, asking in places:
            if asking:
                next(found)
            answers[place] = next(found)

    def _hop(self, answer: Any) -> tuple[str, bool] | None:
        """Tell where else to ask, and whether the key is still on its way there."""
        if not isinstance(answer, theirs().ResponseError):
            return None
        kind, _, rest = str(answer).partition(" ")
        slot, _, where = rest.partition(" ")
        if kind not in {"MOVED", "ASK"} or ":" not in where or not slot.isdecimal():
            if kind in {"CLUSTERDOWN", "READONLY"} or isinstance(answer, theirs().ReadOnlyError):
                self._learn_soon()
            return None
        if kind == "MOVED":
            self._owners[int(slot) % _SLOTS] = where
            self._learn_soon()
        return where, kind == "ASK"

    def _owner(self, command: Command) -> str:
        key = command[1] if len(command) > 1 else None
        if str(command[0]) in _WITH_KEYS:
            key = command[3]
        if key is None:
            return self._owners[0]
        return self._owners[slot_of(key if isinstance(key, bytes) else str(key).encode())]

    def _node(self, address: str) -> Node:
        if address not in self._nodes:
            self._nodes[address] = Node(
                self._target.server(address), self._settings, pause=Pause(self._clock)
            )
        return self._nodes[address]

    def _learn_soon(self) -> None:
        """Ask in the background who has what, though not all the time."""
        if self._learning is not None and not self._learning.done():
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._learnt_s < _LEARN_EVERY_S:
            return
        self._learnt_s = now_s
        self._learning = self._begin_learning()

    def _begin_learning(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._learn(), name="asking who has which keys")
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits
        return task

    async def _know(self, timeout_s: float) -> None:
        """Wait until it is known who has what; all wait for the same answer."""
        if self._learning is None or self._learning.done():
            self._learning = self._begin_learning()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._learning)
        except TimeoutError:
            raise ValkeyError(Trouble.SLOW, "no server told in time who has which keys") from None

    async def _learn(self) -> None:
        failed = ValkeyError(Trouble.AWAY, "no server tells who has which keys")
        # Those that are known now come first; the ones in the settings may be gone, or a name for others.
        for address in dict.fromkeys((*self._owners[:: _SLOTS // 64], *self._target.addresses)):
            try:
                (ranges,) = await self._node(address).exchange([_MAP], self._settings.connect_timeout_s)
            except ValkeyError as error:
                failed = error
                continue
            if isinstance(ranges, list) and ranges:
                await self._take(ranges, address)
                return
        raise failed

    async def _take(self, ranges: Sequence[Any], told_by: str) -> None:
        host = told_by.rpartition(":")[0]
        owners = list(self._owners) or [told_by] * _SLOTS
        for first, last, primary, *_ in ranges:
            name = (primary[0] or b"").decode() or host.strip("[]")
            owners[first : last + 1] = [joined(name, primary[1])] * (last + 1 - first)
        self._owners = owners
        needed = {*owners, *self._target.addresses}
        for address in [address for address in self._nodes if address not in needed]:
            await self._nodes.pop(address).close()
