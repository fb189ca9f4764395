"""
Writes streamed answers as responses of streamGenerateContent.

Each event of the stream is a response with a piece of the answer in it; clients join the pieces. Arguments of
a call cannot come in pieces, so a call is held until it is whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.gemini.errors import write_error
from services.providers.dialects.gemini.response_shape import (
    call_part,
    candidate_end,
    content_of,
    dump,
    grounding_member,
    logprobs_member,
    media_part,
    read_arguments,
    seal_of,
    usage_member,
)
from services.providers.dialects.neutral.completion import Finish
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

__all__ = ["GenerateContentStreamWriter"]

Json = dict[str, Any]

# Google's clients read a comment of server-sent events as a piece of JSON, but they skip blank lines; and in
# an array a blank line is nothing but space.
_KEEP_ALIVE: Final = b"\n"


@dataclass(slots=True)
class _HeldCall:
    """A call that is not written yet: its arguments may not be whole, or a call before it is not written."""

    started: ToolCallStarted
    pieces: list[str] = field(default_factory=list)
    end: ObjectEnd = field(default_factory=ObjectEnd)
    closed: bool = False

    def take(self, piece: str) -> None:
        """Take more of the arguments."""
        self.pieces.append(piece)
        if not self.started.custom:
            self.end.take(piece)

    def arguments(self) -> Json | None:
        """Return the arguments; None: they are no object."""
        return read_arguments("".join(self.pieces), custom=self.started.custom)

    @property
    def whole(self) -> bool:
        """True when nothing can be missing: it was closed, or the arguments are an object already."""
        return self.closed or self.end.reached


@dataclass(slots=True)
class _Candidate:
    """
    What is known of one of the answers.

    Attributes:
        calls: Held, by their index, in the order in which they began.
        broken: A call was left out.
    """

    calls: dict[int, _HeldCall] = field(default_factory=dict)
    citations: list[Json] = field(default_factory=list)
    finish: Finish | None = None
    broken: bool = False


class GenerateContentStreamWriter:
    """
    Writes one answer; see `StreamWriter`.

    Why a candidate stopped is held until the end, so that a stream that breaks never looks whole.

    Args:
        context: What the answer needs beside what the provider says.
        array: One JSON array instead of server-sent events: what a client gets without `alt=sse`.
    """

    def __init__(self, context: AnswerContext, *, array: bool = False) -> None:
        self._context = context
        self._array = array
        self._first = True
        self._known = Started()
        self._tail = b""  # how every response ends; empty until the first one
        self._usage: UsageCounts | None = None
        self._candidates: dict[int, _Candidate] = {}

    @property
    def started(self) -> bool:
        """True once bytes were returned that hold more than a sign of life."""
        return bool(self._tail)

    def write(self, events: list[Event]) -> bytes:
        """Return the bytes for events."""
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta():
                    self._text(event, out)
                case Started():
                    self._known = event
                case UsageReport():
                    self._usage = event.usage
                case KeepAlive():
                    out.append(_KEEP_ALIVE)
                case _:
                    self._content(event, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Return the last response, with usage and why each candidate stopped."""
        out: list[bytes] = []
        candidates = []
        for index, candidate in sorted((self._candidates or {0: _Candidate()}).items()):
            self._flush(index, candidate, out)
            candidates.append(
                {
                    "content": content_of([]),
                    **candidate_end(candidate.finish or Finish.STOP, broken=candidate.broken),
                    "index": index,
                    **grounding_member(candidate.citations),
                }
            )
        self._emit({"candidates": candidates, "usageMetadata": usage_member(self._usage)}, out)
        if self._array:
            out.append(b"\n]")
        return b"".join(out)

    def fail(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        """Return the event that tells of an error. No candidate has said why it stopped."""
        body = write_error(status, failure_class, message)
        return self._framed(body) + (b"\n]" if self._array else b"")

    def _content(self, event: Event, out: list[bytes]) -> None:  # noqa: C901, PLR0912 - one branch for each event
        match event:
            case ReasoningDelta():
                if event.text:
                    self._part({"text": event.text, "thought": True}, event.choice, out)
            case ReasoningClosed():
                seal = seal_of(event)
                if seal:
                    part = {"text": "", "thought": True, "thoughtSignature": seal}
                    self._part(part, event.choice, out)
            case ToolCallStarted():
                self._call(event, out)
            case ToolCallDelta():
                held = self._of(event.choice).calls.get(event.index)
                if held is not None and event.arguments:
                    held.take(event.arguments)
            case ToolCallClosed():
                self._close_call(event.choice, event.index, out)
            case RefusalDelta():
                if event.text:
                    self._part({"text": event.text}, event.choice, out)
            case CitationAdded():
                self._of(event.choice).citations.append(event.citation)
            case MediaDelta():
                self._part(media_part(event.media_type, event.data), event.choice, out)
            case Finished():
                candidate = self._of(event.choice)
                candidate.finish = candidate.finish or event.finish
                self._flush(event.choice, candidate, out)
            case _:
                pass

    def _of(self, index: int) -> _Candidate:
        found = self._candidates.get(index)
        if found is None:
            found = self._candidates[index] = _Candidate()
        return found

    def _text(self, event: TextDelta, out: list[bytes]) -> None:
        candidate = self._of(event.choice)
        if not event.text and not event.logprobs:
            return
        if event.logprobs or candidate.calls:
            self._part({"text": event.text}, event.choice, out, **logprobs_member(event.logprobs))
            return
        try:
            written = orjson.dumps(event.text)
        except orjson.JSONEncodeError:
            written = orjson.dumps(event.text.encode("utf-8", "replace").decode())
        self._begin()
        head = b'{"candidates":[{"content":{"parts":[{"text":'
        place = b'}],"role":"model"},"index":%d}]' % event.choice
        out.append(self._framed(b"".join((head, written, place, self._tail))))

    def _part(self, part: Json, index: int, out: list[bytes], **beside: Any) -> None:
        """Write a part that is no call, after the calls before it that are whole."""
        self._settle(index, self._of(index), out)
        self._respond(part, index, out, **beside)

    def _respond(self, part: Json, index: int, out: list[bytes], **beside: Any) -> None:
        self._emit({"candidates": [{"content": content_of([part]), "index": index, **beside}]}, out)

    def _call(self, event: ToolCallStarted, out: list[bytes]) -> None:
        candidate = self._of(event.choice)
        if event.index in candidate.calls:
            self._flush(event.choice, candidate, out)
        candidate.calls[event.index] = _HeldCall(event)

    def _close_call(self, choice: int, index: int, out: list[bytes]) -> None:
        candidate = self._of(choice)
        held = candidate.calls.get(index)
        if held is not None:
            held.closed = True
            self._settle(choice, candidate, out)

    def _settle(self, choice: int, candidate: _Candidate, out: list[bytes]) -> None:
        """Write the calls that are whole, as far as none before them is not: they keep their order."""
        for index, held in list(candidate.calls.items()):
            if not held.whole:
                break
            del candidate.calls[index]
            self._write_call(choice, candidate, held, out)

    def _flush(self, choice: int, candidate: _Candidate, out: list[bytes]) -> None:
        """Write all calls: nothing more of them will come."""
        for held in candidate.calls.values():
            self._write_call(choice, candidate, held, out)
        candidate.calls.clear()

    def _write_call(self, choice: int, candidate: _Candidate, held: _HeldCall, out: list[bytes]) -> None:
        arguments = held.arguments()
        if arguments is None:
            candidate.broken = True
            return
        started = held.started
        part = call_part(started.id, started.name, arguments, started.signature)
        self._respond(part, choice, out)

    def _begin(self) -> None:
        if not self._tail:
            members = {
                "modelVersion": self._known.model or self._context.model,
                "responseId": self._known.id or self._context.answer_id,
            }
            self._tail = b"," + dump(members)[1:]

    def _emit(self, members: Json, out: list[bytes]) -> None:
        self._begin()
        out.append(self._framed(dump(members)[:-1] + self._tail))

    def _framed(self, response: bytes) -> bytes:
        if not self._array:
            return b"data: " + response + b"\n\n"
        first, self._first = self._first, False
        return (b"[" if first else b"\n,\n") + response
