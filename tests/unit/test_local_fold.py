"""Streams of the local engine folded into one answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.providers.local.fold import NotWholeError, fold

DONE = b"data: [DONE]\n\n"


def chat(index: int = 0, *, finish: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    """One chunk of a chat."""
    choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish}
    if logprobs:
        choice["logprobs"] = {"content": logprobs}
    return {"id": "c1", "created": 7, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """The chunk that tells how many tokens there were."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**chat(), "choices": [], "usage": counts, "timings": {"predicted_n": completion}}


def stream(*events: Any, end: bytes = DONE) -> bytes:
    """Events as they are on the wire."""
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + end


def test_chat_is_folded() -> None:
    """Text, reasoning, finish reason, usage and timings stand in one answer."""
    answer = orjson.loads(
        fold(
            stream(
                chat(role="assistant", content=None),
                chat(reasoning_content="hm"),
                chat(content="Hel", logprobs=[{"token": "Hel"}]),
                chat(content="lo", logprobs=[{"token": "lo"}]),
                chat(finish="stop"),
                usage(3, 2),
            )
        )
    )

    assert answer == {
        "id": "c1",
        "created": 7,
        "model": "m",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "reasoning_content": "hm"},
                "logprobs": {"content": [{"token": "Hel"}, {"token": "lo"}]},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "timings": {"predicted_n": 2},
    }


def test_tool_calls_are_put_together() -> None:
    """Pieces of tool calls are joined by their index; content without text is null."""
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    answer = orjson.loads(
        fold(
            stream(
                chat(role="assistant", content=None),
                chat(tool_calls=[first]),
                chat(tool_calls=[{"index": 0, "function": {"arguments": '{"x"'}}]),
                chat(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}, second]),
                chat(finish="tool_calls"),
            )
        )
    )

    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_choices_are_kept_apart() -> None:
    """Mixed chunks of several choices are sorted out; the prompt they share is counted once."""
    answer = orjson.loads(
        fold(
            stream(
                chat(1, content="b"),
                chat(0, content="a"),
                chat(0, finish="stop"),
                usage(5, 1),
                chat(1, content="B"),
                chat(1, finish="length"),
                usage(5, 2),
            )
        )
    )

    assert [(0, "a", "stop"), (1, "bB", "length")] == [
        (choice["index"], choice["message"]["content"], choice["finish_reason"])
        for choice in answer["choices"]
    ]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def test_text_completion_is_folded() -> None:
    """Text completions are joined per prompt, without the empty first event, and all prompts are counted."""

    def part(index: int, text: str, **more: Any) -> dict[str, Any]:
        choice = {"index": index, "text": text, "finish_reason": more.pop("finish", None)}
        return {"id": "t", "object": "text_completion", "choices": [choice], **more}

    answer = orjson.loads(
        fold(
            stream(
                None,
                part(0, "a"),
                part(1, "x"),
                part(0, "b"),
                part(0, "", finish="stop", usage={"prompt_tokens": 2, "completion_tokens": 2}),
                part(1, "", finish="stop", usage={"prompt_tokens": 4, "completion_tokens": 1}),
            )
        )
    )

    assert answer["object"] == "text_completion"
    assert ["ab", "x"] == [choice["text"] for choice in answer["choices"]]
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (stream(chat(content="a"), end=b""), None),
        (b"", None),
        (DONE, None),
        (stream(chat(content="a"), end=b'data: {"id'), None),
        (stream(chat(content="a"), {"error": {"message": "no room"}}, end=b""), {"message": "no room"}),
        (b'error: {"message":"no room"}\n\n', {"message": "no room"}),
    ],
    ids=["no end", "nothing", "only the end", "half an event", "error event", "error field"],
)
def test_stream_that_is_not_whole_is_no_answer(data: bytes, error: dict[str, Any] | None) -> None:
    """A stream that was cut or holds an error is never folded into an answer."""
    with pytest.raises(NotWholeError) as caught:
        fold(data)

    assert error == caught.value.error
