"""A streamed answer of ConverseStream: events in binary frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.answer import text
from services.providers.dialects.converse.answer_reader import (
    BOTCHED,
    BOTCHED_MESSAGE,
    citation_of,
    finish_of,
    stop_sequence_of,
)
from services.providers.dialects.converse.failures import read_exception
from services.providers.dialects.converse.frames import payload_of
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Ended,
    Event,
    Failed,
    Finished,
    KeepAlive,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.usage import read_converse_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.converse.frames import Frame, FrameSource

__all__ = ["ConverseStreamReader"]

_CUT: Final = "The provider's answer stopped before its end."
_NOT_JSON: Final = "The provider sent an event that is not a JSON object."
_SERVER_TOOL: Final = "server_tool_use"


class ConverseStreamReader:
    """
    Reads a stream; see `StreamReader`.

    Args:
        frames: Takes the bytes apart.
        origin: Whose signatures the thoughts bear.
        answer_id: Tells the id of the answer, which is in a header of it.
    """

    def __init__(self, frames: FrameSource, origin: str, answer_id: Callable[[], str] = str) -> None:
        self._frames = frames
        self._origin = origin
        self._answer_id = answer_id
        self._over = False
        self._started = False
        self._stopped = False
        self._tools: dict[int, int] = {}  # of content blocks to those of calls, which are fewer
        self._calls = 0
        self._images: dict[int, str] = {}
        self._signature: list[str] = []

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        return self._stopped

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the provider."""
        out: list[Event] = []
        if self._over:
            return out
        frames = self._frames.feed(data)
        for frame in frames:
            self._frame(frame, out)
            if self._over:
                return out
        if self._frames.broken and self._stopped:
            self._end(out)  # the answer is whole; only what it used is not known
        elif self._frames.broken:
            self._break(out, FailureClass.MALFORMED, self._frames.broken)
        return out

    def finish(self) -> list[Event]:
        """Take the end of the bytes."""
        out: list[Event] = []
        if self._over:
            return out
        if self._stopped:
            self._end(out)
        else:
            self._break(out, FailureClass.CUT, _CUT)
        return out

    def _frame(self, frame: Frame, out: list[Event]) -> None:
        if frame.header(":message-type") in {"exception", "error"}:
            failure_class, message, status = read_exception(frame)
            self._break(out, failure_class, message, status)
            return
        document = payload_of(frame)
        if document is None:
            self._break(out, FailureClass.MALFORMED, _NOT_JSON)
            return
        if not self._started:
            self._started = True
            out.append(Started(id=self._answer_id()))
        match frame.header(":event-type"):
            case "contentBlockStart":
                self._block_start(document, out)
            case "contentBlockDelta":
                self._delta(document, out)
            case "contentBlockStop":
                self._block_stop(document, out)
            case "messageStop":
                self._message_stop(document, out)
            case "metadata":
                self._metadata(document, out)
            case "messageStart":
                pass
            case _:
                out.append(KeepAlive())

    def _block_start(self, document: dict[str, Any], out: list[Event]) -> None:
        index, start = _index(document), document.get("start")
        if not isinstance(start, dict) or self._stopped:
            return
        call, image = start.get("toolUse"), start.get("image")
        if isinstance(call, dict) and call.get("type") != _SERVER_TOOL:
            self._close_thought(out)
            self._tools[index] = self._calls
            # Never empty: clients match results by it.
            call_id = text(call.get("toolUseId")) or f"call_{self._calls}"
            out.append(ToolCallStarted(self._calls, call_id, text(call.get("name"))))
            self._calls += 1
        elif isinstance(image, dict):
            self._images[index] = text(image.get("format"))

    def _delta(self, document: dict[str, Any], out: list[Event]) -> None:
        index, delta = _index(document), document.get("delta")
        if not isinstance(delta, dict) or self._stopped:
            return
        if isinstance(delta.get("text"), str):
            self._close_thought(out)
            if delta["text"]:
                out.append(TextDelta(delta["text"]))
        elif isinstance(delta.get("toolUse"), dict):
            arguments = delta["toolUse"].get("input")
            if index in self._tools and isinstance(arguments, str) and arguments:
                out.append(ToolCallDelta(self._tools[index], arguments))
        elif isinstance(delta.get("reasoningContent"), dict):
            self._thought(delta["reasoningContent"], out)
        elif isinstance(delta.get("image"), dict):
            self._image(index, delta["image"], out)
        else:
            source = citation_of(delta.get("citation"))
            if source is not None:
                out.append(CitationAdded(source))

    def _thought(self, delta: dict[str, Any], out: list[Event]) -> None:
        sealed, more = text(delta.get("redactedContent")), text(delta.get("text"))
        signature = text(delta.get("signature"))
        if sealed:
            self._close_thought(out)
            out.append(ReasoningClosed(sealed=sealed, origin=self._origin))
        if more:
            self._close_thought(out)
            out.append(ReasoningDelta(more))
        if signature:
            # A long one may come in pieces, and only the whole is worth anything.
            self._signature.append(signature)

    def _close_thought(self, out: list[Event]) -> None:
        if self._signature:
            out.append(ReasoningClosed(signature="".join(self._signature), origin=self._origin))
            self._signature = []

    def _image(self, index: int, image: dict[str, Any], out: list[Event]) -> None:
        source = image.get("source")
        data = text(source.get("bytes")) if isinstance(source, dict) else ""
        if data:
            out.append(MediaDelta(f"image/{self._images.get(index) or 'png'}", data))

    def _block_stop(self, document: dict[str, Any], out: list[Event]) -> None:
        self._close_thought(out)
        call = self._tools.pop(_index(document), None)
        if call is not None and not self._stopped:
            out.append(ToolCallClosed(call))

    def _message_stop(self, document: dict[str, Any], out: list[Event]) -> None:
        self._close_thought(out)
        if document.get("stopReason") in BOTCHED:
            self._break(out, FailureClass.SERVER, BOTCHED_MESSAGE)
        elif not self._stopped:
            self._stopped = True
            finish = finish_of(document.get("stopReason"), [], called=self._calls > 0)
            out.append(Finished(finish, stop_sequence_of(document)))

    def _metadata(self, document: dict[str, Any], out: list[Event]) -> None:
        usage = document.get("usage")
        if isinstance(usage, dict):
            out.append(UsageReport(read_converse_usage(usage)))
        # It is the last event: nothing that matters can follow.
        if self._stopped:
            self._end(out)

    def _end(self, out: list[Event]) -> None:
        out.append(Ended())
        self._over = True

    def _break(self, out: list[Event], failure_class: FailureClass, message: str, status: int = 0) -> None:
        out.append(Failed(failure_class, message, status))
        self._over = True


def _index(document: dict[str, Any]) -> int:
    index = document.get("contentBlockIndex")
    return index if isinstance(index, int) else 0
