"""
Streams of OpenAI responses: what the client has of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from services.edge.splice.fields import Json, array_of, index_of, object_of, text_of
from services.edge.splice.responses_writer import ResponsesWriter, read_event
from services.edge.splice.sent import Sent
from services.edge.splice.verdict import Meaning, Mode, Spent

if TYPE_CHECKING:
    from services.edge.splice.frames import Frames

__all__ = ["OpenMessage", "ResponsesSent"]

_BEGINNINGS: Final = frozenset({"response.created", "response.in_progress", "response.queued"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_HEAD: Final = ("id", "created_at", "model")


@dataclass(slots=True, kw_only=True)
class OpenMessage:
    """
    A message that is open.

    Attributes:
        index: Its place in the output.
        id: Its id.
        parts: Those that have begun.
        part_open: The last part is.
        text_told: The whole text of the last part was told, but not yet the part.
    """

    index: int
    id: str
    parts: list[Json] = field(default_factory=list)
    part_open: bool = False
    text_told: bool = False
    _pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Text of the last part."""
        return "".join(self._pieces)

    def more(self, text: str) -> None:
        """Take note of text of the last part."""
        self._pieces.append(text)

    def follow(self, kind: str, event: Json) -> None:
        """Take note of an event of this message."""
        if kind == "response.content_part.added":
            part = object_of(event, "part")
            self.parts.append({**part, "annotations": [*array_of(part, "annotations")]})
            if part.get("type") != "output_text":
                self.parts[-1] = dict(part)
            self._pieces[:] = [text_of(part, "text")]
            self.part_open, self.text_told = True, False
        elif kind == "response.output_text.delta":
            self._pieces.append(text_of(event, "delta"))
        elif kind == "response.output_text.done":
            self.text_told = True
        elif kind == "response.output_text.annotation.added" and self.parts:
            self.parts[-1].setdefault("annotations", []).append(event.get("annotation"))
        elif kind == "response.content_part.done" and self.parts:
            self.parts[-1] = object_of(event, "part")
            self.part_open = False


class ResponsesSent(Sent):
    """
    An answer as response events; see `Sent`.

    Attributes:
        head: Members of the response that stay as they were told first.
        beginnings: Events that tell of its beginning and were sent.
        sequence: Number of the next event.
        items: By their place.
        message: The message that is open. None: none is.
    """

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames)
        self.head: Json = {}
        self.beginnings: set[str] = set()
        self.sequence = 0
        self.items: dict[int, Json] = {}
        self.message: OpenMessage | None = None

    @property
    def started(self) -> bool:
        """Whether the response was begun."""
        self._settle()
        return bool(self.beginnings or self.items)

    @property
    def opened(self) -> bool:
        """Whether a message is open."""
        self._settle()
        return self.message is not None

    def read(self, name: str, document: Json) -> Meaning:
        """Say what an event comes to."""
        return read_event(name, document, self.items)

    def writer(self, mode: Mode, before: Spent) -> ResponsesWriter:
        """Make what writes a fallback's events."""
        return ResponsesWriter(self, before if mode is Mode.CONTINUE else Spent())

    def _note(self, name: str, document: Json) -> str:
        """Take note of an event; none is like another, for each has its number."""
        message = self.message
        if (
            name == "response.output_text.delta"
            and message is not None
            and index_of(document, "output_index") == message.index
            and not document.get("logprobs")
        ):
            # Nearly all of them, by the shortest way.
            delta = text_of(document, "delta")
            self._pieces.append(delta)
            self._thinking = False
            message.more(delta)
            self.sequence = max(self.sequence, index_of(document, "sequence_number") + 1)
        else:
            super()._note(name, document)
        return ""

    def _follow(self, name: str, document: Json) -> None:
        kind, index = text_of(document, "type") or name, index_of(document, "output_index")
        self.sequence = max(self.sequence, index_of(document, "sequence_number") + 1)
        if kind in _BEGINNINGS:
            self.beginnings.add(kind)
            response = object_of(document, "response")
            self.head = self.head or {key: response[key] for key in _HEAD if key in response}
        elif kind in _ENDS:
            self._done = True
        elif kind == "response.output_item.added":
            item = self.items[index] = object_of(document, "item")
            if item.get("type") == "message":
                self.message = OpenMessage(index=index, id=text_of(item, "id"))
        elif kind == "response.output_item.done":
            self._finish(index, object_of(document, "item"))
        elif self.message is not None and index == self.message.index:
            self.message.follow(kind, document)

    def _finish(self, index: int, item: Json) -> None:
        self.items[index] = item
        if item.get("type") == "reasoning":
            self._thinking = False
        if self.message is not None and self.message.index == index:
            self.message = None
