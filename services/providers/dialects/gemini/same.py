"""Gemini to a provider that speaks the same: bytes handed on, usage read as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kit.errors import GatewayError, Reason
from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import Answer, text
from services.providers.dialects.failures import FailureClass, unwrap
from services.providers.dialects.gemini.answer_format import (
    candidates_of,
    finish_of,
    index_of,
    is_blocked,
    parts_of,
    reason_of,
)
from services.providers.dialects.gemini.errors import write_error
from services.providers.dialects.gemini.failures import read_in_band
from services.providers.dialects.metered import MeteredStream
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import merge_report, read_gemini_usage

if TYPE_CHECKING:
    from services.providers.dialects.usage import UsageCounts

__all__ = ["GeminiStream", "read_answer"]

Json = dict[str, Any]


def read_answer(body: bytes) -> Answer:
    """
    Meter a whole answer, of any of the dialect's calls. The body is handed on as it is.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is neither an object nor, as a stream without `alt=sse` is, a
            list of them.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    pieces = document if isinstance(document, list) else [document]
    if not pieces or not all(isinstance(piece, dict) for piece in pieces):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer is not a JSON object.")
    meter = _Meter()
    failure = None
    for piece in pieces:
        if "error" in piece and failure is None:
            failure = _in_band(piece, body, started=False)
        meter.read(piece)
    return Answer(
        body=body,
        usage=meter.usage,
        finish_reason=meter.finish_reason,
        served_model=meter.served_model,
        failure=failure,
    )


class _Meter:
    """What the events of an answer, or a whole one, come to."""

    def __init__(self) -> None:
        self._report: Json | None = None
        self._reasons: dict[int, str] = {}
        self._calls: set[int] = set()
        self._blocked = False
        self.usage: UsageCounts | None = None
        self.served_model = ""
        self.parts = 0

    @property
    def finish_reason(self) -> str:
        """Why the first candidate stopped, in OpenAI's words."""
        if not self._reasons:
            return Finish.CONTENT_FILTER.value if self._blocked else ""
        index, reason = min(self._reasons.items())
        return finish_of(reason, [], calls=index in self._calls).value if reason else ""

    @property
    def whole(self) -> bool:
        """True when every candidate has said why it stopped, or the prompt was refused."""
        return all(self._reasons.values()) if self._reasons else self._blocked

    def read(self, document: Json) -> None:
        """Learn from an event."""
        self.served_model = text(document.get("modelVersion")) or self.served_model
        self._blocked = self._blocked or is_blocked(document)
        for candidate in candidates_of(document):
            index, parts = index_of(candidate), parts_of(candidate)
            self._reasons[index] = reason_of(candidate) or self._reasons.get(index, "")
            self.parts += len(parts)
            if any("functionCall" in part for part in parts):
                self._calls.add(index)
        usage = document.get("usageMetadata")
        if isinstance(usage, dict):
            report = merge_report(self._report or {}, usage)
            if report != self._report:
                self._report, self.usage = report, read_gemini_usage(report)


class GeminiStream(MeteredStream):
    """A stream of `streamGenerateContent` with `alt=sse`, for clients that speak Gemini's own dialect."""

    def __init__(
        self, *, request_bytes: int = 0, verbatim: bool = False, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(request_bytes=request_bytes, verbatim=verbatim, max_event_bytes=max_event_bytes)
        self._meter = _Meter()

    def _skim(self, block: bytes) -> bool:  # noqa: ARG002 - of others
        # Every event counts tokens and may be the last one, so each gets a look.
        return False

    def _read(self, name: str, document: Json, data: bytes) -> bool:  # noqa: ARG002 - events have no name
        if "error" in document:
            self._set_failure(_in_band(document, data, started=self._started))
            return True
        meter = self._meter
        before = meter.parts
        meter.read(document)
        self._content_events += meter.parts > before
        self._usage, self._served_model = meter.usage, meter.served_model
        self._finish_reason = meter.finish_reason
        return True

    def _complete(self) -> bool:
        return self._meter.whole

    def _normal_end(self) -> bytes:
        return b""  # the dialect has no mark of its end

    def _error_body(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        return write_error(status, failure_class, message)

    def _error_event(self, body: bytes) -> bytes:
        return b"data: " + body + b"\r\n\r\n"


def _in_band(document: Json, body: bytes, *, started: bool) -> StreamFailure:
    failure_class, message, status = read_in_band(unwrap(document))
    return StreamFailure(
        failure_class=failure_class, message=message, reported=True, started=started, status=status, body=body
    )
