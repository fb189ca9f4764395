"""The official SDKs, with nothing but their base URL and key changed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from scripts.node_setup import NODE, NODE_DIR, ensure_installed
from tests.e2e.upstreams import ANTHROPIC_KEY, CLIENT_KEY, OPENAI_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
ANSWERS = {GPT: "The stand-in answers.", CLAUDE: "The other stand-in answers."}
USAGE = {GPT: (11, 4, 15), CLAUDE: (12, 5, 17)}
STORY = "went hungry that winter."
WEATHER = "What is the weather in Paris?"
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]

both_models = pytest.mark.parametrize("model", [GPT, CLAUDE])


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    """Give the OpenAI SDK with nothing but base URL and key changed."""
    async with AsyncOpenAI(base_url=stack.openai_base_url, api_key=stack.token, max_retries=0) as client:
        yield client


@both_models
async def test_chat(client: AsyncOpenAI, model: str) -> None:
    """A question is answered, with finish reason and usage."""
    answer = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=100
    )

    assert answer.choices[0].message.content == ANSWERS[model]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
        answer.usage.total_tokens,
    ) == USAGE[model]


@both_models
async def test_an_answer_cut_at_its_length_says_so(client: AsyncOpenAI, model: str) -> None:
    """An answer that reached the token limit has the finish reason `length`."""
    answer = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "stop short"}], max_tokens=1
    )

    assert answer.choices[0].finish_reason == "length"


@both_models
async def test_stream(client: AsyncOpenAI, model: str) -> None:
    """A stream gives the text in pieces, then the finish reason, then usage."""
    pieces, finish_reasons, usages, ids = [], [], [], set()
    async for chunk in await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me a long story."}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        ids.add(chunk.id)
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            pieces += [choice.delta.content] if choice.delta.content else []
            finish_reasons += [choice.finish_reason] if choice.finish_reason else []

    assert len(pieces) > 3
    assert "".join(pieces).endswith(STORY)
    assert finish_reasons == ["stop"]
    assert [(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) for usage in usages] == [
        (10, 40, 50)
    ]
    assert len(ids) == 1


@both_models
async def test_a_stream_without_the_option_has_no_usage(client: AsyncOpenAI, model: str) -> None:
    """A client that did not ask for usage in its stream gets none."""
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hello"}], stream=True
        )
    ]

    assert [chunk.usage for chunk in chunks if chunk.usage] == []
    assert all(chunk.choices for chunk in chunks)


@both_models
async def test_tools_make_a_round_trip(client: AsyncOpenAI, model: str) -> None:
    """The model calls a tool, gets its result, and answers with it."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": WEATHER}]
    asked = await client.chat.completions.create(model=model, messages=messages, tools=TOOLS)
    calls = asked.choices[0].message.tool_calls or []
    messages.append(asked.choices[0].message.to_dict())  # type: ignore[arg-type]  # the SDK's own pattern
    messages.append({"role": "tool", "tool_call_id": calls[0].id, "content": "21 degrees"})
    answered = await client.chat.completions.create(model=model, messages=messages, tools=TOOLS)

    assert asked.choices[0].finish_reason == "tool_calls"
    assert [_called(call) for call in calls] == [("get_weather", {"city": "Paris", "unit": "celsius"})]
    assert asked.usage is not None
    assert (asked.usage.prompt_tokens, asked.usage.completion_tokens) == (41, 9)
    assert answered.choices[0].message.content == "It is 21 degrees in Paris."
    assert answered.choices[0].finish_reason == "stop"


@both_models
async def test_tool_calls_stream(client: AsyncOpenAI, model: str) -> None:
    """A streamed tool call has one id and name, arguments that join to JSON, and its finish reason."""
    names, ids, arguments, finish_reasons, usages = [], [], "", [], []
    async for chunk in await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": WEATHER}],
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
    ):
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            finish_reasons += [choice.finish_reason] if choice.finish_reason else []
            for delta in choice.delta.tool_calls or []:
                assert delta.index == 0
                assert delta.function is not None
                ids += [delta.id] if delta.id else []
                names += [delta.function.name] if delta.function.name else []
                arguments += delta.function.arguments or ""

    assert names == ["get_weather"]
    assert len(ids) == 1
    assert json.loads(arguments) == {"city": "Paris", "unit": "celsius"}
    assert finish_reasons == ["tool_calls"]
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [(41, 9)]


