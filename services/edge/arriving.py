"""
Counts what came of a WebSocket's message that is not whole yet.

aiohttp puts a message together before it gives it out, up to the longest that is taken. This stands before
its reader, looks at the heads of frames alone, and takes room for each message that grows large. One that
finds none ends its connection: what is under way can only be read to its end or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import WebSocketError, WSCloseCode

from services.edge.body_room import SMALL_BYTES, NoRoomError

if TYPE_CHECKING:
    from aiohttp import web

    from services.edge.body_room import BodyRoom, Held

__all__ = ["Arriving", "counted"]

# RFC 6455 section 5.2: two bytes, a longer length where the short one says so, and the mask.
_SHORTEST_HEAD: Final = 2
_MORE_LENGTH: Final = {126: 2, 127: 8}
_FIN: Final = 0x80
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
# Opcodes from here on are of pings, pongs and closes, which may stand between the frames of a message.
_CONTROL: Final = 0x8


class _Reader(Protocol):
    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class Arriving:
    """
    Stands before aiohttp's reader of a connection.

    Args:
        reader: It.
        room: What messages may take, with other bodies.
    """

    __slots__ = (
        "_closed",
        "_head",
        "_held",
        "_is_data",
        "_is_last",
        "_left",
        "_queue",
        "_reader",
        "_room",
        "_size",
    )

    def __init__(self, reader: _Reader, room: BodyRoom) -> None:
        self._reader = reader
        self._room = room
        self._queue: Any = None
        self._held = room.hold()
        self._closed = False
        self._head = bytearray()
        self._left = 0
        self._size = 0
        self._is_data = False
        self._is_last = False

    def tell(self, queue: Any) -> None:
        """Say whom to tell that there is no room: aiohttp's queue of messages."""
        self._queue = queue

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take what came, as aiohttp's reader does."""
        if self._closed:
            return False, b""
        try:
            self._count(data)
        except NoRoomError as error:
            self._closed = True
            if self._queue is None:
                return True, b""
            self._queue.set_exception(WebSocketError(WSCloseCode.TRY_AGAIN_LATER, error.message))
            return False, b""
        return self._reader.feed_data(data)

    def feed_eof(self) -> None:
        """Take that nothing more comes."""
        self._reader.feed_eof()

    def take(self, size: int) -> Held:
        """Give what is held for a message that was read, for whoever has it now: nothing, for a small one."""
        held = self._room.hold()
        if size > SMALL_BYTES:
            self._held.move(size, held)
        return held

    def close(self) -> None:
        """Give everything back: the connection has gone."""
        self._closed = True
        self._held.drop(self._held.size)

    def _count(self, data: bytes) -> None:
        place, end = 0, len(data)
        while place < end:
            if self._left == 0:
                place = self._read_head(data, place)
                continue
            step = min(self._left, end - place)
            place += step
            self._left -= step
            if self._is_data:
                self._grow(step)

    def _grow(self, step: int) -> None:
        before, self._size = self._size, self._size + step
        if self._size > SMALL_BYTES:
            self._held.add(step if before > SMALL_BYTES else self._size)
        if self._left == 0 and self._is_last:
            self._size = 0

    def _read_head(self, data: bytes, place: int) -> int:
        """Read the head of a frame as far as it is there; give where it ends."""
        head = self._head
        while missing := _length(head) - len(head):
            piece = data[place : place + missing]
            if not piece:
                return place
            head += piece
            place += len(piece)
        long = _MORE_LENGTH.get(head[1] & _LENGTH, 0)
        self._left = int.from_bytes(head[2 : 2 + long]) if long else head[1] & _LENGTH
        self._is_data = head[0] & _OPCODE < _CONTROL
        self._is_last = bool(head[0] & _FIN)
        if self._left == 0 and self._is_data and self._is_last:
            self._size = 0
        head.clear()
        return place


def counted(request: web.BaseRequest, socket: web.WebSocketResponse[Any]) -> Arriving:
    """Give what counts the messages of a WebSocket that was accepted; the edge's connections have one."""
    arriving: Arriving = request.protocol.arriving  # type: ignore[attr-defined]  # see http_protocol
    arriving.tell(socket._reader)  # noqa: SLF001 - no other way to end what waits for a message
    return arriving


def _length(head: bytearray) -> int:
    """Say how long the head of a frame is, as far as what is there of it tells."""
    if len(head) < _SHORTEST_HEAD:
        return _SHORTEST_HEAD
    return _SHORTEST_HEAD + _MORE_LENGTH.get(head[1] & _LENGTH, 0) + (4 if head[1] & _MASKED else 0)
