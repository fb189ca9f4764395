"""
Streams of Anthropic messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.edge.splice.fields import Json, index_of, object_of, text_of
from services.edge.splice.sent import Sent
from services.edge.splice.usage import count, counted
from services.edge.splice.verdict import Meaning, Mode, Spent

if TYPE_CHECKING:
    from services.edge.splice.frames import Frames

__all__ = ["MessagesSent"]

_REASONING: Final = frozenset({"thinking", "redacted_thinking"})
_INPUT: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class MessagesSent(Sent):
    """
    An answer as message events; see `Sent`.

    Attributes:
        usage: As the beginning told it.
        next_index: Of the block that begins next.
        open_text: Index of the block of text that is open. None: none is.
    """

    def __init__(self, frames: Frames) -> None:
        super().__init__(frames)
        self.usage: Json = {}
        self.next_index = 0
        self.open_text: int | None = None
        self._begun = False
        self._kinds: dict[int, str] = {}

    @property
    def started(self) -> bool:
        """Whether the message was begun."""
        self._settle()
        return self._begun

    def read(self, name: str, document: Json) -> Meaning:
        """Say what an event comes to."""
        return read_event(name, document, self._kinds)

    def writer(self, mode: Mode, before: Spent) -> MessagesWriter:
        """Make what writes a fallback's events."""
        return MessagesWriter(self, before if mode is Mode.CONTINUE else Spent())

    def end(self) -> bytes:
        """Write the last event, unless it was written."""
        return b"" if self.done else self.write("message_stop", {"type": "message_stop"})

    @property
    def opened(self) -> bool:
        """Whether a block of text is open."""
        self._settle()
        return self.open_text is not None

    def _follow(self, name: str, document: Json) -> None:
        kind, index = document.get("type") or name, index_of(document)
        if kind == "message_start":
            self._begun = True
            usage = object_of(object_of(document, "message"), "usage")
            # A provider that tells usage last begins with zeros.
            if any(count(usage, key) for key in _INPUT):
                self.usage = usage
        elif kind == "message_stop":
            self._done = True
        elif kind == "content_block_start":
            self._kinds[index] = block_kind(document)
            self.next_index = max(self.next_index, index + 1)
            self.open_text = index if self._kinds[index] == "text" else self.open_text
        elif kind == "content_block_stop":
            if self._kinds.get(index) in _REASONING:
                self._thinking = False
            self.open_text = None if index == self.open_text else self.open_text


class MessagesWriter:
    """
    Writes message events; see `Writer`.

    Args:
        sent: What the client has.
        before: What is added to the usage.
    """

    def __init__(self, sent: MessagesSent, before: Spent) -> None:
        self._sent = sent
        self._before = before
        self._kinds: dict[int, str] = {}  # of the fallback's blocks
        self._indexes: dict[int, int] = {}  # where those are, to the client, that are no text
        self._block: Json = {"type": "text", "text": ""}

    def read(self, name: str, document: Json) -> Meaning:
        """Say what an event comes to."""
        return read_event(name, document, self._kinds)

    def skip(self, name: str, document: Json) -> None:
        """Learn what kind of block begins."""
        if (document.get("type") or name) == "content_block_start":
            kind = self._kinds[index_of(document)] = block_kind(document)
            if kind == "text":
                self._block = {**object_of(document, "content_block"), "text": ""}

    def say(self, text: str) -> list[bytes]:
        """Write a delta of text, in the block that is open."""
        delta = {"type": "text_delta", "text": text}
        return self._in_text({"type": "content_block_delta", "index": 0, "delta": delta})

    def write(self, name: str, document: Json, text: str, *, muted: bool) -> list[bytes]:  # noqa: ARG002 - whole blocks are skipped
        """Write an event in the place that it has for the client."""
        sent, kind = self._sent, document.get("type") or name
        self.skip(name, document)
        if kind == "message_start":
            return [] if sent.started else [sent.write(name, document)]
        if kind == "message_delta":
            return [*self._close_text(), sent.write(name, self._ending(document))]
        index = index_of(document)
        if index < 0:
            # A ping, the end, or what this dialect may have one day.
            return [sent.write(name, document)]
        if self._kinds.get(index) == "text":
            return self._text(kind, document, text)
        if kind == "content_block_start":
            out = self._close_text()
            self._indexes[index] = sent.next_index
        elif index not in self._indexes:
            return []  # of a block whose beginning was skipped
        else:
            out = []
        return [*out, sent.write(name, {**document, "index": self._indexes[index]})]

    def _text(self, kind: str, document: Json, text: str) -> list[bytes]:
        """Write an event of a block of text."""
        if kind == "content_block_stop":
            return self._close_text()
        if kind == "content_block_start":
            return self.say(text) if text else []
        delta = object_of(document, "delta")
        if delta.get("type") != "text_delta":
            return self._in_text(document)
        return self._in_text({**document, "delta": {**delta, "text": text}}) if text else []

    def _in_text(self, document: Json) -> list[bytes]:
        sent, out = self._sent, []
        if sent.open_text is None:
            start = {"type": "content_block_start", "index": sent.next_index, "content_block": self._block}
            out.append(sent.write("content_block_start", start))
        out.append(sent.write("content_block_delta", {**document, "index": sent.open_text}))
        return out

    def _close_text(self) -> list[bytes]:
        index = self._sent.open_text
        if index is None:
            return []
        return [self._sent.write("content_block_stop", {"type": "content_block_stop", "index": index})]

    def _ending(self, document: Json) -> Json:
        usage = document.get("usage")
        if not isinstance(usage, dict):
            return document
        usage = counted(usage, Spent(output_tokens=self._before.output_tokens), "", "output_tokens")
        first = self._sent.usage
        if not first and self._before.input_tokens is not None:
            first = {**dict.fromkeys(_INPUT, 0), "input_tokens": self._before.input_tokens}
        usage |= {key: first[key] for key in _INPUT if key in usage and key in first}
        return {**document, "usage": usage}


def read_event(name: str, document: Json, kinds: dict[int, str]) -> Meaning:
    """
    Say what an event comes to.

    Args:
        name: Of the event.
        document: Its data.
        kinds: Kinds of the blocks that have begun, by their index.
    """
    kind = document.get("type") or name
    if kind == "content_block_delta":
        return _read_delta(object_of(document, "delta"), kinds.get(index_of(document), ""))
    if kind == "content_block_start":
        block = block_kind(document)
        if block == "text":
            return Meaning(text_of(object_of(document, "content_block"), "text"))
        return Meaning(reasoning=True) if block in _REASONING else Meaning(other=_named(block))
    if kind == "content_block_stop":
        return Meaning(reasoning=kinds.get(index_of(document)) in _REASONING)
    if kind == "message_delta":
        return Meaning(end=bool(object_of(document, "delta").get("stop_reason")))
    return Meaning(end=kind == "message_stop", error=kind == "error")


def block_kind(document: Json) -> str:
    """Say what kind of block an event begins."""
    return text_of(object_of(document, "content_block"), "type")


def _read_delta(delta: Json, block: str) -> Meaning:
    if delta.get("type") == "text_delta":
        return Meaning(text_of(delta, "text"))
    if delta.get("type") == "citations_delta":
        return Meaning(other="citation")
    return Meaning(reasoning=True) if block in _REASONING else Meaning(other=_named(block))


def _named(block: str) -> str:
    return "tool" if block.endswith("tool_use") else "unknown"
