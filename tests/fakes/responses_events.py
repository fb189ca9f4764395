"""
Checks response events as OpenAI's SDK reads them: every event against its model, and how they nest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import httpx2
import openai
import orjson
from openai.types.responses import Response, ResponseStreamEvent

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["checked_events", "checked_response", "sdk_client"]

Json = dict[str, Any]
_LAST = {"response.completed", "response.incomplete", "response.failed"}
_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "text",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
_MODELS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(ResponseStreamEvent)[0])
}


def checked_response(document: Json) -> Json:
    """Return a response that the SDK's model takes, with nothing but members that it knows."""
    Response.model_validate(document)
    return document


def checked_events(out: bytes, *, clean: bool = True) -> list[Json]:
    """
    Return the events of a stream, each as the SDK's model of it takes it, numbered without a gap and nested.

    Args:
        out: The whole stream.
        clean: It ended as a whole answer does, so that all that began was told the end of.
    """
    pieces = [piece for piece in out.split(b"\n\n") if not piece.startswith(b":")]
    assert pieces.pop() == b""
    events = []
    for piece in pieces:
        name, _, data = piece.partition(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert f"event: {event['type']}".encode() == name
        _MODELS[event["type"]].model_validate(event)
        events.append(event)
    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    items = _Items()
    for event in events:
        items.take(event)
    if clean:
        assert ["response.created", "response.in_progress"] == [event["type"] for event in events[:2]]
        assert _LAST & {event["type"] for event in events} == {events[-1]["type"]}
        assert not items.open
        assert items.done == events[-1]["response"]["output"]
    return events


class _Items:
    """Follows the items of a stream."""

    def __init__(self) -> None:
        self.open: dict[int, Json] = {}
        self.done: list[Json] = []
        self._parts: dict[tuple[int, int], Json] = {}
        self._said: dict[tuple[int, int], str] = {}

    def take(self, event: Json) -> None:
        """Take the next event."""
        kind: str = event["type"]
        place: int | None = event.get("output_index")
        if place is None:
            return
        if kind == "response.output_item.added":
            assert len(self.done) == place
            self.open[place] = event["item"]
            self.done.append(event["item"])
            return
        item = self.open[place]
        assert event.get("item_id", item["id"]) == item["id"]
        at = place, int(event.get("content_index") or event.get("summary_index") or 0)
        if kind == "response.output_item.done":
            self._item_done(place, event["item"])
        elif kind.endswith("part.added"):
            assert at not in self._parts
            self._parts[at] = event["part"]
            self._said[at] = ""
        elif kind in _DELTAS:
            self._said[at] = self._said.get(at, "") + event["delta"]
        elif kind.endswith("part.done"):
            self._parts[at] = event["part"]
        elif kind.endswith(".done"):
            member = _DELTAS[kind.removesuffix("done") + "delta"]
            assert event[member] == self._said.get(at, "")

    def _item_done(self, place: int, item: Json) -> None:
        added = self.open.pop(place)
        assert (added["id"], added["type"]) == (item["id"], item["type"])
        self.done[place] = item
        parts = [part for at, part in sorted(self._parts.items(), key=_first) if at[0] == place]
        if item["type"] == "message":
            assert item["content"] == parts
        elif item["type"] == "reasoning":
            assert item["summary"] == parts
        for member in ("arguments", "input"):
            if member in item:
                assert item[member] == self._said.get((place, 0), "")


def _first(pair: tuple[tuple[int, int], Json]) -> tuple[int, int]:
    return pair[0]


def sdk_client(answer: bytes, content_type: str) -> openai.OpenAI:
    """Return the SDK's client, whose every call is answered by these bytes."""
    reply = httpx2.Response(200, content=answer, headers={"content-type": content_type})
    transport = httpx2.MockTransport(lambda _request: reply)
    return openai.OpenAI(
        api_key="none",
        base_url="http://sdk.test/v1",
        http_client=httpx2.Client(transport=transport),
        max_retries=0,
    )
