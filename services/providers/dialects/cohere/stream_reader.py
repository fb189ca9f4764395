"""
Reads streamed answers of Cohere's chat API.
"""

from __future__ import annotations

from typing import Any

from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import text
from services.providers.dialects.cohere.answer_reader import (
    BROKEN,
    FINISHES,
    broken,
    read_citation,
    read_logprobs,
)
from services.providers.dialects.cohere.usage import read_billed, read_usage
from services.providers.dialects.failures import classify_error, message_of, unwrap
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    Finished,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)

__all__ = ["CohereStreamReader"]


class CohereStreamReader(JsonEventReader):
    """
    Reads the events of one answer; see `StreamReader`.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._started = False
        self._whole = False
        self._thinking = False
        self._called = 0
        self._calls: dict[int | None, int] = {}  # the provider's index, None where there is none → ours
        self._closed: set[int] = set()

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        return self._whole

    def _read(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        kind = text(document.get("type")) or name
        if kind == "message-start":
            self._start(out, text(document.get("id")))
            return
        delta = document.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        if kind == "message-end":
            self._message_end(delta, out)
            return
        message = delta.get("message")
        message = message if isinstance(message, dict) else {}
        match kind:
            case "content-start" | "content-delta":
                self._content(message.get("content"), document.get("logprobs"), out)
            case "tool-plan-delta":
                self._thought(text(message.get("tool_plan")) or text(delta.get("tool_plan")), out)
            case "tool-call-start" | "tool-call-delta":
                self._tool_call(document.get("index"), message.get("tool_calls"), out)
            case "tool-call-end":
                self._close_call(document.get("index"), out)
            case "citation-start":
                found = message.get("citations")
                for citation in found if isinstance(found, list) else [found]:
                    out.extend(CitationAdded(entry) for entry in read_citation(citation))
            case "content-end" | "citation-end" | "debug":
                pass
            case _:
                self._unknown(document, out)

    def _start(self, out: list[Event], answer_id: str = "") -> None:
        if not self._started:
            self._started = True
            out.append(Started(id=answer_id))

    def _content(self, content: Any, logprobs: Any, out: list[Event]) -> None:
        if not isinstance(content, dict):
            return
        self._thought(text(content.get("thinking")), out)
        if said := text(content.get("text")):
            self._spoken(out)
            out.append(TextDelta(said, logprobs=read_logprobs(logprobs) or None))

    def _thought(self, thought: str, out: list[Event]) -> None:
        if thought:
            self._start(out)
            self._thinking = True
            out.append(ReasoningDelta(thought))

    def _spoken(self, out: list[Event]) -> None:
        """Note that what follows is no thought."""
        self._start(out)
        if self._thinking:
            self._thinking = False
            out.append(ReasoningClosed())

    def _tool_call(self, given: Any, calls: Any, out: list[Event]) -> None:
        call = calls[0] if isinstance(calls, list) and calls else calls
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return
        key = _key(given)
        if name := text(function.get("name")):
            self._spoken(out)
            # An index that comes again is another call all the same.
            self._calls[key] = self._called
            identity = text(call.get("id")) or f"{name}_{self._called}"
            out.append(ToolCallStarted(self._called, identity, name))
            self._called += 1
        index = self._calls.get(key)
        arguments = text(function.get("arguments"))
        if arguments and index is not None and index not in self._closed:
            out.append(ToolCallDelta(index, arguments))

    def _close_call(self, given: Any, out: list[Event]) -> None:
        index = self._calls.get(_key(given))
        if index is not None and index not in self._closed:
            self._closed.add(index)
            out.append(ToolCallClosed(index))

    def _message_end(self, delta: dict[str, Any], out: list[Event]) -> None:
        self._start(out)
        usage = read_usage(delta.get("usage"))
        if usage is not None:
            out.append(UsageReport(usage, read_billed(delta.get("usage"))))
        word = text(delta.get("finish_reason"))
        if word in BROKEN or text(delta.get("error")):
            message = broken(word or "an error", delta.get("error"))
            self._break(out, BROKEN.get(word, BROKEN["ERROR"]), message)
            return
        self._spoken(out)
        finish = FINISHES.get(word, Finish.STOP)
        if self._called and finish is Finish.STOP:
            finish = Finish.TOOL_CALLS
        out.append(Finished(finish))
        self._whole = True
        self._end(out)

    def _unknown(self, document: dict[str, Any], out: list[Event]) -> None:
        """Take an error, which has no type of its own; an event of a kind that is new is left out."""
        error = unwrap(document)
        if error and ("type" not in document or "error" in document):
            self._break(out, classify_error(0, error), message_of(error, 200))


def _key(given: Any) -> int | None:
    return given if isinstance(given, int) else None
