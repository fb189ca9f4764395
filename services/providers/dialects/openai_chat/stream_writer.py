"""
Writes streamed answers as chat completion chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

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
from services.providers.dialects.openai_chat.answer_shape import (
    ID_PREFIX,
    image_entry,
    logprobs_member,
    thinking_block,
    usage_member,
)
from services.providers.dialects.openai_error import openai_error, openai_error_event

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.neutral.sides import AnswerContext
    from services.providers.dialects.usage import UsageCounts

__all__ = ["ChatStreamWriter"]

_DONE: Final = b"data: [DONE]\n\n"
_KEEP_ALIVE: Final = b": keep-alive\n\n"


class _OpenChoice:
    """
    What is known of a choice that has begun.

    Attributes:
        head: How each of its chunks begins, up to the delta.
        thoughts: Since the last signature, to be handed out again with theirs.
        calls: Calls that are open: index → whether it is custom, and whether it has arguments.
    """

    __slots__ = ("calls", "finished", "head", "thoughts")

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.thoughts: list[str] = []
        self.calls: dict[int, tuple[bool, bool]] = {}
        self.finished = False


class ChatStreamWriter:
    """
    Writes one answer; see `StreamWriter`.

    Nothing but signs of life is written before the answer's first content, so that an error in its place can
    still be an error.

    Args:
        context: What the answer needs beside what the provider says.
    """

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._members = b""  # how every chunk begins; empty until the first one
        self._known = Started()
        self._usage_null = b',"usage":null' if context.include_usage else b""
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._usage_null + b"}\n\n"
        self._text_tail = b"}" + self._tail
        self._choices: dict[int, _OpenChoice] = {}
        self._usage: UsageCounts | None = None

    @property
    def started(self) -> bool:
        """True once bytes were returned that hold more than a sign of life."""
        return bool(self._members)

    def write(self, events: list[Event]) -> bytes:
        """Return the bytes for events."""
        out: list[bytes] = []
        for event in events:
            if type(event) is TextDelta and event.logprobs is None:
                # One event in nearly every case, with one token in it.
                choice = self._choices.get(event.choice) or self._open(event.choice, out)
                if event.text:
                    out += (choice.head, b'{"content":', _json(event.text), self._text_tail)
            else:
                self._write(event, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Return usage, where it was asked for, and the mark of a clean end."""
        out: list[bytes] = []
        if not self._choices:
            self._open(0, out)
        if self._context.include_usage:
            usage = _json(usage_member(self._usage))
            out += (self._members, b'"choices":[],"usage":', usage, b"}\n\n")
        out.append(_DONE)
        return b"".join(out)

    def fail(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        """Return the event that tells of an error."""
        return openai_error_event(openai_error(status, failure_class, message))

    def _write(self, event: Event, out: list[bytes]) -> None:  # noqa: C901, PLR0912 - one branch for each event
        match event:
            case Started():
                self._known = event
            case UsageReport():
                self._usage = event.usage
            case KeepAlive():
                out.append(_KEEP_ALIVE)
            case TextDelta():
                self._text(event, out)
            case ReasoningDelta():
                self._reasoning(event, out)
            case ReasoningClosed():
                self._reasoning_closed(event, out)
            case ToolCallStarted():
                self._call_started(event, out)
            case ToolCallDelta():
                self._arguments(event.choice, event.index, event.arguments, out)
            case ToolCallClosed():
                self._call_closed(event.choice, event.index, out)
            case RefusalDelta():
                if event.text:
                    self._emit(event.choice, {"refusal": event.text}, out)
            case CitationAdded():
                self._emit(event.choice, {"annotations": [event.citation]}, out)
            case MediaDelta():
                self._media(event, out)
            case Finished():
                self._finished(event, out)
            case _:
                pass

    def _open(self, index: int, out: list[bytes]) -> _OpenChoice:
        """Write the first chunk of a choice, which alone has the role."""
        if not self._members:
            members: dict[str, Any] = {
                "id": self._known.id or ID_PREFIX + self._context.answer_id,
                "object": "chat.completion.chunk",
                "created": self._context.created_s,
                "model": self._known.model or self._context.model,
                "system_fingerprint": None,
            }
            if self._known.service_tier:
                members["service_tier"] = self._known.service_tier
            self._members = b"data: " + _json(members)[:-1] + b","
        choice = _OpenChoice(self._members + b'"choices":[{"index":%d,"delta":' % index)
        self._choices[index] = choice
        out += (choice.head, b'{"role":"assistant","content":""}', self._tail)
        return choice

    def _emit(self, index: int, delta: dict[str, Any], out: list[bytes]) -> None:
        choice = self._choices.get(index) or self._open(index, out)
        written = _json(delta)
        if written:
            out += (choice.head, written, self._tail)

    def _text(self, event: TextDelta, out: list[bytes]) -> None:
        choice = self._choices.get(event.choice) or self._open(event.choice, out)
        logprobs = _json(logprobs_member(event.logprobs)) or b"null"
        out += (choice.head, b'{"content":', _json(event.text), b'},"logprobs":', logprobs)
        out += (b',"finish_reason":null}]', self._usage_null, b"}\n\n")

    def _reasoning(self, event: ReasoningDelta, out: list[bytes]) -> None:
        choice = self._choices.get(event.choice) or self._open(event.choice, out)
        if event.text:
            choice.thoughts.append(event.text)
            out += (choice.head, b'{"reasoning_content":', _json(event.text), self._text_tail)

    def _reasoning_closed(self, event: ReasoningClosed, out: list[bytes]) -> None:
        choice = self._choices.get(event.choice)
        text = "".join(choice.thoughts) if choice else ""
        if choice:
            choice.thoughts.clear()
        if event.signature or event.sealed:
            part = ReasoningPart(
                text=text,
                signature=event.signature,
                sealed=event.sealed,
                origin=event.origin,
                item_id=event.item_id,
            )
            self._emit(event.choice, {"thinking_blocks": [thinking_block(part)]}, out)

    def _call_started(self, event: ToolCallStarted, out: list[bytes]) -> None:
        call: dict[str, Any] = {"index": event.index, "id": event.id}
        if event.custom:
            call |= {"type": "custom", "custom": {"name": event.name, "input": ""}}
        else:
            call |= {"type": "function", "function": {"name": event.name, "arguments": ""}}
        if event.signature:
            call["extra_content"] = {"google": {"thought_signature": event.signature}}
        self._emit(event.choice, {"tool_calls": [call]}, out)
        self._choices[event.choice].calls[event.index] = (event.custom, False)

    def _arguments(self, choice_index: int, index: int, piece: str, out: list[bytes]) -> None:
        choice = self._choices.get(choice_index)
        call = choice.calls.get(index) if choice else None
        if choice is None or call is None or not piece:
            return
        choice.calls[index] = (call[0], True)
        body = {"custom": {"input": piece}} if call[0] else {"function": {"arguments": piece}}
        self._emit(choice_index, {"tool_calls": [{"index": index, **body}]}, out)

    def _call_closed(self, choice_index: int, index: int, out: list[bytes]) -> None:
        choice = self._choices.get(choice_index)
        custom, has_arguments = choice.calls.get(index, (True, True)) if choice else (True, True)
        if not custom and not has_arguments:
            # A call without arguments has an empty object for them, and not an empty text.
            self._arguments(choice_index, index, "{}", out)
        if choice:
            choice.calls.pop(index, None)

    def _media(self, event: MediaDelta, out: list[bytes]) -> None:
        kind = event.media_type.partition("/")[0]
        if kind == "audio":
            sound = {"id": f"audio_{self._context.answer_id}", "data": event.data}
            self._emit(event.choice, {"audio": sound}, out)
        elif kind in {"image", ""}:
            url = f"data:{event.media_type or 'image/png'};base64,{event.data}"
            self._emit(event.choice, {"images": [image_entry(url)]}, out)

    def _finished(self, event: Finished, out: list[bytes]) -> None:
        choice = self._choices.get(event.choice) or self._open(event.choice, out)
        if choice.finished:
            return
        choice.finished = True
        for index in list(choice.calls):
            self._call_closed(event.choice, index, out)
        reason = event.finish.value.encode()
        out += (choice.head, b'{},"logprobs":null,"finish_reason":"', reason, b'"}]')
        out += (self._usage_null, b"}\n\n")


def _json(value: Any) -> bytes:
    """Write a value; what no JSON can hold comes to nothing, for an answer goes on without it."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b'""' if isinstance(value, str) else b""
