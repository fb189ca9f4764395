"""
OpenAI responses to a provider that speaks the same: bytes handed on, usage read from the last event.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.metered import MeteredStream, count_alike
from services.providers.dialects.openai_chat.same import (
    in_band_failure,
    merged_usage,
)
from services.providers.dialects.openai_error import openai_error

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass

# An event that only adds to the answer, and says so twice.
_DELTA = re.compile(rb'event: (response\.[a-z_.]{1,80}\.delta)\ndata: \{"type":"\1"')
_ENDS = frozenset({"response.completed", "response.incomplete"})
_FAILURES = frozenset({"response.failed", "response.cancelled"})
# Items that wait for something that the client has to do.
_CALLS = frozenset(
    {"apply_patch_call", "computer_call", "custom_tool_call", "function_call", "local_shell_call"}
)


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer. The body is handed on as it is.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not a JSON object.
    """
    document = load_object(body)
    return Answer(
        body=body,
        usage=merged_usage(document.get("usage")),
        finish_reason=finish_reason(document),
        served_model=text(document.get("model")),
        failure=in_band_failure(document, body, started=False),
    )


def finish_reason(response: dict[str, Any]) -> str:
    """Say why a response ended, in the words of chat completions."""
    status = response.get("status")
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return "content_filter" if reason == "content_filter" else "length"
    if status != "completed":
        return ""
    output = response.get("output")
    items = output if isinstance(output, list) else []
    calls = any(isinstance(item, dict) and text(item.get("type")) in _CALLS for item in items)
    return "tool_calls" if calls else "stop"


def _is_no_message(kind: str, item: Any) -> bool:
    return kind == "response.output_item.added" and isinstance(item, dict) and item.get("type") != "message"


class ResponsesStream(MeteredStream):
    """A stream of response events; the last one holds the whole response, usage included."""

    def _skim(self, block: bytes) -> bool:
        if self._events == 0 or b'"error"' in block:
            return False
        count = count_alike(block, b"event: response.")
        if not count or count != len(_DELTA.findall(block)):
            return False
        self._events += count
        self._content_events += count
        return True

    def _read(self, name: str, document: dict[str, Any], data: bytes) -> bool:
        kind = text(document.get("type")) or name
        response = document.get("response")
        if isinstance(response, dict):
            self._served_model = text(response.get("model")) or self._served_model
            self._usage = merged_usage(response.get("usage")) or self._usage
        if kind == "error":
            error = document if isinstance(document.get("error"), dict) else {"error": document}
            self._note_error(error, data)
        elif kind in _FAILURES and isinstance(response, dict):
            self._note_error(response if response.get("error") else {"error": {"message": ""}}, data)
        elif kind in _ENDS and isinstance(response, dict):
            self._finish_reason = finish_reason(response)
            self._ended = True
        elif kind.endswith(".delta"):
            self._content_events += 1
        elif "_call." in kind:
            # A tool of the provider's at work, which says so before the model says anything.
            self._opened_with_content = True
        elif self._verbatim and (kind == "response.queued" or _is_no_message(kind, document.get("item"))):
            # What the model thinks may be kept from us for minutes; and who asked for an answer in the
            # background wants its id.
            self._opened_with_content = True
        return True

    def _note_error(self, document: dict[str, Any], data: bytes) -> None:
        error = document["error"]
        body = orjson.dumps({"error": error}) if isinstance(error, dict) else data
        failure = in_band_failure(document, body, started=self._started)
        if failure is not None:
            self._set_failure(failure)

    def _complete(self) -> bool:
        return self._ended

    def _normal_end(self) -> bytes:
        return b""

    def _error_body(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        return openai_error(status, failure_class, message)

    def _error_event(self, body: bytes) -> bytes:
        error = orjson.loads(body)["error"]
        event = {"type": "error", "code": error["code"], "message": error["message"], "param": None}
        event["sequence_number"] = self._events
        return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
