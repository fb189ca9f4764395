"""
The provider service over real gRPC: from its settings, on a Unix socket, in front of a fake upstream.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from services.providers.app import build
from tests.fakes.one_service import serve
from tests.fakes.provider_calls import CALLER, chat_request
from tests.fakes.upstream import FakeUpstream
from tests.fakes.upstream_shapes import INPUT_TOKENS, MODELS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.one_service import OneService


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@asynccontextmanager
async def running(upstream: FakeUpstream, tmp_path: Path, **env: str) -> AsyncIterator[OneService]:
    """Run the service for the providers that need no model on this machine."""
    settings = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_PROVIDERS_ONLY": "openai,anthropic",
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": upstream.url,
        "HEADRACE_PROVIDER_ANTHROPIC_BASE_URL": upstream.url,
    }
    async with serve(build, settings | env) as one:
        yield one


@pytest.fixture
async def one(upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[OneService]:
    async with running(upstream, tmp_path) as service:
        yield service


@pytest.fixture
def stub(one: OneService) -> Any:
    return ProviderServiceStub(one.channel("edge"))


async def _parts(call: Any) -> list[pb.InvokeResponse]:
    return [part async for part in call]


@pytest.mark.parametrize("slug", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_attempt(slug: str, stream: object, stub: Any) -> None:
    """An attempt is one head, its chunks, one tail; all in one message when the answer is whole."""
    parts = await _parts(stub.Invoke(chat_request(slug, "m", stream=bool(stream))))

    heads = [part.HasField("head") for part in parts]
    tails = [part.HasField("tail") for part in parts]
    assert (1, 1, True, True) == (sum(heads), sum(tails), heads[0], tails[-1])
    assert any(part.HasField("chunk") for part in parts)
    assert stream or len(parts) == 1
    assert 200 == parts[0].head.status
    assert INPUT_TOKENS == parts[-1].tail.usage.input_tokens


async def test_an_error_before_the_head(stub: Any) -> None:
    """What is wrong before there is an answer arrives as the error it is."""
    with pytest.raises(GatewayError) as raised:
        await _parts(stub.Invoke(chat_request("openai", "m", headers={}, request_only=True)))

    assert Reason.CREDENTIAL_MISSING is raised.value.reason
    assert {"provider": "openai"} == raised.value.metadata


async def test_an_unknown_provider(stub: Any) -> None:
    """A provider that does not exist, or lives in another process, is INVALID_PROVIDER."""
    for slug in ("nope", "local"):
        with pytest.raises(GatewayError) as raised:
            await _parts(stub.Invoke(chat_request(slug, "m")))
        assert Reason.INVALID_PROVIDER is raised.value.reason


@pytest.mark.parametrize("caller", ["external", "router", "cli"])
async def test_callers_that_may_not(caller: str, one: OneService) -> None:
    """Only the edge may make attempts: they can spend the operator's money."""
    with pytest.raises(GatewayError) as raised:
        await _parts(ProviderServiceStub(one.channel(caller)).Invoke(chat_request("openai", "m")))

    assert Reason.CALLER_NOT_ALLOWED is raised.value.reason


async def test_cancelled_call(upstream: FakeUpstream, stub: Any) -> None:
    """Cancelling the call closes the provider's connection within 200 ms."""
    call = stub.Invoke(chat_request("openai", "m+words=2000+pace=10", stream=True))
    async for part in call:
        if part.HasField("chunk"):
            break
    cancelled_at = asyncio.get_running_loop().time()
    await call.aclose()

    (received,) = upstream.journal
    async with asyncio.timeout(2):
        await received.closed.wait()
    assert received.closed_at is not None
    assert received.closed_at - cancelled_at < 0.2


async def test_stopping_lets_streams_finish(upstream: FakeUpstream, one: OneService, stub: Any) -> None:
    """A stream that runs when the service stops is finished within the grace."""
    running_call = asyncio.create_task(
        _parts(stub.Invoke(chat_request("openai", "m+words=50+pace=10", stream=True)))
    )
    await upstream.wait_for_requests(1)
    stopping = asyncio.create_task(one._server.stop(5.0))
    parts = await running_call
    await stopping

    assert not parts[-1].tail.HasField("failure")
    assert 50 == parts[-1].tail.usage.output_tokens


async def test_operators_key_and_models(upstream: FakeUpstream, tmp_path: Path) -> None:
    """With the operator's key a provider's models are listed; the list is asked for once."""
    env = {"HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-operator"}
    async with running(upstream, tmp_path, **env) as one:
        stub = ProviderServiceStub(one.channel("edge"))  # type: ignore[no-untyped-call,unused-ignore]
        first = await stub.ListModels(pb.ListModelsRequest(caller=CALLER, provider="openai"))
        again = await stub.ListModels(pb.ListModelsRequest(caller=CALLER, provider="openai"))

    assert set(MODELS) <= {model.model for model in first.models}
    assert {"openai"} == {model.provider for model in first.models}
    assert first == again
    (received,) = upstream.journal
    assert ("GET", "/v1/models") == (received.method, received.path)
    assert "Bearer sk-operator" == received.header("authorization")


