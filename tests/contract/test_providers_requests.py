"""
What every provider adapter sends: headers, keys, bodies; and what it refuses to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.common.v1 import http_pb2
from kit.errors import Reason
from kit.tokens import CREDENTIAL_HEADERS
from tests.fakes.provider_calls import (
    ProviderHarness,
    chat_request,
    provider_harness,
)

if TYPE_CHECKING:
    from tests.fakes.provider_sides import Side
    from tests.fakes.upstream import FakeUpstream

Streamed = bool  # the kind of answer asked for, a parameter of tests


async def test_headers_that_go_out(
    slug: str, side: Side, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """The provider sees the client's headers, and none that is ours, the hop's or the HTTP client's own."""
    await providers.invoke(
        chat_request(
            slug,
            "m",
            headers={
                "authorization": "Bearer sk-test",
                "user-agent": "client/1",
                "x-custom": "kept",
                "cf-aig-metadata": "{}",
                "cf-ray": "1",
                "x-forwarded-for": "10.0.0.1",
                "x-envoy-expected-rq-timeout-ms": "1",
                "x-request-id": "1",
                "forwarded": "for=10.0.0.1",
                "headrace-caller": "edge",
                "host": "localhost",
                "connection": "close",
                "te": "trailers",
                "content-length": "1",
                "accept-encoding": "gzip",
                "cookie": "a=b",
                "x-other": "hr_aaaaaaaaaaaa_" + "s" * 43,
            },
        )
    )

    (received,) = upstream.journal
    expected = {"host", side.key_header, "user-agent", "x-custom", "accept-encoding", "content-length"}
    expected |= {"content-type"} | side.set_headers
    assert expected == received.header_names()
    assert "client/1" == received.header("user-agent")
    assert "identity" == received.header("accept-encoding")
    assert upstream.url == f"http://{received.header('host')}"


async def test_headers_that_come_back(slug: str, providers: ProviderHarness) -> None:
    """The client sees quota and request id, but nothing that names the provider's account."""
    invoked = await providers.invoke(chat_request(slug, "m"))

    assert ["41"] == invoked.header("x-ratelimit-remaining-requests")
    assert ["req_fake"] == invoked.header("x-request-id")
    for name in ("set-cookie", "openai-organization", "anthropic-organization-id", "content-length"):
        assert [] == invoked.header(name)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-test"},
        {"authorization": "bearer  sk-test"},
        {"x-api-key": "sk-test"},
        {"authorization": "Bearer hr_aaaaaaaaaaaa_secret", "x-api-key": "sk-test"},
    ],
)
async def test_key_of_the_request(
    slug: str, side: Side, headers: dict[str, str], upstream: FakeUpstream
) -> None:
    """The request's own key goes where the provider reads it, and wins over the operator's."""
    async with provider_harness(upstream.url, operator_key="sk-operator") as providers:
        await providers.invoke(chat_request(slug, "m", headers=headers))

    (received,) = upstream.journal
    assert f"{side.key_prefix}sk-test" == received.header(side.key_header)
    assert {side.key_header} == received.header_names() & CREDENTIAL_HEADERS


async def test_key_of_the_operator(slug: str, side: Side, upstream: FakeUpstream) -> None:
    """The operator's key is used when the request brings none but a token of ours."""
    async with provider_harness(upstream.url, operator_key="sk-operator") as providers:
        await providers.invoke(
            chat_request(slug, "m", headers={"authorization": "Bearer hr_aaaaaaaaaaaa_secret"})
        )

    (received,) = upstream.journal
    assert f"{side.key_prefix}sk-operator" == received.header(side.key_header)


@pytest.mark.parametrize("given", [{"request_only": True}, {"alias": "production"}])
async def test_no_key(slug: str, side: Side, given: dict[str, Any], upstream: FakeUpstream) -> None:
    """Where the operator's key may not be used or another is asked for, the call is refused, key and all."""
    async with provider_harness(upstream.url, operator_key="sk-operator") as providers:
        request = chat_request(slug, "m", headers={}, **given)
        if side.needs_key:
            error = await providers.failing(request)
            assert Reason.CREDENTIAL_MISSING is error.reason
            assert slug == error.metadata["provider"]
            assert [] == upstream.journal
        else:
            await providers.invoke(request)
            assert upstream.journal[0].header(side.key_header) is None


async def test_forbidden_header(one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A header that would end its line is refused before anything is sent."""
    error = await providers.failing(
        chat_request(one_of_each, "m", headers={"authorization": "Bearer sk", "x-a": "b\r\nx-evil: 1"})
    )

    assert Reason.INVALID_REQUEST is error.reason
    assert [] == upstream.journal


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
async def test_body_that_is_no_object(
    one_of_each: str, raw: bytes, upstream: FakeUpstream, providers: ProviderHarness
) -> None:
    """A body that is not a JSON object is refused before anything is sent."""
    error = await providers.failing(chat_request(one_of_each, "m", raw=raw))

    assert error.reason in {Reason.INVALID_REQUEST, Reason.BAD_CHAT_FORMAT}
    assert [] == upstream.journal


async def test_endpoint_that_there_is_not(slug: str, providers: ProviderHarness) -> None:
    """An endpoint of OpenAI's API that the provider does not have is UNSUPPORTED."""
    request = chat_request(slug, "m", dialect=http_pb2.DIALECT_OPENAI_OTHER)
    request.operation = "nonesuch"
    error = await providers.failing(request)

    assert Reason.UNSUPPORTED is error.reason
    assert slug == error.metadata["provider"]


async def test_long_prompt(one_of_each: str, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A prompt of several megabytes arrives whole."""
    text = "word " * 600_000

    invoked = await providers.invoke(
        chat_request(one_of_each, "m", body={"messages": [{"role": "user", "content": text}]})
    )

    assert 200 == invoked.started.status
    assert text.rstrip().encode() in upstream.journal[0].body
