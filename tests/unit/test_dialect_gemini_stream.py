"""
Streamed answers of Gemini: translated for OpenAI's clients, and handed on for Gemini's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.gemini import same
from services.providers.dialects.gemini.same import GeminiStream
from services.providers.dialects.gemini.stream_reader import GeminiStreamReader
from services.providers.dialects.gemini.target_side import gemini_target
from services.providers.dialects.native import native_dialect, native_stream, read_native_answer
from services.providers.dialects.neutral.translate import TranslatedStream, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import Event
    from services.providers.dialects.stream import AnswerStream

Json = dict[str, Any]
REQUEST = {"messages": [{"role": "user", "content": "Hello?"}], "stream_options": {"include_usage": True}}


def chunk(*parts: Json, reason: str = "", usage: Json | None = None, **more: Any) -> Json:
    """Write an event's document with one candidate."""
    candidate: Json = {"content": {"role": "model", "parts": list(parts)}, **more}
    if reason:
        candidate["finishReason"] = reason
    document: Json = {"candidates": [candidate], "modelVersion": "gemini-m", "responseId": "r1"}
    if usage is not None:
        document["usageMetadata"] = usage
    return document


def call(name: str) -> Json:
    """Write a part that calls a tool."""
    return {"functionCall": {"name": name, "args": {"a": 1}}}


def sse(*documents: Json, end: bytes = b"\r\n\r\n") -> bytes:
    """Write documents as events, as Google frames them."""
    return b"".join(b"data: " + orjson.dumps(document) + end for document in documents)


