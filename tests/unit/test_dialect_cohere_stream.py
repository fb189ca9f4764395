# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.dialects.cohere.native import OldStreamReader, native_stream
from services.providers.dialects.cohere.side import TARGET
from services.providers.dialects.cohere.stream_reader import CohereStreamReader
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.events import Event, Failed, KeepAlive
from services.providers.dialects.neutral.translate import TranslatedStream, translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts


def event(kind: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


def said(kind: str, index: int, **content: Any) -> bytes:
    return event(kind, index=index, delta={"message": {"content": content}})


def calls(kind: str, index: int, **call: Any) -> bytes:
    return event(kind, index=index, delta={"message": {"tool_calls": call}})


def end(word: str = "COMPLETE", **delta: Any) -> bytes:
    usage = {
        "billed_units": {"input_tokens": 5, "output_tokens": 2},
        "tokens": {"input_tokens": 71, "output_tokens": 4},
    }
    return event("message-end", delta={"finish_reason": word, "usage": usage, **delta})


START = event("message-start", id="a1", delta={"message": {"role": "assistant", "content": []}})
TALK = (
    said("content-start", 0, type="thinking", thinking="")
    + said("content-delta", 0, thinking="Hm.")
    + event("content-end", index=0)
    + said("content-start", 1, type="text", text="")
    + said("content-delta", 1, text="Ye")
    + said("content-delta", 1, text="s")
    + event("content-end", index=1)
)
PLAN = event("tool-plan-delta", delta={"message": {"tool_plan": "I look."}})
CALLS = (
    calls("tool-call-start", 0, id="c1", type="function", function={"name": "f", "arguments": ""})
    + calls("tool-call-delta", 0, function={"arguments": '{"a":'})
    + calls("tool-call-delta", 0, function={"arguments": "1}"})
    + event("tool-call-end", index=0)
    + calls("tool-call-start", 1, id="c2", type="function", function={"name": "g", "arguments": ""})
    + event("tool-call-end", index=1)
)
SOURCE = {"type": "document", "id": "d", "document": {"url": "https://a.b", "title": "T"}}
CITATION = event(
    "citation-start",
    index=0,
    delta={"message": {"citations": {"start": 0, "end": 3, "sources": [SOURCE], "type": "TEXT_CONTENT"}}},
) + event("citation-end", index=0)


KEEP_ALIVE = b": keep-alive\n\n"


def stream(**members: Any) -> TranslatedStream:
    body = orjson.dumps(
        {"messages": [], "stream": True, "stream_options": {"include_usage": True}, **members}
    )
    body = body.replace(b'"messages":[]', b'"messages":[{"role":"user","content":"Hi"}]')
    translated = translate_request(CLIENT, TARGET, body, model="m", stream=True, now_s=1, strict=False)
    return translated.stream(max_event_bytes=1 << 20)


def drive(machine: Any, data: bytes, size: int = 1 << 20) -> bytes:
    out = b"".join(machine.feed(data[start : start + size]) for start in range(0, len(data), size))
    return bytes(out + machine.finish())


def chunks(data: bytes) -> list[dict[str, Any]]:
    """Parse the chunks of a chat stream that ended in order."""
    assert data.endswith(b"data: [DONE]\n\n")
    return [orjson.loads(part.removeprefix(b"data: ")) for part in data.split(b"\n\n")[:-2]]


def deltas(data: bytes) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(data) if chunk["choices"]]


def test_text_and_thoughts() -> None:
    """Case 136: content events are content, those of thoughts are reasoning, and usage comes at the end."""
    machine = stream()
    out = drive(machine, START + TALK + end())

    assert "Yes" == "".join(delta.get("content") or "" for delta in deltas(out))
    assert "Hm." == "".join(delta.get("reasoning_content") or "" for delta in deltas(out))
    assert (71, 4) == tuple(chunks(out)[-1]["usage"][name] for name in ("prompt_tokens", "completion_tokens"))
    assert (UsageCounts(input_tokens=5, output_tokens=2), "stop", None) == (
        machine.usage,
        machine.finish_reason,
        machine.failure,
    )


