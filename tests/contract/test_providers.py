"""
What every provider adapter does with an answer, whatever the API behind it: one suite over the registry.

The clients here all speak OpenAI chat; `tests/fakes/provider_sides.py` says how a provider sees their calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.providers.registry import PROVIDERS
from tests.fakes.provider_calls import (
    ProviderHarness,
    chat_request,
    text_of,
)
from tests.fakes.provider_sides import SIDES, Side
from tests.fakes.upstream_shapes import ARGUMENTS, INPUT_TOKENS, TEXT

if TYPE_CHECKING:
    from tests.fakes.upstream import FakeUpstream

Streamed = bool  # the kind of answer asked for, a parameter of tests

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def test_plain_answer(
    slug: str, side: Side, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A plain answer arrives in OpenAI's shape, in one chunk, with model, usage and finish reason."""
    invoked = await providers.invoke(chat_request(slug, "m-1"))

    assert 200 == invoked.started.status
    assert not invoked.started.HasField("failure")
    assert ["application/json"] == invoked.header("content-type")
    assert 1 == len(invoked.chunks)
    assert TEXT == invoked.json["choices"][0]["message"]["content"]
    assert "stop" == invoked.json["choices"][0]["finish_reason"] == invoked.ended.finish_reason
    assert _served(side) == invoked.started.served_model == invoked.ended.served_model
    assert (INPUT_TOKENS, 5) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    assert not invoked.ended.usage.estimated
    assert not invoked.ended.HasField("failure")
    assert invoked.ended.timings.total.ToNanoseconds() > invoked.ended.timings.first_byte.ToNanoseconds() > 0
    (received,) = upstream.journal
    assert ("POST", side.chat_path) == (received.method, received.path)
    assert received.json.get("model") in {None, side.model.format("m-1")}


async def test_streamed_answer(
    slug: str, side: Side, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A streamed answer arrives as OpenAI chunks in whole events, ends with [DONE], and is metered."""
    invoked = await providers.invoke(chat_request(slug, "m-1+words=30+pace=1", stream=True))

    assert 200 == invoked.started.status
    assert invoked.header("content-type")[0].startswith("text/event-stream")
    assert " ".join(f"w{index}" for index in range(30)) == text_of(invoked)
    assert "[DONE]" == invoked.events[-1]
    assert all(chunk.endswith(b"\n\n") for chunk in invoked.chunks)
    assert "stop" == invoked.ended.finish_reason
    assert _served(side) == invoked.ended.served_model
    assert (side.stream_path or side.chat_path) == upstream.journal[0].path
    assert (INPUT_TOKENS, 30) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    assert not invoked.ended.usage.estimated
    assert not invoked.ended.HasField("failure")


async def test_usage_chunk_only_for_those_who_ask(slug: str, side: Side, providers: ProviderHarness) -> None:
    """The chunk that holds usage reaches only a client that asked for it, though usage is always metered."""
    plain = await providers.invoke(chat_request(slug, "m", stream=True))
    asked = await providers.invoke(
        chat_request(slug, "m", stream=True, body={"stream_options": {"include_usage": True}})
    )

    told = [event["usage"] for event in asked.events if event != "[DONE]" and event.get("usage")]
    assert not any(event != "[DONE]" and event["choices"] == [] for event in plain.events)
    assert INPUT_TOKENS + 5 == told[-1]["total_tokens"]
    assert not side.usage_asked or [] == asked.events[-2]["choices"]
    assert plain.ended.usage == asked.ended.usage


async def test_stream_split_anywhere(slug: str, providers: ProviderHarness) -> None:
    """Where the provider's bytes are cut into packets makes no difference to the text."""
    invoked = await providers.invoke(chat_request(slug, "m+split=7+words=4", stream=True))

    assert "w0 w1 w2 w3" == text_of(invoked)
    assert all(chunk.endswith(b"\n\n") for chunk in invoked.chunks)


async def test_running_usage(one_of_each: str, providers: ProviderHarness) -> None:
    """While a stream runs its usage is told now and then, so that a cancelled one can be recorded."""
    invoked = await providers.invoke(chat_request(one_of_each, "m+words=100+pace=1", stream=True))

    outputs = [usage.output_tokens for usage in invoked.usages]
    assert 3 <= len(invoked.usages) <= 12
    assert all(usage.input_tokens > 0 for usage in invoked.usages)
    assert sorted(outputs) == outputs
    assert any(usage.estimated and usage.output_tokens > 10 for usage in invoked.usages)
    assert 100 == invoked.ended.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls(
    slug: str, stream: Streamed, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """Tool definitions go to the provider, and its calls come back as OpenAI tool calls."""
    request = chat_request(slug, "m+tools=2", stream=stream, body={"tools": [WEATHER_TOOL]})

    invoked = await providers.invoke(request)

    if stream:
        deltas = [e["choices"][0]["delta"] for e in invoked.events if e != "[DONE]" and e["choices"]]
        parts = [call for delta in deltas for call in delta.get("tool_calls") or []]
        arguments = [
            "".join(p["function"].get("arguments") or "" for p in parts if p["index"] == i) for i in (0, 1)
        ]
        called = [p["function"]["name"] for p in parts if p["function"].get("name")]
    else:
        calls = invoked.json["choices"][0]["message"]["tool_calls"]
        arguments = [call["function"]["arguments"] for call in calls]
        called = [call["function"]["name"] for call in calls]
    assert ["get_weather", "get_weather"] == called
    assert [ARGUMENTS, ARGUMENTS] == [text.replace(" ", "") for text in arguments]
    assert "tool_calls" == invoked.ended.finish_reason
    assert "get_weather" in upstream.journal[0].body.decode()


async def test_stream_without_last_event(slug: str, providers: ProviderHarness) -> None:
    """A stream that has a finish reason but lacks its last event is whole (some providers leave it out)."""
    invoked = await providers.invoke(chat_request(slug, "m+no-done", stream=True))

    assert TEXT == text_of(invoked)
    assert "[DONE]" == invoked.events[-1]
    assert not invoked.ended.HasField("failure")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True])
