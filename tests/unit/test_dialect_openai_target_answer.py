"""
Chat completions as a target: whole answers, as hosts of all kinds write them.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kit.errors import GatewayError, Reason
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.openai_chat.answer_reader import read_answer
from services.providers.dialects.usage import UsageCounts

Json = dict[str, Any]


def read(document: Json) -> Completion:
    return read_answer(orjson.dumps(document))


def answer(message: Any = None, finish: Any = "stop", **members: Any) -> Completion:
    entry = {"index": 0, "message": message, "finish_reason": finish, **members.pop("choice", {})}
    return read({"id": "c1", "model": "m", "choices": [entry], **members})


def parts_of(message: Any, finish: str = "stop") -> list[Any]:
    return list(answer(message, finish).choices[0].parts)


def test_plain_answer() -> None:
    """An answer is read with all that stands beside it."""
    found = answer(
        {"role": "assistant", "content": "Hi", "annotations": [{"type": "url_citation"}, 1]},
        service_tier="flex",
        usage={"prompt_tokens": 9, "completion_tokens": 2},
        choice={"logprobs": {"content": [{"token": "Hi"}]}, "stop_reason": "END"},
    )

    assert ("c1", "m", "flex", ()) == (found.id, found.model, found.service_tier, found.warnings)
    assert UsageCounts(input_tokens=9, output_tokens=2) == found.usage
    assert [TextPart(text="Hi", citations=[{"type": "url_citation"}])] == found.choices[0].parts
    assert ([{"token": "Hi"}], "END") == (found.choices[0].logprobs, found.choices[0].stop_sequence)


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        {"role": None, "content": None, "tool_calls": None, "refusal": None, "annotations": None},
        {"content": None, "audio": None, "images": None, "reasoning": None, "reasoning_details": None},
        {"content": [], "tool_calls": [None, {"id": "x", "function": None}, {"function": {"name": None}}]},
        {"content": [None, {"type": "text"}], "function_call": None, "thinking_blocks": None},
        {"images": [None, {"image_url": None}], "reasoning_details": [None, {"type": None}]},
    ],
)
def test_null_members(message: Any) -> None:
    """Case 68: members that are null, wherever they stand, are as good as absent."""
    found = answer(
        message, None, usage=None, id=None, model=None, service_tier=None, choice={"logprobs": None}
    )

    assert ([], Finish.STOP, None) == (found.choices[0].parts, found.choices[0].finish, found.usage)


def test_null_details_of_usage() -> None:
    """Case 68: usage whose parts are null counts what it has."""
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": None,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }

    assert UsageCounts(input_tokens=3) == answer({}, usage=usage).usage


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("stop", Finish.STOP),
        ("eos", Finish.STOP),
        ("stop_sequence", Finish.STOP),
        ("end_turn", Finish.STOP),
        ("STOP", Finish.STOP),
        ("length", Finish.LENGTH),
        ("max_tokens", Finish.LENGTH),
        ("model_length", Finish.LENGTH),
        ("tool_calls", Finish.TOOL_CALLS),
        ("function_call", Finish.TOOL_CALLS),
        ("content_filter", Finish.CONTENT_FILTER),
    ],
)
def test_finish_reasons(word: str, finish: Finish) -> None:
    """Case 76: every host's word for why it stopped is one of OpenAI's, the filter's among them."""
    found = answer({"content": "x"}, word)

    assert (finish, ()) == (found.choices[0].finish, found.warnings)


def test_unknown_finish_reason() -> None:
    """A word that nobody knows is a stop, with a warning."""
    found = answer({"content": "x"}, "vibes")

    assert (Finish.STOP, ("finish_reason=vibes",)) == (found.choices[0].finish, found.warnings)


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource", "abort"])
def test_ends_that_are_none(word: str) -> None:
    """An answer that the host gave up is a failure and no answer."""
    with pytest.raises(InBandError) as raised:
        answer({"content": "x"}, word, choice={"error": {"message": "Gone."}})

    assert (FailureClass.SERVER, "Gone.") == (raised.value.failure_class, raised.value.message)


