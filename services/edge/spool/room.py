"""
Whether requests should come to this edge, as far as its spool is concerned.

What is told to balancers, who act on it, should not change with every write: an edge that says no stays away
until there was room every time that it looked for some, during a while. A request that comes all the same is
judged by the journal alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Room"]

# How often room is looked for while there is none, and how often in a row it must be found.
_LOOK_S: Final = 0.25
_SURE: Final = 3


class Room:
    """
    Remembers that there was no room, and looks for some.

    Attributes:
        lack: Why requests should go elsewhere, in a sentence; None: they may come.
        is_here: Whether that is because of this edge's own disk; what the ledger does not take fills all.
    """

    def __init__(self) -> None:
        self.lack: str | None = None
        self.is_here = False
        self._found_count = 0
        self._lacking = asyncio.Event()

    def lacks(self, why: str, *, is_here: bool) -> None:
        """Take note that there is no room. Of two reasons, the disk is told."""
        if is_here or not self.is_here:
            self.lack, self.is_here = why, is_here
        self._found_count = 0
        self._lacking.set()

    async def run(self, look: Callable[[], bool]) -> None:
        """
        Look for room whenever there was none, until cancelled.

        Args:
            look: Tells whether there is room now. It may call `lacks`.
        """
        while True:
            await self._lacking.wait()
            while self._found_count < _SURE:
                await asyncio.sleep(_LOOK_S)
                self._found_count = self._found_count + 1 if look() else 0
            self.lack, self.is_here = None, False
            self._lacking.clear()
