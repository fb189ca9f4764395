"""
Waits for Valkey to come back, for all that must be counted there.

A restart or a fail-over takes seconds, and is bridged. One looks whether Valkey is back, the others wait for
what it finds. The limit is on the outage, not on each wait: once it has lasted too long everybody is told,
and nothing piles up behind it. Who comes later waits for one more look, as it may be this host that was away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError
from kit.rpc import deadline
from services.router.counters.store import CountersAwayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kit.clock import Clock

__all__ = ["Outage"]

_LOOK_EVERY_S: Final = 0.15
# Longer than it is until somebody asks, see `kit.valkey_node`, and until that is looked at.
_LATE_S: Final = 0.5
# An outage that seemed to be over for less than this goes on. One that has lasted too long may seem so this
# often: a server that answers who looks and nobody else keeps nobody waiting for ever.
_CALM_S: Final = 1.0
_MOST_SEEMED: Final = 5


class Outage:
    """
    The time during which Valkey is away, if it is.

    Args:
        wait_s: How long after its beginning it is waited for, in seconds; 0: not at all.
        clock: Measures how long it lasts.
        sleep: Lets so many seconds pass.
    """

    def __init__(
        self, *, wait_s: float, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._wait_s = wait_s
        self._clock = clock
        self._sleep = sleep
        self._stopped = not wait_s
        self._began_s = 0.0
        self._seemed = 0
        self._ended_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._news: asyncio.Future[bool] | None = None

    @property
    def waited_for(self) -> bool:
        """Whether anybody waits for its end."""
        return self._news is not None

    def noticed(self, probe: Callable[[], Awaitable[object]]) -> None:
        """
        Note that Valkey was away a moment ago.

        Args:
            probe: Raises `CountersAwayError` as long as it is.
        """
        if self._stopped or self._looking is not None:
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._ended_s >= _CALM_S:
            self._began_s = now_s
            self._seemed = 0
        else:
            self._seemed += 1
        self._looking = asyncio.create_task(self._look(probe), name="looking whether Valkey is back")

    async def over(self) -> bool:
        """Wait for the end; False: it takes too long for whoever asks, or the process is about to stop."""
        late = self._too_long()
        if self._stopped or (late and self._seemed > _MOST_SEEMED):
            return False
        if self._looking is None:
            return True
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        try:
            # Whoever called is told why, rather than left alone when its time is over.
            async with asyncio.timeout(deadline.budget(_LATE_S if late else None)):
                return await asyncio.shield(self._news)
        except (TimeoutError, GatewayError):
            return False

    def stop(self) -> None:
        """Keep nobody waiting from now on."""
        self._stopped = True
        self._tell(over=False)

    async def aclose(self) -> None:
        """Stop, and look no more."""
        self.stop()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    def _too_long(self) -> bool:
        return self._clock.monotonic_s() - self._began_s >= self._wait_s

    async def _look(self, probe: Callable[[], Awaitable[object]]) -> None:
        over = long = False
        try:
            while not over:
                await self._sleep(_LOOK_EVERY_S)
                over = await _is_back(probe)
                if not over and not long and self._too_long():
                    long = True
                    self._tell(over=False)
        finally:
            self._looking = None
            self._ended_s = self._clock.monotonic_s()
            self._tell(over=over)

    def _tell(self, *, over: bool) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(over)


async def _is_back(probe: Callable[[], Awaitable[object]]) -> bool:
    try:
        await probe()
    except CountersAwayError as error:
        # One that refuses commands is there; what they were about is told why.
        return error.lasting
    return True
