"""
Streamed answers, written as events of Anthropic messages.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kit.sse import parse_events
from services.providers.dialects.anthropic.client_side import CLIENT
from services.providers.dialects.failures import FailureClass
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
EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
STOP = Finished(Finish.STOP)
USAGE = UsageReport(UsageCounts(input_tokens=9, output_tokens=4, cache_read_tokens=5))

Json = dict[str, Any]


def write(*events: Event, end: bool = True) -> bytes:
    writer = CLIENT.stream_writer(CONTEXT)
    out = b"".join(writer.write([event]) for event in events)
    return out + writer.end() if end else out


def documents(out: bytes) -> list[Json]:
    """Read the events of a stream, each under the name that it is of."""
    found = []
    for name, data in parse_events(out):
        document = orjson.loads(data)
        assert name == document["type"]
        found.append(document)
    return found


def check(documents: list[Json]) -> None:
    """Check the order of events and the nesting of blocks, as Anthropic documents them."""
    begun: list[int] = []
    is_open: set[int] = set()
    kinds = [document["type"] for document in documents if document["type"] != "ping"]
    assert "message_start" == kinds[0]
    assert ["message_delta", "message_stop"] == kinds[-2:]
    assert 1 == kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop")
    for document in documents:
        index = document.get("index", -1)
        match document["type"]:
            case "content_block_start":
                assert len(begun) == index
                begun.append(index)
                is_open.add(index)
            case "content_block_delta":
                assert index in is_open
            case "content_block_stop":
                is_open.remove(index)
    assert not is_open


def message(documents: list[Json]) -> Message:
    """Put the events together, as Anthropic's own library does."""
    snapshot = None
    arguments: dict[int, bytes] = {}
    for document in documents:
        if document["type"] != "ping":
            event = EVENT.validate_python(document)
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=arguments)
    assert snapshot is not None
    return snapshot


def shape(*events: Event, end: bool = True) -> list[str]:
    """Say in short what the events of a stream are, the first and the last two aside."""
    found = documents(write(*events, end=end))
    if end:
        check(found)
        message(found)
        found = found[1:-2]
    return [_short(document) for document in found]


def _short(document: Json) -> str:
    match document["type"]:
        case "content_block_start":
            return f"+{document['index']} {document['content_block']['type']}"
        case "content_block_delta":
            delta = document["delta"]
            value = next(value for name, value in delta.items() if name != "type")
            return f"{document['index']} {delta['type'].removesuffix('_delta')} {value}"
        case "content_block_stop":
            return f"-{document['index']}"
        case kind:
            return str(kind)


def test_a_plain_stream() -> None:
    """Text comes in one block, between the start of the message and its end."""
    found = documents(write(Started("x-1", "served"), TextDelta("he"), TextDelta("llo"), STOP, USAGE))

    assert [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == [document["type"] for document in found]
    assert ("x-1", "served", [], None) == tuple(
        found[0]["message"][name] for name in ("id", "model", "content", "stop_reason")
    )
    assert {"stop_reason": "end_turn", "stop_sequence": None} == found[-2]["delta"]
    assert "hello" == message(found).content[0].text  # type: ignore[union-attr]  # it is text


def test_thoughts_text_and_calls() -> None:
    """Case 66: thoughts, text and calls each have a block, in this order."""
    assert [
        "+0 thinking",
        "0 thinking hm",
        "-0",
        "+1 text",
        "1 text hi",
        "-1",
        "+2 tool_use",
        '2 input_json {"a":1}',
        "-2",
    ] == shape(
        ReasoningDelta("hm"),
        TextDelta("hi"),
        ToolCallStarted(0, "c", "f"),
        ToolCallDelta(0, '{"a":1}'),
        Finished(Finish.TOOL_CALLS),
    )


def test_usage_at_the_end() -> None:
    """Case 67: the end of a stream tells of cached tokens apart from the others."""
    found = documents(write(TextDelta("a"), STOP, USAGE))[-2]["usage"]

    assert {
        "input_tokens": 4,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "output_tokens": 4,
    } == found


def test_usage_known_from_the_start() -> None:
    """Usage that the provider tells before its first word stands in the start of the message."""
    assert 4 == documents(write(USAGE, TextDelta("a"), STOP))[0]["message"]["usage"]["input_tokens"]


def test_nothing_is_known() -> None:
    """Case 68: an answer without usage, id or content is a whole message with zeros."""
    found = documents(write())
    check(found)

    assert (0, 0) == (found[0]["message"]["usage"]["input_tokens"], found[-2]["usage"]["output_tokens"])
    assert [] == message(found).content


def test_several_ends() -> None:
    """Case 69: a provider that says twice why it stopped ends the message once, with the first reason."""
    found = documents(write(TextDelta("a"), Finished(Finish.LENGTH), STOP))
    check(found)

    assert "max_tokens" == found[-2]["delta"]["stop_reason"]


def test_usage_after_the_end() -> None:
    """Case 70: why the message stopped is held until usage came, or could have."""
    early = documents(write(TextDelta("a"), STOP, end=False))
    found = documents(write(TextDelta("a"), STOP, USAGE))

    assert ["message_start", "content_block_start", "content_block_delta", "content_block_stop"] == [
        document["type"] for document in early
    ]
    assert (4, "end_turn") == (found[-2]["usage"]["output_tokens"], found[-2]["delta"]["stop_reason"])


def test_content_with_the_start() -> None:
    """Case 71: content that comes in one batch with the start of the answer is all there."""
    writer = CLIENT.stream_writer(CONTEXT)
    out = writer.write([Started("x"), TextDelta("a"), STOP]) + writer.end()

    assert "a" == message(documents(out)).content[0].text  # type: ignore[union-attr]  # it is text


def test_change_of_block() -> None:
    """Case 72: what is of another kind closes the block before it, and its own content is not lost."""
    assert [
        "+0 text",
        "0 text a",
        "-0",
        "+1 thinking",
        "1 thinking b",
        "-1",
        "+2 text",
        "2 text c",
        "-2",
    ] == shape(TextDelta("a"), ReasoningDelta("b"), TextDelta("c"), STOP)


def test_one_start() -> None:
    """Case 73: a message begins once, however often the provider says that it does."""
    found = documents(write(Started("x"), Started("x"), TextDelta("a"), Started("x"), TextDelta("b"), STOP))

    check(found)


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "broken"])
def test_arguments_as_they_come(arguments: str) -> None:
    """Case 74: arguments that are cut or malformed are handed on as they are, and the reason says why."""
    call = (ToolCallStarted(0, "c", "f"), ToolCallDelta(0, arguments), Finished(Finish.LENGTH))
    found = documents(write(*call))
    check(found)

    assert arguments == found[2]["delta"]["partial_json"]
    assert "max_tokens" == found[-2]["delta"]["stop_reason"]


