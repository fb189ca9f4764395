"""
Meters answers of Bedrock's own API whose bytes go to the client as they are: Converse's and InvokeModel's.

InvokeModel carries whatever the model's maker designed. Read of it is what Bedrock adds to all (counts in
headers and with the last piece of a stream) and what Anthropic's models say, which is more exact.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.answer import NOT_JSON, Answer, garbled, text
from services.providers.dialects.converse.answer_reader import BOTCHED, BOTCHED_MESSAGE, FINISHES
from services.providers.dialects.converse.failures import read_exception
from services.providers.dialects.converse.frames import payload_of
from services.providers.dialects.failures import CLASS_STATUSES, FailureClass
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import (
    estimate,
    merge_report,
    read_anthropic_usage,
    read_converse_usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.dialects.converse.frames import Frame, FrameSource
    from services.providers.dialects.usage import UsageCounts

__all__ = ["INPUT_TOKENS", "NativeMeter", "header_count", "read_native_answer"]

INPUT_TOKENS: Final = "x-amzn-bedrock-input-token-count"
_OUTPUT_TOKENS: Final = "x-amzn-bedrock-output-token-count"
_METRICS: Final = "amazon-bedrock-invocationMetrics"
# Bedrock's names for what Converse calls otherwise; neither counts cached tokens as input.
_COUNTS: Final = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
}
_CUT: Final = "The provider's answer stopped before its end."
_MOST_DIGITS: Final = 12


def read_native_answer(body: bytes, headers: Mapping[str, str]) -> Answer:
    """
    Meter a whole answer. Never raises, never changes the body.

    Args:
        body: Of Converse or InvokeModel.
        headers: Of the answer, names in lower case.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return garbled(body, NOT_JSON)
    if not isinstance(document, dict):
        document = {}
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    if "inputTokens" in usage:
        counts: UsageCounts | None = read_converse_usage(usage)
    elif "input_tokens" in usage:
        counts = read_anthropic_usage(usage)
    else:
        counted = {
            "inputTokens": header_count(headers, INPUT_TOKENS),
            "outputTokens": header_count(headers, _OUTPUT_TOKENS),
        }
        counts = read_converse_usage(counted) if any(c is not None for c in counted.values()) else None
    return Answer(
        body=body,
        usage=counts,
        finish_reason=_finish(document.get("stopReason") or document.get("stop_reason")),
        served_model=text(document.get("model")),
    )


def header_count(headers: Mapping[str, str], name: str) -> int | None:
    """Read a count of tokens in a header."""
    value = headers.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS else None


def _finish(reason: Any) -> str:
    if reason == "refusal":
        return "content_filter"
    found = FINISHES.get(reason) if isinstance(reason, str) else None
    return found.value if found is not None else ""


class NativeMeter:
    """
    Hands a stream of frames on, byte for byte and at once, and meters it; see `AnswerStream`.

    Args:
        frames: Takes the bytes apart.
        request_bytes: Length of the request body, for an estimate when usage is not reported.
    """

    def __init__(self, frames: FrameSource, *, request_bytes: int = 0) -> None:
        self._frames = frames
        self._request_bytes = request_bytes
        self._events = 0
        self._content_events = 0
        self._report: dict[str, Any] = {}
        self._messages = False  # InvokeModel of Anthropic's models
        self._chunks = False
        self._whole = False
        self._closed = False
        self.usage: UsageCounts | None = None
        self.finish_reason = ""
        self.served_model = ""
        self.failure: StreamFailure | None = None

    @property
    def began(self) -> bool:
        """True once something of the answer came; where only its maker knows what that is, with any piece."""
        unknown = self._chunks and not self._messages
        broken = bool(self._frames.broken)
        return unknown or broken or self._whole or self._closed or self._content_events > 0

    @property
    def content_events(self) -> int:
        """How many events held some of the answer."""
        return self._content_events

    @property
    def done(self) -> bool:
        """True when the provider has ended the stream: until then its bytes are the client's."""
        return self._closed

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider, and return the same."""
        if self._closed:
            return b""
        for frame in self._frames.feed(data):
            self._look(frame)
            self._events += 1
        return data

    def finish(self) -> bytes:
        """Say that the provider has closed the stream."""
        if self._closed:
            return b""
        self._closed = True
        if self.failure is None and not self._is_whole:
            broken = self._frames.broken
            self._fail(FailureClass.MALFORMED if broken else FailureClass.CUT, broken or _CUT)
        elif self.usage is None and self._content_events:
            self._estimate()
        return b""

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Say that the stream broke."""
        if not self._closed and self.failure is None and not self._is_whole:
            self._closed = True
            self._fail(failure_class, message)
        return self.finish()

    @property
    def _is_whole(self) -> bool:
        # Of what other makers' models stream nobody here knows the end.
        return self._whole or (self._chunks and not self._messages and not self._frames.broken)

    def _fail(
        self, failure_class: FailureClass, message: str, status: int = 0, *, told: bool = False
    ) -> None:
        self.failure = StreamFailure(
            failure_class=failure_class,
            message=message,
            reported=told,
            started=self._events > 0,
            status=status or CLASS_STATUSES[failure_class],
        )
        if self._events:
            self._estimate()

    def _estimate(self) -> None:
        self.usage = estimate(
            self.usage, request_bytes=self._request_bytes, content_events=self._content_events
        )

    def _look(self, frame: Frame) -> None:
        if frame.header(":message-type") in {"exception", "error"}:
            if self.failure is None:
                failure_class, message, status = read_exception(frame)
                self._fail(failure_class, message, status, told=True)
            return
        document = payload_of(frame)
        if document is None:
            return
        match frame.header(":event-type"):
            case "contentBlockDelta":
                self._content_events += 1
            case "messageStop":
                self._stopped(document)
            case "metadata":
                usage = document.get("usage")
                if isinstance(usage, dict):
                    self.usage = read_converse_usage(usage)
            case "chunk":
                self._chunk(document)

    def _stopped(self, document: dict[str, Any]) -> None:
        self._whole = True
        self.finish_reason = _finish(document.get("stopReason"))
        if document.get("stopReason") in BOTCHED:
            self._fail(FailureClass.SERVER, BOTCHED_MESSAGE, told=True)

    def _chunk(self, frame: dict[str, Any]) -> None:
        self._chunks = True
        try:
            document = orjson.loads(base64.b64decode(text(frame.get("bytes"))))
        except ValueError:
            return
        if not isinstance(document, dict):
            return
        match document.get("type"):
            case "message_start":
                message = document.get("message")
                self._messages = True
                self._message(message if isinstance(message, dict) else {})
            case "message_delta":
                delta = document.get("delta")
                self.finish_reason = _finish(delta.get("stop_reason")) if isinstance(delta, dict) else ""
                self._message(document)
            case "message_stop":
                self._whole = True
            case _:
                self._content_events += 1
        metrics = document.get(_METRICS)
        if isinstance(metrics, dict):
            self._whole = True
            if not self._report:
                self.usage = read_converse_usage({ours: metrics.get(name) for name, ours in _COUNTS.items()})

    def _message(self, document: dict[str, Any]) -> None:
        self.served_model = text(document.get("model")) or self.served_model
        usage = document.get("usage")
        if isinstance(usage, dict):
            self._report = merge_report(self._report, usage)
            self.usage = read_anthropic_usage(self._report)
