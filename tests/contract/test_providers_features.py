"""
What a chat can hold, through every provider that has chat: tools and their results, media, shapes, thoughts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.fakes.provider_calls import ProviderHarness, chat_request, text_of
from tests.fakes.upstream_shapes import ARGUMENTS, SIGNATURE, TEXT, THOUGHT

if TYPE_CHECKING:
    from tests.fakes.provider_calls import Invoked, Json
    from tests.fakes.provider_sides import Side
    from tests.fakes.upstream import FakeUpstream

Streamed = bool  # the kind of answer asked for, a parameter of tests

both_ways = pytest.mark.parametrize("stream", [False, True])

# The smallest PNG there is: one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SHAPE = {
    "type": "json_schema",
    "json_schema": {
        "name": "place",
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "where-to-go"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
# Why a model stopped, in the words of each API: beyond its limit, and kept from answering.
STOPS = {
    "openai": ("length", "content_filter"),
    "anthropic": ("max_tokens", "refusal"),
    "gemini": ("MAX_TOKENS", "SAFETY"),
    "converse": ("max_tokens", "content_filtered"),
    "cohere": ("MAX_TOKENS", "ERROR_TOXIC"),
}


@both_ways
async def test_tool_round_trip(
    slug: str, stream: Streamed, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """Calls that ran side by side go back with their results, each beside its own, in one conversation."""
    calls = [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": f'{{"city":"{city}"}}'},
        }
        for city in ("Lisbon", "Oslo")
    ]
    messages: list[Json] = [
        {"role": "system", "content": "You tell the weather."},
        {"role": "user", "content": "Lisbon and Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_Lisbon", "content": "21 degrees"},
        {"role": "tool", "tool_call_id": "call_Oslo", "content": "4 degrees"},
    ]

    invoked = await providers.invoke(
        chat_request(slug, "m", stream=stream, body={"messages": messages, "tools": [TOOL]})
    )

    sent = upstream.journal[0].body.decode()
    assert TEXT == _text(invoked, stream=stream)
    for word in ("You tell the weather.", "Lisbon and Oslo?", "21 degrees", "4 degrees"):
        assert 1 == sent.count(word), word
    assert sent.index("21 degrees") < sent.index("4 degrees")
    assert 3 <= sent.count("get_weather")


async def test_image(slug: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A picture in a message arrives as it was, beside its text."""
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]

    invoked = await providers.invoke(
        chat_request(slug, "m", body={"messages": [{"role": "user", "content": content}]})
    )

    sent = upstream.journal[0].body.decode()
    assert TEXT == _text(invoked, stream=False)
    assert PIXEL in sent
    assert "What is this?" in sent
    assert "png" in sent


@both_ways
async def test_structured_output(
    slug: str, stream: Streamed, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """The shape that was asked for goes along, and the answer is plain content, whatever brought it about."""
    request = chat_request(slug, "m+structured", stream=stream, body={"response_format": SHAPE})

    invoked = await providers.invoke(request)

    assert "where-to-go" in upstream.journal[0].body.decode()
    assert orjson.loads(ARGUMENTS) == orjson.loads(_text(invoked, stream=stream))
    assert "stop" == invoked.ended.finish_reason
    assert not stream or "[DONE]" == invoked.events[-1]


@both_ways
async def test_thoughts(slug: str, stream: Streamed, side: Side, providers: ProviderHarness) -> None:
    """What a model thinks is told apart from what it answers."""
    invoked = await providers.invoke(
        chat_request(slug, "m+think", stream=stream, body={"reasoning_effort": "low"})
    )

    if stream:
        deltas = [e["choices"][0]["delta"] for e in invoked.events if e != "[DONE]" and e["choices"]]
        thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    else:
        thought = invoked.json["choices"][0]["message"]["reasoning_content"]
    assert THOUGHT == thought
    assert TEXT == _text(invoked, stream=stream)


async def test_thoughts_are_replayed(
    slug: str, side: Side, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """An answer given back with a tool's result takes along what its provider signed."""
    question = {"role": "user", "content": "Lisbon?"}
    first = await providers.invoke(
        chat_request(slug, "m+think+tools=1", body={"messages": [question], "tools": [TOOL]})
    )
    message = first.json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "21 degrees"}

    await providers.invoke(
        chat_request(slug, "m", body={"messages": [question, message, result], "tools": [TOOL]})
    )

    sent = upstream.journal[1].body.decode()
    assert "21 degrees" in sent
    assert (side.wire in {"anthropic", "converse", "gemini"}) == (SIGNATURE in sent)


@both_ways
@pytest.mark.parametrize("which", [0, 1])
async def test_stop_reasons(
    slug: str, stream: Streamed, which: int, side: Side, providers: ProviderHarness
) -> None:
    """Whatever a provider calls it, an answer that is not finished says so in OpenAI's word."""
    invoked = await providers.invoke(chat_request(slug, f"m+finish={STOPS[side.wire][which]}", stream=stream))

    expected = STOPS["openai"][which]
    told: list[Any] = (
        [e["choices"][0]["finish_reason"] for e in invoked.events if e != "[DONE]" and e["choices"]]
        if stream
        else [invoked.json["choices"][0]["finish_reason"]]
    )
    assert [expected] == [reason for reason in told if reason]
    assert expected == invoked.ended.finish_reason
    assert not invoked.ended.HasField("failure")


@both_ways
async def test_cached_tokens(slug: str, stream: Streamed, side: Side, providers: ProviderHarness) -> None:
    """Tokens that the provider's prompt cache read are part of the input, and told apart."""
    invoked = await providers.invoke(
        chat_request(slug, "m+cached=5", stream=stream, body={"stream_options": {"include_usage": True}})
    )

    used = invoked.ended.usage
    expected = 0 if side.wire == "cohere" else 5
    assert (12, expected) == (used.input_tokens, used.cache_read_tokens)


def _text(invoked: Invoked, *, stream: bool) -> str:
    return text_of(invoked) if stream else invoked.json["choices"][0]["message"]["content"]
