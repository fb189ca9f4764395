"""
What only the adapter of OpenAI's API does: same bytes, embeddings, responses, the local engine's key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from yarl import URL

from headrace.common.v1 import http_pb2
from kit.secret import Secret
from services.providers.adapters.local import LocalAdapter
from services.providers.config import ProvidersConfig
from services.providers.registry import PROVIDERS
from tests.fakes import upstream_shapes
from tests.fakes.provider_calls import chat_request, native_request
from tests.fakes.upstream_shapes import INPUT_TOKENS

if TYPE_CHECKING:
    from services.providers.local.engine import LocalEngine
    from tests.fakes.provider_calls import ProviderHarness
    from tests.fakes.upstream import FakeUpstream

EMBEDDINGS = http_pb2.DIALECT_OPENAI_EMBEDDINGS


async def test_same_bytes(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Nothing but the model changes on the way, and nothing on the way back."""
    raw = b'{"temperature": 1.0,  "model":"openai/x", "future": {"a":[1e3]}, "messages":[]}'

    invoked = await providers.invoke(chat_request("openai", "gpt-1", raw=raw))

    assert raw.replace(b"openai/x", b"gpt-1") == upstream.journal[0].body
    expected = upstream_shapes.plain_body("chat/completions", {"model": "gpt-1"}, {})
    assert orjson.dumps(expected) == invoked.body


async def test_usage_is_asked_for(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A stream is asked to tell its usage, so that it can be metered."""
    await providers.invoke(chat_request("openai", "m", stream=True))

    assert {"include_usage": True} == upstream.journal[0].json["stream_options"]


async def test_stream_with_usage_keeps_its_bytes(providers: ProviderHarness) -> None:
    """A stream of a client that asks for usage itself is passed on as it is."""
    options = {"stream_options": {"include_usage": True}}

    invoked = await providers.invoke(chat_request("openai", "m", stream=True, body=options))

    events = upstream_shapes.stream_events("chat/completions", {"model": "m", **options}, {})
    assert b"".join(events) == invoked.body


@pytest.mark.parametrize("extra", [{}, {"encoding_format": "base64"}])
async def test_embeddings(extra: dict[str, Any], upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Embeddings are passed on and metered."""
    invoked = await providers.invoke(
        chat_request("openai", "e", dialect=EMBEDDINGS, body={"input": ["a", "b"], **extra})
    )

    assert "/v1/embeddings" == upstream.journal[0].path
    assert 2 == len(invoked.json["data"])
    assert isinstance(invoked.json["data"][0]["embedding"], str if extra else list)
    assert INPUT_TOKENS == invoked.ended.usage.input_tokens
    assert "e" == invoked.ended.served_model


async def test_embeddings_are_never_streamed(providers: ProviderHarness) -> None:
    """A body that asks for a stream of embeddings gets them whole."""
    invoked = await providers.invoke(
        chat_request("openai", "e", stream=True, dialect=EMBEDDINGS, body={"input": "a"})
    )

    assert 1 == len(invoked.json["data"])


async def test_responses_path(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Calls in the responses dialect go to its path, with the provider's model in them."""
    await providers.invoke(
        chat_request("openai", "m", dialect=http_pb2.DIALECT_OPENAI_RESPONSES, body={"input": "hi"})
    )

    assert "/v1/responses" == upstream.journal[0].path
    assert "m" == upstream.journal[0].json["model"]


@pytest.mark.parametrize("path", ["chat/completions", "v1/chat/completions"])
async def test_native_path_with_and_without_version(
    path: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """Clients may or may not take the version for a part of the path; it arrives once."""
    invoked = await providers.invoke(native_request("openai", path, body={"model": "m", "messages": []}))

    assert "/v1/chat/completions" == upstream.journal[0].path
    assert INPUT_TOKENS == invoked.ended.usage.input_tokens


async def test_headers_of_another_provider(upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Headers that mean something to another provider alone are left out."""
    headers = {"authorization": "Bearer k", "anthropic-beta": "x", "openai-beta": "y"}

    await providers.invoke(chat_request("openai", "m", headers=headers))

    received = upstream.journal[0]
    assert received.header("anthropic-beta") is None
    assert "y" == received.header("openai-beta")


class _Engine:
    """Stands where the local engine does: an address, a key, names."""

    def __init__(self, url: str) -> None:
        self.base_url = URL(f"{url}/v1")
        self.api_key = Secret("engine-key")

    def models(self) -> tuple[str, ...]:
        return ("small", "large")


@pytest.fixture
def local(upstream: FakeUpstream, providers: ProviderHarness) -> ProviderHarness:
    """The service with the local adapter in front of an engine."""
    engine: LocalEngine = _Engine(upstream.url)  # type: ignore[assignment]  # as much as the adapter uses
    adapter = LocalAdapter(PROVIDERS["local"], engine, replace(ProvidersConfig()))
    providers.servicer._adapters = {"local": adapter}
    return providers


@pytest.mark.parametrize("given", [{}, {"request_only": True}, {"headers": {}}, {"alias": "other"}])
async def test_local_engine_gets_its_own_key(
    given: dict[str, Any], upstream: FakeUpstream, local: ProviderHarness
) -> None:
    """The local engine sees its own key and never the client's, however the call says keys are chosen."""
    await local.invoke(chat_request("local", "small", **given))

    assert "Bearer engine-key" == upstream.journal[0].header("authorization")


async def test_local_engine_natively(upstream: FakeUpstream, local: ProviderHarness) -> None:
    """Native calls, text completions among them, reach the engine with its own key too."""
    invoked = await local.invoke(
        native_request("local", "v1/completions", body={"model": "small", "prompt": "a"})
    )

    assert "/v1/completions" == upstream.journal[0].path
    assert "Bearer engine-key" == upstream.journal[0].header("authorization")
    assert "text_completion" == invoked.json["object"]