TEXT = (
    chunk({"text": "Hm", "thought": True}, usage={"promptTokenCount": 3, "totalTokenCount": 3}),
    chunk({"text": "Hi"}, usage={"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}),
    chunk(
        {"text": ".", "thoughtSignature": "c2ln"},
        reason="STOP",
        usage={
            "promptTokenCount": 3,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 4,
            "totalTokenCount": 9,
        },
    ),
)


def stream() -> TranslatedStream:
    """Make the stream for an OpenAI client."""
    target, body = gemini_target(vertex=False), orjson.dumps(REQUEST)
    made = translate_request(CLIENT, target, body, model="gemini-m", stream=True, now_s=5, strict=False)
    return made.stream(max_event_bytes=100_000)


def run(machine: AnswerStream, data: bytes, step: int = 0) -> bytes:
    """Feed bytes, `step` at a time, and end them."""
    step = step or max(1, len(data))
    out = b"".join(machine.feed(data[at : at + step]) for at in range(0, len(data), step))
    return out + machine.finish()


def events(out: bytes) -> list[Any]:
    """Return the documents of an OpenAI stream; `[DONE]` as it is."""
    lines = [line[6:] for line in out.split(b"\n") if line.startswith(b"data: ")]
    return [line.decode() if line == b"[DONE]" else orjson.loads(line) for line in lines]


def deltas(out: bytes) -> list[Json]:
    """Return the deltas of an OpenAI stream."""
    return [
        entry["delta"]
        for event in events(out)
        if isinstance(event, dict)
        for entry in event.get("choices", [])
    ]


def reasons(out: bytes) -> list[str]:
    """Return the finish reasons of an OpenAI stream."""
    return [
        entry["finish_reason"]
        for event in events(out)
        if isinstance(event, dict)
        for entry in event.get("choices", [])
        if entry["finish_reason"]
    ]


def test_text() -> None:
    """Cases 99 and 105: Thoughts and text go apart; the end is marked though Google has no mark for it."""
    machine = stream()

    out = run(machine, sse(*TEXT))

    told = deltas(out)
    assert "Hi." == "".join(delta.get("content") or "" for delta in told)
    assert "Hm" == "".join(delta.get("reasoning_content") or "" for delta in told)
    assert (["stop"], "[DONE]") == (reasons(out), events(out)[-1])
    assert ("stop", "gemini-m", None, True) == (
        machine.finish_reason,
        machine.served_model,
        machine.failure,
        machine.done,
    )


def test_usage_is_the_last() -> None:
    """Case 105: Each report counts from the beginning: the last one is the usage, and no sum is made."""
    machine = stream()

    usage = events(run(machine, sse(*TEXT)))[-2]["usage"]

    assert (3, 6, 4) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )
    assert machine.usage is not None
    assert (3, 6, False) == (machine.usage.input_tokens, machine.usage.output_tokens, machine.usage.estimated)


def test_a_report_that_leaves_a_count_out() -> None:
    """Case 105: A count that a later report does not repeat stays what it was."""
    machine = stream()
    reports: tuple[Json, ...] = (
        {"promptTokenCount": 3, "cachedContentTokenCount": 2, "totalTokenCount": 4},
        {"candidatesTokenCount": 1, "totalTokenCount": 4},
    )

    run(machine, sse(*(chunk({"text": "a"}, reason="STOP", usage=usage) for usage in reports)))

    assert machine.usage is not None
    assert (3, 1, 2) == (
        machine.usage.input_tokens,
        machine.usage.output_tokens,
        machine.usage.cache_read_tokens,
    )


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_lines_end_in_any_way(end: bytes) -> None:
    """Case 106: The same comes of CR, LF and CRLF, cut at every byte."""
    expected = run(stream(), sse(*TEXT))
    data = sse(*TEXT, end=end)

    assert expected == run(stream(), data)
    assert expected == run(stream(), data, 1)
    assert expected == run(stream(), data.rstrip(b"\r\n"))


def test_text_and_calls_together() -> None:
    """Case 107: Text and a call in one event both come over, and each of several calls has its own index."""
    out = run(stream(), sse(chunk({"text": "Wait."}, call("f"), call("g"), reason="STOP")))

    told = deltas(out)
    calls = [entry for delta in told for entry in delta.get("tool_calls", [])]
    assert "Wait." == "".join(delta.get("content") or "" for delta in told)
    assert [(0, "f"), (1, "g")] == [
        (entry["index"], entry["function"]["name"]) for entry in calls if entry.get("id")
    ]
    assert 2 == len({entry["id"] for entry in calls if entry.get("id")})


def test_a_call_in_an_earlier_event() -> None:
    """Case 100: The reason comes events after the call, and is `tool_calls` all the same."""
    out = run(stream(), sse(chunk(call("f")), chunk({"text": ""}), chunk(reason="STOP")))

    assert ["tool_calls"] == reasons(out)


def test_a_call_after_the_reason() -> None:
    """Case 100: Models that say STOP in every event do not end the answer with the first one."""
    out = run(stream(), sse(chunk({"text": "a"}, reason="STOP"), chunk(call("f"), reason="STOP")))

    assert (["tool_calls"], "[DONE]") == (reasons(out), events(out)[-1])


def test_a_broken_call_at_the_beginning() -> None:
    """Case 101: A call that the model got wrong before anything was handed out can be tried again."""
    machine = stream()

    run(machine, sse(chunk(reason="MALFORMED_FUNCTION_CALL")))

    assert machine.failure is not None
    assert (FailureClass.SERVER, False, 500) == (
        machine.failure.failure_class,
        machine.failure.started,
        machine.failure.status,
    )


def test_a_broken_call_later_on() -> None:
    """Case 101: After the first byte it is an error event, and nothing that looks like an end."""
    machine = stream()

    out = run(machine, sse(chunk({"text": "a"}), chunk(reason="MALFORMED_FUNCTION_CALL", finishMessage="f(")))

    assert "f(" == events(out)[-1]["error"]["message"]
    assert [] == reasons(out)
    assert machine.failure is not None
    assert (FailureClass.SERVER, True) == (machine.failure.failure_class, machine.failure.started)


def test_a_blocked_prompt() -> None:
    """Case 102: A stream of a refused prompt has one choice, which was filtered, and ends in order."""
    machine = stream()

    out = run(machine, sse({"promptFeedback": {"blockReason": "SAFETY"}}))

    assert (["content_filter"], "[DONE]", None) == (reasons(out), events(out)[-1], machine.failure)


def test_events_without_content() -> None:
    """Case 103: Events without candidates, content or text say nothing and do no harm."""
    empty: tuple[Json, ...] = (
        {},
        {"candidates": []},
        {"candidates": [None, {}]},
        chunk(),
        chunk({"text": ""}),
        {"candidates": [{"finishReason": "STOP"}]},
    )

    out = run(stream(), sse(*empty))

    assert (["stop"], [{}]) == (reasons(out), deltas(out)[1:])


@pytest.mark.parametrize(
    "data", [b"", sse(chunk({"text": "a"})), sse({"usageMetadata": {"promptTokenCount": 1}})]
)
def test_streams_that_are_cut(data: bytes) -> None:
    """A stream without a reason for its end is cut, and no mark of an end is written."""
    machine = stream()

    out = run(machine, data)

    assert machine.failure is not None
    assert FailureClass.CUT is machine.failure.failure_class
    assert b"[DONE]" not in out


def test_one_of_several_candidates_is_cut() -> None:
    """All candidates have to say why they stopped."""
    machine = stream()

    run(machine, sse(chunk({"text": "a"}, reason="STOP"), chunk({"text": "b"}, index=1)))

    assert machine.failure is not None
    assert FailureClass.CUT is machine.failure.failure_class


@pytest.mark.parametrize(
    "document",
    [{"error": {"code": 429, "message": "Slow.", "status": "RESOURCE_EXHAUSTED"}}],
)
def test_errors_within_streams(document: Json) -> None:
    """Case 108: An error as an event is told in OpenAI's shape, with the status that it names."""
    machine = stream()

    out = run(machine, sse(chunk({"text": "a"}), document))

    assert machine.failure is not None
    assert (FailureClass.RATE_LIMIT, 429) == (machine.failure.failure_class, machine.failure.status)
    assert "Slow." == events(out)[-1]["error"]["message"]


def test_events_that_are_none() -> None:
    """What is no JSON object ends the stream as malformed."""
    machine = stream()

    run(machine, b"data: nonsense\n\n")

    assert machine.failure is not None
    assert FailureClass.MALFORMED is machine.failure.failure_class


def test_a_call_without_a_name() -> None:
    """A call that nobody could follow is malformed, and not handed out."""
    machine = stream()

    run(machine, sse(chunk({"functionCall": {"args": {}}})))

    assert machine.failure is not None
    assert FailureClass.MALFORMED is machine.failure.failure_class


def _without_comments(out: bytes) -> bytes:
    return re.sub(rb"(?m)^:.*\n\n", b"", out)


documents = st.sampled_from(
    [
        *TEXT,
        chunk(call("f")),
        chunk({"text": "é☃"}, call("g"), reason="STOP"),
        chunk(reason="MAX_TOKENS"),
        chunk({"text": "b"}, index=1, reason="STOP"),
        {"promptFeedback": {"blockReason": "OTHER"}},
        {"error": {"code": 500, "message": "No.", "status": "INTERNAL"}},
        {},
        chunk(
            {"inlineData": {"data": "eA=="}}, groundingMetadata={"groundingChunks": [{"web": {"uri": "u"}}]}
        ),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(documents, max_size=6),
    st.lists(st.integers(1, 90), min_size=1, max_size=8),
    st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]),
)
def test_splits_make_no_difference(chunks: list[Json], sizes: list[int], end: bytes) -> None:
    """However the bytes are split, the same comes of them: bytes but for signs of life, usage, failure."""
    data = sse(*chunks, end=end)
    for make in (stream, GeminiStream, lambda: GeminiStream(verbatim=True)):
        whole, split = make(), make()
        expected = run(whole, data)
        out, at, index = [], 0, 0
        while at < len(data):
            size = sizes[index % len(sizes)]
            out.append(split.feed(data[at : at + size]))
            at, index = at + size, index + 1
        out.append(split.finish())
        assert _without_comments(expected) == _without_comments(b"".join(out))
        assert (whole.usage, whole.finish_reason, whole.failure) == (
            split.usage,
            split.finish_reason,
            split.failure,
        )


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: b"data: " + text.encode() + b"\n\n"))
def test_no_bytes_crash_a_reader(data: bytes) -> None:
    """Nothing that a provider sends raises, and a reader that is over says nothing more."""
    reader = GeminiStreamReader(1000)

    told: list[Event] = [*reader.feed(data), *reader.finish()]

    assert type(told[-1]).__name__ in {"Failed", "Ended"}
    assert [] == reader.feed(data) + reader.finish()


