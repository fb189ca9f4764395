"""Those who wait for something to happen to a key."""

from __future__ import annotations

import asyncio

__all__ = ["Waiting"]


class Waiting:
    """Lets callers wait for a key. Whoever goes away leaves nothing behind."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, set[asyncio.Future[None]]] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    async def wait(self, key: bytes, left_s: float) -> None:
        """Wait until the key is woken, or for so long."""
        future = asyncio.get_running_loop().create_future()
        self._by_key.setdefault(key, set()).add(future)
        try:
            await asyncio.wait((future,), timeout=left_s)
        finally:
            waiting = self._by_key.get(key)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._by_key[key]

    def wake(self, key: bytes) -> None:
        """Wake all who wait for a key."""
        for future in self._by_key.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Wake everybody."""
        for key in list(self._by_key):
            self.wake(key)
