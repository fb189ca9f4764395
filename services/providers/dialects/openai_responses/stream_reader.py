"""
Reads streamed responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kit.sse import MAX_EVENT_BYTES
from services.providers.dialects.answer import text
from services.providers.dialects.failures import classify_error, message_of, unwrap
from services.providers.dialects.neutral.event_reader import JsonEventReader
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
    Finished,
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
from services.providers.dialects.openai_responses.answer_reader import (
    CALLS,
    read_call,
    read_citations,
    read_failure,
    read_finish,
    read_image,
    read_reasoning,
    read_usage,
)
from services.providers.dialects.openai_responses.citations import flat_logprobs, nested_citation
from services.providers.dialects.openai_responses.item_reader import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ResponsesStreamReader"]

Json = dict[str, Any]
_HEADS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_FAILURES: Final = frozenset({"response.failed", "response.cancelled"})
# Events that add to a part, and those that say it whole; the member of either that holds what is said.
_PIECES: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text.delta": ("text", "delta"),
    "response.output_text.done": ("text", "text"),
    "response.refusal.delta": ("refusal", "delta"),
    "response.refusal.done": ("refusal", "refusal"),
    "response.reasoning_summary_text.delta": ("summary", "delta"),
    "response.reasoning_summary_text.done": ("summary", "text"),
    "response.reasoning_text.delta": ("thoughts", "delta"),
    "response.reasoning_text.done": ("thoughts", "text"),
    "response.function_call_arguments.delta": ("arguments", "delta"),
    "response.function_call_arguments.done": ("arguments", "arguments"),
    "response.custom_tool_call_input.delta": ("arguments", "delta"),
    "response.custom_tool_call_input.done": ("arguments", "input"),
}
_THOUGHTS: Final = frozenset({"summary", "thoughts"})


@dataclass(slots=True)
class _OpenItem:
    """
    An item that has begun.

    Attributes:
        parts: Those of its parts that something was said of: kind and index.
        cited: Sources told so far, by the index of their part.
        call: Index of the call that it is; None: it is none.
    """

    parts: set[tuple[str, int]]
    cited: dict[int, int]
    call: int | None = None


class ResponsesStreamReader(JsonEventReader):
    """
    Reads the events of one response; see `StreamReader`.

    Hosts may leave out the deltas of what they say whole, or the events of an item altogether: what was not
    told yet is taken from the event that has it.

    Args:
        max_event_bytes: Longest event that is waited for.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._id = ""
        self._started = False
        self._whole = False
        self._items: dict[int | str, _OpenItem] = {}
        self._any_items = False
        self._calls = 0

    @property
    def whole(self) -> bool:
        """True when the answer would count as whole if the bytes ended here."""
        return self._whole

    def _read(self, name: str, document: Json, out: list[Event]) -> None:
        kind = text(document.get("type")) or name
        response = document.get("response")
        response = response if isinstance(response, dict) else {}
        if kind in _PIECES:
            self._piece(kind, document, out)
        elif kind in _HEADS:
            self._start(out, response)
        elif kind in _ENDS:
            self._completed({**response, "status": kind.removeprefix("response.")}, out)
        elif kind in _FAILURES:
            self._failed({**response, "status": kind.removeprefix("response.")}, out)
        elif kind == "response.output_text.annotation.added":
            self._annotation(document, out)
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            item = document.get("item")
            if isinstance(item, dict):
                self._item(_place(document, item), item, out, whole=kind.endswith("done"))
        elif kind == "error" or (not kind and document.get("error")):
            error = unwrap(document)
            self._break(out, classify_error(0, error), message_of(error, 200))

    def _start(self, out: list[Event], response: Json) -> None:
        if not self._started:
            self._started = True
            self._id = text(response.get("id"))
            tier = text(response.get("service_tier"))
            out.append(Started(self._id, text(response.get("model")), tier))

    def _open(self, place: int | str, out: list[Event]) -> _OpenItem:
        self._start(out, {})
        self._any_items = True
        found = self._items.get(place)
        if found is None:
            found = self._items[place] = _OpenItem(set(), {})
        return found

    def _piece(self, kind: str, document: Json, out: list[Event]) -> None:
        what, member = _PIECES[kind]
        part = what, _index(document, "summary_index" if what == "summary" else "content_index")
        logprobs = flat_logprobs(listed(document.get("logprobs"))) if what == "text" else []
        item = self._open(_place(document, {}), out)
        self._say(item, part, text(document.get(member)), out, logprobs=logprobs, whole=kind.endswith("done"))

    @staticmethod
    def _say(
        item: _OpenItem,
        part: tuple[str, int],
        said: str,
        out: list[Event],
        *,
        logprobs: list[Json] | None = None,
        whole: bool,
    ) -> None:
        """Tell a piece of a part; all of it at once when nothing of it was told before."""
        what = part[0]
        if (whole and part in item.parts) or not (said or logprobs):
            return
        if what == "arguments" and item.call is None:
            return
        if what in _THOUGHTS and item.parts and part not in item.parts:
            out.append(ReasoningDelta("\n\n"))
        item.parts.add(part)
        if what == "text":
            out.append(TextDelta(said, logprobs=logprobs or None))
        elif what == "refusal":
            out.append(RefusalDelta(said))
        elif what in _THOUGHTS:
            out.append(ReasoningDelta(said))
        elif item.call is not None:
            out.append(ToolCallDelta(item.call, said))

    def _annotation(self, document: Json, out: list[Event]) -> None:
        annotation = document.get("annotation")
        if not isinstance(annotation, dict):
            return
        at = _index(document, "content_index")
        item = self._open(_place(document, {}), out)
        item.cited[at] = item.cited.get(at, 0) + 1
        out.append(CitationAdded(nested_citation(annotation)))

    def _item(self, place: int | str, item: Json, out: list[Event], *, whole: bool) -> None:
        opened = self._open(place, out)
        kind = text(item.get("type"))
        if kind in CALLS:
            self._call(opened, item, out, whole=whole)
        elif whole and kind == "message":
            self._message(opened, item, out)
        elif whole and kind == "reasoning":
            self._reasoning(opened, item, out)
        elif whole and kind == "image_generation_call":
            image = read_image(item)
            if image is not None:
                out.append(MediaDelta(image.media_type, image.data))
        if whole:
            self._items.pop(place, None)

    def _call(self, opened: _OpenItem, item: Json, out: list[Event], *, whole: bool) -> None:
        call = read_call(item, self._id, self._calls)
        if opened.call is None:
            if not call.name:
                return
            opened.call = self._calls
            self._calls += 1
            out.append(ToolCallStarted(opened.call, call.id, call.name, custom=call.custom))
        if whole:
            self._say(opened, ("arguments", 0), call.arguments, out, whole=True)
            out.append(ToolCallClosed(opened.call))

    def _message(self, opened: _OpenItem, item: Json, out: list[Event]) -> None:
        for at, part in enumerate(listed(item.get("content"))):
            if not isinstance(part, dict):
                continue
            if part.get("type") == "refusal":
                self._say(opened, ("refusal", at), text(part.get("refusal")), out, whole=True)
            elif part.get("type") == "output_text":
                logprobs = flat_logprobs(listed(part.get("logprobs")))
                said = text(part.get("text"))
                self._say(opened, ("text", at), said, out, logprobs=logprobs, whole=True)
                told = opened.cited.get(at, 0)
                out.extend(CitationAdded(citation) for citation in read_citations(part)[told:])

    def _reasoning(self, opened: _OpenItem, item: Json, out: list[Event]) -> None:
        thought = read_reasoning(item)
        if not opened.parts and thought.text:
            self._say(opened, ("summary", 0), thought.text, out, whole=True)
        if opened.parts or thought.sealed:
            out.append(ReasoningClosed(sealed=thought.sealed, origin=thought.origin, item_id=thought.item_id))

    def _completed(self, response: Json, out: list[Event]) -> None:
        self._start(out, response)
        if not self._any_items:
            for place, item in enumerate(listed(response.get("output"))):
                if isinstance(item, dict):
                    self._item(place, item, out, whole=True)
        self._report(response, out)
        out.append(Finished(read_finish(response, called=self._calls > 0)))
        self._whole = True
        self._end(out)

    def _failed(self, response: Json, out: list[Event]) -> None:
        self._report(response, out)
        self._break(out, *read_failure(response))

    def _report(self, response: Json, out: list[Event]) -> None:
        usage = read_usage(response)
        if usage is not None:
            out.append(UsageReport(usage))


def _index(document: Json, name: str) -> int:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _place(document: Json, item: Json) -> int | str:
    """Tell which item an event is of: by its index, or by its id where a host leaves that out."""
    place = document.get("output_index")
    if isinstance(place, int):
        return place
    return text(document.get("item_id")) or text(item.get("id"))