def test_same_dialect_is_handed_on() -> None:
    """A client of Gemini's own dialect gets the provider's bytes, and they are metered."""
    data = sse(*TEXT)
    machine = GeminiStream()

    assert data == run(machine, data, 7)
    assert ("stop", "gemini-m", None, True) == (
        machine.finish_reason,
        machine.served_model,
        machine.failure,
        machine.done,
    )
    assert machine.usage is not None
    assert 6 == machine.usage.output_tokens


@pytest.mark.parametrize("verbatim", [False, True])
def test_same_dialect_that_is_cut(*, verbatim: bool) -> None:
    """A stream without a reason for its end is cut; the client is told in Google's shape unless verbatim."""
    machine = GeminiStream(verbatim=verbatim, request_bytes=40)
    data = sse(TEXT[1])

    out = run(machine, data)

    assert machine.failure is not None
    assert (FailureClass.CUT, not verbatim) == (machine.failure.failure_class, machine.failure.reported)
    assert machine.usage is not None
    assert (3, True) == (machine.usage.input_tokens, machine.usage.estimated)
    assert out.startswith(data)
    told = out.removeprefix(data)
    if verbatim:
        assert b"" == told
    else:
        assert "UNAVAILABLE" == orjson.loads(told.removeprefix(b"data: "))["error"]["status"]


