"""
Chat completions as a target: streamed answers, as hosts of all kinds write them.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Finish
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
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReport,
)
from services.providers.dialects.openai_chat.stream_reader import ChatStreamReader
from services.providers.dialects.usage import UsageCounts

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"
USAGE = UsageCounts(input_tokens=9, output_tokens=2)


def event(document: Any) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, **members: Any) -> bytes:
    entry = {"index": members.pop("index", 0), "delta": delta, "finish_reason": finish}
    entry |= members.pop("choice", {})
    return event({"id": "c1", "model": "m", "choices": [entry], **members})


def usage_chunk() -> bytes:
    return event({"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})


def read(data: bytes, size: int = 1 << 20) -> list[Event]:
    reader = ChatStreamReader()
    found: list[Event] = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    found += reader.finish()
    return [one for one in found if not isinstance(one, KeepAlive)]


def deltas(*chunks: bytes) -> list[Event]:
    """Read chunks, and leave out what every stream has."""
    found = read(b"".join(chunks) + chunk({}, "stop") + DONE)
    return [one for one in found if not isinstance(one, Started | Finished | Ended)]


def call(index: Any = 0, **members: Any) -> bytes:
    function = {name: members.pop(name) for name in ("name", "arguments") if name in members}
    return chunk({"tool_calls": [{"index": index, "function": function, **members}]})


WHOLE = (
    chunk({"role": "assistant", "content": ""})
    + chunk({"content": "Hé"})
    + chunk({"content": "llo"})
    + call(0, id="a", name="f", arguments="")
    + call(0, arguments='{"x":')
    + call(0, arguments="1}")
    + chunk({}, "tool_calls")
    + usage_chunk()
    + DONE
)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
def test_same_events_however_split(size: int, end: bytes) -> None:
    """A whole stream gives the same events however its bytes are split and its lines end."""
    expected = [
        Started("c1", "m"),
        TextDelta("Hé"),
        TextDelta("llo"),
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, '{"x":'),
        ToolCallDelta(0, "1}"),
        UsageReport(USAGE),
        Finished(Finish.TOOL_CALLS),
        Ended(),
    ]

    assert expected == read(b": hi\n\n" + WHOLE.replace(b"\n", end), size)


def test_every_cut_is_noticed() -> None:
    """Case 144: wherever a stream is cut before its finish reason it is a cut, and whole from there on."""
    whole_from = WHOLE.index(b'"finish_reason":"tool_calls"')
    for at in range(len(WHOLE)):
        last = read(WHOLE[:at])[-1]
        assert isinstance(last, Failed | Ended)
        if at < whole_from:
            assert isinstance(last, Failed)
            assert FailureClass.CUT is last.failure_class
        elif at > WHOLE.index(b"\n\n", whole_from):
            assert Ended() == last


def test_finish_reason_without_done() -> None:
    """Case 144: a stream that ends after its finish reason, without `[DONE]`, is whole."""
    assert [Finished(Finish.LENGTH), Ended()] == read(chunk({"content": "x"}) + chunk({}, "length"))[-2:]


def test_done_without_finish_reason() -> None:
    """Case 144: the dialect's own mark of the end stands for a reason, but not for an answer."""
    (failed,) = read(DONE)

    assert [Finished(Finish.STOP), Ended()] == read(chunk({"content": "x"}) + DONE)[-2:]
    assert isinstance(failed, Failed)


@pytest.mark.parametrize(
    "odd",
    [
        event({"choices": None, "usage": None}),
        event({"choices": [None, {"index": None, "delta": None, "finish_reason": None}]}),
        chunk({"role": None, "content": None, "tool_calls": None, "refusal": None, "annotations": None}),
        chunk({"tool_calls": [None, {"index": None, "function": None}, {"function": {"name": None}}]}),
        chunk({"audio": None, "images": [None], "reasoning_details": [None], "function_call": None}),
        event(
            {"choices": [], "usage": {"prompt_tokens": None, "prompt_tokens_details": None}, "x_groq": None}
        ),
        chunk({"content": ""}, ""),
        event({}),
    ],
)
def test_null_members(odd: bytes) -> None:
    """Case 68: null members in a stream neither crash nor say anything."""
    found = [one for one in deltas(odd, chunk({"content": "x"})) if one != UsageReport(UsageCounts())]

    assert [TextDelta("x")] == found


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_finish_reason_in_the_middle(nothing: str | None) -> None:
    """Case 69: a finish reason that is null or empty ends nothing."""
    found = read(chunk({"content": "a"}, nothing) + chunk({"content": "b"}, nothing))

    assert [Started("c1", "m"), TextDelta("a"), TextDelta("b")] == found[:-1]
    assert isinstance(found[-1], Failed)


