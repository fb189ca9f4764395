"""
Reads streamed answers of `run`: events of its own shape, or of OpenAI's for newer models.
"""

from __future__ import annotations

from typing import Any, Final

from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import text
from services.providers.dialects.failures import FailureClass, message_of, unwrap
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import (
    Event,
    Finished,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.workers_ai.answer_shape import (
    FINISHES,
    first_choice,
    found_usage,
    plain,
    read_call,
    thoughts,
)
from services.providers.dialects.workers_ai.errors import classify_found

__all__ = ["RunStreamReader"]

_ANSWERS: Final = ("response", "tool_calls", "choices", "usage", "finish_reason")
_ERRORS: Final = ("error", "errors", "message")


class RunStreamReader(JsonEventReader):
    """
    Reads the events of one answer; see `StreamReader`.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._started = False
        self._finish: Finish | None = None
        self._thinking = False
        self._called = 0
        self._calls: dict[int, tuple[int, str]] = {}  # the provider's index → ours, and the call's id

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        return self._finish is not None

    def _done(self, out: list[Event]) -> None:
        # Its own shape has no other sign that the answer is whole.
        if self._started and self._finish is None:
            self._finish = Finish.STOP
        super()._done(out)

    def _closing(self, out: list[Event]) -> None:
        self._close_thoughts(out)
        finish = self._finish or Finish.STOP
        out.append(Finished(Finish.TOOL_CALLS if self._called and finish is Finish.STOP else finish))

    def _read(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        if self._failed(name, document, out):
            return
        if not self._started:
            self._started = True
            out.append(Started(id=text(document.get("id")), model=text(document.get("model"))))
        choice = first_choice(document)
        delta = (choice or {}).get("delta")
        if isinstance(delta, dict):
            self._delta(delta, (choice or {}).get("logprobs"), out)
        self._said(plain(document.get("response")), None, out)
        self._tool_calls(document.get("tool_calls"), out)
        used = found_usage(document)
        if used is not None:
            out.append(UsageReport(used))
        self._finished(text((choice or document).get("finish_reason")), out)

    def _failed(self, name: str, document: dict[str, Any], out: list[Event]) -> bool:
        """Take an error, which has no type of its own."""
        failed = document.get("success") is False or name == "error"
        if not failed and (
            any(member in document for member in _ANSWERS)
            or not any(document.get(member) for member in _ERRORS)
        ):
            return False
        error = unwrap(document)
        self._break(out, classify_found(0, error), message_of(error, 200))
        return True

    def _delta(self, delta: dict[str, Any], logprobs: Any, out: list[Event]) -> None:
        if thought := thoughts(delta):
            self._thinking = True
            out.append(ReasoningDelta(thought))
        self._said(plain(delta.get("content")), logprobs, out)
        if refusal := text(delta.get("refusal")):
            self._close_thoughts(out)
            out.append(RefusalDelta(refusal))
        self._tool_calls(delta.get("tool_calls"), out)

    def _said(self, said: str, logprobs: Any, out: list[Event]) -> None:
        if said:
            self._close_thoughts(out)
            held = logprobs.get("content") if isinstance(logprobs, dict) else None
            entries = [entry for entry in held if isinstance(entry, dict)] if isinstance(held, list) else None
            out.append(TextDelta(said, logprobs=entries))

    def _close_thoughts(self, out: list[Event]) -> None:
        if self._thinking:
            self._thinking = False
            out.append(ReasoningClosed())

    def _tool_calls(self, calls: Any, out: list[Event]) -> None:
        for position, call in enumerate(calls if isinstance(calls, list) else []):
            identity, name, arguments = read_call(call)
            # A call ends with an entry in which everything is null.
            if not (identity or name or arguments):
                continue
            index = call.get("index")
            flat = not isinstance(index, int)
            # Without an index every entry is a call of its own, told at once.
            key = index if isinstance(index, int) else -1 - position
            known = self._calls.get(key)
            if name and (known is None or flat or (identity and identity != known[1])):
                self._close_thoughts(out)
                identity = identity or f"call_{name}_{self._called}"
                known = self._calls[key] = (self._called, identity)
                out.append(ToolCallStarted(self._called, identity, name))
                self._called += 1
            if known is not None and arguments:
                out.append(ToolCallDelta(known[0], arguments))

    def _finished(self, word: str, out: list[Event]) -> None:
        if word == "error":
            self._break(out, FailureClass.SERVER, "The provider ended its answer with an error.")
        elif word and self._finish is None:
            self._finish = FINISHES.get(word, Finish.STOP)
