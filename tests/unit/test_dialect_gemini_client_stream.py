"""
Streamed answers, written as responses of streamGenerateContent.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.genai.types import GenerateContentResponse
from hypothesis import given
from hypothesis import strategies as st

from kit.sse import parse_events
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.gemini.client_side import CLIENT, CLIENT_OF_ARRAYS
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.neutral.events import (
    CitationAdded,
    Event,
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
from services.providers.dialects.neutral.sides import AnswerContext
from services.providers.dialects.usage import UsageCounts
from tests.fakes.neutral_answers import MadeAnswer, answers, batches

CONTEXT = AnswerContext(model="asked", created_s=7, answer_id="0" * 24)
STOP = Finished(Finish.STOP)
USAGE = UsageReport(UsageCounts(input_tokens=9, output_tokens=4))

Json = dict[str, Any]


def write(*events: Event, array: bool = False) -> bytes:
    writer = (CLIENT_OF_ARRAYS if array else CLIENT).stream_writer(CONTEXT)
    return b"".join(writer.write([event]) for event in events) + writer.end()


def responses(out: bytes) -> list[Json]:
    """Read the responses of a stream, and have Google's own types look at each."""
    found = [orjson.loads(data) for _, data in parse_events(out)]
    for document in found:
        GenerateContentResponse.model_validate(document)
    return found


def parts(*events: Event) -> list[Json]:
    """List the parts of the first candidate, without the empty one that ends it."""
    found = [
        part
        for response in responses(write(*events))
        for candidate in response["candidates"]
        if candidate["index"] == 0
        for part in candidate["content"]["parts"]
    ]
    assert {"text": ""} == found.pop()
    return found


def test_a_plain_stream() -> None:
    """Each piece is a response of its own; the last one alone has usage and why the model stopped."""
    found = responses(write(Started("x-1", "served"), TextDelta("he"), TextDelta("llo"), STOP, USAGE))

    assert [
        {
            "candidates": [{"content": {"parts": [{"text": piece}], "role": "model"}, "index": 0}],
            "modelVersion": "served",
            "responseId": "x-1",
        }
        for piece in ("he", "llo")
    ] == found[:2]
    assert {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13},
        "modelVersion": "served",
        "responseId": "x-1",
    } == found[2]


def test_no_mark_of_the_end() -> None:
    """A stream ends with its last response: Google has no mark for it."""
    assert b"[DONE]" not in write(TextDelta("a"), STOP)


def test_calls_are_whole() -> None:
    """Arguments come in one piece, as soon as they are whole, or when the answer ends."""
    writer = CLIENT.stream_writer(CONTEXT)
    first = writer.write([ToolCallStarted(0, "c", "f", "c2ln"), ToolCallDelta(0, '{"a":')])

    assert (b"", False) == (first, writer.started)
    found = responses(writer.write([ToolCallDelta(0, "1}"), ToolCallClosed(0)]))
    assert [
        {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    ] == found[0]["candidates"][0]["content"]["parts"]
    assert b"" == writer.write([ToolCallStarted(1, "d", "g")])
    assert b'"g"' in writer.write([Finished(Finish.TOOL_CALLS)])


def test_order_of_calls() -> None:
    """Calls stand in the order in which they began, and before what comes when they are whole."""
    found = parts(
        ToolCallStarted(0, "c", "f"),
        ToolCallStarted(1, "d", "g"),
        ToolCallDelta(1, "{}"),
        ToolCallClosed(1),
        ToolCallDelta(0, "{}"),
        TextDelta("a"),
        STOP,
    )

    assert ["f", "g", "a"] == [
        part["functionCall"]["name"] if "functionCall" in part else part["text"] for part in found
    ]


def test_thoughts() -> None:
    """Thoughts are marked as such, and their signature follows them."""
    assert [
        {"text": "hm", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "hi"},
    ] == parts(ReasoningDelta("hm"), ReasoningClosed("c2ln", origin="gemini"), TextDelta("hi"), STOP)


def test_other_parts() -> None:
    """Media are data, and words of refusal are text."""
    assert [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"text": "no"},
        {"functionCall": {"id": "c", "name": "f", "args": {"input": "x"}}},
    ] == parts(
        MediaDelta("image/png", "aGk="),
        RefusalDelta("no"),
        ToolCallStarted(0, "c", "f", custom=True),
        ToolCallDelta(0, "x"),
        STOP,
    )


@pytest.mark.parametrize(
    ("finish", "expected"),
    [(Finish.STOP, "MALFORMED_FUNCTION_CALL"), (Finish.LENGTH, "MAX_TOKENS")],
)
def test_broken_calls(finish: Finish, expected: str) -> None:
    """A call that never became whole is left out, and the reason to stop tells of it."""
    events = (ToolCallStarted(0, "c", "f"), ToolCallDelta(0, '{"a":'), Finished(finish))
    last = responses(write(*events))[-1]["candidates"][0]

    assert expected == last["finishReason"]
    assert [] == parts(*events)


def test_several_candidates() -> None:
    """Pieces of several answers come under their index, and the last response ends them all."""
    found = responses(write(TextDelta("a"), TextDelta("b", 1), Finished(Finish.LENGTH, choice=1), STOP))

    assert [0, 1] == [response["candidates"][0]["index"] for response in found[:2]]
    assert [(0, "STOP"), (1, "MAX_TOKENS")] == [
        (candidate["index"], candidate["finishReason"]) for candidate in found[-1]["candidates"]
    ]


