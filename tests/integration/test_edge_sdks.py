"""The official SDKs at an edge, with nothing but base URL, key and model changed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import orjson
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import failure
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Google's SDK makes a subclass of aiohttp's session.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
MODEL = "openai/gpt-x"
KNOWN = provider_service_pb2.Model(
    provider="openai",
    model="gpt-x",
    context_tokens=128_000,
    output_tokens=16_384,
    input_token_nano_usd=150,
    output_token_nano_usd=600,
    capabilities=["chat", "vision"],
)
EMBEDS = provider_service_pb2.Model(provider="openai", model="embed", capabilities=["embeddings"])


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.models = {"openai": [KNOWN, EMBEDS], "local": []}
        yield found


def openai_sdk(base: str, key: str = TOKEN) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0)


def anthropic_sdk(base: str, key: str = TOKEN) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=base, api_key=key, max_retries=0)


@asynccontextmanager
async def google_sdk(base: str, key: str = TOKEN) -> AsyncIterator[Any]:
    client = genai.Client(api_key=key, http_options=google_types.HttpOptions(base_url=base))
    try:
        yield client.aio
    finally:
        await client.aio.aclose()
        client.close()


@pytest.fixture(params=["", "/v1/local/default/compat"], ids=["short", "compat"])
def base(request: pytest.FixtureRequest, peers: Peers) -> str:
    return peers.base + str(request.param)


async def call_openai(base: str, key: str = TOKEN, model: str = MODEL) -> None:
    async with openai_sdk(f"{base}/v1", key) as sdk:
        await sdk.chat.completions.create(model=model, messages=MESSAGES)


async def call_responses(base: str, key: str = TOKEN, model: str = MODEL) -> None:
    async with openai_sdk(f"{base}/v1", key) as sdk:
        await sdk.responses.create(model=model, input="hi")


async def call_anthropic(base: str, key: str = TOKEN, model: str = MODEL) -> None:
    async with anthropic_sdk(base, key) as sdk:
        await sdk.messages.create(model=model, messages=MESSAGES, max_tokens=5)


async def call_count_tokens(base: str, key: str = TOKEN, model: str = MODEL) -> None:
    async with anthropic_sdk(base, key) as sdk:
        await sdk.messages.count_tokens(model=model, messages=MESSAGES)


async def call_google(base: str, key: str = TOKEN, model: str = MODEL) -> None:
    async with google_sdk(base, key) as sdk:
        await sdk.models.generate_content(model=model, contents="hi")


OPENAI_CALLS = [call_openai, call_responses]
ANTHROPIC_CALLS = [call_anthropic, call_count_tokens]

ERRORS: list[tuple[Any, type[Exception], type[Exception]]] = [
    (GatewayError(Reason.UNSUPPORTED, "No."), openai.BadRequestError, anthropic.BadRequestError),
    (GatewayError(Reason.NOT_FOUND, "No."), openai.NotFoundError, anthropic.NotFoundError),
    (GatewayError(Reason.RATE_LIMITED, "No."), openai.RateLimitError, anthropic.RateLimitError),
    (
        GatewayError(Reason.PERMISSION_DENIED, "No."),
        openai.PermissionDeniedError,
        anthropic.PermissionDeniedError,
    ),
    (
        GatewayError(Reason.UPSTREAM_UNREACHABLE, "No."),
        openai.InternalServerError,
        anthropic.InternalServerError,
    ),
]


@pytest.mark.parametrize("call", OPENAI_CALLS)
@pytest.mark.parametrize(("raised", "expected", "_"), ERRORS)
async def test_openais_exceptions(
    peers: Peers, call: Any, raised: GatewayError, expected: type[Exception], _: Any
) -> None:
    """A failure of the gateway is the exception of its status, with message, code and type."""
    peers.provider.script = [raised]
    with pytest.raises(expected) as caught:
        await call(peers.base)
    error: Any = caught.value

    assert ("No.", raised.reason.lower()) == (error.body["message"], error.code)


@pytest.mark.parametrize("call", ANTHROPIC_CALLS)
@pytest.mark.parametrize(("raised", "_", "expected"), ERRORS)
async def test_anthropics_exceptions(
    peers: Peers, call: Any, raised: GatewayError, _: Any, expected: type[Exception]
) -> None:
    """Case 80: likewise on `messages` and on `count_tokens`, in Anthropic's members."""
    peers.provider.script = [raised]
    with pytest.raises(expected) as caught:
        await call(peers.base)
    error: Any = caught.value

    assert ("error", "No.") == (error.body["type"], error.body["error"]["message"])