def test_tool_calls() -> None:
    """Case 136: the plan is reasoning, and each piece of a call is in a list with the call's index."""
    out = drive(stream(), START + PLAN + CALLS + end("TOOL_CALL"))
    pieces = [piece for delta in deltas(out) for piece in delta.get("tool_calls", [])]

    assert "I look." == "".join(delta.get("reasoning_content") or "" for delta in deltas(out))
    assert [(0, "c1", "f"), (1, "c2", "g")] == [
        (piece["index"], piece["id"], piece["function"]["name"]) for piece in pieces if "id" in piece
    ]
    assert ['{"a":1}', "{}"] == [
        "".join(piece["function"].get("arguments", "") for piece in pieces if piece["index"] == index)
        for index in (0, 1)
    ]
    assert "tool_calls" == chunks(out)[-2]["choices"][0]["finish_reason"]


def test_citations() -> None:
    """Case 136: a citation becomes an annotation."""
    out = drive(stream(), START + TALK + CITATION + end())
    found = [entry for delta in deltas(out) for entry in delta.get("annotations", [])]

    assert ["https://a.b"] == [entry["url_citation"]["url"] for entry in found]


def test_logprobs() -> None:
    """Case 149: probabilities of a piece of text go with it."""
    piece = event(
        "content-delta",
        index=0,
        delta={"message": {"content": {"text": "Yes"}}},
        logprobs={"text": "Yes", "token_ids": [1], "logprobs": [-0.5]},
    )
    out = drive(stream(), START + piece + end())

    found = [chunk["choices"][0].get("logprobs") for chunk in chunks(out) if chunk["choices"]]
    assert [-0.5] == [entry["logprob"] for item in found if item for entry in item["content"]]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (end("ERROR", error="Out of memory"), FailureClass.SERVER),
        (end("TIMEOUT"), FailureClass.TIMEOUT),
        (b'data: {"message":"too many tokens"}\n\n', FailureClass.CONTEXT_LENGTH),
        (b"data: x\n\n", FailureClass.MALFORMED),
        (b"", FailureClass.CUT),
    ],
)
def test_broken(last: bytes, expected: FailureClass) -> None:
    """Cases 134 and 144: an answer that ends in an error, or not at all, is told as one, without `[DONE]`."""
    machine = stream()
    out = drive(machine, START + TALK + last)

    assert machine.failure is not None
    assert expected is machine.failure.failure_class
    assert b"[DONE]" not in out
    assert b'"error"' in out


def test_error_first() -> None:
    """Case 145: an error in place of an answer is one before the answer has begun."""
    machine = stream()
    machine.feed(b'data: {"message":"too many tokens"}\n\n')

    assert machine.failure is not None
    assert (False, 400) == (machine.failure.started, machine.failure.status)


def test_unknown_events() -> None:
    """An event of a kind that nobody knows changes nothing."""
    data = START + TALK + end()
    unknown = event("brand-new", index=0, delta={"message": {"content": {"text": "no"}}})

    assert drive(stream(), data) == drive(stream(), START + unknown + TALK + end())


EVERYTHING = START + PLAN + TALK + CITATION + CALLS + end("TOOL_CALL")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_cuts(size: int, newline: bytes) -> None:
    """Case 54: the same comes out, but for signs of life, however the bytes are split."""
    data = EVERYTHING.replace(b"\n", newline)

    assert drive(stream(), EVERYTHING) == drive(stream(), data, size).replace(KEEP_ALIVE, b"")


OLD = (
    b'{"is_finished":false,"event_type":"stream-start","generation_id":"g"}\n'
    b'{"is_finished":false,"event_type":"text-generation","text":"Hi"}\n'
    b'{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"Hi","meta":{"billed_units":{"input_tokens":5,"output_tokens":2}}}}\n'
)
OLD_EVENTS = b"".join(b"data: " + line + b"\n\n" for line in OLD.splitlines())


