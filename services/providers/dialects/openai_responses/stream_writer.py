"""
Writes a streamed answer as response events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.neutral.events import (
    CitationAdded,
    Finished,
    KeepAlive,
    MediaDelta,
    ReasoningClosed,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.openai_error import error_code
from services.providers.dialects.openai_responses.citations import flat_citation, flat_logprobs
from services.providers.dialects.openai_responses.errors import response_error
from services.providers.dialects.openai_responses.open_items import OpenCall, OpenMessage, OpenReasoning
from services.providers.dialects.openai_responses.response_object import ResponseMaker, incomplete_reason
from services.providers.dialects.openai_responses.seals import Seal

if TYPE_CHECKING:
    from services.providers.dialects.failures import FailureClass
    from services.providers.dialects.neutral.completion import Finish
    from services.providers.dialects.neutral.events import Event
    from services.providers.dialects.neutral.sides import AnswerContext
    from services.providers.dialects.usage import UsageCounts

__all__ = ["ResponsesStreamWriter"]

_KEEP_ALIVE = b": keep-alive\n\n"


class ResponsesStreamWriter:
    """
    Writes response events; see `StreamWriter`.

    Items stand in the order in which they begin. A message or thoughts are open one at a time; calls of tools
    stay open until they are closed, so that calls which the model writes at the same time keep their places.
    """

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._maker: ResponseMaker | None = None
        self._first = Started()
        self._out: list[bytes] = []
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: OpenMessage | OpenReasoning | None = None
        self._calls: dict[int, OpenCall] = {}
        # A call that is whole, but for its state: that is known when another item begins, or at the end.
        self._last_call: OpenCall | None = None
        self._usage: UsageCounts | None = None
        self._finish: Finish | None = None
        self._refused = False

    @property
    def started(self) -> bool:
        """True once bytes were returned that hold more than a sign of life."""
        return self._maker is not None

    def write(self, events: list[Event]) -> bytes:
        """Return the bytes for events. A response has one choice only, so others are not shown."""
        for event in events:
            match event:
                case TextDelta(choice=0):
                    self._words(event)
                case Started():
                    self._first = event
                case UsageReport():
                    self._usage = event.usage
                case KeepAlive():
                    self._out.append(_KEEP_ALIVE)
                case _:
                    if getattr(event, "choice", 0) == 0:
                        self._content(event)
        return self._taken()

    def end(self) -> bytes:
        """Return what ends a whole answer."""
        incomplete = incomplete_reason(self._finish, refused=self._refused) if self._finish else ""
        status = "incomplete" if incomplete else "completed"
        self._close_all(status)
        self._emit_response(f"response.{status}", status, incomplete=incomplete)
        return self._taken()

    def fail(self, status: int, failure_class: FailureClass, message: str) -> bytes:
        """Return the event that tells of an error, and the failed response when one was begun."""
        self.emit("error", {"code": error_code(status, failure_class), "message": message, "param": None})
        if self._maker is not None:
            self._emit_response("response.failed", "failed", error=response_error(failure_class, message))
        return self._taken()

    def emit(self, kind: str, members: dict[str, Any]) -> None:
        """Add an event, with the next number."""
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event)))

    def add_item(self, item: dict[str, Any]) -> int:
        """Give an item its place and tell of it; return the place."""
        self._settle()
        place = len(self._output)
        self._output.append(item)
        self.emit("response.output_item.added", {"output_index": place, "item": item})
        return place

    def finish_item(self, place: int, item: dict[str, Any]) -> None:
        """Tell that an item is whole."""
        self._output[place] = item
        self.emit("response.output_item.done", {"output_index": place, "item": item})

    @property
    def maker(self) -> ResponseMaker:
        """Makes the objects; the first use begins the answer."""
        if self._maker is None:
            self._maker = ResponseMaker(self._context, upstream_id=self._first.id, model=self._first.model)
            self._emit_response("response.created", "in_progress")
            self._emit_response("response.in_progress", "in_progress")
        return self._maker

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _emit_response(
        self, kind: str, status: str, *, incomplete: str = "", error: dict[str, Any] | None = None
    ) -> None:
        response = self.maker.response(
            status,
            self._output,
            usage=self._usage if status != "in_progress" else None,
            service_tier=self._first.service_tier,
            incomplete=incomplete,
            error=error,
        )
        self.emit(kind, {"response": response})

    def _content(self, event: Event) -> None:
        match event:
            case ToolCallStarted():
                self._call(event)
            case ToolCallDelta() if event.index in self._calls:
                self._calls[event.index].more(event.arguments)
            case ToolCallClosed() if event.index in self._calls:
                self._close_call(event.index)
            case MediaDelta() if event.media_type.startswith("image/"):
                self._image(event)
            case Finished():
                # What is still open has its state from why the model stopped, so it is closed in `end`.
                self._finish = event.finish
            case _:
                self._words(event)

    def _words(self, event: Event) -> None:
        match event:
            case TextDelta():
                told = flat_logprobs(event.logprobs)
                if event.text or told:
                    self._message().text(event.text, told)
            case CitationAdded():
                annotation = flat_citation(event.citation)
                if annotation is not None:
                    self._message().cite(annotation)
            case RefusalDelta() if event.text:
                self._refused = True
                self._message().refusal(event.text)
            case ReasoningDelta() if event.text:
                self._reasoning().more(event.text)
            case ReasoningClosed():
                self._close_reasoning(event)
            case _:
                pass

    def _message(self) -> OpenMessage:
        if not isinstance(self._open, OpenMessage):
            self._close_open()
            self._open = OpenMessage(self)
        return self._open

    def _reasoning(self, item_id: str = "") -> OpenReasoning:
        if not isinstance(self._open, OpenReasoning):
            self._close_open()
            self._open = OpenReasoning(self, item_id)
        return self._open

    def _close_reasoning(self, event: ReasoningClosed) -> None:
        if not isinstance(self._open, OpenReasoning) and not event.signature and not event.sealed:
            return  # there was nothing to close
        seal = Seal(signature=event.signature, sealed=event.sealed, origin=event.origin)
        self._reasoning(event.item_id).close(seal=seal)
        self._open = None

    def _call(self, event: ToolCallStarted) -> None:
        self._close_open()
        if event.signature:
            seal = Seal(signature=event.signature, origin="gemini", call_id=event.id)
            OpenReasoning(self, "").close(seal=seal)
        if event.index in self._calls:
            self._close_call(event.index)
        self._calls[event.index] = OpenCall(self, event)

    def _image(self, event: MediaDelta) -> None:
        self._close_open()
        item = self.maker.image(self.maker.item_id("ig"), event.media_type, event.data)
        place = self.add_item({**item, "status": "in_progress", "result": None})
        self.emit("response.image_generation_call.completed", {"output_index": place, "item_id": item["id"]})
        self.finish_item(place, item)

    def _close_call(self, index: int) -> None:
        call = self._calls.pop(index)
        if call.place == len(self._output) - 1:
            self._last_call = call
        else:
            call.close()

    def _settle(self) -> None:
        if self._last_call is not None:
            self._last_call.close()
            self._last_call = None

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _close_all(self, status: str) -> None:
        """Close what is open at the end of the answer; only the last item can be the one that was cut."""
        left = [item for item in (self._open, self._last_call, *self._calls.values()) if item is not None]
        for item in sorted(left, key=lambda item: item.place):
            item.close(status if item.place == len(self._output) - 1 else "completed")
        self._open = self._last_call = None
        self._calls.clear()