def test_logprobs_and_citations() -> None:
    """Log probabilities come with their text, sources with the end."""
    citation = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
    entry = {"token": "a", "logprob": -1.0}
    found = responses(write(TextDelta("a", 0, [entry]), CitationAdded(citation), STOP))

    assert -1.0 == found[0]["candidates"][0]["logprobsResult"]["chosenCandidates"][0]["logProbability"]
    assert "https://a" == found[1]["candidates"][0]["groundingMetadata"]["groundingChunks"][0]["web"]["uri"]


def test_an_empty_answer() -> None:
    """An answer without anything in it is one response that ends it."""
    assert ["STOP"] == [response["candidates"][0]["finishReason"] for response in responses(write())]


def test_signs_of_life() -> None:
    """A sign of life is a blank line: Google's clients would take a comment for a piece of JSON."""
    writer = CLIENT.stream_writer(CONTEXT)

    assert b"\n" == writer.write([Started("x"), KeepAlive()])
    assert not writer.started


def test_a_stream_that_fails() -> None:
    """An error is an event, and no candidate has said why it stopped."""
    writer = CLIENT.stream_writer(CONTEXT)
    out = writer.write([TextDelta("a"), STOP, USAGE])
    out += writer.fail(503, FailureClass.SERVER, "busy")

    assert out.endswith(b'data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}\n\n')
    assert b"finishReason" not in out


def test_array() -> None:
    """A client that did not ask for events gets one array of the same responses."""
    events = (Started("x"), KeepAlive(), TextDelta("a"), KeepAlive(), TextDelta("b"), STOP, USAGE)

    assert responses(write(*events)) == orjson.loads(write(*events, array=True))
    assert 1 == len(orjson.loads(write(array=True)))


def test_array_that_fails() -> None:
    """An array that fails ends in the error, and is still an array."""
    writer = CLIENT_OF_ARRAYS.stream_writer(CONTEXT)
    out = writer.write([TextDelta("a")]) + writer.fail(504, FailureClass.TIMEOUT, "late")
    found = orjson.loads(out)

    assert {"error": {"code": 504, "message": "late", "status": "DEADLINE_EXCEEDED"}} == found[-1]
    assert "finishReason" not in found[0]["candidates"][0]
    fresh = CLIENT_OF_ARRAYS.stream_writer(CONTEXT)
    assert 1 == len(orjson.loads(fresh.fail(500, FailureClass.SERVER, "no")))


@given(made=answers(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_stream_and_whole_answer_agree(made: MadeAnswer, sizes: list[int]) -> None:
    """However events come, every response is one, nothing is lost, and all say what the whole answer says."""
    writer = CLIENT.stream_writer(CONTEXT)
    out = b"".join(writer.write(batch) for batch in batches(made.events, sizes)) + writer.end()
    array = CLIENT_OF_ARRAYS.stream_writer(CONTEXT)
    joined = b"".join(array.write(batch) for batch in batches(made.events, sizes)) + array.end()
    whole = orjson.loads(CLIENT.write_answer(made.completion, CONTEXT))
    found = responses(out)
    streamed = [part for response in found for part in response["candidates"][0]["content"]["parts"]]

    assert out == write(*made.events)
    assert found == orjson.loads(joined)
    assert _joined(whole["candidates"][0]["content"]["parts"]) == _joined(streamed)
    assert _order(whole["candidates"][0]["content"]["parts"]) == _order(streamed)
    assert whole["candidates"][0]["finishReason"] == found[-1]["candidates"][0]["finishReason"]
    assert whole["usageMetadata"] == found[-1]["usageMetadata"]


def _joined(parts: list[Json]) -> tuple[str, list[tuple[str, str]], list[Json]]:
    """Put the parts of an answer together: its text, its thoughts up to each signature, and its calls."""
    text = "".join(part["text"] for part in parts if "text" in part and "thought" not in part)
    thoughts: list[tuple[str, str]] = []
    told = ""
    for part in parts:
        if part.get("thought"):
            told += part["text"]
            if "thoughtSignature" in part:
                thoughts.append((told, part["thoughtSignature"]))
                told = ""
    return text, thoughts, [part for part in parts if "functionCall" in part]


def _order(parts: list[Json]) -> list[str]:
    """List the calls of an answer, and whether there is text between them."""
    kinds = [
        part["functionCall"]["id"] if "functionCall" in part else "text"
        for part in parts
        if "functionCall" in part or ("thought" not in part and part["text"])
    ]
    return [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before]


ANY_TEXT = st.text(st.characters(), max_size=4)
INDEX = st.integers(0, 2)
ANY_EVENT = st.one_of(
    st.builds(Started, ANY_TEXT, ANY_TEXT),
    st.builds(TextDelta, ANY_TEXT, INDEX, st.sampled_from([None, [{"token": "\ud800", "logprob": -1}]])),
    st.builds(ReasoningDelta, ANY_TEXT, INDEX),
    st.builds(ReasoningClosed, ANY_TEXT, ANY_TEXT, st.sampled_from(["", "openai", "gemini"])),
    st.builds(ToolCallStarted, INDEX, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.booleans()),
    st.builds(ToolCallDelta, INDEX, ANY_TEXT, INDEX),
    st.builds(ToolCallClosed, INDEX),
    st.builds(CitationAdded, st.just({"type": "url_citation", "url": "\ud800"})),
    st.builds(MediaDelta, ANY_TEXT, st.just("aGk=")),
    st.builds(Finished, st.sampled_from(Finish), ANY_TEXT, INDEX),
    st.builds(KeepAlive),
)


@given(st.lists(ANY_EVENT, max_size=12))
def test_any_events(events: list[Event]) -> None:
    """Events in any order, with any text in them, raise nothing and give whole responses."""
    assert responses(write(*events)) == orjson.loads(write(*events, array=True))
