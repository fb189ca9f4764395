"""
Streams of OpenAI responses: a fallback's events, as the next ones of a response that was begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.edge.splice.fields import Json, index_of, object_of, text_of
from services.edge.splice.usage import counted
from services.edge.splice.verdict import Meaning, Spent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.edge.splice.responses import OpenMessage, ResponsesSent

__all__ = ["ResponsesWriter", "read_event"]

_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_FAILURES: Final = frozenset({"error", "response.failed", "response.cancelled"})
_PART_EVENTS: Final = frozenset({"response.content_part.added", "response.content_part.done"})


class ResponsesWriter:
    """
    Writes response events; see `Writer`.

    Args:
        sent: What the client has.
        before: What is added to the usage.
    """

    def __init__(self, sent: ResponsesSent, before: Spent) -> None:
        self._sent = sent
        self._before = before
        self._items: dict[int, Json] = {}  # the fallback's, by their place in its own output
        self._places: dict[
            int, tuple[int, str]
        ] = {}  # place and id, to the client, of those that are no message

    def read(self, name: str, document: Json) -> Meaning:
        """Say what an event comes to."""
        return read_event(name, document, self._items)

    def skip(self, name: str, document: Json) -> None:
        """Learn what kind of item begins."""
        if (text_of(document, "type") or name) == "response.output_item.added":
            self._items[index_of(document, "output_index")] = object_of(document, "item")

    def say(self, text: str) -> list[bytes]:
        """Write a delta of text, in the part that is open."""
        return self._delta({"type": "response.output_text.delta", "delta": text, "logprobs": []})

    def write(self, name: str, document: Json, text: str, *, muted: bool) -> list[bytes]:  # noqa: ARG002 - whole items are skipped
        """Write an event in the place that it has for the client."""
        sent, kind = self._sent, text_of(document, "type") or name
        self.skip(name, document)
        index = index_of(document, "output_index")
        if kind in _ENDS:
            return self._ending(kind, document)
        if index < 0:
            return [] if kind in sent.beginnings else [self._emit(self._headed(document))]
        if self._items.get(index, {}).get("type") == "message":
            return self._in_message(kind, document, text)
        if kind == "response.output_item.added":
            out = self._close_message("completed")
            item = object_of(document, "item")
            self._places[index] = self._next_place(), self._free_id(text_of(item, "id"))
        elif index not in self._places:
            return []  # of an item whose beginning was skipped
        else:
            out = []
        place, item_id = self._places[index]
        made = {**document, "output_index": place}
        if "item_id" in document:
            made["item_id"] = item_id
        if "item" in document:
            made["item"] = {**object_of(document, "item"), "id": item_id}
        return [*out, self._emit(made)]

    def _in_message(self, kind: str, document: Json, text: str) -> list[bytes]:
        """Write an event of a message, in the client's message that is open."""
        if kind == "response.output_text.delta":
            changed = text != text_of(document, "delta")
            # Those of the tokens that the client has are among them.
            event = {**document, "delta": text, "logprobs": []} if changed else document
            return self._delta(event) if text else []
        if kind == "response.output_text.annotation.added":
            out, message = self._open_part()
            count = len(message.parts[-1].get("annotations", []))
            return [*out, self._emit({**document, **_at(message), "annotation_index": count})]
        if kind == "response.output_item.done":
            status = text_of(object_of(document, "item"), "status")
            return self._close_message(status or "completed")
        if kind in _PART_EVENTS and object_of(document, "part").get("type") == "output_text":
            return self._close_part() if kind == "response.content_part.done" else []
        if kind in {"response.output_item.added", "response.output_text.done"}:
            return []
        return self._other_part(kind, document)

    def _other_part(self, kind: str, document: Json) -> list[bytes]:
        """Write an event of a part that is no text."""
        if kind == "response.content_part.added":
            out, message = self._open_message()
            out += self._close_part()
            at = {**_at(message), "content_index": len(message.parts)}
            return [*out, self._emit({**document, **at})]
        open_now = self._sent.message
        return [] if open_now is None else [self._emit({**document, **_at(open_now)})]

    def _delta(self, event: Json) -> list[bytes]:
        out, message = self._open_part()
        return [*out, self._emit({**event, **_at(message)})]

    def _open_message(self) -> tuple[list[bytes], OpenMessage]:
        out = [] if self._sent.message is not None else [self._begin_message()]
        message = self._sent.message
        assert message is not None
        return out, message

    def _begin_message(self) -> bytes:
        found = [item for item in self._items.values() if item.get("type") == "message"]
        last = found[-1] if found else {}
        item = {
            **last,
            "id": self._free_id(text_of(last, "id")),
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        added = {"type": "response.output_item.added", "output_index": self._next_place(), "item": item}
        return self._emit(added)

    def _open_part(self) -> tuple[list[bytes], OpenMessage]:
        """Open a part of text, in a message, unless one is open."""
        out, message = self._open_message()
        if message.part_open and (message.text_told or message.parts[-1].get("type") != "output_text"):
            out += self._close_part()
        if not message.part_open:
            added = {
                "type": "response.content_part.added",
                **_at(message),
                "content_index": len(message.parts),
                "part": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
            }
            out.append(self._emit(added))
        return out, message

    def _close_part(self) -> list[bytes]:
        message, out = self._sent.message, list[bytes]()
        if message is None or not message.part_open:
            return []
        part = dict(message.parts[-1])
        if part.get("type") == "output_text":
            part["text"] = message.text
            if not message.text_told:
                told = {"text": message.text, "logprobs": []}
                out.append(self._emit({"type": "response.output_text.done", **_at(message), **told}))
        out.append(self._emit({"type": "response.content_part.done", **_at(message), "part": part}))
        return out

    def _close_message(self, status: str) -> list[bytes]:
        message = self._sent.message
        if message is None:
            return []
        out = self._close_part()
        item = {**self._sent.items[message.index], "status": status, "content": message.parts}
        done = {"type": "response.output_item.done", "output_index": message.index, "item": item}
        return [*out, self._emit(done)]

    def _ending(self, kind: str, document: Json) -> list[bytes]:
        """Write the last event, with the whole output."""
        out = self._close_message(kind.rpartition(".")[2])
        made = self._headed(document)
        response = object_of(made, "response")
        response["output"] = [item for _, item in sorted(self._sent.items.items())]
        if isinstance(response.get("usage"), dict):
            response["usage"] = counted(
                response["usage"], self._before, "input_tokens", "output_tokens", "total_tokens"
            )
        return [*out, self._emit(made)]

    def _headed(self, document: Json) -> Json:
        """Return an event whose response, if it has one, is the one that was begun."""
        if "response" not in document:
            return document
        return {**document, "response": {**object_of(document, "response"), **self._sent.head}}

    def _emit(self, event: Json) -> bytes:
        kind = text_of(event, "type")
        return self._sent.write(kind, {**event, "sequence_number": self._sent.sequence})

    def _next_place(self) -> int:
        return max(self._sent.items, default=-1) + 1

    def _free_id(self, wanted: str) -> str:
        """Return an id that no item of the client's has."""
        taken = {item.get("id") for item in self._sent.items.values()}
        made, count = wanted or "msg_0", 1
        while made in taken:
            made, count = f"{wanted or 'msg_0'}_{count}", count + 1
        return made


def read_event(name: str, document: Json, items: Mapping[int, Json]) -> Meaning:
    """
    Say what an event comes to.

    Args:
        name: Of the event.
        document: Its data.
        items: Items that have begun, by their place.
    """
    kind = text_of(document, "type") or name
    if kind == "response.output_text.delta":
        logprobs = document.get("logprobs")
        return Meaning(text_of(document, "delta"), other="logprobs" if logprobs else "")
    if kind in _ENDS or kind in _FAILURES:
        return Meaning(end=kind in _ENDS, error=kind in _FAILURES)
    index = index_of(document, "output_index")
    return Meaning() if index < 0 else _read_of_item(kind, document, items.get(index, {}))


def _read_of_item(kind: str, document: Json, item: Json) -> Meaning:
    item = object_of(document, "item") or item
    if item.get("type") == "reasoning":
        return Meaning(reasoning=True)
    if item.get("type") != "message":
        return Meaning(other="tool" if str(item.get("type")).endswith("_call") else "unknown")
    if kind == "response.output_text.annotation.added":
        return Meaning(other="citation")
    part = object_of(document, "part").get("type", "output_text")
    refused = part != "output_text" or kind.startswith("response.refusal")
    return Meaning(other="refusal" if refused else "")


def _at(message: OpenMessage) -> Json:
    """Name the last part of a message."""
    return {
        "item_id": message.id,
        "output_index": message.index,
        "content_index": max(0, len(message.parts) - 1),
    }