GOOGLE_ERRORS = [
    (Reason.UNSUPPORTED, google_errors.ClientError, 400, "INVALID_ARGUMENT"),
    (Reason.RATE_LIMITED, google_errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
    (Reason.UPSTREAM_UNREACHABLE, google_errors.ServerError, 502, "UNAVAILABLE"),
    (Reason.UPSTREAM_TIMEOUT, google_errors.ServerError, 504, "DEADLINE_EXCEEDED"),
    (Reason.INTERNAL, google_errors.ServerError, 500, "INTERNAL"),
]


@pytest.mark.parametrize(("reason", "expected", "code", "status"), GOOGLE_ERRORS)
async def test_googles_exceptions(
    peers: Peers, reason: Reason, expected: type[Exception], code: int, status: str
) -> None:
    """A failure of the gateway has Google's code, status and message."""
    peers.provider.script = [GatewayError(reason, "No.")]
    with pytest.raises(expected) as caught:
        await call_google(peers.base)
    error: Any = caught.value

    assert (code, status, "No.") == (error.code, error.status, error.message)


async def test_a_wrong_token(base: str) -> None:
    """Each SDK says that the key is wrong."""
    with pytest.raises(openai.AuthenticationError):
        await call_openai(base, key="hr_wrong_token")
    with pytest.raises(anthropic.AuthenticationError):
        await call_anthropic(base, key="hr_wrong_token")
    with pytest.raises(google_errors.ClientError) as caught:
        await call_google(base, key="hr_wrong_token")

    assert (401, "UNAUTHENTICATED") == (caught.value.code, caught.value.status)


async def test_a_model_without_a_provider(base: str) -> None:
    """Each SDK says that the request is wrong, and what to write."""
    for call, expected in (
        (call_openai, openai.BadRequestError),
        (call_responses, openai.BadRequestError),
        (call_anthropic, anthropic.BadRequestError),
        (call_google, google_errors.ClientError),
    ):
        with pytest.raises(expected, match="provider"):
            await call(base, model="gpt-x")


def cut(dialect: http_pb2.Dialect.ValueType, *events: bytes) -> list[Any]:
    told = failure(provider_service_pb2.FAILURE_CLASS_CUT, message="The answer broke off.")
    return [head(200, "text/event-stream", body_dialect=dialect), *map(chunk, events), tail(failure=told)]


async def test_openais_streams_that_break_off(peers: Peers, base: str) -> None:
    """Both kinds of stream raise."""
    peers.provider.script = cut(http_pb2.DIALECT_OPENAI_CHAT, b'data: {"choices":[]}\n\n')
    async with openai_sdk(f"{base}/v1") as sdk:
        chat = await sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="The answer broke off"):
            async for _ in chat:
                pass
        peers.provider.script = cut(
            http_pb2.DIALECT_OPENAI_RESPONSES,
            b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n',
        )
        response = await sdk.responses.create(model=MODEL, input="hi", stream=True)
        with pytest.raises(openai.APIError, match="The answer broke off"):
            async for _ in response:
                pass


async def test_anthropics_stream_that_breaks_off(peers: Peers, base: str) -> None:
    """It raises what its `error` event says."""
    peers.provider.script = cut(
        http_pb2.DIALECT_ANTHROPIC_MESSAGES, b'event: ping\ndata: {"type":"ping"}\n\n'
    )
    async with anthropic_sdk(base) as sdk:
        stream = await sdk.messages.create(model=MODEL, messages=MESSAGES, max_tokens=5, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="The answer broke off"):
            async for _ in stream:
                pass


async def test_googles_stream_that_breaks_off(peers: Peers, base: str) -> None:
    """It raises the server error of its last event."""
    event = {"candidates": [{"content": {"parts": [{"text": "He"}], "role": "model"}}]}
    peers.provider.script = cut(http_pb2.DIALECT_GEMINI, b"data: " + orjson.dumps(event) + b"\n\n")
    async with google_sdk(base) as sdk:
        stream = await sdk.models.generate_content_stream(model=MODEL, contents="hi")
        first = await anext(stream)
        with pytest.raises(google_errors.ServerError) as caught:
            await anext(stream)

    assert ("He", 502, "UNAVAILABLE") == (first.text, caught.value.code, caught.value.status)
    assert (True, "", http_pb2.DIALECT_GEMINI) == (
        peers.provider.requests[0].stream,
        peers.provider.requests[0].operation,
        peers.provider.requests[0].client_dialect,
    )


