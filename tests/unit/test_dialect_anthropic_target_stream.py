from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.restore import Restore
from services.providers.dialects.neutral.sides import AnswerContext
from services.providers.dialects.neutral.translate import TranslatedStream
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts

NAMES = Restore(tool_names={"a_b_1": "a.b"})
JSON_TOOL = Restore(answer_tool="json_answer")
FREE_TEXT = Restore(custom_tools=frozenset({"patch"}))
DONE = b"data: [DONE]\n\n"


def event(kind: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


def start(**usage: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-x"}
    return event(
        "message_start",
        message={**message, "stop_reason": None, "usage": usage or {"input_tokens": 25, "output_tokens": 1}},
    )


def block(index: int, **content: Any) -> bytes:
    return event("content_block_start", index=index, content_block=content)


def delta(index: int, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta=members)


def text(value: str, index: int = 0) -> bytes:
    return delta(index, type="text_delta", text=value)


def piece(value: str, index: int) -> bytes:
    return delta(index, type="input_json_delta", partial_json=value)


def close(index: int) -> bytes:
    return event("content_block_stop", index=index)


def tool(index: int, name: str = "f", call_id: str = "toolu_1", **members: Any) -> bytes:
    return block(index, type="tool_use", id=call_id, name=name, **{"input": {}, **members})


def stop(reason: str = "end_turn", **usage: Any) -> bytes:
    return event(
        "message_delta",
        delta={"stop_reason": reason, "stop_sequence": None},
        usage=usage or {"output_tokens": 15},
    )


END = event("message_stop")
PING = event("ping")
TEXT_BLOCK = block(0, type="text", text="")
PLAIN = start() + TEXT_BLOCK + text("Hel") + text("lo") + close(0) + stop() + END


def make(
    restore: Restore = NAMES, *, usage: bool = False, max_event_bytes: int = 100_000
) -> TranslatedStream:
    context = AnswerContext(model="asked", created_s=7, answer_id="1", include_usage=usage)
    reader = anthropic_target().stream_reader(max_event_bytes)
    return TranslatedStream(CLIENT, reader, CLIENT.stream_writer(context), restore, request_bytes=400)


def run(
    data: bytes, restore: Restore = NAMES, *, size: int = 10**6, usage: bool = False
) -> tuple[TranslatedStream, bytes]:
    """Translate, and leave out what only says that the provider is still there."""
    stream = make(restore, usage=usage)
    out = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size))
    return stream, (out + stream.finish()).replace(b": keep-alive\n\n", b"")


def chunks(out: bytes) -> list[dict[str, Any]]:
    pieces = out.split(b"\n\n")
    assert b"" == pieces.pop()
    return [orjson.loads(entry.removeprefix(b"data: ")) for entry in pieces if entry != b"data: [DONE]"]


def deltas(data: bytes, restore: Restore = NAMES) -> list[dict[str, Any]]:
    """Return what each chunk but the first and the last two adds."""
    return [chunk["choices"][0]["delta"] for chunk in chunks(run(data, restore)[1])][1:-1]


def body(*blocks: bytes, reason: str = "end_turn") -> bytes:
    return start() + b"".join(blocks) + stop(reason) + END


def test_plain_text() -> None:
    """Case 51: the role stands in the first chunk alone, and all chunks share id, time and model."""
    stream, out = run(PLAIN)
    found = chunks(out)

    assert [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ] == [chunk["choices"][0]["delta"] for chunk in found]
    assert {("msg_1", 7, "claude-x", "chat.completion.chunk", None)} == {
        tuple(chunk[key] for key in ("id", "created", "model", "object", "system_fingerprint"))
        for chunk in found
    }
    assert [None, None, None, "stop"] == [chunk["choices"][0]["finish_reason"] for chunk in found]
    assert ("stop", "claude-x", None, True) == (
        stream.finish_reason,
        stream.served_model,
        stream.failure,
        stream.done,
    )


def test_done_ends_a_clean_stream() -> None:
    """Case 53: the mark of the end comes once, last, and only after a clean end."""
    out = run(PLAIN)[1]

    assert out.endswith(DONE)
    assert 1 == out.count(b"[DONE]")