def test_calls_at_the_same_time() -> None:
    """Case 75: calls whose arguments come by turns stay open, each under its own index, until they end."""
    assert [
        "+0 tool_use",
        "+1 tool_use",
        '0 input_json {"a":',
        '1 input_json {"b":',
        "0 input_json 1}",
        "-0",
        "1 input_json 2}",
        "-1",
    ] == shape(
        ToolCallStarted(0, "c", "f"),
        ToolCallStarted(1, "d", "g"),
        ToolCallDelta(0, '{"a":'),
        ToolCallDelta(1, '{"b":'),
        ToolCallDelta(0, "1}"),
        ToolCallClosed(0),
        ToolCallDelta(1, "2}"),
        Finished(Finish.TOOL_CALLS),
    )


def test_calls_one_after_the_other() -> None:
    """Case 75: a call whose arguments are whole is closed by whatever begins next, told so or not."""
    assert [
        "+0 tool_use",
        '0 input_json {"a":1}',
        "-0",
        "+1 tool_use",
        "1 input_json {}",
        "-1",
        "+2 text",
        "2 text x",
        "-2",
    ] == shape(
        ToolCallStarted(0, "c", "f"),
        ToolCallDelta(0, '{"a":1}'),
        ToolCallStarted(1, "d", "g"),
        ToolCallDelta(1, "{}"),
        TextDelta("x"),
        Finished(Finish.TOOL_CALLS),
    )


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((TextDelta("a"), Finished(Finish.CONTENT_FILTER)), "refusal"),
        ((RefusalDelta("no"), STOP), "refusal"),
        ((TextDelta("a"), Finished(Finish.LENGTH)), "max_tokens"),
        ((ToolCallStarted(0, "c", "f"), STOP), "tool_use"),
        ((TextDelta("a"), Finished(Finish.STOP, "END")), "stop_sequence"),
    ],
)
def test_reasons_to_stop(events: tuple[Event, ...], expected: str) -> None:
    """Case 76: a filtered or declined answer ends in a refusal; the other reasons have their own words."""
    assert expected == message(documents(write(*events))).stop_reason


def test_call_without_arguments() -> None:
    """A call without arguments has an empty object for them."""
    found = message(documents(write(ToolCallStarted(0, "c", "f"), ToolCallClosed(0), STOP)))

    assert {} == found.content[0].input  # type: ignore[union-attr]  # it is a call