async def test_embeddings(client: AsyncOpenAI) -> None:
    """Texts become vectors of the model's length, one for each, in order."""
    answer = await client.embeddings.create(
        model="openai/text-embedding-3-small", input=["first text", "second text"]
    )

    assert [item.index for item in answer.data] == [0, 1]
    assert [len(item.embedding) for item in answer.data] == [1536, 1536]
    assert answer.data[0].embedding != answer.data[1].embedding


async def test_models(client: AsyncOpenAI) -> None:
    """The list of models has names that can be asked for, with their provider."""
    names = [model.id async for model in client.models.list()]

    assert GPT in names
    assert CLAUDE in names
    assert "local/smollm2-135m-instruct" in names
    assert all("/" in name for name in names)


async def test_a_refusal_is_the_sdks_own_error(stack: Stack) -> None:
    """A wrong key raises the SDK's error for that, with the gateway's message."""
    async with AsyncOpenAI(
        base_url=stack.openai_base_url, api_key="hr_nonesuchtoken_" + "x" * 43, max_retries=0
    ) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": "hello"}])

    assert raised.value.status_code == 401
    assert raised.value.code == "unauthenticated"


async def test_a_broken_stream_raises(client: AsyncOpenAI) -> None:
    """A stream that the upstream cuts half-way raises in the SDK; it never ends as if it were whole."""
    stream = await client.chat.completions.create(
        model="openai/gpt-4o-mini+words=6+cut=3", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    pieces: list[str] = []

    async def read_all() -> None:
        async for chunk in stream:
            pieces.extend(choice.delta.content or "" for choice in chunk.choices)

    with pytest.raises(openai.APIError):
        await read_all()

    assert "".join(pieces).split() == ["w0", "w1", "w2"]


async def test_openai_sdk_on_the_native_path(stack: Stack, upstreams: Upstreams) -> None:
    """On a provider's own path the client's key is the provider's, and models have no prefix."""
    headers = {"cf-aig-authorization": f"Bearer {stack.token}"}
    async with AsyncOpenAI(
        base_url=f"{stack.gateway_url()}/openai",
        api_key=CLIENT_KEY,
        default_headers=headers,
        max_retries=0,
    ) as client:
        answer = await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": f"native {stack.port}"}]
        )
    [received] = upstreams.received(f"native {stack.port}")

    assert answer.choices[0].message.content == ANSWERS[GPT]
    assert received.path == "/v1/chat/completions"
    assert received.header("authorization") == f"Bearer {CLIENT_KEY}"


async def test_anthropic_sdk_on_the_native_path(stack: Stack, upstreams: Upstreams) -> None:
    """The Anthropic SDK talks to its provider through the gateway, plain and streaming."""
    headers = {"cf-aig-authorization": f"Bearer {stack.token}"}
    async with AsyncAnthropic(
        base_url=f"{stack.gateway_url()}/anthropic",
        api_key=CLIENT_KEY,
        default_headers=headers,
        max_retries=0,
    ) as client:
        answer = await client.messages.create(
            model="claude-haiku-4-5",
            max_tokens=50,
            messages=[{"role": "user", "content": f"anthropic native {stack.port}"}],
        )
        async with client.messages.stream(
            model="claude-haiku-4-5",
            max_tokens=50,
            messages=[{"role": "user", "content": "Tell me a long story."}],
        ) as stream:
            story = await stream.get_final_message()
    [received] = upstreams.received(f"anthropic native {stack.port}")

    assert answer.content[0].to_dict()["text"] == ANSWERS[CLAUDE]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 5)
    assert str(story.content[0].to_dict()["text"]).endswith(STORY)
    assert story.stop_reason == "end_turn"
    # Newer versions of the SDK send the key as a bearer token.
    assert CLIENT_KEY in {received.header("x-api-key"), str(received.header("authorization"))[7:]}
    assert "cf-aig-authorization" not in received.header_names()


