"""OpenAI chat completions streams whose bytes are handed on: metered, and judged whole or cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import text
from services.providers.dialects.metered import MeteredStream, count_alike
from services.providers.dialects.openai_chat.same import in_band_failure
from services.providers.dialects.openai_error import openai_error, openai_error_event
from services.providers.dialects.usage import read_openai_usage

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass


class OpenAIStream(MeteredStream):
    """
    A stream of chat completion chunks.

    Args:
        injected_usage: The client did not ask for the usage chunk, so it is taken out.
        choices: How many answers were asked for; the stream is whole when each has finished.
        request_bytes: Length of the request body, for an estimate when usage is not reported.
        verbatim: Never alter the bytes.
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(
        self,
        *,
        injected_usage: bool = False,
        choices: int = 1,
        request_bytes: int = 0,
        verbatim: bool = False,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        super().__init__(request_bytes=request_bytes, verbatim=verbatim, max_event_bytes=max_event_bytes)
        self._injected_usage = injected_usage
        self._choices = choices
        self._finished_choices: set[int] = set()

    def _skim(self, block: bytes) -> bool:
        if self._events == 0 or b'"error"' in block:
            return False
        count = count_alike(block, b'data: {"')
        # A string cannot hold these marks: its quotation marks are escaped.
        if not count or not _all_null(block, b"usage") or not _all_null(block, b"finish_reason"):
            return False
        self._events += count
        self._content_events += count
        return True

    def _read(self, name: str, document: dict[str, Any], data: bytes) -> bool:
        if name == "error" and "error" not in document:
            document = {"error": document}
        failure = in_band_failure(document, data, started=self._started)
        if failure is not None:
            self._set_failure(failure)
            return True
        if not self._served_model:
            self._served_model = text(document.get("model"))
        choices = document.get("choices")
        if self._events == 0:
            self._opened_with_content = _has_content(choices)
        finished = self._read_choices(choices)
        usage = document.get("usage")
        if self._events > 0 and not finished and (not isinstance(usage, dict) or _has_content(choices)):
            # Counted as `_skim` counts it: the first, the finishing and the usage chunk hold no token. Some
            # hosts tell the usage with every chunk.
            self._content_events += 1
        if isinstance(usage, dict):
            self._usage = read_openai_usage(usage)
            return not (self._injected_usage and choices == [])
        return True

    def _read_choices(self, choices: Any) -> bool:
        """Note which choices have finished; tells whether one has with this chunk."""
        finished = False
        for choice in choices if isinstance(choices, list) else ():
            reason = text(choice.get("finish_reason")) if isinstance(choice, dict) else ""
            if reason:
                finished = True
                index = choice.get("index")
                index = index if isinstance(index, int) else 0
                self._finished_choices.add(index)
                if index == 0 or not self._finish_reason:
                    self._finish_reason = reason
        return finished

    def _complete(self) -> bool:
        # Hosts that ignore `n` send one choice and still end in order.
        return self._ended or len(self._finished_choices) >= self._choices

    def _normal_end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def _error_body(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        return openai_error(status, failure_class, message)

    def _error_event(self, body: bytes) -> bytes:
        return openai_error_event(body)


def _has_content(choices: Any) -> bool:
    """Tell whether a chunk holds more than the role of who answers."""
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role"):
            return True
    return False


def _all_null(block: bytes, member: bytes) -> bool:
    """Tell whether a member, wherever it stands in a block, is null or absent."""
    found = block.count(b'"%s"' % member)
    return (
        found == 0
        or found == block.count(b'"%s":null' % member)
        or (found == block.count(b'"%s": null' % member))
    )