async def test_models_without_a_key(upstream: FakeUpstream, stub: Any) -> None:
    """Without a key a provider is not asked, and lists nothing."""
    listed = await stub.ListModels(pb.ListModelsRequest(caller=CALLER))

    assert [] == list(listed.models)
    assert [] == upstream.journal


async def test_models_of_one_that_fails(upstream: FakeUpstream, tmp_path: Path) -> None:
    """One provider that cannot list its models does not take the others' away."""
    env = {
        "HEADRACE_PROVIDER_OPENAI_API_KEY": "k",
        "HEADRACE_PROVIDER_ANTHROPIC_API_KEY": "k",
        "HEADRACE_PROVIDERS_MODELS_CACHE_S": "0",
    }
    upstream.script.append({"status": "500"})
    async with running(upstream, tmp_path, **env) as one:
        stub = ProviderServiceStub(one.channel("cli"))  # type: ignore[no-untyped-call,unused-ignore]
        listed = await stub.ListModels(pb.ListModelsRequest(caller=CALLER))

    assert {"anthropic"} == {model.provider for model in listed.models}


async def test_models_of_an_unknown_provider(stub: Any) -> None:
    """The models of a provider that does not exist are an error."""
    with pytest.raises(GatewayError) as raised:
        await stub.ListModels(pb.ListModelsRequest(caller=CALLER, provider="nope"))

    assert Reason.INVALID_PROVIDER is raised.value.reason


async def test_health(one: OneService) -> None:
    """The service is not ready before it knows whose keys there are, which it asks of auth."""
    with pytest.raises(GatewayError) as raised:
        await one.service.check()

    assert (Reason.SERVICE_UNAVAILABLE, "auth") == (raised.value.reason, raised.value.metadata["service"])


@pytest.mark.parametrize(
    "env",
    [
        {"HEADRACE_PROVIDERS_ONLY": "nope"},
        {"HEADRACE_PROVIDER_OPENAI_BASE_URL": "nowhere"},
        {"HEADRACE_PROVIDERS_TOTAL_TIMEOUT_S": "soon"},
    ],
)
async def test_wrong_settings(env: dict[str, str], upstream: FakeUpstream, tmp_path: Path) -> None:
    """A wrong setting keeps the service from starting."""
    with pytest.raises(ConfigError):
        async with running(upstream, tmp_path, **env):
            pass


async def test_the_local_model(upstream: FakeUpstream, tmp_path: Path) -> None:
    """The real model on this machine answers through the service, streamed, with usage."""
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    async with running(upstream, tmp_path, HEADRACE_PROVIDERS_ONLY="local") as one:
        stub = ProviderServiceStub(one.channel("edge"))  # type: ignore[no-untyped-call,unused-ignore]
        listed = await stub.ListModels(pb.ListModelsRequest(caller=CALLER))
        request = chat_request("local", listed.models[0].model, stream=True, body=body)
        parts = await _parts(stub.Invoke(request))
        await one.service.check()

    assert "smollm2-135m-instruct" == listed.models[0].model
    text = b"".join(part.chunk.data for part in parts)
    assert text.endswith(b"data: [DONE]\n\n")
    assert 0 < parts[-1].tail.usage.output_tokens <= 8
    assert not parts[-1].tail.HasField("failure")


async def test_an_answer_in_its_other_form(stub: Any) -> None:
    """A kept answer becomes a stream and one piece again, and no provider is asked."""
    asked = chat_request("openai", "m")
    (whole,) = await _parts(stub.Invoke(asked))
    dialect = http_pb2.DIALECT_OPENAI_CHAT
    stream = await stub.Reshape(
        pb.ReshapeRequest(dialect=dialect, body=whole.chunk.data, stream=True, request=asked.body)
    )
    again = await stub.Reshape(pb.ReshapeRequest(dialect=dialect, body=stream.body, request=asked.body))

    assert ("text/event-stream", "application/json") == (stream.content_type, again.content_type)
    assert stream.body.endswith(b"data: [DONE]\n\n")
    first, second = orjson.loads(whole.chunk.data), orjson.loads(again.body)
    assert first["choices"][0]["message"]["content"] == second["choices"][0]["message"]["content"]


async def test_an_answer_without_another_form(stub: Any) -> None:
    """What cannot be read has none."""
    request = pb.ReshapeRequest(
        dialect=http_pb2.DIALECT_OPENAI_CHAT, body=b"<html>", stream=True, request=b"{}"
    )
    with pytest.raises(GatewayError) as caught:
        await stub.Reshape(request)

    assert Reason.UNSUPPORTED == caught.value.reason
