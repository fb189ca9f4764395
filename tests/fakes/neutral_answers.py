"""
Answers in no dialect, made up: each as a whole and as the events of a stream, for property tests of writers.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import strategies as st

from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import ReasoningPart, TextPart, ToolCallPart
from services.providers.dialects.neutral.events import (
    Event,
    Finished,
    KeepAlive,
    ReasoningClosed,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.usage import UsageCounts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MadeAnswer", "answers", "batches"]

_WORDS = st.text(min_size=1, max_size=12)
_ORIGINS = ("anthropic", "gemini", "openai", "converse")
_BASE64 = st.binary(min_size=3, max_size=12).map(lambda data: b64encode(data).decode())
_JSON = st.dictionaries(_WORDS, st.one_of(st.integers(-9, 9), _WORDS, st.none(), st.booleans()), max_size=3)
_COUNTS = st.integers(0, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeAnswer:
    """An answer as a whole, and the same as events, `Ended` left out."""

    completion: Completion
    events: list[Event]


def _pieces(draw: Callable[..., Any], text: str) -> list[str]:
    """Cut text anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _text(draw: Callable[..., Any], parts: list[Any], events: list[Event]) -> None:
    text = draw(_WORDS)
    parts.append(TextPart(text=text))
    events += [TextDelta(piece) for piece in _pieces(draw, text)]


def _thought(draw: Callable[..., Any], parts: list[Any], events: list[Event]) -> None:
    text = draw(st.one_of(st.just(""), _WORDS))
    part = ReasoningPart(text=text, origin=draw(st.sampled_from(_ORIGINS)))
    if not text and part.origin != "gemini" and draw(st.booleans()):
        part.sealed = draw(_BASE64)
    else:
        part.signature = draw(_BASE64)
    if part.origin == "openai":
        part.item_id = "rs_1"
    parts.append(part)
    events += [ReasoningDelta(piece) for piece in _pieces(draw, text)]
    events.append(ReasoningClosed(part.signature, part.sealed, part.origin, part.item_id))


def _calls(draw: Callable[..., Any], parts: list[Any], events: list[Event], first: int) -> int:
    """Add some calls that the model writes one after the other, or all at the same time."""
    count: int = draw(st.integers(1, 3))
    waiting: list[list[Event]] = []
    for index in range(first, first + count):
        arguments = orjson.dumps(draw(_JSON)).decode()
        signature = draw(st.one_of(st.just(""), _BASE64))
        call = ToolCallPart(id=f"call_{index}", name=draw(_WORDS), arguments=arguments, signature=signature)
        parts.append(call)
        deltas: list[Event] = [ToolCallDelta(index, piece) for piece in _pieces(draw, arguments)]
        if draw(st.booleans()):
            deltas.append(ToolCallClosed(index))
        waiting.append([ToolCallStarted(index, call.id, call.name, signature), *deltas])
    if draw(st.booleans()):
        events += [event for row in waiting for event in row]
        return first + count
    events += [row.pop(0) for row in waiting]
    while any(waiting):
        row = draw(st.sampled_from([row for row in waiting if row]))
        events.append(row.pop(0))
    return first + count


@st.composite
def answers(draw: Callable[..., Any]) -> MadeAnswer:
    """Make an answer with one choice."""
    parts: list[Any] = []
    events: list[Event] = [Started("id-1", "model-1")]
    calls = 0
    kinds = draw(st.lists(st.sampled_from(["text", "thought", "calls"]), max_size=5))
    for kind in kinds:
        if kind == "calls":
            calls = _calls(draw, parts, events, calls)
        else:
            (_text if kind == "text" else _thought)(draw, parts, events)
    finish = Finish.TOOL_CALLS if calls else draw(st.sampled_from([Finish.STOP, Finish.LENGTH]))
    usage = UsageCounts(input_tokens=draw(_COUNTS), output_tokens=draw(_COUNTS))
    events += [Finished(finish), UsageReport(usage)]
    for _ in range(draw(st.integers(0, 2))):
        events.insert(draw(st.integers(1, len(events))), KeepAlive())
    choice = Choice(parts=parts, finish=finish)
    completion = Completion(id="id-1", model="model-1", choices=[choice], usage=usage)
    return MadeAnswer(completion=completion, events=events)


def batches(events: list[Event], sizes: list[int]) -> list[list[Event]]:
    """Cut events into batches of these sizes, over and over."""
    found: list[list[Event]] = []
    rest = list(events)
    turn = 0
    while rest:
        size = sizes[turn % len(sizes)]
        found.append(rest[:size])
        rest = rest[size:]
        turn += 1
    return found