def test_finish_reason_given_twice() -> None:
    """Case 69: a finish chunk that comes twice finishes once, with the first reason."""
    found = read(chunk({"content": "a"}, "length") + chunk({}, "stop") + usage_chunk() + DONE)

    assert [Finished(Finish.LENGTH)] == [one for one in found if isinstance(one, Finished)]
    assert 1 == sum(isinstance(one, Ended) for one in found)


def test_usage_after_the_finish_reason() -> None:
    """Case 70: usage that comes after the finish reason is told before the answer's end."""
    found = read(chunk({"content": "a"}, "stop") + usage_chunk() + DONE)

    assert [UsageReport(USAGE), Finished(Finish.STOP), Ended()] == found[-3:]


def test_usage_after_the_finish_reason_without_done() -> None:
    """Case 70: without `[DONE]` the end of the bytes is what usage is waited for."""
    assert UsageReport(USAGE) in read(chunk({"content": "a"}, "stop") + usage_chunk())


def test_usage_of_groq() -> None:
    """Usage that only stands in Groq's own member is read, and so is its word for a failure."""
    groq = {"usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    failed = read(chunk({"content": "a"}) + chunk({}, x_groq={"error": "over capacity"}))[-1]

    assert UsageReport(USAGE) in read(chunk({}, "stop", x_groq=groq) + DONE)
    assert Failed(FailureClass.SERVER, "over capacity") == failed


def test_first_chunk_with_content() -> None:
    """Case 71: content beside the role in the first chunk is not lost."""
    found = deltas(chunk({"role": "assistant", "content": "Hi", "reasoning_content": "Hm."}))

    assert [ReasoningDelta("Hm."), ReasoningClosed(), TextDelta("Hi")] == found


def test_change_of_kind_within_a_chunk() -> None:
    """Case 72: a chunk that ends thoughts and begins text or a call carries its own delta."""
    call_too = chunk({"content": "b", "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]})
    found = deltas(
        chunk({"reasoning": "Hm."}), chunk({"content": "a"}), chunk({"reasoning": "So."}), call_too
    )

    assert [
        ReasoningDelta("Hm."),
        ReasoningClosed(),
        TextDelta("a"),
        ReasoningDelta("So."),
        ReasoningClosed(),
        TextDelta("b"),
        ToolCallStarted(0, "a", "f"),
    ] == found


def test_role_in_every_chunk() -> None:
    """Case 73: an answer begins once, however often the host repeats its role and id."""
    role = chunk({"role": "assistant", "content": "x"})
    found = read(role + role + role + chunk({}, "stop") + DONE)

    assert [Started("c1", "m")] == [one for one in found if isinstance(one, Started)]


def test_arguments_of_any_kind() -> None:
    """Case 74: malformed or cut arguments are passed on as they are, and abort nothing."""
    data = call(0, id="a", name="f", arguments="{oops") + chunk({}, "length") + DONE

    assert [ToolCallDelta(0, "{oops"), Finished(Finish.LENGTH), Ended()] == read(data)[-3:]
    assert ToolCallDelta(0, '{"x":1}') in deltas(call(0, id="a", name="f", arguments={"x": 1}))


def test_interleaved_calls() -> None:
    """Case 75: pieces of parallel calls that come by turns go to their own call, and indices are dense."""
    found = deltas(
        call(3, id="a", name="f", arguments=""),
        call(7, id="b", name="g", arguments="{"),
        call(3, arguments="{"),
        call(7, arguments="}"),
        call(3, arguments="}"),
    )

    assert [
        ToolCallStarted(0, "a", "f"),
        ToolCallStarted(1, "b", "g"),
        ToolCallDelta(1, "{"),
        ToolCallDelta(0, "{"),
        ToolCallDelta(1, "}"),
        ToolCallDelta(0, "}"),
    ] == found


@pytest.mark.parametrize("index", [0, None])
def test_calls_that_are_all_numbered_alike(index: int | None) -> None:
    """Case 75: whole calls that all have index 0, or none, are told apart by their ids."""
    found = deltas(
        call(index, id="a", name="f", arguments="{}"), call(index, id="b", name="f", arguments="[]")
    )

    assert [
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "b", "f"),
        ToolCallDelta(1, "[]"),
    ] == found


def test_calls_without_index_and_id() -> None:
    """Case 75: without index and id a name begins a call, and ids are made up, each another."""
    found = deltas(
        call(None, name="f", arguments="{}"),
        call(None, name="f", arguments="{"),
        call(None, arguments="}"),
    )
    started = [one for one in found if isinstance(one, ToolCallStarted)]

    assert ([0, 1], 2) == ([one.index for one in started], len({one.id for one in started}))
    assert [ToolCallDelta(0, "{}"), ToolCallDelta(1, "{"), ToolCallDelta(1, "}")] == [
        one for one in found if isinstance(one, ToolCallDelta)
    ]


def test_calls_that_stopped() -> None:
    """Calls make it a stop for calls, whatever the host says."""
    found = read(call(0, id="a", name="f", arguments="{}") + chunk({}, "stop") + DONE)

    assert [Finished(Finish.TOOL_CALLS), Ended()] == found[-2:]


def test_id_and_name_in_every_piece() -> None:
    """A host that repeats id and name in every piece continues the same call."""
    found = deltas(*(call(0, id="a", name="f", arguments=piece) for piece in ("{", "}")))

    assert [ToolCallStarted(0, "a", "f"), ToolCallDelta(0, "{"), ToolCallDelta(0, "}")] == found


def test_name_that_comes_late() -> None:
    """Arguments that come before the name wait for it."""
    found = deltas(call(0, id="a", arguments="{"), call(0, name="f", arguments="}"))

    assert [ToolCallStarted(0, "a", "f"), ToolCallDelta(0, "{"), ToolCallDelta(0, "}")] == found


def test_calls_of_every_kind() -> None:
    """Free text, Gemini's signatures and the older single call are read."""
    custom = chunk({"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "p", "input": "te"}}]})
    more = chunk({"tool_calls": [{"index": 0, "custom": {"input": "xt"}}]})
    signed = call(1, id="b", name="f", extra_content={"google": {"thought_signature": "s"}})
    older = deltas(
        chunk({"function_call": {"name": "f", "arguments": "{"}}),
        chunk({"function_call": {"arguments": "}"}}),
    )

    assert [
        ToolCallStarted(0, "a", "p", custom=True),
        ToolCallDelta(0, "te"),
        ToolCallDelta(0, "xt"),
        ToolCallStarted(1, "b", "f", "s"),
    ] == deltas(custom, more, signed)
    assert [ToolCallDelta(0, "{"), ToolCallDelta(0, "}")] == older[1:]


def test_the_filter() -> None:
    """Case 76: a stop by the host's filter stays one."""
    assert Finished(Finish.CONTENT_FILTER) in read(chunk({"content": "x"}, "content_filter") + DONE)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (
            [
                chunk({"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}),
                chunk(
                    {
                        "reasoning_details": [
                            {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1"}
                        ]
                    }
                ),
            ],
            [ReasoningDelta("Hm."), ReasoningClosed("s", "", "anthropic")],
        ),
        (
            [
                chunk({"content": "a"}),
                chunk(
                    {
                        "reasoning_details": [
                            {
                                "type": "reasoning.encrypted",
                                "data": "x",
                                "id": "rs",
                                "format": "openai-responses-v1",
                            }
                        ]
                    }
                ),
            ],
            [TextDelta("a"), ReasoningClosed("", "x", "openai", "rs")],
        ),
        (
            [
                chunk({"reasoning_content": "Hm."}),
                chunk({"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]}),
            ],
            [ReasoningDelta("Hm."), ReasoningClosed("s", "", "anthropic")],
        ),
        (
            [
                chunk({"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": None}]}),
                chunk({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]}),
            ],
            [ReasoningDelta("Hm."), ReasoningClosed("s", "", "anthropic")],
        ),
        (
            [
                chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}),
                chunk({"content": [{"type": "text", "text": "So."}, {"type": "reference"}]}),
            ],
            [ReasoningDelta("Hm."), ReasoningClosed(), TextDelta("So.")],
        ),
    ],
)
def test_thoughts(chunks: list[bytes], expected: list[Event]) -> None:
    """Thoughts are read in every form that hosts stream them, once, with their signature or seal."""
    assert expected == deltas(*chunks)


def test_everything_else() -> None:
    """Case 149: log probabilities, sources, refusals, images and sound come through."""
    logprobs = {"logprobs": {"content": [{"token": "a"}]}}
    image = {"image_url": {"url": "data:image/png;base64,aGk="}}
    found = deltas(
        chunk({"content": "a"}, choice=logprobs),
        chunk({"annotations": [{"type": "url_citation"}]}),
        chunk({"refusal": "No."}),
        chunk({"images": [image]}),
        chunk({"audio": {"data": "aGk=", "transcript": "hi"}}),
    )

    assert [
        TextDelta("a", 0, [{"token": "a"}]),
        CitationAdded({"type": "url_citation"}),
        RefusalDelta("No."),
        MediaDelta("image/png", "aGk="),
        MediaDelta("audio/pcm", "aGk="),
        TextDelta("hi"),
    ] == found


def test_sources_beside_the_choices() -> None:
    """Sources that every chunk repeats beside its choices are told once."""
    one = chunk({"content": "a"}, citations=["https://x"])
    found = [entry for entry in deltas(one, one) if isinstance(entry, CitationAdded)]

    assert ["https://x"] == [entry.citation["url_citation"]["url"] for entry in found]


def test_several_choices() -> None:
    """Each choice has its own deltas and its own end, and all must have ended."""
    both = chunk({"content": "a"}) + chunk({"content": "b"}, index=1) + chunk({}, "stop")
    found = read(both + chunk({}, "length", index=1))

    assert [Finished(Finish.STOP), Finished(Finish.LENGTH, choice=1), Ended()] == found[-3:]
    assert isinstance(read(both)[-1], Failed)


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"error":{"message":"Slow down","type":"rate_limit_error"}}\n\n',
        b'event: error\ndata: {"message":"Slow down","code":"rate_limit_exceeded"}\n\n',
        event({"choices": [{"finish_reason": "error"}], "error": {"message": "Slow down", "code": 429}}),
    ],
)
def test_error_as_the_first_event(data: bytes) -> None:
    """Case 145: an error in place of an answer is one, with its class, before anything has started."""
    (failed,) = read(data + chunk({"content": "x"}) + DONE)

    assert isinstance(failed, Failed)
    assert (FailureClass.RATE_LIMIT, "Slow down") == (failed.failure_class, failed.message)


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource"])
def test_ends_that_are_none(word: str) -> None:
    """A stream that the host gave up has failed, whatever it still sends."""
    found = read(chunk({"content": "x"}) + chunk({}, word) + chunk({}, "stop") + DONE)

    assert isinstance(found[-1], Failed)
    assert FailureClass.SERVER is found[-1].failure_class


@pytest.mark.parametrize("bad", [b"data: {oops\n\n", b"data: [1]\n\n", b"data: \xff\n\n"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_malformed_chunk(bad: bytes, size: int) -> None:
    """Case 146: a chunk that is no JSON object ends the stream as a failure, and nothing raises."""
    found = read(chunk({"content": "x"}) + bad + chunk({"content": "y"}) + DONE, size)

    assert [Started("c1", "m"), TextDelta("x")] == found[:2]
    assert [FailureClass.MALFORMED] == [one.failure_class for one in found[2:] if isinstance(one, Failed)]
    assert 3 == len(found)


def test_endless_event() -> None:
    """Case 146: an event longer than allowed is given up."""
    reader = ChatStreamReader(1000)
    found = [one for _ in range(30) for one in reader.feed(b"x" * 100)]

    assert isinstance(found[-1], Failed)
    assert FailureClass.MALFORMED is found[-1].failure_class


def test_whole_message_in_a_stream() -> None:
    """A host that puts a whole message into the stream is understood."""
    data = event({"id": "c", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}) + DONE

    assert TextDelta("Hi") in read(data)
