"""Where answers are kept."""

from __future__ import annotations

from typing import Protocol

__all__ = ["AnswerStore"]


class AnswerStore(Protocol):
    """
    Keeps values under keys until their time is over, or until others need the room.

    Keys are those of `core.key`, so whoever has a key may have the value. Values are opaque bytes.
    """

    async def get(self, key: bytes) -> bytes | None:
        """Return a value whose time is not over."""
        ...

    async def put(self, key: bytes, value: bytes, *, ttl_s: float) -> bool:
        """Keep a value in place of any earlier one; false when it is too large to keep."""
        ...

    async def check(self) -> None:
        """Fail when the store does not answer."""
        ...
