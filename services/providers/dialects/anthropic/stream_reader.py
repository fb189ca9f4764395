"""
A streamed answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from kit.errors import GatewayError
from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import text
from services.providers.dialects.anthropic.answer_reader import (
    arguments_text,
    explanation_of,
    finish_of,
    tier_of,
)
from services.providers.dialects.anthropic.citations import annotation_of
from services.providers.dialects.anthropic.same import in_band_error
from services.providers.dialects.anthropic.turns import ORIGIN
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    Finished,
    KeepAlive,
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
from services.providers.dialects.usage import merge_report, read_anthropic_usage

__all__ = ["MessagesReader"]

_NO_REASON: Final = "The provider's answer ended without a reason."
_TOO_MUCH: Final = "The provider sent more than one answer can hold."
# Blocks stand one after the other, and a host that sends them side by side has a few at a time.
_MOST_OPEN: Final = 256
# Sources of one block; nobody cites a thousand pages in a sentence.
_MOST_CITATIONS: Final = 1000


@dataclass(slots=True)
class _OpenBlock:
    """
    A block that has started.

    Attributes:
        kind: Anthropic's type of block.
        call: Place among the client's tool calls.
        whole: All of the arguments came with the start.
        thought: Some thinking was given.
        signature: Of the thinking; a long one may come in pieces.
        start: How much text stood before the block, in characters.
        citations: Sources of the block, whose extent is known at its end.
    """

    kind: str
    call: int = 0
    whole: bool = False
    thought: bool = False
    signature: str = ""
    start: int = 0
    citations: list[Any] = field(default_factory=list)


class MessagesReader(JsonEventReader):
    """
    Reads a stream; see `StreamReader`.

    Args:
        max_event_bytes: Longest event that is waited for, and longest signature.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._most = max_event_bytes
        self._started = False
        self._finished = False
        self._blocks: dict[int, _OpenBlock] = {}
        self._calls = 0
        self._chars = 0
        self._report: dict[str, Any] = {}

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        return self._finished

    def _read(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        match text(document.get("type")) or name:
            case "content_block_delta":
                self._delta(document, out)
            case "content_block_start":
                self._block_start(document, out)
            case "content_block_stop":
                self._close(_index(document), out)
            case "message_start":
                self._message_start(document, out)
            case "message_delta":
                self._message_delta(document, out)
            case "message_stop":
                if self._finished:
                    self._end(out)
                else:
                    self._break(out, FailureClass.CUT, _NO_REASON)
            case "error":
                failure = in_band_error(document, b"", started=self._started)
                self._break(out, failure.failure_class, failure.message, failure.status)
            case "ping":
                out.append(KeepAlive())
            case _:
                pass  # what later versions add has no counterpart

    def _message_start(self, document: dict[str, Any], out: list[Event]) -> None:
        message = document.get("message")
        if self._started or not isinstance(message, dict):
            return
        self._started = True
        usage = message.get("usage")
        out.append(Started(text(message.get("id")), text(message.get("model")), tier_of(usage)))
        self._usage(usage, out)

    def _message_delta(self, document: dict[str, Any], out: list[Event]) -> None:
        delta = document.get("delta")
        self._usage(document.get("usage"), out)
        reason = text(delta.get("stop_reason")) if isinstance(delta, dict) else ""
        if not isinstance(delta, dict) or not reason or self._finished:
            return
        for index in list(self._blocks):
            self._close(index, out)
        explanation = explanation_of(delta)
        if explanation:
            self._add(RefusalDelta(explanation), out)
        finish, _ = finish_of(reason, called=self._calls > 0)
        self._add(Finished(finish, text(delta.get("stop_sequence"))), out)
        self._finished = True

    def _usage(self, usage: Any, out: list[Event]) -> None:
        if isinstance(usage, dict):
            self._report = merge_report(self._report, usage)
            self._add(UsageReport(read_anthropic_usage(self._report)), out)

    def _add(self, event: Event, out: list[Event]) -> None:
        """Give an event, after the start, which some hosts leave out."""
        if not self._started:
            self._started = True
            out.append(Started())
        out.append(event)

    def _block_start(self, document: dict[str, Any], out: list[Event]) -> None:
        content, index = document.get("content_block"), _index(document)
        if not isinstance(content, dict) or self._finished:
            return
        self._close(index, out)
        if len(self._blocks) >= _MOST_OPEN:
            self._break(out, FailureClass.MALFORMED, _TOO_MUCH)
            return
        block = _OpenBlock(text(content.get("type")), start=self._chars)
        self._blocks[index] = block
        match block.kind:
            case "text":
                self._text(text(content.get("text")), out)
                given = content.get("citations")
                block.citations = given[:_MOST_CITATIONS] if isinstance(given, list) else []
            case "thinking":
                self._thought(block, text(content.get("thinking")), out)
                block.signature = text(content.get("signature"))
            case "redacted_thinking":
                sealed = text(content.get("data"))
                if sealed:
                    self._add(ReasoningClosed(sealed=sealed, origin=ORIGIN), out)
            case "tool_use":
                self._call(block, content, out)

    def _call(self, block: _OpenBlock, content: dict[str, Any], out: list[Event]) -> None:
        try:
            given = arguments_text(content.get("input"))
        except GatewayError as error:
            self._break(out, FailureClass.MALFORMED, error.message)
            return
        block.call = self._calls
        self._calls += 1
        # Never empty: clients match results by it.
        call_id = text(content.get("id")) or f"call_{block.call}"
        self._add(ToolCallStarted(block.call, call_id, text(content.get("name"))), out)
        if given:
            # Some hosts send the whole input with the start, and then no deltas, or the same once more.
            out.append(ToolCallDelta(block.call, given))
            block.whole = True

    def _delta(self, document: dict[str, Any], out: list[Event]) -> None:
        delta = document.get("delta")
        if not isinstance(delta, dict) or self._finished:
            return
        kind = delta.get("type")
        if kind == "text_delta":
            self._text(text(delta.get("text")), out)
            return
        block = self._blocks.get(_index(document))
        if kind == "thinking_delta":
            self._thought(block, text(delta.get("thinking")), out)
        elif block is None:
            return
        elif kind == "signature_delta":
            block.signature += text(delta.get("signature"))
            if len(block.signature) > self._most:
                self._break(out, FailureClass.MALFORMED, _TOO_MUCH)
        elif kind == "input_json_delta" and block.kind == "tool_use":
            piece = text(delta.get("partial_json"))
            if piece and not block.whole:
                out.append(ToolCallDelta(block.call, piece))
        elif kind == "citations_delta" and len(block.citations) < _MOST_CITATIONS:
            block.citations.append(delta.get("citation"))

    def _text(self, value: str, out: list[Event]) -> None:
        if value:
            self._chars += len(value)
            self._add(TextDelta(value), out)

    def _thought(self, block: _OpenBlock | None, value: str, out: list[Event]) -> None:
        if value:
            self._add(ReasoningDelta(value), out)
            if block is not None:
                block.thought = True

    def _close(self, index: int, out: list[Event]) -> None:
        block = self._blocks.pop(index, None)
        if block is None or self._finished:
            return
        if block.kind == "tool_use":
            out.append(ToolCallClosed(block.call))
        elif block.kind == "thinking" and block.signature:
            self._add(ReasoningClosed(signature=block.signature, origin=ORIGIN), out)
        elif block.thought:
            self._add(ReasoningClosed(), out)
        for citation in block.citations:
            found = annotation_of(citation, block.start, self._chars)
            if found is not None:
                self._add(CitationAdded(found), out)


def _index(document: dict[str, Any]) -> int:
    """Read which block an event is about; a host that does not say has one."""
    index = document.get("index")
    return index if isinstance(index, int) else 0
