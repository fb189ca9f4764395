"""
Meters answers of Cohere's own API, both versions of it, on native calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import NOT_JSON, Answer, garbled, text
from services.providers.dialects.cohere.answer_reader import BROKEN, FINISHES, broken
from services.providers.dialects.cohere.stream_reader import CohereStreamReader
from services.providers.dialects.cohere.usage import read_billed, read_usage
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.native import OpaqueStream
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.events import (
    Ended,
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    UsageReport,
)
from services.providers.dialects.watched import WatchedStream

if TYPE_CHECKING:
    from services.providers.dialects.stream import AnswerStream

__all__ = ["OldStreamReader", "native_stream", "read_native_answer"]

_CUT: Final = "The provider's answer stopped before its end."
_TOO_LONG: Final = "The provider sent an event that is too long."


def native_stream(path: str, *, request_bytes: int = 0) -> AnswerStream:
    """
    Make the meter for a stream that answers a native call.

    Args:
        path: Path of the call, with its version.
        request_bytes: Length of the request body.
    """
    match path:
        case "v2/chat":
            return WatchedStream(CohereStreamReader(), request_bytes=request_bytes)
        case "v1/chat" | "v1/generate":
            return WatchedStream(OldStreamReader(), request_bytes=request_bytes)
    return OpaqueStream()


def read_native_answer(body: bytes) -> Answer:
    """Meter a whole answer of any endpoint. Never raises, never changes the body."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return garbled(body, NOT_JSON)
    if not isinstance(document, dict):
        return Answer(body=body)
    report = document.get("usage") or document.get("meta")
    return Answer(body=body, usage=read_billed(report), finish_reason=_finish(document))


def _finish(document: dict[str, Any]) -> str:
    generations = document.get("generations")
    if isinstance(generations, list) and generations and isinstance(generations[0], dict):
        document = generations[0]
    found = FINISHES.get(text(document.get("finish_reason")))
    return found.value if found else ""


class OldStreamReader:
    """
    Reads a stream of version 1: one JSON object in each line, with or without the frame of an event.

    Args:
        max_event_bytes: Longest line that is waited for.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._most = max_event_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._over = False
        self._started = False

    @property
    def whole(self) -> bool:
        """Never true before the last event, which ends the answer."""
        return False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the provider."""
        out: list[Event] = []
        if self._over:
            return out
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._held, lines[0]))
            self._held.clear()
            self._held_bytes = 0
        for line in lines:
            self._line(line, out)
            if self._over:
                return out
        self._held.append(rest)
        self._held_bytes += len(rest)
        if self._held_bytes > self._most:
            self._held.clear()
            self._break(out, FailureClass.MALFORMED, _TOO_LONG)
        return out

    def finish(self) -> list[Event]:
        """Take the end of the bytes."""
        out: list[Event] = []
        if not self._over:
            self._line(b"".join(self._held), out)
        if not self._over:
            self._break(out, FailureClass.CUT, _CUT)
        return out

    def _line(self, line: bytes, out: list[Event]) -> None:
        line = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"{"):
            return
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if not isinstance(document, dict):
            return
        if not self._started:
            self._started = True
            out.append(Started(id=text(document.get("generation_id"))))
        if document.get("event_type") == "stream-end" or document.get("is_finished") is True:
            self._end(document, out)
        elif said := text(document.get("text")):
            out.append(TextDelta(said))

    def _end(self, document: dict[str, Any], out: list[Event]) -> None:
        response = document.get("response")
        meta = response.get("meta") if isinstance(response, dict) else None
        used = read_usage(meta)
        if used is not None:
            out.append(UsageReport(used, read_billed(meta)))
        word = text(document.get("finish_reason"))
        if word in BROKEN:
            # Named in the provider's own bytes, so that a time-out is no news either.
            self._break(out, FailureClass.SERVER, broken(word, document.get("error")))
            return
        out += (Finished(FINISHES.get(word, Finish.STOP)), Ended())
        self._over = True

    def _break(self, out: list[Event], failure_class: FailureClass, message: str) -> None:
        out.append(Failed(failure_class, message))
        self._over = True
