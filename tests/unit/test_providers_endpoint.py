"""
How a provider's base URL and a path are joined.
"""

from __future__ import annotations

import pytest
from yarl import URL

from kit.errors import GatewayError, Reason
from services.providers.call import NativeTarget
from services.providers.endpoint import Endpoint

OPENAI = URL("https://api.openai.com/v1")
ANTHROPIC = URL("https://api.anthropic.com")


def _native(endpoint: Endpoint, path: str, query: str = "") -> str:
    return str(endpoint.native(NativeTarget(method="POST", path=path, query=query)))


@pytest.mark.parametrize(
    ("base", "override", "path", "expected"),
    [
        (OPENAI, None, "chat/completions", "https://api.openai.com/v1/chat/completions"),
        (OPENAI, None, "v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        (OPENAI, None, "/v1/responses", "https://api.openai.com/v1/responses"),
        (OPENAI, None, "v1", "https://api.openai.com/v1"),
        (OPENAI, "http://127.0.0.1:9", "chat/completions", "http://127.0.0.1:9/v1/chat/completions"),
        (OPENAI, "http://127.0.0.1:9/", "v1/models", "http://127.0.0.1:9/v1/models"),
        (OPENAI, "http://h/openai/v1", "v1/models", "http://h/openai/v1/models"),
        (OPENAI, "http://h/gateway", "v1/models", "http://h/gateway/v1/models"),
        (ANTHROPIC, None, "v1/messages", "https://api.anthropic.com/v1/messages"),
        (ANTHROPIC, "http://h", "v1/messages", "http://h/v1/messages"),
        (ANTHROPIC, "http://h/v1", "v1/messages", "http://h/v1/messages"),
        (ANTHROPIC, None, "", "https://api.anthropic.com"),
    ],
)
def test_joined(base: URL, override: str | None, path: str, expected: str) -> None:
    """A path is accepted with and without the version that the base already has."""
    endpoint = Endpoint(base, URL(override) if override else None)

    assert expected == _native(endpoint, path)


def test_path_and_query_stay_as_they_are() -> None:
    """Nothing in path or query is decoded, encoded or reordered."""
    path, query = "files/a%2Fb%20c;d=e/@f:g", "b=2&a=%20+1&a=&q=a/b?c"

    assert f"https://api.openai.com/v1/{path}?{query}" == _native(Endpoint(OPENAI), path, query)


@pytest.mark.parametrize(
    "path",
    [
        *("..", "a/../b", "a/./b", "%2e%2e/a", "a/.%2E", "a b", "a\tb", "a\r\nb", "a#b", "a?b", "é"),
        *("a/..%2fb", "a%2F..%2Fb", "a/..%5cb", "a\\..\\b", "a/..;/b"),
    ],
)
def test_paths_that_are_refused(path: str) -> None:
    """A path that leaves its base, or cannot stand in a request line, is refused."""
    with pytest.raises(GatewayError) as raised:
        _native(Endpoint(OPENAI), path)

    assert Reason.INVALID_REQUEST is raised.value.reason


@pytest.mark.parametrize("query", ["a b", "a#b", "a\r\nb", "é"])
def test_queries_that_are_refused(query: str) -> None:
    """A query that cannot stand in a request line is refused."""
    with pytest.raises(GatewayError):
        _native(Endpoint(OPENAI), "models", query)


@pytest.mark.parametrize("path", ["a..b", "...", "a.b/c..", ".well-known/x"])
def test_dots_that_are_no_segments(path: str) -> None:
    """Dots within a name are fine."""
    assert _native(Endpoint(OPENAI), path).endswith(path)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "GET /x", ""])
def test_methods_that_are_refused(method: str) -> None:
    """Only the methods of APIs are relayed."""
    with pytest.raises(GatewayError) as raised:
        Endpoint(OPENAI).native(NativeTarget(method=method, path="x", query=""))

    assert Reason.METHOD_NOT_ALLOWED is raised.value.reason


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        (None, "org/model", "https://router.example/models/org/model"),
        (None, "v1/chat/completions", "https://router.example/v1/chat/completions"),
        (None, "models", "https://router.example/v1/models"),
        ("http://h", "org/model", "http://h/models/org/model"),
        ("http://h", "v1/responses", "http://h/v1/responses"),
    ],
)
def test_two_addresses(override: str | None, path: str, expected: str) -> None:
    """Where native paths have an address of their own, those that begin with a version do not go there."""
    base, native = URL("https://router.example/v1"), URL("https://router.example/models")
    endpoint = Endpoint(base, URL(override) if override else None, native_url=native)

    assert expected == _native(endpoint, path)
    assert path.removeprefix("v1/") == endpoint.bare(path)


def test_host() -> None:
    """The host that is called is known for telemetry."""
    assert "api.openai.com" == Endpoint(OPENAI).host
    assert "h" == Endpoint(OPENAI, URL("http://h:1")).host