@pytest.mark.parametrize("size", [1, 3, 64])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_split_and_line_end(size: int, end: bytes) -> None:
    """Case 54: byte by byte, CRLF, comments, several data lines, no final blank line: the same result."""
    odd = b": hello\n\n" + PLAIN.replace(b'{"type":"message_stop"}', b'{"type":\ndata: "message_stop"}')
    expected = run(PLAIN, usage=True)

    for data in (odd.replace(b"\n", end), odd.replace(b"\n", end)[: -len(end)]):
        stream, out = run(data, size=size, usage=True)

        assert expected[1] == out
        assert (expected[0].usage, None) == (stream.usage, stream.failure)


def test_usage_is_set_not_added() -> None:
    """Case 43: later numbers replace earlier ones, and absent ones leave them."""
    counts = {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}
    data = start(**counts) + stop("end_turn", output_tokens=9, cache_read_input_tokens=None) + END

    assert UsageCounts(input_tokens=30, output_tokens=9, cache_read_tokens=5) == run(data)[0].usage


def test_tool_index_counts_tools() -> None:
    """Case 45: the index counts calls, not blocks, and names come back as the client has them."""
    found = deltas(
        body(
            TEXT_BLOCK + text("A") + close(0),
            tool(1) + piece('{"a"', 1) + piece(":1}", 1) + close(1),
            tool(2, "a_b_1", "toolu_2") + piece("{}", 2) + close(2),
            reason="tool_use",
        )
    )

    assert [
        {"content": "A"},
        {
            "tool_calls": [
                {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "toolu_2",
                    "type": "function",
                    "function": {"name": "a.b", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ] == found


@pytest.mark.parametrize("middle", [b"", piece("", 0)])
@pytest.mark.parametrize("ending", [close(0), b""])
def test_tool_without_arguments(middle: bytes, ending: bytes) -> None:
    """Case 46: a call without arguments gets an empty object, once."""
    found = deltas(body(tool(0) + middle + ending, reason="tool_use"))

    assert [{"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}] == found[1:]


def test_tool_with_its_input_at_the_start() -> None:
    """Case 47: input that comes with the start is the arguments."""
    found = deltas(body(tool(0, input={"a": 1}), piece('{"a":1}', 0), close(0), reason="tool_use"))

    assert [{"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}] == found[1:]


def test_thinking() -> None:
    """Case 48: thinking is reasoning, never content; its signature follows with the whole block."""
    found = deltas(
        body(
            block(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="h") + delta(0, type="thinking_delta", thinking="m"),
            delta(0, type="signature_delta", signature="sig") + close(0),
            block(1, type="redacted_thinking", data="d") + close(1),
            block(2, type="text", text="") + text("A", 2) + close(2),
        )
    )

    assert [
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]},
        {"content": "A"},
    ] == found


def test_ping_and_unknown_events_are_nothing() -> None:
    """Case 49: a ping makes no chunk, nor does an event that later versions add."""
    data = PLAIN.replace(TEXT_BLOCK, PING + TEXT_BLOCK + event("novel", x=1))

    assert run(PLAIN)[1] == run(data)[1]


def test_error_in_the_middle() -> None:
    """Case 50: an error after the start is told in band, and the stream does not end as if whole."""
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    stream, out = run(start() + TEXT_BLOCK + text("A") + error + text("B") + stop() + END)

    assert {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": None} == chunks(out)[
        -1
    ]["error"]
    assert b"[DONE]" not in out
    assert b'"B"' not in out
    assert stream.failure is not None
    assert (FailureClass.SERVER, True, True, 529) == (
        stream.failure.failure_class,
        stream.failure.reported,
        stream.failure.started,
        stream.failure.status,
    )
    assert stream.usage is not None
    assert stream.usage.estimated


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("overloaded_error", 529, "SERVER"),
        ("rate_limit_error", 429, "RATE_LIMIT"),
        ("api_error", 500, "SERVER"),
    ],
)
def test_error_first(kind: str, status: int, expected: str) -> None:
    """Case 50: an error before anything else can still be answered with its own status."""
    stream, _ = run(PING + event("error", error={"type": kind, "message": "No"}))

    assert stream.failure is not None
    assert (expected, status, False) == (
        stream.failure.failure_class,
        stream.failure.status,
        stream.failure.started,
    )
    assert "No" == orjson.loads(stream.failure.body)["error"]["message"]
    assert stream.usage is None


def test_usage_chunk_only_when_asked() -> None:
    """Case 52: the last chunk has no choices and the usage, and comes only when the client asked."""
    found = chunks(run(PLAIN, usage=True)[1])

    assert [] == found[-1]["choices"]
    assert (25, 15, 40) == tuple(
        found[-1]["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    assert all(chunk["usage"] is None for chunk in found[:-1])
    assert all("usage" not in chunk for chunk in chunks(run(PLAIN)[1]))


def test_server_tools_and_citations_are_passed_over() -> None:
    """Case 55: what has no counterpart makes no chunk, and its input is no call's."""
    found = deltas(
        body(
            block(0, type="server_tool_use", id="s", name="web_search", input={}),
            piece('{"query":"x"}', 0) + close(0),
            block(1, type="web_search_tool_result", tool_use_id="s", content=[]) + close(1),
            block(2, type="text", text="")
            + delta(2, type="citations_delta", citation={})
            + text("A", 2)
            + close(2),
        )
    )

    assert [{"content": "A"}] == found


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (body(tool(0) + close(0), reason="tool_use"), "tool_calls"),
        (body(TEXT_BLOCK, reason="max_tokens"), "length"),
        (body(TEXT_BLOCK, reason="refusal"), "content_filter"),
        (body(TEXT_BLOCK, reason="pause_turn"), "stop"),
    ],
)
def test_stop_reasons(data: bytes, reason: str) -> None:
    """Case 41: stop reasons are those of whole answers."""
    stream, out = run(data)

    assert (reason, reason) == (stream.finish_reason, chunks(out)[-1]["choices"][0]["finish_reason"])


def test_unknown_stop_reason_is_a_stop() -> None:
    """Case 41: an unknown reason is a normal end."""
    stream, out = run(body(TEXT_BLOCK + text("A"), reason="novel"))

    assert ("stop", True) == (stream.finish_reason, out.endswith(DONE))


def test_emulated_format() -> None:
    """Case 31: the input of the tool that gives the answer streams as content, and the reason is `stop`."""
    data = body(
        TEXT_BLOCK + text("Sure:") + close(0),
        tool(1, "json_answer") + piece('{"a"', 1) + piece(":1}", 1) + close(1),
        reason="tool_use",
    )

    assert [{"content": '{"a"'}, {"content": ":1}"}] == deltas(data, JSON_TOOL)
    assert "stop" == run(data, JSON_TOOL)[0].finish_reason


def test_emulated_format_that_the_model_ignored() -> None:
    """Case 31: an answer in plain text after all is not lost."""
    assert [{"content": "Hello"}] == deltas(PLAIN, JSON_TOOL)


@pytest.mark.parametrize("held", [b"", b"event: content_block_delta\ndata: {", b"event: ping"])
def test_cut(held: bytes) -> None:
    """Case 144: a stream that stops before its reason is a cut, told in band, with its usage estimated."""
    stream, out = run(start() + TEXT_BLOCK + text("A") + text("B") + held)

    assert "upstream_cut" == chunks(out)[-1]["error"]["code"]
    assert b"[DONE]" not in out
    assert stream.failure is not None
    assert (FailureClass.CUT, True, True) == (
        stream.failure.failure_class,
        stream.failure.reported,
        stream.failure.started,
    )
    assert UsageCounts(input_tokens=25, output_tokens=2, estimated=True) == stream.usage


@pytest.mark.parametrize("how", ["finish", "fail"])
def test_end_without_message_stop_is_whole(how: str) -> None:
    """Case 144: after the stop reason nothing that is lost matters."""
    stream = make(usage=True)
    out = stream.feed(PLAIN.removesuffix(END))
    out += stream.finish() if how == "finish" else stream.fail(FailureClass.CUT, "reset")

    assert run(PLAIN, usage=True)[1] == out
    assert (None, True) == (stream.failure, stream.done)


def test_message_stop_without_a_reason_is_a_cut() -> None:
    """Case 53: an end that gives no reason is no clean end."""
    stream, out = run(start() + TEXT_BLOCK + text("A") + END)

    assert b"[DONE]" not in out
    assert stream.failure is not None
    assert FailureClass.CUT is stream.failure.failure_class


@pytest.mark.parametrize("bad", [b"data: {oops\n\n", b"event: x\ndata: 7\n\n", b"data: <html>\n\n"])
def test_malformed_event(bad: bytes) -> None:
    """Case 146: an event that is not JSON ends the stream with an error."""
    stream, out = run(start() + TEXT_BLOCK + text("A") + bad + text("B") + stop() + END)

    assert "upstream_malformed" == chunks(out)[-1]["error"]["code"]
    assert stream.failure is not None
    assert FailureClass.MALFORMED is stream.failure.failure_class


def test_event_longer_than_allowed() -> None:
    """Case 146: an endless event is given up at the limit."""
    stream = make(max_event_bytes=1000)
    out = b"".join(stream.feed(b"x" * 100) for _ in range(20))

    assert b"upstream_malformed" in out
    assert stream.failure is not None


def test_failure_told_by_the_transport() -> None:
    """A stream that went silent is told of as such."""
    stream = make()
    stream.feed(start() + TEXT_BLOCK)
    out = stream.fail(FailureClass.TIMEOUT, "Silent for 30 s.")

    assert ("upstream_timeout", "Silent for 30 s.") == (
        chunks(out)[0]["error"]["code"],
        chunks(out)[0]["error"]["message"],
    )
    assert b"" == stream.finish()


def test_stream_without_a_start() -> None:
    """A host that leaves out the start still makes a whole stream."""
    found = chunks(run(PLAIN.removeprefix(start()))[1])

    assert {("chatcmpl-1", "asked")} == {(chunk["id"], chunk["model"]) for chunk in found}
    assert "assistant" == found[0]["choices"][0]["delta"]["role"]


@given(
    events=st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(
                    [
                        "message_start",
                        "message_delta",
                        "message_stop",
                        "content_block_start",
                        "content_block_delta",
                        "content_block_stop",
                        "error",
                        "ping",
                    ]
                )
            },
            optional={
                "index": st.integers(0, 2) | st.none() | st.just([]),
                "message": st.none() | st.just({"usage": 7, "id": 3, "model": []}),
                "usage": st.none() | st.just({"output_tokens": "x"}),
                "error": st.none() | st.text(max_size=3),
                "delta": st.none()
                | st.fixed_dictionaries(
                    {
                        "type": st.sampled_from(
                            ["text_delta", "input_json_delta", "thinking_delta", "signature_delta"]
                        )
                    },
                    optional={
                        name: st.none() | st.text(max_size=3)
                        for name in ("text", "partial_json", "thinking", "signature", "stop_reason")
                    },
                ),
                "content_block": st.none()
                | st.fixed_dictionaries(
                    {"type": st.sampled_from(["text", "tool_use", "thinking", "redacted_thinking"])},
                    optional={
                        "name": st.none() | st.just("json_answer"),
                        "input": st.none() | st.just({"a": 1}),
                    },
                ),
            },
        ),
        max_size=12,
    ),
    restore=st.sampled_from([NAMES, JSON_TOOL, FREE_TEXT]),
    size=st.integers(1, 200),
)
def test_no_stream_is_too_strange(events: list[dict[str, Any]], restore: Restore, size: int) -> None:
    """Events in any order and of any shape give valid chunks, and either a clean end or a failure."""
    data = b"".join(event(**{"kind": entry.pop("type"), **entry}) for entry in events)
    stream, out = run(data, restore, size=size)

    assert (stream.failure is None) == out.endswith(DONE)
    assert all("error" in chunk or chunk["object"] == "chat.completion.chunk" for chunk in chunks(out))