@pytest.mark.parametrize(
    ("document", "failure_class", "status"),
    [
        ({"error": {"message": "Slow down", "code": 429}}, FailureClass.RATE_LIMIT, 429),
        ({"object": "error", "message": "Bad", "type": "server_error"}, FailureClass.SERVER, 500),
    ],
)
def test_success_that_is_an_error(document: Json, failure_class: FailureClass, status: int) -> None:
    """Case 145: an error that came with a success status is an error."""
    with pytest.raises(InBandError) as raised:
        read(document)

    assert (failure_class, status) == (raised.value.failure_class, raised.value.status)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[1]}', b"\x1f\x8b"]
)
def test_no_answer(body: bytes) -> None:
    """Cases 142 and 146: what is no answer, compressed bytes among it, is a clear malformed answer."""
    with pytest.raises(GatewayError) as raised:
        read_answer(body)

    assert Reason.UPSTREAM_MALFORMED is raised.value.reason


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ('{"a":1}', '{"a":1}'),
        ({"a": 1}, '{"a":1}'),
        ('{"a":', '{"a":'),
        ("nonsense", "nonsense"),
        ("[1]", "[1]"),
        ([1], ""),
        (None, ""),
        ("", ""),
    ],
)
def test_arguments_of_any_kind(given: Any, arguments: str) -> None:
    """Case 74: arguments that are malformed or no object abort nothing; what the model wrote is kept."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": given}}

    assert [ToolCallPart(id="a", name="f", arguments=arguments)] == parts_of({"tool_calls": [call]})


def test_truncated_arguments() -> None:
    """Case 74: arguments that were cut short by the limit stay as they are, and the limit is the reason."""
    call = {"id": "a", "function": {"name": "f", "arguments": '{"a": "tex'}}
    found = answer({"tool_calls": [call]}, "length").choices[0]

    assert ([ToolCallPart(id="a", name="f", arguments='{"a": "tex')], Finish.LENGTH) == (
        found.parts,
        found.finish,
    )


def test_calls_of_every_kind() -> None:
    """Free text, Gemini's signatures, calls without a usable id and the older single call are read."""
    found = parts_of(
        {
            "tool_calls": [
                {"id": "a", "type": "custom", "custom": {"name": "p", "input": "text"}},
                {
                    "id": "b",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "s"}},
                },
                {"id": "null", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "function": {"name": "f", "arguments": "{}"}},
            ]
        }
    )
    (older,) = parts_of({"function_call": {"name": "f", "arguments": "{}"}}, "function_call")

    assert ToolCallPart(id="a", name="p", arguments="text", custom=True) == found[0]
    assert ToolCallPart(id="b", name="f", arguments="{}", signature="s") == found[1]
    assert 4 == len({part.id for part in found})
    assert ("f", True) == (older.name, older.id.startswith("call_"))


