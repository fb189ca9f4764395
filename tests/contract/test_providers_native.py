"""
What every provider adapter does with calls of the provider's own API: relays them exactly.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from kit.errors import Reason
from tests.fakes import upstream_shapes
from tests.fakes.provider_calls import (
    ProviderHarness,
    failure_class,
    native_request,
)
from tests.fakes.provider_sides import SIDES, Side
from tests.fakes.upstream_shapes import INPUT_TOKENS

if TYPE_CHECKING:
    from tests.fakes.upstream import FakeUpstream

Streamed = bool  # the kind of answer asked for, a parameter of tests


async def test_native_call_is_exact(slug: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """Method, path, query and body of a native call arrive as they were sent, byte for byte."""
    body = b'{"b": 1,   "a":\t[1.0, 1e3, "\\u00e9"]}'
    key = {SIDES[slug].key_header: SIDES[slug].key_prefix + "sk-test", "content-type": "application/json"}

    invoked = await providers.invoke(
        native_request(slug, "v1/files/a%2Fb%20c", method="PUT", query="x=1&x=%20&y", body=body, headers=key)
    )

    assert 200 == invoked.started.status
    assert "PUT" == invoked.json["method"]
    assert "/v1/files/a%2Fb%20c" == invoked.json["path"]
    assert "x=1&x=%20&y" == invoked.json["query"]
    assert body == base64.b64decode(invoked.json["body_base64"])
    assert ["one", "two"] == invoked.header("x-multi")
    assert [str(len(invoked.body))] == invoked.header("content-length")
    for name in ("set-cookie", "openai-organization", "anthropic-organization-id"):
        assert [] == invoked.header(name)


@pytest.mark.parametrize("path", ["v1/models/../admin", "v1/%2e%2E/x", "a b", "x#y", "x\r\nhost: evil", "é"])
async def test_native_path_that_is_none(
    slug: str, path: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A native path that leads elsewhere or breaks the request line is refused."""
    error = await providers.failing(native_request(slug, path))

    assert Reason.INVALID_REQUEST is error.reason
    assert [] == upstream.journal


async def test_native_error_is_the_providers_own(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native error keeps the provider's status and body, and is classed for the caller."""
    invoked = await providers.invoke(
        native_request(slug, side.native_path, body={"model": "m+status=529+retry-after=3"})
    )

    assert 529 == invoked.started.status
    assert "SERVER" == failure_class(invoked.started.failure)
    assert invoked.started.failure.reported
    assert 3 == invoked.started.failure.retry_after.seconds
    assert ["3"] == invoked.header("retry-after")
    assert side.translated == ("request_id" in invoked.json)


async def test_native_plain_answer_is_metered(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native answer of a known kind is passed on untouched and metered."""
    invoked = await providers.invoke(
        native_request(slug, side.native_path, body={"model": "m", "messages": []})
    )

    assert (INPUT_TOKENS, 5) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    assert ("m", "stop") == (invoked.ended.served_model, invoked.ended.finish_reason)


@pytest.mark.parametrize("steer", ["", "+split=11", "+gzip"])
async def test_native_stream_is_verbatim(
    slug: str, steer: str, side: Side, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A native stream is the provider's bytes exactly, and is metered where it tells its usage."""
    body = {"model": f"m{steer}", "messages": [], "stream": True, "stream_options": {"include_usage": True}}

    invoked = await providers.invoke(native_request(slug, side.native_path, body=body))

    assert _expected_stream(side, body) == invoked.body
    assert (INPUT_TOKENS, 5) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    assert not invoked.ended.HasField("failure")
    assert [] == invoked.header("content-encoding")


async def test_native_stream_cut(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native stream that breaks gets nothing appended, and its tail says that it is not whole."""
    body = {"model": "m+words=9+pace=5+cut=2", "messages": [], "stream": True}

    invoked = await providers.invoke(native_request(slug, side.native_path, body=body))

    assert b"error" not in invoked.body
    assert "CUT" == failure_class(invoked.ended.failure)
    assert not invoked.ended.failure.reported


async def test_native_answer_cut(slug: str, providers: ProviderHarness) -> None:
    """A native plain answer that breaks off says so in its tail."""
    body = {"model": "m+cut+big=3000000", "messages": []}

    invoked = await providers.invoke(native_request(slug, SIDES[slug].native_path, body=body))

    assert "CUT" == failure_class(invoked.ended.failure)


async def test_native_first_event_is_an_error(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native stream that begins with an error keeps its bytes, and its head says that it failed."""
    body = {"model": "m+first-error=overloaded_error", "messages": [], "stream": True}

    invoked = await providers.invoke(native_request(slug, side.native_path, body=body))

    assert 200 == invoked.started.status
    assert "SERVER" == failure_class(invoked.started.failure)
    assert b"overloaded_error" in invoked.body


async def test_native_redirect_is_not_followed(
    slug: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A redirect is the client's to follow."""
    upstream.defaults["redirect"] = "http://127.0.0.1:1/elsewhere"

    invoked = await providers.invoke(native_request(slug, "v1/files"))

    assert 307 == invoked.started.status
    assert ["http://127.0.0.1:1/elsewhere"] == invoked.header("location")


async def test_native_head_request(slug: str, providers: ProviderHarness) -> None:
    """An answer without a body has none."""
    invoked = await providers.invoke(native_request(slug, "api/hello", method="HEAD"))

    assert 200 == invoked.started.status
    assert b"" == invoked.body


def _expected_stream(side: Side, body: dict[str, Any]) -> bytes:
    kind = "messages" if side.translated else "chat/completions"
    return b"".join(upstream_shapes.stream_events(kind, body, {}))