async def test_the_operators_key_is_used_when_the_client_has_none(
    stack: Stack, client: AsyncOpenAI, upstreams: Upstreams
) -> None:
    """With the gateway's token in place of a key, each provider gets the operator's key for it."""
    marker = f"operator's key {stack.port}"
    for model in (GPT, CLAUDE):
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": marker}])
    to_openai, to_anthropic = upstreams.received(marker)

    assert to_openai.header("authorization") == f"Bearer {OPENAI_KEY}"
    assert to_anthropic.header("x-api-key") == ANTHROPIC_KEY
    assert to_anthropic.header("authorization") is None


async def run_node(script: str, stack: Stack, *arguments: str) -> Any:
    """Run a program of `tests/node` with the OpenAI SDK pointed at a stack, and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(NODE_DIR / script),
        *arguments,
        cwd=NODE_DIR,
        env={"OPENAI_BASE_URL": stack.openai_base_url, "OPENAI_API_KEY": stack.token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.fixture(scope="session")
def node() -> None:
    """Have Node's OpenAI SDK installed."""
    ensure_installed()


@both_models
async def test_node_chat(stack: Stack, node: None, model: str) -> None:
    """Node's SDK gets an answer with finish reason, usage and the gateway's headers."""
    result = await run_node("chat.mjs", stack, model, "hello")

    assert result["text"] == ANSWERS[model]
    assert result["finishReason"] == "stop"
    assert result["usage"]["total_tokens"] == USAGE[model][2]
    assert result["provider"] == model.partition("/")[0]
    assert result["logId"]


@both_models
async def test_node_stream(stack: Stack, node: None, model: str) -> None:
    """Node's SDK gets a stream in pieces, with finish reason and usage."""
    result = await run_node("stream.mjs", stack, model, "Tell me a long story.")

    assert len(result["pieces"]) > 3
    assert "".join(result["pieces"]).endswith(STORY)
    assert result["finishReason"] == "stop"
    assert result["usage"]["total_tokens"] == 50


@both_models
async def test_node_tools(stack: Stack, node: None, model: str) -> None:
    """Node's SDK makes the round trip of a tool call."""
    result = await run_node("tools.mjs", stack, model, WEATHER)

    assert result["asked"] == {
        "finishReason": "tool_calls",
        "calls": [{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}],
    }
    assert result["answered"] == {"finishReason": "stop", "text": "It is 21 degrees in Paris."}


async def test_node_embeddings(stack: Stack, node: None) -> None:
    """Node's SDK gets vectors."""
    result = await run_node("embeddings.mjs", stack, "openai/text-embedding-3-small")

    assert result["lengths"] == [1536, 1536]


async def test_node_models(stack: Stack, node: None) -> None:
    """Node's SDK lists the models."""
    result = await run_node("models.mjs", stack)

    assert {GPT, CLAUDE} <= set(result["names"])


async def test_node_error(stack: Stack, node: None) -> None:
    """Node's SDK understands a refusal."""
    result = await run_node("error.mjs", stack, "nonesuch/model")

    assert result["raised"] == "BadRequestError"
    assert result["status"] == 400
    assert result["code"] == "invalid_provider"


async def test_node_over_http2(stack: Stack, node: None) -> None:
    """The HTTP port also takes HTTP/2 without TLS from clients that begin with it."""
    result = await run_node("h2c.mjs", stack, stack.base_url, GPT, "hello")

    assert result == {"status": 200, "text": ANSWERS[GPT]}


def _called(call: Any) -> tuple[str, Any]:
    return call.function.name, json.loads(call.function.arguments)
