"""
What every provider adapter does with calls of the provider's own API: relays them exactly.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from kit.errors import Reason
from tests.fakes.provider_calls import (
    ProviderHarness,
    failure_class,
    native_request,
)
from tests.fakes.provider_sides import SIDES, Side
from tests.fakes.upstream import binary
from tests.fakes.upstream_shapes import INPUT_TOKENS
from tests.fakes.wires import Wire, wire_of

if TYPE_CHECKING:
    from tests.fakes.upstream import FakeUpstream

CHAT: dict[str, Any] = {"model": "m-1", "messages": []}
STREAM: dict[str, Any] = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}


async def test_native_call_is_exact(
    any_slug: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """Method, path, query and body of a native call arrive as they were sent, byte for byte."""
    side = SIDES[any_slug]
    body = b'{"b": 1,   "a":\t[1.0, 1e3, "\\u00e9"]}'
    key = {side.key_header: side.key_prefix + "sk-test", "content-type": "application/json"}

    invoked = await providers.invoke(
        native_request(any_slug, side.native_path, method="PUT", query="x=1&x=%20&y", body=body, headers=key)
    )

    assert 200 == invoked.started.status
    assert "PUT" == invoked.json["method"]
    assert side.arrives_at == invoked.json["path"]
    assert "x=1&x=%20&y" == invoked.json["query"]
    assert body == base64.b64decode(invoked.json["body_base64"])
    assert ["one", "two"] == invoked.header("x-multi")
    assert [str(len(invoked.body))] == invoked.header("content-length")
    for name in ("set-cookie", "openai-organization", "anthropic-organization-id"):
        assert [] == invoked.header(name)
    assert f"{side.key_prefix}sk-test" == upstream.journal[0].header(side.key_header)


@pytest.mark.parametrize("path", ["v1/models/../admin", "v1/%2e%2E/x", "a b", "x#y", "x\r\nhost: evil", "é"])
async def test_native_path_that_is_none(
    any_slug: str, path: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A native path that leads elsewhere or breaks the request line is refused."""
    error = await providers.failing(native_request(any_slug, path))

    assert Reason.INVALID_REQUEST is error.reason
    assert [] == upstream.journal


async def test_native_error_is_the_providers_own(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native error keeps the provider's status and body, and is classed for the caller."""
    invoked = await providers.invoke(
        native_request(slug, side.native_chat, body=CHAT, steer="status=529;retry-after=3")
    )

    assert 529 == invoked.started.status
    assert "SERVER" == failure_class(invoked.started.failure)
    assert invoked.started.failure.reported
    assert 3 == invoked.started.failure.retry_after.seconds
    assert ["3"] == invoked.header("retry-after")
    assert (
        _wire(side, side.native_chat, CHAT).error(529, "overloaded_error", "Fake error 529.") == invoked.json
    )


async def test_native_plain_answer_is_metered(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native answer of a known kind is passed on untouched and metered."""
    invoked = await providers.invoke(native_request(slug, side.native_chat, body=CHAT))

    assert _wire(side, side.native_chat, CHAT).plain() == invoked.json
    assert (INPUT_TOKENS, 5) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    assert ("m-1" if side.names_model else "", "stop") == (
        invoked.ended.served_model,
        invoked.ended.finish_reason,
    )


@pytest.mark.parametrize("steer", ["", "split=11", "gzip"])
async def test_native_stream_is_verbatim(
    slug: str, steer: str, side: Side, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A native stream is the provider's bytes exactly, and is metered where it tells its usage."""
    path = side.native_stream or side.native_chat

    invoked = await providers.invoke(native_request(slug, path, body=STREAM, steer=steer))

    events = _wire(side, path, STREAM).events
    assert events is not None
    assert b"".join(events()) == invoked.body
    assert (INPUT_TOKENS, 5) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    assert not invoked.ended.HasField("failure")
    assert [] == invoked.header("content-encoding")


async def test_native_stream_cut(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native stream that breaks gets nothing appended, and its tail says that it is not whole."""
    path = side.native_stream or side.native_chat
    steer = "words=9;pace=5;cut=2"

    invoked = await providers.invoke(native_request(slug, path, body=STREAM, steer=steer))

    assert b"error" not in invoked.body
    assert "CUT" == failure_class(invoked.ended.failure)
    assert not invoked.ended.failure.reported


async def test_native_answer_cut(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native plain answer that breaks off says so in its tail."""
    invoked = await providers.invoke(
        native_request(slug, side.native_chat, body=CHAT, steer="cut;big=3000000")
    )

    assert "CUT" == failure_class(invoked.ended.failure)


async def test_native_first_event_is_an_error(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A native stream that begins with an error keeps its bytes, and its head says that it failed."""
    path = side.native_stream or side.native_chat

    invoked = await providers.invoke(
        native_request(slug, path, body=STREAM, steer="first-error=overloaded_error")
    )

    assert 200 == invoked.started.status
    assert "SERVER" == failure_class(invoked.started.failure)
    assert b"verloaded" in invoked.body


async def test_native_redirect_is_not_followed(
    any_slug: str, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A redirect is no answer: neither we nor the client take credentials to where it leads."""
    upstream.defaults["redirect"] = "http://127.0.0.1:1/elsewhere"

    error = await providers.failing(native_request(any_slug, SIDES[any_slug].native_path))

    assert Reason.UPSTREAM_MALFORMED is error.reason
    assert 1 == len(upstream.journal)


async def test_native_answer_that_is_garbled(slug: str, side: Side, providers: ProviderHarness) -> None:
    """A body that is no JSON, although it says so, is handed on as it is, and its tail says what it is."""
    invoked = await providers.invoke(native_request(slug, side.native_chat, body=CHAT, steer="malformed=1"))

    assert 200 == invoked.started.status
    assert invoked.body
    assert "MALFORMED" == failure_class(invoked.ended.failure)
    assert invoked.ended.failure.reported


async def test_native_head_request(any_slug: str, providers: ProviderHarness) -> None:
    """An answer without a body has none."""
    invoked = await providers.invoke(native_request(any_slug, SIDES[any_slug].native_path, method="HEAD"))

    assert 200 == invoked.started.status
    assert b"" == invoked.body


async def test_native_binary_answer(any_slug: str, providers: ProviderHarness) -> None:
    """Any bytes come back as they were, as long as they come."""
    invoked = await providers.invoke(
        native_request(any_slug, SIDES[any_slug].native_path, steer="binary=70000")
    )

    assert binary(70_000) == invoked.body
    assert ["audio/mpeg"] == invoked.header("content-type")


async def test_upload(any_slug: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A body that comes in pieces arrives whole, with its length where the client told it."""
    data = binary(3_000_000)
    request = native_request(
        any_slug,
        SIDES[any_slug].native_path,
        headers={"authorization": "Bearer sk-test", "content-length": str(len(data))},
    )

    invoked = await providers.upload(request, [data[:7], data[7:1_000_000], b"", data[1_000_000:]])

    assert 200 == invoked.started.status
    assert data == upstream.journal[0].body
    assert str(len(data)) == upstream.journal[0].header("content-length")


def _wire(side: Side, path: str, body: dict[str, Any]) -> Wire:
    """Return what the upstream answers to a native chat of the model `m-1`."""
    headers = frozenset({"anthropic-version"}) if side.wire == "anthropic" else frozenset()
    return wire_of(f"/{path.partition('?')[0]}", headers, body, {})
