"""
Which headers pass to a provider, and which come back.
"""

from __future__ import annotations

import pytest

from kit.errors import GatewayError, Reason
from services.providers.headers import quota_headers, request_headers, response_headers, without_trace

NOTHING: frozenset[str] = frozenset()
TOKEN = b"hr_abcdefghijkl_" + b"s" * 43


def test_order_and_repetition_are_kept() -> None:
    """Headers keep their order, and repeated ones stay repeated."""
    received = [("x-b", b"1"), ("x-a", b"2"), ("x-b", b"3")]

    assert [("x-b", "1"), ("x-a", "2"), ("x-b", "3")] == request_headers(received, drop=NOTHING)


@pytest.mark.parametrize(
    "name",
    [
        "cf-aig-authorization",
        "cf-connecting-ip",
        "connection",
        "content-length",
        "cookie",
        "forwarded",
        "headrace-caller",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-envoy-attempt-count",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    ],
)
def test_headers_that_are_not_the_providers(name: str) -> None:
    """What is ours or the hop's does not go to a provider."""
    assert [] == request_headers([(name, b"x")], drop=NOTHING)


@pytest.mark.parametrize("form", [b"%s", b"Bearer %s", b"bearer  %s", b"a, %s", b'Token token="%s"'])
def test_tokens_of_ours_never_leave(form: bytes) -> None:
    """A value that holds a token of ours goes nowhere, whatever header it is in."""
    kept = request_headers([("x-anything", form % TOKEN), ("x-api-key", form % TOKEN)], drop=NOTHING)

    assert [] == kept


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_malformed_tokens_of_ours_are_no_keys(name: str) -> None:
    """Where a key stands, what begins like a token of ours goes nowhere either."""
    assert [] == request_headers([(name, b"Bearer hr_abc_def")], drop=NOTHING)


@pytest.mark.parametrize("value", [b"thr_x", b"hr_payroll_eu", b"x" + TOKEN, TOKEN + b"x"])
def test_words_that_only_resemble_a_token(value: bytes) -> None:
    """A value that merely begins like a token, or has one inside a longer word, passes."""
    assert [("x-a", value.decode())] == request_headers([("x-a", value)], drop=NOTHING)


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\0b"])
def test_values_that_end_their_line(value: bytes) -> None:
    """A value that would begin another header is refused."""
    with pytest.raises(GatewayError) as raised:
        request_headers([("x-a", value)], drop=NOTHING)

    assert Reason.INVALID_REQUEST is raised.value.reason
    assert {"param": "x-a"} == raised.value.metadata


@pytest.mark.parametrize("name", ["", "x a", "x:y", "x\r\ny", "é"])
def test_names_that_are_none(name: str) -> None:
    """A name that is no header name is refused."""
    with pytest.raises(GatewayError):
        request_headers([(name, b"v")], drop=NOTHING)


def test_values_that_are_not_utf8() -> None:
    """A value in Latin-1 passes as the text it is."""
    assert [("x-a", "é")] == request_headers([("x-a", b"\xe9")], drop=NOTHING)


def test_trace_context_is_replaced() -> None:
    """The client's trace context makes room for ours, and nothing else does."""
    headers = [("traceparent", "00"), ("x-a", "1"), ("tracestate", "a=b")]

    assert [("x-a", "1")] == without_trace(headers)


def test_answer_headers() -> None:
    """An answer loses what names an account and what was true of its connection only."""
    received = [
        (b"Content-Type", b"application/json"),
        (b"Set-Cookie", b"a=b"),
        (b"OpenAI-Organization", b"org"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Thing", b"1"),
        (b"X-Thing", b"2"),
        (b"cf-aig-step", b"9"),
        (b"X-Envoy-Immediate-Health-Check-Fail", b"1"),
    ]

    kept = response_headers(received, decoded=False, with_length=True)

    assert [("content-type", b"application/json"), ("x-thing", b"1"), ("x-thing", b"2")] == kept


@pytest.mark.parametrize(
    ("decoded", "with_length", "expected"),
    [
        (False, True, ["content-encoding", "content-length"]),
        (False, False, ["content-encoding"]),
        (True, True, []),
    ],
)
def test_coding_and_length(*, decoded: bool, with_length: bool, expected: list[str]) -> None:
    """Coding and length are told only of a body that still has them."""
    received = [(b"Content-Encoding", b"gzip"), (b"Content-Length", b"10")]

    kept = response_headers(received, decoded=decoded, with_length=with_length)

    assert expected == [name for name, _ in kept]


def test_quota_headers() -> None:
    """Beside a body of ours only request id, quota and retry advice are told."""
    received = [
        (b"X-Request-Id", b"1"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
        (b"anthropic-ratelimit-requests-limit", b"5"),
        (b"Retry-After", b"3"),
        (b"server", b"x"),
        (b"content-type", b"text/html"),
    ]

    assert [
        ("x-request-id", b"1"),
        ("x-ratelimit-reset-tokens", b"6m0s"),
        ("anthropic-ratelimit-requests-limit", b"5"),
        ("retry-after", b"3"),
    ] == quota_headers(received)


def test_nothing_of_a_websocket_is_offered() -> None:
    """Case 154: no provider is ever offered to deflate a socket's messages: they could not be metered."""
    received = [
        ("sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
        ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("upgrade", b"websocket"),
        ("x-kept", b"1"),
    ]

    assert [("x-kept", "1")] == request_headers(received, drop=NOTHING)
