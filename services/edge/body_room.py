"""
How much memory the bodies of requests may take, all together.

What one request may send is bounded by itself; this bounds the sum, so that many senders at a time are told
to come back rather than the process is killed for its memory. Bytes are counted as they come: who only claims
a length takes nothing from anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SMALL_BYTES", "BodyRoom", "Held", "NoRoomError"]

SMALL_BYTES: Final = 512 << 10
"""What aiohttp buffers of a connection. A body no longer than this is small, and comes before large ones."""

# Of each four parts of the room, small bodies alone get one.
_LARGE_PARTS: Final = 3
_PARTS: Final = 4
_PAUSE_S: Final = 1.0


class NoRoomError(GatewayError):
    """There is no room for more of a body at the moment."""

    def __init__(self) -> None:
        super().__init__(
            Reason.SERVICE_UNAVAILABLE,
            "Too many large requests are under way; please try again.",
            retry_after_s=_PAUSE_S,
            resource="bodies",
        )


class BodyRoom:
    """
    Counts the bytes of bodies that are held now.

    Attributes:
        held_bytes: That count.

    Args:
        most_bytes: Most of them. Large bodies get three quarters of it.
        longest_bytes: Longest single body, one of which fits whatever `most_bytes` says.
        refused: Told of each request that is refused for want of room.
    """

    __slots__ = ("_large_bytes", "_most_bytes", "_refused", "held_bytes")

    def __init__(self, most_bytes: int, *, longest_bytes: int, refused: Callable[[], None]) -> None:
        self.held_bytes = 0
        self._most_bytes = max(most_bytes, longest_bytes)
        self._large_bytes = max(most_bytes * _LARGE_PARTS // _PARTS, longest_bytes)
        self._refused = refused

    def hold(self) -> Held:
        """Begin to hold what a request sends; nothing yet."""
        return Held(self)

    def take(self, size: int, *, of: int) -> None:
        """
        Count more bytes.

        Args:
            size: How many.
            of: How long the body is with them.

        Raises:
            NoRoomError: There is no room for them; none is counted.
        """
        held_bytes = self.held_bytes + size
        if held_bytes > (self._most_bytes if of <= SMALL_BYTES else self._large_bytes):
            self._refused()
            raise NoRoomError
        self.held_bytes = held_bytes

    def give_back(self, size: int) -> None:
        """Count as many bytes no more."""
        self.held_bytes -= size


class Held:
    """
    What is held for one request, or for whatever else sends bodies.

    It has one holder to begin with, who gives it back, or uses it as a context manager.

    Attributes:
        size: How many bytes.
    """

    __slots__ = ("_holders", "_room", "size")

    def __init__(self, room: BodyRoom) -> None:
        self.size = 0
        self._room = room
        self._holders = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def add(self, size: int) -> None:
        """
        Hold more bytes.

        Raises:
            NoRoomError: There is no room for them.
        """
        of = self.size + size
        self._room.take(size, of=of)
        self.size = of

    def drop(self, size: int) -> None:
        """Hold fewer bytes."""
        size = min(size, self.size)
        self.size -= size
        self._room.give_back(size)

    def move(self, size: int, to: Held) -> None:
        """Let another hold some of it."""
        size = min(size, self.size)
        self.size -= size
        to.size += size

    def share(self) -> None:
        """Have one more holder, who gives it back as well."""
        self._holders += 1

    def give_back(self) -> None:
        """Hold nothing any more, once every holder has said so."""
        self._holders -= 1
        if self._holders == 0:
            self.drop(self.size)
