"""
The common part of the streams that hand the provider's bytes on and only watch them.

A block of whole events is first searched, as a whole, for the few marks that matter. Only a block that has
one is taken apart and parsed, so a token costs a few searches in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import orjson

from kit.errors import GatewayError
from kit.sse import MAX_EVENT_BYTES, SseSplitter, parse_events, split_events
from services.providers.dialects.failures import CLASS_STATUSES, FailureClass
from services.providers.dialects.stream import StreamFailure
from services.providers.dialects.usage import UsageCounts, estimate

_NOT_JSON = "The provider sent an event that is not a JSON object."


class _MalformedEventError(Exception):
    """An event that is not the provider's protocol."""


class MeteredStream(ABC):
    """
    Hands bytes on and meters them; see `AnswerStream` for what callers may rely on.

    Args:
        request_bytes: Length of the request body, for an estimate when usage is not reported.
        verbatim: Never alter the bytes: nothing is removed, nothing is appended.
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(
        self, *, request_bytes: int = 0, verbatim: bool = False, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self._splitter = SseSplitter(max_event_bytes)
        self._request_bytes = request_bytes
        self._verbatim = verbatim
        self._usage: UsageCounts | None = None
        self._finish_reason = ""
        self._served_model = ""
        self._failure: StreamFailure | None = None
        self._garbled = False  # the failure is an event that was handed on all the same
        self._ended = False  # the dialect's own mark of a clean end was seen, or written
        self._closed = False  # no further byte is for the client
        self._handed_out = False
        self._events = 0
        self._content_events = 0
        self._opened_with_content = False

    @property
    def began(self) -> bool:
        """True once something of the answer itself was handed out."""
        return bool(self._content_events or self._opened_with_content or self._ended or self._finish_reason)

    @property
    def usage(self) -> UsageCounts | None:
        """What was used so far."""
        return self._usage

    @property
    def content_events(self) -> int:
        """How many events held some of the answer."""
        return self._content_events

    @property
    def finish_reason(self) -> str:
        """Why the model stopped, in OpenAI's words."""
        return self._finish_reason

    @property
    def served_model(self) -> str:
        """Model that answers, as the provider names it."""
        return self._served_model

    @property
    def failure(self) -> StreamFailure | None:
        """Why the answer is not whole."""
        return self._failure

    @property
    def done(self) -> bool:
        """True when nothing that is still to come can matter."""
        return self._ended or (self._failure is not None and not self._garbled)

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider and return those for the client."""
        if self._closed:
            return b""
        try:
            block = self._splitter.feed(data)
        except GatewayError as error:
            return self._break(FailureClass.MALFORMED, error.message)
        if not block:
            return b""
        if not self._skim(block):
            block = self._inspect(block)
        self._handed_out = self._handed_out or bool(block)
        return block

    def finish(self) -> bytes:
        """Say that the provider has closed the stream, and return the bytes to append."""
        if self._closed:
            return b""
        kept = self._last_event()
        if self._failure is None and not self._complete():
            kept += self._break(FailureClass.CUT, "The provider's answer stopped before its end.")
        elif self._garbled and self._failure is not None and not self._complete():
            # The client is to be told as of a cut one.
            self._set_failure(replace(self._failure, reported=False))
        elif self._failure is None and not self._ended and not self._verbatim:
            kept += self._normal_end()
        self._ended = self._ended or self._failure is None
        self._closed = True
        if self._usage is None and self._content_events:
            self._estimate()
        return kept

    def fail(self, failure_class: FailureClass, message: str) -> bytes:
        """Say that the stream broke, and return the bytes to append."""
        if self.done or self._complete():
            return self.finish()
        return self._break(failure_class, message)

    def _last_event(self) -> bytes:
        """Take what the splitter still holds: an event without its blank line, or a piece of one."""
        rest = self._splitter.finish()
        if self._verbatim:
            return self._inspect(rest) if rest and _is_whole(rest) else rest
        if not rest.strip(b"\r\n"):
            return rest  # the second half of a CRLF, say
        if not _is_whole(rest):
            return b""
        return self._inspect(rest + (b"\n" if rest.endswith(b"\n") else b"\n\n"))

    def _break(self, failure_class: FailureClass, message: str) -> bytes:
        """Give the stream up, and tell the client where the bytes may be altered."""
        self._splitter.finish()
        self._closed = True
        status = CLASS_STATUSES[failure_class]
        body = self._error_body(status, failure_class, message)
        self._set_failure(
            StreamFailure(
                failure_class=failure_class,
                message=message,
                reported=not self._verbatim,
                started=self._started,
                status=status,
                body=body,
            )
        )
        return b"" if self._verbatim else self._error_event(body)

    def _set_failure(self, failure: StreamFailure) -> None:
        self._failure = failure
        self._garbled = False
        self._closed = self._closed or not self._verbatim
        if self._events:
            self._estimate()

    def _estimate(self) -> None:
        self._usage = estimate(
            self._usage, request_bytes=self._request_bytes, content_events=self._content_events
        )

    @property
    def _started(self) -> bool:
        return self._handed_out or self._events > 0

    def _inspect(self, block: bytes) -> bytes:
        """Take a block apart, look at each event, and keep those for the client."""
        kept = []
        for raw in split_events(block):
            keep = True
            try:
                for name, data in parse_events(raw):
                    keep = self._look(name, data)
                    self._events += 1
            except _MalformedEventError:
                kept.append(
                    self._break(FailureClass.MALFORMED, "The provider sent an event that is not JSON.")
                )
                break
            if keep:
                kept.append(raw)
            if self._closed:
                break
        return b"".join(kept)

    def _look(self, name: str, data: bytes) -> bool:
        """Look at one event. False: it is not for the client."""
        if data == b"[DONE]":
            self._ended = True
            return True
        if not data.strip():  # a sign of life
            return True
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            document = None
        if isinstance(document, dict):
            return self._read(name, document, data) or self._verbatim
        # What follows the end is not part of the answer.
        if self._ended:
            return True
        if not self._verbatim:
            raise _MalformedEventError
        if self._failure is None:
            self._garble()
        return True

    def _garble(self) -> None:
        """Note what is no event of the dialect, where bytes stay as they are: the client has it before it."""
        self._garbled = True
        self._failure = StreamFailure(
            failure_class=FailureClass.MALFORMED,
            message=_NOT_JSON,
            reported=True,
            started=self._started,
            status=CLASS_STATUSES[FailureClass.MALFORMED],
        )

    @abstractmethod
    def _skim(self, block: bytes) -> bool:
        """Search a block for marks. True: no event in it needs a look, and they are counted."""

    @abstractmethod
    def _read(self, name: str, document: dict[str, Any], data: bytes) -> bool:
        """Learn from one event. False: it is not for the client."""

    @abstractmethod
    def _complete(self) -> bool:
        """Tell whether what came is a whole answer."""

    @abstractmethod
    def _normal_end(self) -> bytes:
        """Write what a whole answer of this dialect ends with, when the provider left it out."""

    @abstractmethod
    def _error_body(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        """Write an error as a JSON document in this dialect."""

    @abstractmethod
    def _error_event(self, body: bytes) -> bytes:
        """Write an error document as an event of this dialect's stream."""


def _is_whole(rest: bytes) -> bool:
    """Tell an event that only lacks its blank line from a piece of one."""
    events = parse_events(rest)
    if not events:
        return False
    try:
        orjson.loads(events[-1][1])
    except orjson.JSONDecodeError:
        return events[-1][1] == b"[DONE]"
    return True


def count_alike(block: bytes, opening: bytes) -> int:
    """
    Count the events of a block when all of them begin alike and end as a JSON object does.

    Zero: they do not, so they have to be looked at one by one. Only an LF-framed block can pass.
    """
    count = block.count(b"\n\n")
    if not block.startswith(opening) or not block.endswith(b"}\n\n") or b"\r" in block:
        return 0
    return count if count == 1 or block.count(b"}\n\n" + opening) == count - 1 else 0
