"""The end of a JSON object that comes in pieces, and what the writers of streams make of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.sse import parse_events
from services.providers.adapters.translated import CLIENTS
from services.providers.call import ClientDialect
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import TextPart, ToolCallPart
from services.providers.dialects.neutral.events import (
    Finished,
    Started,
    TextDelta,
    ToolCallClosed,
    ToolCallDelta,
    ToolCallStarted,
)
from services.providers.dialects.neutral.fold import folded
from services.providers.dialects.neutral.object_end import ObjectEnd
from services.providers.dialects.neutral.restore import Restore, RestoredEvents
from services.providers.dialects.neutral.sides import AnswerContext

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import Event

CONTEXT = AnswerContext(model="m", created_s=1, answer_id="a" * 24)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), st.integers(1, 7))
def test_an_object_ends_with_its_last_brace(value: dict[str, Any], size: int) -> None:
    """However an object is cut, its end is reached with its last character and not before."""
    text = orjson.dumps(value).decode()
    end = ObjectEnd()
    for at in range(0, len(text), size):
        assert not end.reached
        end.take(text[at : at + size])
    assert end.reached


@pytest.mark.parametrize("text", ["", "[1]", "1", '"{}"', '{"a":"}', '{"a":{}', '{"a":"\\"}'])
def test_what_has_not_ended(text: str) -> None:
    """What is no object, or not all of one, has no end."""
    end = ObjectEnd()
    end.take(text)

    assert not end.reached


@pytest.mark.parametrize("client", list(CLIENTS))
def test_many_calls_that_never_end(client: ClientDialect) -> None:
    """Case 75: Thousands of calls with broken arguments keep a writer busy for a moment only."""
    events: list[Event] = [Started(id="x")]
    for index in range(2000):
        events += [ToolCallStarted(index, f"c{index}", "f"), ToolCallDelta(index, '{"a":"')]
        events += [ToolCallDelta(index, "}")]
    writer = CLIENTS[client].stream_writer(CONTEXT)

    begun = time.perf_counter()
    writer.write([*events, Finished(Finish.TOOL_CALLS)])
    writer.end()

    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("client", [ClientDialect.ANTHROPIC_MESSAGES, ClientDialect.GEMINI])
def test_text_beside_a_long_call(client: ClientDialect) -> None:
    """Case 75: Arguments that go on while text comes are not read again with every piece of text."""
    writer = CLIENTS[client].stream_writer(CONTEXT)
    events: list[Event] = [
        Started(id="x"),
        ToolCallStarted(0, "c", "f"),
        ToolCallDelta(0, '{"a":"' + "x" * 1_000_000),
    ]
    for _ in range(3000):
        events += [ToolCallDelta(0, "}"), TextDelta("t")]
        if client is ClientDialect.ANTHROPIC_MESSAGES:
            events += [ToolCallStarted(1, "d", "g"), ToolCallDelta(1, "{}")]

    begun = time.perf_counter()
    writer.write(events)

    assert time.perf_counter() - begun < 5


def test_free_text_goes_on_as_it_comes() -> None:
    """Free text for a tool is written piece by piece, as the inside of the one string of an object."""
    writer = CLIENTS[ClientDialect.ANTHROPIC_MESSAGES].stream_writer(CONTEXT)
    pieces = ['a "quoted"', "\n\\", "", "end"]

    out = writer.write(
        [Started(), ToolCallStarted(0, "c", "f", custom=True), *(ToolCallDelta(0, p) for p in pieces)]
    )
    out += (
        writer.write([ToolCallStarted(1, "d", "f", custom=True), Finished(Finish.TOOL_CALLS)]) + writer.end()
    )

    told: dict[int, str] = {}
    for _, data in parse_events(out):
        event = orjson.loads(data)
        if event["type"] == "content_block_delta":
            told[event["index"]] = told.get(event["index"], "") + event["delta"]["partial_json"]
    assert [orjson.loads(told[0]), orjson.loads(told[1])] == [{"input": "".join(pieces)}, {"input": ""}]


def test_an_answer_that_is_given_twice() -> None:
    """Case 31: a model that calls the tool for its answer again gives one answer, streamed or not."""
    restore = Restore(answer_tool="give")
    calls = [
        ToolCallPart(id="a", name="give", arguments='{"a":1}'),
        ToolCallPart(id="b", name="give", arguments="{}"),
    ]
    whole = Completion(choices=[Choice(parts=[*calls], finish=Finish.TOOL_CALLS)])
    streamed: list[Event] = [Started()]
    for index, call in enumerate(calls):
        streamed += [
            ToolCallStarted(index, call.id, call.name),
            ToolCallDelta(index, call.arguments),
            ToolCallClosed(index),
        ]

    restore.completion(whole)
    told = folded(RestoredEvents(restore).restore([*streamed, Finished(Finish.TOOL_CALLS)]))

    assert whole.choices[0].parts == told.choices[0].parts == [TextPart(text='{"a":1}')]
    assert whole.choices[0].finish is told.choices[0].finish is Finish.STOP