def test_calls_that_stopped() -> None:
    """Calls make it a stop for calls, whatever the host says."""
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}

    assert Finish.TOOL_CALLS is answer({"tool_calls": [call]}, "stop").choices[0].finish


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"reasoning_content": "Hm."}, [ReasoningPart(text="Hm.")]),
        ({"reasoning": "Hm."}, [ReasoningPart(text="Hm.")]),
        (
            {
                "reasoning": "Hm.",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "Hm.",
                        "signature": "s",
                        "format": "anthropic-claude-v1",
                    }
                ],
            },
            [ReasoningPart(text="Hm.", signature="s", origin="anthropic")],
        ),
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "Hm.", "format": "openai-responses-v1"},
                    {
                        "type": "reasoning.encrypted",
                        "data": "x",
                        "id": "rs_1",
                        "format": "openai-responses-v1",
                    },
                ]
            },
            [ReasoningPart(text="Hm.", sealed="x", origin="openai", item_id="rs_1")],
        ),
        (
            {
                "reasoning": "Hm.",
                "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1"}
                ],
            },
            [ReasoningPart(text="Hm.", sealed="x", origin="gemini")],
        ),
        (
            {
                "reasoning_content": "Hm.So.",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                ],
            },
            [
                ReasoningPart(text="Hm.", signature="s", origin="anthropic"),
                ReasoningPart(sealed="x", origin="anthropic"),
            ],
        ),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"text": "So."},
                ]
            },
            [ReasoningPart(text="Hm."), TextPart(text="So.")],
        ),
    ],
)
def test_thoughts(message: Json, parts: list[Any]) -> None:
    """Thoughts are read in every form that hosts give them, once, with their signature or seal."""
    assert parts == parts_of(message)


def test_media_and_refusal() -> None:
    """Images, sound and a refusal are parts of the answer."""
    found = parts_of(
        {
            "refusal": "No.",
            "images": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                {"image_url": {"url": "https://x/y.png"}},
            ],
            "audio": {"id": "a", "data": "aGk=", "transcript": "hi"},
        }
    )

    assert [
        RefusalPart(text="No."),
        MediaPart(kind="image", media_type="image/png", data="aGk="),
        MediaPart(kind="image", url="https://x/y.png"),
        MediaPart(kind="audio", data="aGk=", text="hi"),
    ] == found


@pytest.mark.parametrize(
    "members",
    [
        {"citations": ["https://x"]},
        {"citations": ["https://z"], "search_results": [{"url": "https://x", "title": ""}]},
    ],
)
def test_sources_beside_the_choices(members: Json) -> None:
    """Sources that stand beside the choices belong to the text."""
    (part,) = answer({"content": "a [1]"}, **members).choices[0].parts

    assert isinstance(part, TextPart)
    assert ["https://x"] == [entry["url_citation"]["url"] for entry in part.citations]


def test_several_choices() -> None:
    """Every choice is read, under its own number."""
    found = read(
        {
            "choices": [
                {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
                {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
            ]
        }
    )

    assert [(1, Finish.LENGTH), (0, Finish.STOP)] == [(one.index, one.finish) for one in found.choices]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "total_tokens": 15}, UsageCounts(input_tokens=10, output_tokens=5)),
        (
            {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 15},
            UsageCounts(input_tokens=10, output_tokens=5),
        ),
    ],
)
def test_missing_completion_tokens(usage: Json, expected: UsageCounts) -> None:
    """Case 109: a count of the output that is missing or 0 comes from the total."""
    assert expected == answer({}, usage=usage).usage


def test_thought_tokens_beside_the_output() -> None:
    """Case 109: thoughts that a host counts beside the output, and in the total, belong to the output."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 35,
        "completion_tokens_details": {"reasoning_tokens": 20},
    }

    assert (
        UsageCounts(input_tokens=10, output_tokens=25, reasoning_tokens=20) == answer({}, usage=usage).usage
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
            UsageCounts(input_tokens=1, output_tokens=2),
        ),
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}},
            UsageCounts(input_tokens=9, output_tokens=2, cache_read_tokens=4),
        ),
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "reasoning_tokens": 1}},
            UsageCounts(input_tokens=9, output_tokens=2, reasoning_tokens=1),
        ),
        (
            {
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 7,
                    "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 4},
                }
            },
            UsageCounts(
                input_tokens=9,
                output_tokens=7,
                cache_read_tokens=1,
                reasoning_tokens=3,
                input_audio_tokens=2,
                output_audio_tokens=4,
            ),
        ),
    ],
)
def test_usage_wherever_it_stands(members: Json, expected: UsageCounts) -> None:
    """Usage is read where each host puts it, with all its parts."""
    assert expected == answer({}, **members).usage