async def test_compressed_answer(
    slug: str, coding: str, stream: Streamed, providers: ProviderHarness
) -> None:
    """A provider that compresses though it was not asked to is decoded, and no header says otherwise."""
    invoked = await providers.invoke(chat_request(slug, f"m+{coding}", stream=stream))

    text = text_of(invoked) if stream else invoked.json["choices"][0]["message"]["content"]
    assert TEXT == text
    assert [] == invoked.header("content-encoding")
    assert [] == invoked.header("content-length")


async def test_cancelled_stream(one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A caller that goes away closes the provider's connection within 200 ms."""
    first = asyncio.Event()

    async def consume() -> None:
        async for response in providers.servicer.Invoke(
            chat_request(one_of_each, "m+words=1000+pace=20", stream=True), None
        ):
            if response.HasField("chunk"):
                first.set()

    task = asyncio.create_task(consume())
    await first.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    cancelled_at = asyncio.get_running_loop().time()
    async with asyncio.timeout(2):
        await upstream.journal[0].closed.wait()

    assert upstream.journal[0].closed_at is not None
    assert upstream.journal[0].closed_at - cancelled_at < 0.2
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closed_generator(one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A caller that stops reading between two parts closes the provider's connection too."""
    answers = providers.servicer.Invoke(chat_request(one_of_each, "m+words=1000+pace=20", stream=True), None)
    await anext(answers)
    await answers.aclose()  # type: ignore[attr-defined]  # a generator

    async with asyncio.timeout(0.5):
        await upstream.journal[0].closed.wait()
    assert not upstream.journal[0].finished


async def test_connection_is_used_again(
    one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """Calls one after the other share a connection, streams and errors too."""
    requests = [
        chat_request(one_of_each, f"m{steer}", stream=True) for steer in ("", "+status=500", "+words=3")
    ]
    invoked = [await providers.invoke(request) for request in requests]

    connects = [one.ended.timings.connect.ToNanoseconds() for one in invoked]
    assert connects[0] > 0
    assert [0, 0] == connects[1:]


async def test_streams_side_by_side(one_of_each: str, providers: ProviderHarness) -> None:
    """Streams that run at the same time do not mix."""
    texts = [f"stream {index} says only this" for index in range(40)]
    invoked = await asyncio.gather(
        *(
            providers.invoke(
                chat_request(
                    one_of_each,
                    "m+echo+pace=1",
                    stream=True,
                    body={"messages": [{"role": "user", "content": text}]},
                )
            )
            for text in texts
        )
    )

    assert texts == [text_of(one) for one in invoked]


async def test_attempts_are_counted(one_of_each: str, providers: ProviderHarness) -> None:
    """Each attempt counts once, by how it went."""
    await providers.invoke(chat_request(one_of_each, "m"))
    await providers.invoke(chat_request(one_of_each, "m+status=429"))
    await providers.failing(chat_request(one_of_each, "m+reset"))

    def count(outcome: str) -> float | None:
        labels = {"provider": one_of_each, "outcome": outcome}
        return providers.registry.get_sample_value("headrace_provider_attempts_total", labels)

    assert [1, 1, 1] == [count(name) for name in ("ok", "rate_limit", "upstream_unreachable")]
    timed = providers.registry.get_sample_value(
        "headrace_provider_first_byte_seconds_count", {"provider": one_of_each}
    )
    assert 2 == timed


async def test_every_provider_has_a_side() -> None:
    """Each provider of the registry says here how it is seen from its own side."""
    assert set(PROVIDERS) == set(SIDES)


def _served(side: Side) -> str:
    """Return the model that an answer of the upstream names, when its API names any."""
    if side.wire in {"gemini", "openai"} and side.model.startswith("google/"):
        return "m-1"
    return side.model.format("m-1") if side.names_model else ""