def test_an_error_first() -> None:
    """An error as the first event is one that an adapter can still answer with a status."""
    machine = GeminiStream()
    error = {"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}}

    run(machine, sse(error))

    assert machine.failure is not None
    assert (False, 503, error) == (
        machine.failure.started,
        machine.failure.status,
        orjson.loads(machine.failure.body),
    )


def test_a_stream_that_is_one_array() -> None:
    """Case 106: The array that a native client gets without `alt=sse` is metered as a whole."""
    body = orjson.dumps(list(TEXT))

    answer = same.read_answer(body)

    assert (body, "stop", "gemini-m", None) == (
        answer.body,
        answer.finish_reason,
        answer.served_model,
        answer.failure,
    )
    assert answer.usage is not None
    assert 6 == answer.usage.output_tokens


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("models/m:generateContent", "GEMINI"),
        ("v1beta/models/m:streamGenerateContent", "GEMINI"),
        ("projects/p/locations/l/publishers/google/models/m:streamGenerateContent", "GEMINI"),
        ("models/m:countTokens", ""),
        ("models/m:embedContent", ""),
        ("models/m:batchEmbedContents", ""),
        ("models", ""),
    ],
)
def test_native_paths(path: str, dialect: str) -> None:
    """Native calls are known by the word after the model; the rest is relayed unwatched."""
    assert dialect == native_dialect("gemini", path)
    assert (type(native_stream("gemini", path)) is GeminiStream) == bool(dialect)


def test_native_answers_are_metered() -> None:
    """Usage of whole native answers is read, embeddings' too; what is no answer is left alone."""
    embedded = b'{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":4}}'

    found = read_native_answer("gemini", "models/m:embedContent", embedded)

    assert found.usage is not None
    assert (4, "") == (found.usage.input_tokens, found.finish_reason)
    assert read_native_answer("gemini", "models/m:countTokens", b'{"totalTokens":4}').usage is None
    assert b"<html>" == read_native_answer("gemini", "models/m:generateContent", b"<html>").body
