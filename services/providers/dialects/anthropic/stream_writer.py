"""
Writes streamed answers as message events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.anthropic.carried import carry_call
from services.providers.dialects.anthropic.citations import citation_of
from services.providers.dialects.anthropic.errors import error_event, write_error
from services.providers.dialects.anthropic.message_shape import (
    ID_PREFIX,
    delta_usage_member,
    image_text,
    message_head,
    reasoning_blocks,
    stop_reason,
    usage_member,
)
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.conversation import ReasoningPart
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    Finished,
    KeepAlive,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.neutral.object_end import ObjectEnd

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.neutral.sides import AnswerContext
    from services.providers.dialects.usage import UsageCounts

__all__ = ["MessageStreamWriter"]

_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
# Before the message has begun, where clients expect no event but its start.
_COMMENT: Final = b": keep-alive\n\n"
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
_TEXT_TAIL: Final = b"}}\n\n"
_FREE_TEXT_HEAD: Final = '{"input":"'
_FREE_TEXT_TAIL: Final = '"}'


class _OpenCall:
    """
    A call whose block is open.

    Attributes:
        block: Index of the block.
        end: Tells when the arguments are whole. None: they are free text, which is the member of an object.
        begun: Some of the arguments were written.
    """

    __slots__ = ("begun", "block", "end")

    def __init__(self, block: int, *, custom: bool) -> None:
        self.block = block
        self.end = None if custom else ObjectEnd()
        self.begun = False


class MessageStreamWriter:
    """
    Writes one answer; see `StreamWriter`.

    Blocks follow one another. Only calls that the model writes at the same time overlap: a call stays open
    until its arguments are an object, or until it is closed. What tells of the end is held until usage, which
    some providers send last, had its chance.

    Args:
        context: What the answer needs beside what the provider says.
    """

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._known = Started()
        self._usage: UsageCounts | None = None
        self._started = False
        self._blocks = 0
        self._open = ""  # kind of the block that is open beside those of calls
        self._head = b""  # how its deltas of text begin
        self._calls: dict[int, _OpenCall] = {}
        self._whole: list[int] = []  # those of them whose arguments are whole
        self._called = False
        self._refused = False
        self._finish: Finished | None = None

    @property
    def started(self) -> bool:
        """True once bytes were returned that hold more than a sign of life."""
        return self._started

    def write(self, events: list[Event]) -> bytes:
        """Return the bytes for events. A message has one choice only, so others are not shown."""
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(choice=0):
                    self._text(event.text, out)
                case Started():
                    self._known = event
                case UsageReport():
                    self._usage = event.usage
                case KeepAlive():
                    out.append(_PING if self._started else _COMMENT)
                case _:
                    if getattr(event, "choice", 0) == 0:
                        self._content(event, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Return what ends a whole message: usage and why it stopped, then the mark of the end."""
        out: list[bytes] = []
        self._start(out)
        self._close_all(out)
        finish = self._finish or Finished(Finish.STOP)
        reason = stop_reason(
            finish.finish, called=self._called, refused=self._refused, stop_sequence=finish.stop_sequence
        )
        sequence = finish.stop_sequence if reason == "stop_sequence" else None
        members = {
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": delta_usage_member(self._usage),
        }
        if not _emit("message_delta", members, out):
            members["delta"] = {"stop_reason": reason, "stop_sequence": None}
            _emit("message_delta", members, out)
        out.append(_STOP)
        return b"".join(out)

    def fail(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        """Return the event that tells of an error. Nothing is closed: the message is not whole."""
        return error_event(write_error(status, failure_class, message))

    def _content(self, event: Event, out: list[bytes]) -> None:
        match event:
            case ReasoningDelta():
                self._thinking(event.text, out)
            case ReasoningClosed():
                self._close_thinking(event, out)
            case ToolCallStarted():
                self._call(event, out)
            case ToolCallDelta() if event.index in self._calls:
                self._arguments(event.index, event.arguments, out)
            case ToolCallClosed():
                self._close_call(event.index, out)
            case RefusalDelta():
                self._refused = True
                self._text(event.text, out)
            case CitationAdded():
                self._cite(event.citation, out)
            case MediaDelta():
                self._text(image_text(event.media_type, event.data), out)
            case Finished():
                self._finish = self._finish or event
                self._start(out)
                self._close_all(out)
            case _:
                pass

    def _start(self, out: list[bytes]) -> None:
        if self._started:
            return
        known = self._known
        message = message_head(known.id or ID_PREFIX + self._context.answer_id, known.model)
        message["model"] = known.model or self._context.model
        message |= {"content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = usage_member(self._usage, known.service_tier)
        if not _emit("message_start", {"message": message}, out):
            message |= {"id": ID_PREFIX + self._context.answer_id, "model": self._context.model}
            _emit("message_start", {"message": message}, out)
        self._started = True

    def _begin(self, block: dict[str, Any], out: list[bytes]) -> int:
        """Close what is over, and write the start of a block; return its index."""
        self._start(out)
        self._close_open(out)
        for call in self._whole:
            self._close_call(call, out)
        self._whole.clear()
        index = self._blocks
        if not _emit("content_block_start", {"index": index, "content_block": block}, out):
            # A name that no JSON can hold; a call without one still has its place.
            block = {key: _clean(value) if isinstance(value, str) else value for key, value in block.items()}
            _emit("content_block_start", {"index": index, "content_block": block}, out)
        self._blocks += 1
        return index

    def _text(self, text: str, out: list[bytes]) -> None:
        if not text:
            return
        if self._open != "text":
            self._begin_text(out)
        out += (self._head, _string(text), _TEXT_TAIL)

    def _begin_text(self, out: list[bytes]) -> None:
        index = self._begin({"type": "text", "text": "", "citations": None}, out)
        self._open = "text"
        self._head = _DELTA % index + b'{"type":"text_delta","text":'

    def _cite(self, annotation: dict[str, Any], out: list[bytes]) -> None:
        citation = citation_of(annotation)
        if citation is None:
            return
        if self._open != "text":
            self._begin_text(out)
        _delta(self._blocks - 1, {"type": "citations_delta", "citation": citation}, out)

    def _thinking(self, text: str, out: list[bytes]) -> None:
        if not text:
            return
        if self._open != "thinking":
            self._begin_thinking(out)
        out += (self._head, _string(text), _TEXT_TAIL)

    def _begin_thinking(self, out: list[bytes]) -> None:
        index = self._begin({"type": "thinking", "thinking": "", "signature": ""}, out)
        self._open = "thinking"
        self._head = _DELTA % index + b'{"type":"thinking_delta","thinking":'

    def _close_thinking(self, event: ReasoningClosed, out: list[bytes]) -> None:
        shown = self._open == "thinking"
        part = ReasoningPart(
            text=" " if shown else "",
            signature=event.signature,
            sealed=event.sealed,
            origin=event.origin,
            item_id=event.item_id,
        )
        for block in reasoning_blocks(part):
            if block["type"] == "redacted_thinking":
                self._begin(block, out)
                self._open = "redacted_thinking"
            elif block["signature"]:
                if not shown:
                    self._begin_thinking(out)
                signature = {"type": "signature_delta", "signature": block["signature"]}
                _delta(self._blocks - 1, signature, out)
        if self._open != "text":
            self._close_open(out)

    def _call(self, event: ToolCallStarted, out: list[bytes]) -> None:
        self._close_call(event.index, out)
        call_id = carry_call(event.id, event.signature)
        block = {"type": "tool_use", "id": call_id, "name": event.name, "input": {}}
        self._calls[event.index] = _OpenCall(self._begin(block, out), custom=event.custom)
        self._called = True

    def _arguments(self, index: int, piece: str, out: list[bytes]) -> None:
        if not piece:
            return
        call = self._calls[index]
        if call.end is None:
            # Free text is written as the inside of a JSON string, piece by piece.
            head = "" if call.begun else _FREE_TEXT_HEAD
            _partial(call.block, head + _string(piece)[1:-1].decode(), out)
        else:
            before = call.end.reached
            call.end.take(piece)
            if call.end.reached and not before:
                self._whole.append(index)
            _partial(call.block, piece, out)
        call.begun = True

    def _close_call(self, index: int, out: list[bytes]) -> None:
        call = self._calls.pop(index, None)
        if call is None:
            return
        if call.end is None:
            _partial(call.block, _FREE_TEXT_TAIL if call.begun else _FREE_TEXT_HEAD + _FREE_TEXT_TAIL, out)
        _emit("content_block_stop", {"index": call.block}, out)

    def _close_open(self, out: list[bytes]) -> None:
        if self._open:
            # The one that is open began last: whatever begins closes it.
            _emit("content_block_stop", {"index": self._blocks - 1}, out)
            self._open = ""

    def _close_all(self, out: list[bytes]) -> None:
        self._close_open(out)
        for index in list(self._calls):
            self._close_call(index, out)


def _emit(kind: str, members: dict[str, Any], out: list[bytes]) -> bool:
    """Add an event; False when it holds what no JSON can."""
    try:
        data = orjson.dumps({"type": kind, **members})
    except orjson.JSONEncodeError:
        return False
    out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
    return True


def _delta(index: int, delta: dict[str, Any], out: list[bytes]) -> None:
    _emit("content_block_delta", {"index": index, "delta": delta}, out)


def _partial(index: int, piece: str, out: list[bytes]) -> None:
    out += (_DELTA % index, b'{"type":"input_json_delta","partial_json":', _string(piece), _TEXT_TAIL)


def _string(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return orjson.dumps(_clean(text))


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which no JSON in UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()