@pytest.mark.parametrize(
    ("path", "data"),
    [("v2/chat", EVERYTHING), ("v1/chat", OLD), ("v1/chat", OLD_EVENTS), ("v1/chat", OLD[:-1])],
)
@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_native_streams(path: str, data: bytes, size: int) -> None:
    """Case 135: native streams of both versions are metered by what is paid for, and handed on to the byte."""
    machine = native_stream(path)

    assert data == drive(machine, data, size)
    assert (UsageCounts(input_tokens=5, output_tokens=2), None, True) == (
        machine.usage,
        machine.failure,
        machine.done,
    )
    assert machine.finish_reason in {"stop", "tool_calls"}


@pytest.mark.parametrize(("path", "data"), [("v2/chat", START + TALK), ("v1/chat", OLD[:150])])
def test_native_stream_that_is_cut(path: str, data: bytes) -> None:
    """Case 144: a native stream without its last event is a cut, whose use is estimated."""
    machine = native_stream(path, request_bytes=40)

    assert data == drive(machine, data)
    assert machine.failure is not None
    assert (FailureClass.CUT, False, True) == (
        machine.failure.failure_class,
        machine.failure.reported,
        machine.failure.started,
    )
    assert machine.usage is not None
    assert (10, True) == (machine.usage.input_tokens, machine.usage.estimated)


def test_native_stream_that_ends_in_an_error() -> None:
    """Case 134: version 1 has ends that are errors, too."""
    machine = native_stream("v1/chat")
    drive(machine, OLD.replace(b"COMPLETE", b"ERROR"))

    assert machine.failure is not None
    assert (FailureClass.SERVER, True) == (machine.failure.failure_class, machine.failure.reported)


def test_native_stream_that_breaks() -> None:
    """A native stream that the network ends is a failure, unless the answer was whole."""
    broken, whole = native_stream("v2/chat"), native_stream("v2/chat")
    broken.feed(START)
    whole.feed(EVERYTHING)
    for machine in (broken, whole):
        assert b"" == machine.fail(FailureClass.TIMEOUT, "Silence.")

    assert broken.failure is not None
    assert (FailureClass.TIMEOUT, None) == (broken.failure.failure_class, whole.failure)


def test_native_paths_without_a_meter() -> None:
    """A stream of an endpoint that nobody knows is handed on unwatched."""
    machine = native_stream("v1/brand-new")

    assert b"abc" == drive(machine, b"abc")
    assert machine.failure is None


def test_longest_line() -> None:
    """A line that is longer than allowed is not waited for."""
    reader = OldStreamReader(max_event_bytes=10)

    last = reader.feed(b"{" * 11)[-1]
    assert isinstance(last, Failed)
    assert FailureClass.MALFORMED is last.failure_class


KINDS = st.sampled_from(
    [
        "message-start",
        "content-start",
        "content-delta",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "message-end",
        "stream-end",
        "debug",
        "brand-new",
    ]
)
NAMES = st.sampled_from(
    [
        "type",
        "delta",
        "message",
        "content",
        "text",
        "thinking",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "index",
        "usage",
        "tokens",
        "finish_reason",
        "citations",
        "sources",
        "logprobs",
        "error",
        "event_type",
        "response",
        "meta",
        "is_finished",
        "id",
        "tool_plan",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=4) | KINDS,
    lambda children: st.lists(children, max_size=2) | st.dictionaries(NAMES, children, max_size=4),
    max_leaves=10,
)


def normal(events: list[Event]) -> list[Event]:
    return [entry for entry in events if not isinstance(entry, KeepAlive)]


@given(
    documents=st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=6),
    kinds=st.lists(KINDS, min_size=6, max_size=6),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_no_stream_is_too_strange(documents: list[dict[str, Any]], kinds: list[str], cuts: list[int]) -> None:
    """Any events at all are read, to the same result however they are split."""
    data = b"".join(
        b"data: %s\n\n" % orjson.dumps({"type": kind, **document})
        for kind, document in zip(kinds, documents, strict=False)
    )
    for make in (CohereStreamReader, OldStreamReader):
        whole, split = make(), make()
        expected = normal([*whole.feed(data), *whole.finish()])
        found: list[Event] = []
        start = 0
        while start < len(data):
            size = cuts[start % len(cuts)]
            found += split.feed(data[start : start + size])
            start += size
        assert expected == normal([*found, *split.finish()])
    machine = stream()
    drive(machine, data)
    assert machine.done
