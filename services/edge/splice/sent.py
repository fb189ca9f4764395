"""
What of an answer the client has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from services.edge.splice.alike import Alike
from services.edge.splice.verdict import Meaning, Spent

if TYPE_CHECKING:
    from services.edge.splice.fields import Json
    from services.edge.splice.frames import Frames
    from services.edge.splice.verdict import Mode

__all__ = ["DONE", "Sent", "Writer", "load"]

DONE: Final = b"[DONE]"
# Bytes that may wait to be read. Nobody asks what they say unless a stream breaks, which is seldom.
_MOST_UNREAD_BYTES: Final = 64 << 10
_ONLY_THOUGHTS: Final = frozenset({"reasoning"})


class Writer(Protocol):
    """
    Writes a fallback's events as the next ones of the answer that was begun.

    What an event opens is opened when something is in it, and a part of the client's that is open is gone on
    with.
    """

    def read(self, name: str, document: Json) -> Meaning:
        """Say what an event of the fallback comes to."""
        ...

    def skip(self, name: str, document: Json) -> None:
        """Learn from an event that is not for the client."""

    def write(self, name: str, document: Json, text: str, *, muted: bool) -> list[bytes]:
        """
        Write an event.

        Args:
            name: Of the event.
            document: Its data.
            text: To stand in place of its own text.
            muted: Thoughts in it are not for the client.
        """
        ...

    def say(self, text: str) -> list[bytes]:
        """Write text that no event is at hand for."""
        ...


class Sent(ABC):
    """
    Follows an answer on its way to the client.

    Args:
        frames: How its stream is framed.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._alike = Alike()
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._pieces: list[str] = []
        self._other: set[str] = set()
        self._thinking = False
        self._whole = False
        self._done = False
        self._withheld: list[bytes] = []
        self._failed = False

    def pass_on(self, data: bytes) -> bytes:
        """
        Take bytes of the stream and return those for the client: whole events before the first error.

        Raises:
            GatewayError: With UPSTREAM_MALFORMED when an event is longer than allowed.
        """
        if self._failed:
            self._withheld.append(data)
            return b""
        block = self.frames.feed(data)
        if b'"error"' in block or b"event: error" in block:
            block = self._before_error(block)
        if block:
            self._unread.append(block)
            self._unread_bytes += len(block)
            if self._unread_bytes > _MOST_UNREAD_BYTES:
                self._settle()
        return block

    def write(self, name: str, document: Json) -> bytes:
        """Write an event of a fallback's, and take note of it."""
        self._settle()
        self._note(name, document)
        return self.frames.write(name, orjson.dumps(document))

    def write_done(self) -> bytes:
        """Write the mark of the end that is no JSON."""
        self._whole = self._done = True
        return self.frames.write("", DONE)

    def end(self) -> bytes:
        """Write what ends a whole answer, as far as it was not written."""
        return self.frames.end()

    @property
    def withheld(self) -> bytes:
        """
        What `pass_on` kept back from the first error on, for a client whom no fallback helps.

        It ends the stream as its provider service did, and is not to be sent once a fallback has written.
        """
        return b"".join(self._withheld)

    @property
    def failed(self) -> bool:
        """Whether the stream told of an error."""
        return self._failed

    @property
    def text(self) -> str:
        """Text of the answer so far, whatever block or part it stands in."""
        self._settle()
        if len(self._pieces) > 1:
            self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def other(self) -> frozenset[str]:
        """Kinds of content beside text that have begun, such as `reasoning` and `tool`."""
        self._settle()
        return frozenset(self._other)

    @property
    def whole(self) -> bool:
        """Whether the client can tell that it has all of the answer."""
        self._settle()
        return self._whole

    @property
    def done(self) -> bool:
        """Whether the client has the dialect's mark of the end, where it has one."""
        self._settle()
        return self._done

    @property
    def continuable(self) -> bool:
        """
        Whether another stream can go on from here.

        It can when the answer is one choice, of text alone. Thoughts before the text do no harm when they
        are over.
        """
        self._settle()
        return not self._whole and not self._thinking and self._other <= _ONLY_THOUGHTS

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether the client has anything of the answer but signs of life."""

    @property
    def opened(self) -> bool:
        """Whether a block or part of text is open, perhaps an empty one."""
        self._settle()
        return False

    @property
    def told(self) -> Spent:
        """What the stream itself told of usage, so far."""
        return Spent()

    @abstractmethod
    def read(self, name: str, document: Json) -> Meaning:
        """Say what an event comes to."""

    @abstractmethod
    def writer(self, mode: Mode, before: Spent) -> Writer:
        """Make what writes a fallback's events as the next ones of this answer."""

    @abstractmethod
    def _follow(self, name: str, document: Json) -> None:
        """Take note of what only this dialect has."""

    def _before_error(self, block: bytes) -> bytes:
        """Keep back what tells of an error, and all that comes after it."""
        kept = []
        pieces = self.frames.split(block)
        for at, raw in enumerate(pieces):
            if any(self._tells_error(name, data) for name, data in self.frames.parse(raw)):
                self._failed = True
                self._withheld += pieces[at:]
                break
            kept.append(raw)
        passed = b"".join(kept)
        if self._failed:
            self._withheld.append(self.frames.rest())
            self.frames.rewind(passed)
        return passed

    def _tells_error(self, name: str, data: bytes) -> bool:
        if data == DONE:
            return False
        document = load(data)
        return document is None or self.read(name, document).error

    def _settle(self) -> None:
        """Read what was not read yet."""
        if not self._unread:
            return
        block = b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        alike = self._alike
        for name, data in self.frames.parse(block):
            text = alike.text_of(name, data)
            if text is not None:
                self._pieces.append(text)
                self._thinking = False
            elif data == DONE:
                self._whole = self._done = True
            elif (document := load(data)) is None:
                self._other.add("malformed")
            elif said := self._note(name, document):
                alike.learn(name, data, said)

    def _note(self, name: str, document: Json) -> str:
        """Take note of an event; return its text, when it has nothing but text."""
        meaning = self.read(name, document)
        if meaning.reasoning:
            self._thinking = True
            self._other.add("reasoning")
        if meaning.text:
            self._pieces.append(meaning.text)
            self._thinking = False
        if meaning.other:
            self._other.add(meaning.other)
        if meaning.end:
            self._whole = True
        self._follow(name, document)
        plain = not (meaning.reasoning or meaning.other or meaning.end)
        return meaning.text if plain else ""


def load(data: bytes) -> Json | None:
    """Read an event's data. None: it is not a JSON object."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
