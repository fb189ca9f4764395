"""
The items of a streamed response that are in the making, and the events that tell of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from services.providers.dialects.openai_responses.response_object import custom_input
from services.providers.dialects.openai_responses.seals import Seal

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import ToolCallStarted
    from services.providers.dialects.openai_responses.response_object import ResponseMaker

__all__ = ["EventSink", "OpenCall", "OpenMessage", "OpenReasoning"]


class EventSink(Protocol):
    """Takes the events of one answer."""

    @property
    def maker(self) -> ResponseMaker:
        """Makes the objects."""
        ...

    def emit(self, kind: str, members: dict[str, Any]) -> None:
        """Add an event."""

    def add_item(self, item: dict[str, Any]) -> int:
        """Give an item its place and tell of it; return the place."""
        ...

    def finish_item(self, place: int, item: dict[str, Any]) -> None:
        """Tell that an item is whole."""


class _OpenItem:
    """
    An item that has its place.

    Attributes:
        place: Index in the output.
    """

    def __init__(self, sink: EventSink, item: dict[str, Any]) -> None:
        self._sink = sink
        self._id: str = item["id"]
        self.place = sink.add_item(item)

    def _tell(self, kind: str, members: dict[str, Any]) -> None:
        self._sink.emit(kind, {"item_id": self._id, "output_index": self.place, **members})


class OpenMessage(_OpenItem):
    """A message, of which one part is open at a time."""

    def __init__(self, sink: EventSink) -> None:
        super().__init__(sink, sink.maker.message(sink.maker.item_id("msg"), [], "in_progress"))
        self._content: list[dict[str, Any]] = []
        self._part: dict[str, Any] | None = None
        self._pieces: list[str] = []

    def text(self, piece: str, told: list[dict[str, Any]]) -> None:
        """Add text, and its tokens' probabilities."""
        part = self._opened("output_text")
        self._pieces.append(piece)
        part["logprobs"].extend(told)
        members = {"content_index": len(self._content), "delta": piece, "logprobs": told}
        self._tell("response.output_text.delta", members)

    def refusal(self, piece: str) -> None:
        """Add words of refusal."""
        self._opened("refusal")
        self._pieces.append(piece)
        self._tell("response.refusal.delta", {"content_index": len(self._content), "delta": piece})

    def cite(self, annotation: dict[str, Any]) -> None:
        """Add a source of the text."""
        part = self._opened("output_text")
        members = {
            "content_index": len(self._content),
            "annotation_index": len(part["annotations"]),
            "annotation": annotation,
        }
        part["annotations"].append(annotation)
        self._tell("response.output_text.annotation.added", members)

    def close(self, status: str = "completed") -> None:
        """Tell that the message is whole."""
        self._close_part()
        self._sink.finish_item(self.place, self._sink.maker.message(self._id, self._content, status))

    def _opened(self, kind: str) -> dict[str, Any]:
        if self._part is not None and self._part["type"] == kind:
            return self._part
        self._close_part()
        if kind == "refusal":
            self._part = {"type": kind, "refusal": ""}
        else:
            self._part = {"type": kind, "text": "", "annotations": [], "logprobs": []}
        members = {"content_index": len(self._content), "part": self._part}
        self._tell("response.content_part.added", members)
        return self._part

    def _close_part(self) -> None:
        part, at = self._part, {"content_index": len(self._content)}
        if part is None:
            return
        whole = "".join(self._pieces)
        if part["type"] == "refusal":
            part["refusal"] = whole
            self._tell("response.refusal.done", {**at, "refusal": whole})
        else:
            part["text"] = whole
            self._tell("response.output_text.done", {**at, "text": whole, "logprobs": part["logprobs"]})
        self._tell("response.content_part.done", {**at, "part": part})
        self._content.append(part)
        self._part = None
        self._pieces.clear()


class OpenReasoning(_OpenItem):
    """Thoughts, told as one part of a summary."""

    def __init__(self, sink: EventSink, item_id: str) -> None:
        super().__init__(sink, sink.maker.reasoning(sink.maker.reasoning_id(item_id), "", Seal()))
        self._pieces: list[str] = []

    def more(self, piece: str) -> None:
        """Add thoughts."""
        if not piece:
            return
        if not self._pieces:
            members = {"summary_index": 0, "part": {"type": "summary_text", "text": ""}}
            self._tell("response.reasoning_summary_part.added", members)
        self._pieces.append(piece)
        self._tell("response.reasoning_summary_text.delta", {"summary_index": 0, "delta": piece})

    def close(self, status: str = "completed", seal: Seal | None = None) -> None:  # noqa: ARG002 - of others
        """Tell that the thoughts are whole."""
        whole = "".join(self._pieces)
        if whole:
            self._tell("response.reasoning_summary_text.done", {"summary_index": 0, "text": whole})
            members = {"summary_index": 0, "part": {"type": "summary_text", "text": whole}}
            self._tell("response.reasoning_summary_part.done", members)
        self._sink.finish_item(self.place, self._sink.maker.reasoning(self._id, whole, seal or Seal()))


class OpenCall(_OpenItem):
    """A call of a tool."""

    def __init__(self, sink: EventSink, event: ToolCallStarted) -> None:
        maker = sink.maker
        # A tool with free text that the provider only knows as a function: the text shows when all is there.
        self._unwrapped = not event.custom and maker.is_custom(event.name)
        self._custom = event.custom or self._unwrapped
        self._call_id, self._name = event.id, event.name
        self._make = maker.custom_call if self._custom else maker.call
        self._kind = "custom_tool_call_input" if self._custom else "function_call_arguments"
        item_id = maker.item_id("ctc" if self._custom else "fc")
        super().__init__(sink, self._make(item_id, event.id, event.name, "", "in_progress"))
        self._pieces: list[str] = []

    def more(self, piece: str) -> None:
        """Add to the arguments."""
        if not piece:
            return
        self._pieces.append(piece)
        if not self._unwrapped:
            self._delta(piece)

    def close(self, status: str = "completed") -> None:
        """Tell that the call is whole."""
        whole = "".join(self._pieces)
        if self._unwrapped:
            whole = custom_input(whole)
            if whole:
                self._delta(whole)
        elif not whole and not self._custom:
            whole = "{}"
            self._delta(whole)
        member = "input" if self._custom else "arguments"
        self._tell(f"response.{self._kind}.done", {member: whole})
        item = self._make(self._id, self._call_id, self._name, whole, status)
        self._sink.finish_item(self.place, item)

    def _delta(self, piece: str) -> None:
        self._tell(f"response.{self._kind}.delta", {"delta": piece})
