# ruff: noqa: E501  (samples of the wire stand on one line, as they are sent)
from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.events import Event, KeepAlive
from services.providers.dialects.neutral.translate import TranslatedStream, translate_request
from services.providers.dialects.openai_chat.side import CLIENT
from services.providers.dialects.usage import UsageCounts
from services.providers.dialects.workers_ai.native import native_stream
from services.providers.dialects.workers_ai.side import target
from services.providers.dialects.workers_ai.stream_reader import RunStreamReader


def event(**members: Any) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(members)


def chunk(finish_reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event(id="i", model="@cf/a/b", choices=[choice])


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
COUNTS = UsageCounts(input_tokens=5, output_tokens=2)
OWN = event(response="Ye") + event(response="s") + event(response=4) + event(response="", usage=USAGE) + DONE
NEWER = (
    chunk(role="assistant", content="")
    + chunk(reasoning_content="Hm.")
    + chunk(content="Ye")
    + chunk(content="s4")
    + chunk(finish_reason="stop")
    + event(id="i", choices=[], usage=USAGE)
    + DONE
)
CALLS = (
    chunk(tool_calls=[{"id": "c1", "type": "function", "index": 0, "function": {"name": "f"}}])
    + chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}])
    + chunk(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}])
    + chunk(tool_calls=[{"id": "c2", "type": "function", "index": 1, "function": {"name": "g"}}])
    + chunk(tool_calls=[{"id": None, "type": None, "index": 1, "function": {"name": None, "arguments": ""}}])
    + chunk(finish_reason="tool_calls")
    + DONE
)
OWN_CALLS = (
    event(response=None, tool_calls=[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}])
    + event(response="", usage=USAGE)
    + DONE
)
OWN_CALLS_APART = (
    event(tool_calls=[{"name": "f", "arguments": {"a": 1}}]) + event(tool_calls=[{"name": "g"}]) + DONE
)
KEEP_ALIVE = b": keep-alive\n\n"


def stream() -> TranslatedStream:
    body = orjson.dumps(
        {"messages": [{"role": "user", "content": "Hi"}], "stream_options": {"include_usage": True}}
    )
    translated = translate_request(CLIENT, target(), body, model="m", stream=True, now_s=1, strict=False)
    return translated.stream(max_event_bytes=1 << 20)


def drive(machine: Any, data: bytes, size: int = 1 << 20) -> bytes:
    out = b"".join(machine.feed(data[start : start + size]) for start in range(0, len(data), size))
    return bytes(out + machine.finish())


def chunks(data: bytes) -> list[dict[str, Any]]:
    """Parse the chunks of a chat stream that ended in order."""
    assert data.endswith(DONE)
    return [
        orjson.loads(part.removeprefix(b"data: "))
        for part in data.split(b"\n\n")[:-2]
        if part.startswith(b"data: ")
    ]


def deltas(data: bytes) -> list[dict[str, Any]]:
    return [entry["choices"][0]["delta"] for entry in chunks(data) if entry["choices"]]


@pytest.mark.parametrize("data", [OWN, NEWER])
def test_text(data: bytes) -> None:
    """Text, usage and the end are read from either shape; a number is text as well."""
    machine = stream()
    out = drive(machine, data)

    assert "Yes4" == "".join(delta.get("content") or "" for delta in deltas(out))
    assert USAGE.items() <= chunks(out)[-1]["usage"].items()
    assert (COUNTS, "stop", None) == (machine.usage, machine.finish_reason, machine.failure)


def test_thoughts() -> None:
    """Case 48: thoughts are reasoning and no content."""
    assert "Hm." == "".join(delta.get("reasoning_content") or "" for delta in deltas(drive(stream(), NEWER)))