def test_free_text_of_a_call() -> None:
    """Free text comes as an object, when all of it is there."""
    events = (ToolCallStarted(0, "c", "f", custom=True), ToolCallDelta(0, "x"), ToolCallDelta(0, '"'), STOP)

    assert {"input": 'x"'} == message(documents(write(*events))).content[0].input  # type: ignore[union-attr]  # it is a call


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            (ReasoningDelta("hm"), ReasoningClosed("s=", origin="anthropic")),
            ["+0 thinking", "0 thinking hm", "0 signature s=", "-0"],
        ),
        ((ReasoningClosed("s=", origin="anthropic"),), ["+0 thinking", "0 signature s=", "-0"]),
        ((ReasoningClosed(sealed="x=", origin="anthropic"),), ["+0 redacted_thinking", "-0"]),
        (
            (ReasoningDelta("hm"), ReasoningClosed("", "x=", "openai", "rs_1")),
            ["+0 thinking", "0 thinking hm", "0 signature openai:rs_1:x=:", "-0"],
        ),
        ((ReasoningDelta("hm"), ReasoningClosed()), ["+0 thinking", "0 thinking hm", "-0"]),
        ((ReasoningClosed(item_id="rs_1", origin="openai"),), []),
    ],
)
def test_seals_of_thoughts(events: tuple[Event, ...], expected: list[str]) -> None:
    """Thoughts end in what their provider wants back, or are nothing else."""
    assert expected == shape(*events, STOP)


def test_citations() -> None:
    """A source goes to the text that it is of."""
    annotation = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
    found = message(documents(write(TextDelta("a"), CitationAdded(annotation), CitationAdded({}), STOP)))

    assert ["https://a"] == [citation.url for citation in found.content[0].citations or []]  # type: ignore[union-attr]  # it is text


def test_media() -> None:
    """An image stands in the text, and sound, for which there is no place at all, is left out."""
    events = (MediaDelta("image/png", "aGk="), MediaDelta("audio/wav", "aGk="), STOP)

    assert ["+0 text", "0 text ![image](data:image/png;base64,aGk=)", "-0"] == shape(*events)


def test_signs_of_life() -> None:
    """Before the message a sign of life is a comment, within it a ping; neither begins the message."""
    writer = CLIENT.stream_writer(CONTEXT)

    assert b": keep-alive\n\n" == writer.write([Started("x"), KeepAlive()])
    assert not writer.started
    writer.write([TextDelta("a")])
    assert writer.started
    assert ["ping"] == [document["type"] for document in documents(writer.write([KeepAlive()]))]


def test_other_choices() -> None:
    """A message has one choice, so others are not shown."""
    assert ["+0 text", "0 text a", "-0"] == shape(
        TextDelta("a"), TextDelta("b", 1), ToolCallStarted(0, "c", "f", choice=1), STOP
    )


def test_a_stream_that_fails() -> None:
    """An error is an event, and nothing around it could be taken for the end of a whole message."""
    writer = CLIENT.stream_writer(CONTEXT)
    out = writer.write([TextDelta("a"), STOP, USAGE])
    out += writer.fail(529, FailureClass.SERVER, "busy")
    found = documents(out)

    assert {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}} == found[-1]
    assert not {"message_delta", "message_stop"} & {document["type"] for document in found}


@given(made=answers(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_stream_and_whole_answer_agree(made: MadeAnswer, sizes: list[int]) -> None:
    """However events come, blocks nest, nothing is lost, and the message is that of the whole answer."""
    writer = CLIENT.stream_writer(CONTEXT)
    out = b"".join(writer.write(batch) for batch in batches(made.events, sizes)) + writer.end()
    found = documents(out)
    check(found)
    whole = Message.model_validate_json(CLIENT.write_answer(made.completion, CONTEXT))
    streamed = message(found)

    assert out == write(*made.events)
    assert _joined(whole) == _joined(streamed)
    assert (whole.id, whole.model, whole.stop_reason) == (streamed.id, streamed.model, streamed.stop_reason)
    assert whole.usage.input_tokens == streamed.usage.input_tokens
    assert whole.usage.output_tokens == streamed.usage.output_tokens


def _joined(found: Message) -> list[Json]:
    """List the blocks of a message, texts in a row as one."""
    blocks: list[Json] = []
    for block in found.content:
        document = block.model_dump(exclude_none=True)
        if blocks and document["type"] == "text" == blocks[-1]["type"]:
            blocks[-1]["text"] += document["text"]
        else:
            blocks.append(document)
    return blocks


ANY_TEXT = st.text(st.characters(), max_size=4)
INDEX = st.integers(0, 2)
ANY_EVENT = st.one_of(
    st.builds(Started, ANY_TEXT, ANY_TEXT),
    st.builds(TextDelta, ANY_TEXT, INDEX),
    st.builds(ReasoningDelta, ANY_TEXT),
    st.builds(ReasoningClosed, ANY_TEXT, ANY_TEXT, st.sampled_from(["", "openai", "anthropic"])),
    st.builds(ToolCallStarted, INDEX, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.booleans()),
    st.builds(ToolCallDelta, INDEX, ANY_TEXT),
    st.builds(ToolCallClosed, INDEX),
    st.builds(CitationAdded, st.just({"type": "url_citation", "url": "\ud800"})),
    st.builds(MediaDelta, ANY_TEXT, ANY_TEXT),
    st.builds(Finished, st.sampled_from(Finish), ANY_TEXT),
    st.builds(KeepAlive),
)


@given(st.lists(ANY_EVENT, max_size=12))
def test_any_events(events: list[Event]) -> None:
    """Events in any order, with any text in them, raise nothing and nest."""
    check(documents(write(*events)))
