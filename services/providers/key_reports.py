"""
Tells auth how stored keys were taken, for people to see: many at once, and not each use of each.

A report that is lost does no harm, so that nothing waits for one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.auth.v1 import credential_pb2, provider_config_pb2
from kit.background import going_on
from kit.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kit.clock import Clock

__all__ = ["ACTIVE", "INVALID", "LIMITED", "KeyReports"]

ACTIVE: Final = provider_config_pb2.KEY_STATUS_ACTIVE
INVALID: Final = provider_config_pb2.KEY_STATUS_INVALID
LIMITED: Final = provider_config_pb2.KEY_STATUS_LIMITED

# People see the last use to within a minute; a key that goes on being taken is told of twice in one.
_SAME_AGAIN_S: Final = 30.0
# More than that many keys do not change in a few seconds; what does not fit is told at its next use.
_MOST: Final = 10_000


@dataclass(slots=True, kw_only=True)
class _Told:
    status: provider_config_pb2.KeyStatus.ValueType
    at_s: float


class KeyReports:
    """
    Collects reports.

    Args:
        send: Gives them to auth.
        clock: The time.
    """

    def __init__(
        self, send: Callable[[credential_pb2.ReportKeysRequest], Awaitable[object]], clock: Clock
    ) -> None:
        self._send = send
        self._clock = clock
        self._waiting: dict[str, credential_pb2.KeyReport] = {}
        self._told: dict[str, _Told] = {}

    def note(self, key_id: str, status: provider_config_pb2.KeyStatus.ValueType) -> None:
        """Take note of how a key was taken."""
        now_s = self._clock.monotonic_s()
        told = self._told.get(key_id)
        if told is not None and told.status == status and now_s - told.at_s < _SAME_AGAIN_S:
            return
        if key_id not in self._waiting and len(self._waiting) >= _MOST:
            return
        use_time = Timestamp()
        use_time.FromNanoseconds(self._clock.now_ns())
        self._waiting[key_id] = credential_pb2.KeyReport(id=key_id, status=status, use_time=use_time)
        self._told[key_id] = _Told(status=status, at_s=now_s)

    @asynccontextmanager
    async def sending(self, every_s: float) -> AsyncIterator[None]:
        """Send what is known now and then while the context is open, and what is left at its end."""
        try:
            async with going_on(self._run(every_s)):
                yield
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Send what is known; what cannot be sent is sent with the next."""
        self._forget()
        if not self._waiting:
            return
        sent, self._waiting = self._waiting, {}
        try:
            await self._send(credential_pb2.ReportKeysRequest(reports=sent.values()))
        except GatewayError:
            # What is newer counts, and no more than auth takes at once.
            self._waiting = dict([*(sent | self._waiting).items()][-_MOST:])

    async def _run(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await self.flush()

    def _forget(self) -> None:
        since_s = self._clock.monotonic_s() - _SAME_AGAIN_S
        self._told = {key_id: told for key_id, told in self._told.items() if told.at_s > since_s}