@pytest.mark.parametrize("data", [CALLS, OWN_CALLS, OWN_CALLS_APART])
def test_tool_calls(data: bytes) -> None:
    """Calls are read in pieces and at once, and the entry of nothing that ends one is none."""
    machine = stream()
    out = drive(machine, data)
    pieces = [piece for delta in deltas(out) for piece in delta.get("tool_calls", [])]

    assert [(0, "f"), (1, "g")] == [
        (piece["index"], piece["function"]["name"]) for piece in pieces if "id" in piece
    ]
    assert ['{"a":1}', "{}"] == [
        "".join(piece["function"].get("arguments", "") for piece in pieces if piece["index"] == index)
        for index in (0, 1)
    ]
    assert "tool_calls" == machine.finish_reason


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (event(response="Ye"), FailureClass.CUT),
        (b"", FailureClass.CUT),
        (DONE, FailureClass.CUT),
        (event(response="Ye") + event(error="boom"), FailureClass.SERVER),
        (
            event(response="Ye") + event(errors=[{"message": "3040: Capacity"}], success=False),
            FailureClass.RATE_LIMIT,
        ),
        (
            event(errors=[{"code": 5021, "message": "exceeded this model context window limit"}]),
            FailureClass.CONTEXT_LENGTH,
        ),
        (b'event: error\ndata: {"message":"boom"}\n\n', FailureClass.SERVER),
        (event(response="x") + chunk(finish_reason="error"), FailureClass.SERVER),
        (b"data: x\n\n", FailureClass.MALFORMED),
    ],
)
def test_broken(data: bytes, expected: FailureClass) -> None:
    """Case 144: a stream that ends in an error, or without its last mark, is told as one, without `[DONE]`."""
    machine = stream()
    out = drive(machine, data)

    assert machine.failure is not None
    assert expected is machine.failure.failure_class
    assert b"[DONE]" not in out


def test_newer_models_without_the_last_mark() -> None:
    """Case 144: a reason to stop is a sign of the end as well."""
    machine = stream()
    out = drive(machine, NEWER.removesuffix(DONE))

    assert machine.failure is None
    assert "Yes4" == "".join(delta.get("content") or "" for delta in deltas(out))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("data", [OWN, NEWER, CALLS, OWN_CALLS])
def test_cuts(data: bytes, size: int, newline: bytes) -> None:
    """Case 54: the same comes out, but for signs of life, however the bytes are split."""
    whole, split = stream(), stream()
    expected = drive(whole, data)

    assert expected == drive(split, data.replace(b"\n", newline), size).replace(KEEP_ALIVE, b"")
    assert whole.usage == split.usage


@pytest.mark.parametrize("data", [OWN, NEWER, OWN_CALLS])
@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_native(data: bytes, size: int) -> None:
    """A native stream is metered, and handed on to the byte."""
    machine = native_stream()

    assert data == drive(machine, data, size)
    assert (COUNTS, None, True) == (machine.usage, machine.failure, machine.done)


def test_native_cut() -> None:
    """Case 144: a native stream without its last mark is a cut, whose use is estimated."""
    machine = native_stream(request_bytes=40)

    assert event(response="Ye") == drive(machine, event(response="Ye"))
    assert machine.failure is not None
    assert (FailureClass.CUT, False) == (machine.failure.failure_class, machine.failure.reported)
    assert UsageCounts(input_tokens=10, output_tokens=1, estimated=True) == machine.usage


NAMES = st.sampled_from(
    [
        "response",
        "tool_calls",
        "choices",
        "delta",
        "content",
        "function",
        "name",
        "arguments",
        "index",
        "id",
        "usage",
        "errors",
        "error",
        "success",
        "finish_reason",
        "logprobs",
        "reasoning",
        "refusal",
        "message",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=4),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(NAMES, children, max_size=4),
    max_leaves=10,
)


def normal(events: list[Event]) -> list[Event]:
    return [entry for entry in events if not isinstance(entry, KeepAlive)]


@given(
    documents=st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=6),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_no_stream_is_too_strange(documents: list[dict[str, Any]], cuts: list[int]) -> None:
    """Any events at all are read, to the same result however they are split."""
    data = b"".join(event(**document) for document in documents) + DONE
    whole, split = RunStreamReader(), RunStreamReader()
    expected = normal([*whole.feed(data), *whole.finish()])
    found: list[Event] = []
    start = 0
    while start < len(data):
        size = cuts[start % len(cuts)]
        found += split.feed(data[start : start + size])
        start += size
    machine = stream()
    drive(machine, data)

    assert expected == normal([*found, *split.finish()])
    assert machine.done