async def test_googles_other_calls(peers: Peers, base: str) -> None:
    """Counting and embedding are told apart."""
    async with google_sdk(base) as sdk:
        peers.provider.script = [head(), chunk(b'{"totalTokens":7}'), tail()]
        counted = await sdk.models.count_tokens(model=MODEL, contents="hi")
        peers.provider.script = [head(), chunk(b'{"embeddings":[{"values":[1.0]}]}'), tail()]
        embedded = await sdk.models.embed_content(model=MODEL, contents="hi")

    assert (7, [1.0]) == (counted.total_tokens, embedded.embeddings[0].values)
    assert ["countTokens", "batchEmbedContents"] == [each.operation for each in peers.provider.requests]


async def test_openais_models(base: str) -> None:
    """Listed and asked for one by one, with what is known of each beside OpenAI's members."""
    async with openai_sdk(f"{base}/v1") as sdk:
        listed = {model.id: model async for model in sdk.models.list()}
        one = await sdk.models.retrieve(MODEL)
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("openai/nope")

    assert {MODEL, "openai/embed"} <= set(listed)
    assert listed[MODEL] == one
    assert {
        "id": MODEL,
        "created": 0,
        "object": "model",
        "owned_by": "openai",
        "provider": "openai",
        "context_window": 128_000,
        "max_output_tokens": 16_384,
        "usd_per_million_tokens": {"input": 0.15, "output": 0.6},
        "capabilities": ["chat", "vision"],
    } == one.model_dump(exclude_none=True)


async def test_anthropics_models(base: str) -> None:
    """A client of Anthropic's gets the same in Anthropic's members, errors included."""
    async with anthropic_sdk(base) as sdk:
        listed = {model.id: model async for model in sdk.models.list()}
        one = await sdk.models.retrieve(MODEL)
        with pytest.raises(anthropic.NotFoundError) as caught:
            await sdk.models.retrieve("openai/nope")
    error: Any = caught.value

    assert listed[MODEL] == one
    assert ("model", "gpt-x", 128_000, 16_384, 1970) == (
        one.type,
        one.display_name,
        one.max_input_tokens,
        one.max_tokens,
        one.created_at.year,
    )
    assert "error" == error.body["type"]


async def test_googles_models(base: str) -> None:
    """A client of Gemini's gets them as Google has them."""
    async with google_sdk(base) as sdk:
        listed = {model.name: model async for model in await sdk.models.list()}
        one = await sdk.models.get(model=MODEL)
        with pytest.raises(google_errors.ClientError) as caught:
            await sdk.models.get(model="openai/nope")

    assert (128_000, 16_384) == (one.input_token_limit, one.output_token_limit)
    assert "generateContent" in listed[f"models/{MODEL}"].supported_actions
    assert ["embedContent", "batchEmbedContents"] == listed["models/openai/embed"].supported_actions
    assert (404, "NOT_FOUND") == (caught.value.code, caught.value.status)


async def test_models_that_a_token_may_not_use(peers: Peers, base: str) -> None:
    """They are neither listed nor found."""
    peers.auth.restrictions.models.append("openai/embed")
    async with openai_sdk(f"{base}/v1") as sdk:
        listed = [model.id async for model in sdk.models.list()]
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve(MODEL)

    assert ["openai/embed"] == listed


async def test_models_without_a_token(base: str) -> None:
    """Nobody sees them without one, and each SDK is told in its own words."""
    async with openai_sdk(f"{base}/v1", "sk-theirs") as sdk:
        with pytest.raises(openai.AuthenticationError):
            await sdk.models.list()
    async with anthropic_sdk(base, "sk-theirs") as claude:
        with pytest.raises(anthropic.AuthenticationError):
            await claude.models.list()
    async with google_sdk(base, "AIza-theirs") as gemini:
        with pytest.raises(google_errors.ClientError):
            await gemini.models.list()


async def test_speech_and_transcription(peers: Peers, base: str) -> None:
    """Sound goes out as it is and comes in as a form."""
    async with openai_sdk(f"{base}/v1") as sdk:
        peers.provider.script = [head(200, "audio/mpeg"), chunk(b"\xff\xfb"), chunk(b"\x00"), tail()]
        spoken = await sdk.audio.speech.create(model="openai/tts", voice="alloy", input="hi")
        peers.provider.script = [head(), chunk(b'{"text":"hi"}'), tail()]
        heard = await sdk.audio.transcriptions.create(model="openai/whisper-1", file=("a.mp3", b"\xff\xfb"))
        peers.provider.script = [head(), chunk(b'{"created":1,"data":[]}'), tail()]
        await sdk.images.edit(model="openai/gpt-image-1", image=("a.png", b"\x89PNG"), prompt="x")

    assert (b"\xff\xfb\x00", "hi") == (spoken.content, heard.text)
    assert [
        ("audio/speech", "tts"),
        ("audio/transcriptions", "whisper-1"),
        ("images/edits", "gpt-image-1"),
    ] == [(each.operation, each.model) for each in peers.provider.requests]
