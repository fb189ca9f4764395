"""Anthropic messages to a provider that speaks the same: bytes handed on, usage read as it comes."""

from __future__ import annotations

from typing import Any

import orjson

from services.providers.dialects.answer import Answer, load_object, text
from services.providers.dialects.failures import (
    CLASS_STATUSES,
    FailureClass,
    classify_error,
    message_of,
    unwrap,
)
from services.providers.dialects.metered import MeteredStream, count_alike
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import merge_report, read_anthropic_usage

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

# Anthropic's error types as statuses, for errors that come within a stream.
_ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_ERROR_TYPES = {
    FailureClass.CUT: "api_error",
    FailureClass.MALFORMED: "api_error",
    FailureClass.TIMEOUT: "timeout_error",
}


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer. The body is handed on as it is.

    Raises:
        GatewayError: With UPSTREAM_MALFORMED when it is not a JSON object.
    """
    document = load_object(body)
    usage = document.get("usage")
    reason = text(document.get("stop_reason"))
    return Answer(
        body=body,
        usage=read_anthropic_usage(usage) if isinstance(usage, dict) else None,
        finish_reason=FINISH_REASONS.get(reason, "stop") if reason else "",
        served_model=text(document.get("model")),
        failure=in_band_error(document, body, started=False) if document.get("type") == "error" else None,
    )


def in_band_error(document: dict[str, Any], body: bytes, *, started: bool) -> StreamFailure:
    """Read an `error` event, or an error document that came with a success status."""
    error = unwrap(document)
    status = _ERROR_STATUSES.get(text(error.get("type")), 0)
    failure_class = classify_error(status, error)
    status = status or CLASS_STATUSES[failure_class]
    return StreamFailure(
        failure_class=failure_class,
        message=message_of(error, status),
        reported=True,
        started=started,
        status=status,
        body=body,
    )


class MessagesStream(MeteredStream):
    """A stream of message events, for clients that speak Anthropic's own dialect."""

    _report: dict[str, Any] | None = None

    def _skim(self, block: bytes) -> bool:
        # Whatever is not a delta of content gets a look: starts, stops, usage and errors are rare.
        count = count_alike(block, b'event: content_block_delta\ndata: {"') if self._events else 0
        self._events += count
        self._content_events += count
        return count > 0

    def _read(self, name: str, document: dict[str, Any], data: bytes) -> bool:
        kind = text(document.get("type")) or name
        if kind == "message_start":
            message = document.get("message")
            if isinstance(message, dict):
                self._served_model = text(message.get("model"))
                self._take_usage(message.get("usage"))
        elif kind == "message_delta":
            self._take_usage(document.get("usage"))
            delta = document.get("delta")
            reason = text(delta.get("stop_reason")) if isinstance(delta, dict) else ""
            if reason:
                self._finish_reason = FINISH_REASONS.get(reason, "stop")
        elif kind == "message_stop":
            self._ended = True
        elif kind == "content_block_delta":
            self._content_events += 1
        elif kind == "content_block_start" and self._verbatim:
            # What the model thinks may be kept from us for minutes, and its client wants signs of life.
            block = document.get("content_block")
            self._opened_with_content |= isinstance(block, dict) and block.get("type") != "text"
        elif kind == "error":
            self._set_failure(in_band_error(document, data, started=self._started))
        return True

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._report = merge_report(self._report or {}, usage)
            self._usage = read_anthropic_usage(self._report)

    def _complete(self) -> bool:
        return self._ended or bool(self._finish_reason)

    def _normal_end(self) -> bytes:
        return b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def _error_body(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        kind = _ERROR_TYPES.get(failure_class) or ("api_error" if status >= 500 else "invalid_request_error")
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})

    def _error_event(self, body: bytes) -> bytes:
        return b"event: error\ndata: " + body + b"\n\n"
