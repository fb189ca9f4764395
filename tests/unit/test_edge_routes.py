"""Where each path of the edge's HTTP surface leads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge import routes

OTHERS = [
    "completions",
    "images/generations",
    "images/edits",
    "images/variations",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "moderations",
    "rerank",
]
CALLS = [
    ("chat/completions", http_pb2.DIALECT_OPENAI_CHAT, ""),
    ("responses", http_pb2.DIALECT_OPENAI_RESPONSES, ""),
    ("messages", http_pb2.DIALECT_ANTHROPIC_MESSAGES, ""),
    ("messages/count_tokens", http_pb2.DIALECT_ANTHROPIC_MESSAGES, "count_tokens"),
    ("embeddings", http_pb2.DIALECT_OPENAI_EMBEDDINGS, ""),
    *((name, http_pb2.DIALECT_OPENAI_OTHER, name) for name in OTHERS),
]
# What an SDK may have as its base, and the account and gateway that it means.
BASES = [
    ("/v1/", ("local", "default")),
    ("/v1/v1/", ("local", "default")),
    ("/v1/acme/gw/compat/", ("acme", "gw")),
    ("/v1/acme/gw/compat/v1/", ("acme", "gw")),
]


@pytest.mark.parametrize(("base", "named"), BASES)
@pytest.mark.parametrize(("path", "dialect", "operation"), CALLS)
def test_calls(
    base: str, named: tuple[str, str], path: str, dialect: http_pb2.Dialect.ValueType, operation: str
) -> None:
    """Each call has its dialect and operation under every base, with a slash at its end or without."""
    for asked in (base + path, f"{base}{path}/"):
        route = routes.resolve(asked, "local")

        assert (routes.CHAT, dialect, operation, ("POST",)) == (
            route.handler,
            route.dialect,
            route.operation,
            route.methods,
        )
        assert (*named, f"compat/{path}") == (route.account_id, route.gateway_id, route.endpoint)


GEMINI = [
    ("generateContent", ""),
    ("streamGenerateContent", "streamGenerateContent"),
    ("countTokens", "countTokens"),
    ("embedContent", "embedContent"),
    ("batchEmbedContents", "batchEmbedContents"),
]
GEMINI_BASES = [
    ("/v1beta/models/", ("local", "default")),
    ("/v1alpha/models/", ("local", "default")),
    ("/v1beta/", ("local", "default")),
    ("/v1/models/", ("local", "default")),
    ("/v1/v1beta/models/", ("local", "default")),
    ("/v1/acme/gw/compat/v1beta/models/", ("acme", "gw")),
    ("/v1/acme/gw/compat/v1/models/", ("acme", "gw")),
    ("/v1/acme/gw/compat/models/", ("acme", "gw")),
    ("/v1/acme/gw/compat/v1beta/", ("acme", "gw")),
]


@pytest.mark.parametrize(("base", "named"), GEMINI_BASES)
@pytest.mark.parametrize(("call", "operation"), GEMINI)
@pytest.mark.parametrize(
    ("written", "model"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("openai%2Fgpt-4o", "openai/gpt-4o"),
        ("ollama/llama3:8b", "ollama/llama3:8b"),
        ("workers-ai/@cf/meta/llama", "workers-ai/@cf/meta/llama"),
    ],
)
def test_gemini(
    base: str, named: tuple[str, str], call: str, operation: str, written: str, model: str
) -> None:
    """The model stands in the path, whatever it holds; the call after its last colon."""
    route = routes.resolve(f"{base}{written}:{call}", "local")

    assert (routes.CHAT, http_pb2.DIALECT_GEMINI, operation, model) == (
        route.handler,
        route.dialect,
        route.operation,
        route.rest,
    )
    assert (*named, f"compat/v1beta/models:{call}") == (route.account_id, route.gateway_id, route.endpoint)
    assert written not in route.template


@pytest.mark.parametrize(
    ("path", "dialect", "model"),
    [
        ("/v1/models", http_pb2.DIALECT_OPENAI_CHAT, ""),
        ("/v1/models/", http_pb2.DIALECT_OPENAI_CHAT, ""),
        ("/v1/a/b/compat/models", http_pb2.DIALECT_OPENAI_CHAT, ""),
        ("/v1/a/b/compat/v1/models", http_pb2.DIALECT_OPENAI_CHAT, ""),
        ("/v1/models/openai/gpt-4o", http_pb2.DIALECT_OPENAI_CHAT, "openai/gpt-4o"),
        ("/v1/models/openai%2Fgpt-4o", http_pb2.DIALECT_OPENAI_CHAT, "openai/gpt-4o"),
        ("/v1/models/ollama/llama3:8b", http_pb2.DIALECT_OPENAI_CHAT, "ollama/llama3:8b"),
        ("/v1/a/b/compat/models/x/y", http_pb2.DIALECT_OPENAI_CHAT, "x/y"),
        ("/v1beta/models", http_pb2.DIALECT_GEMINI, ""),
        ("/v1beta/models/openai/gpt-4o", http_pb2.DIALECT_GEMINI, "openai/gpt-4o"),
        ("/v1/a/b/compat/v1beta/models", http_pb2.DIALECT_GEMINI, ""),
        ("/v1/a/b/compat/v1beta/models/x/y", http_pb2.DIALECT_GEMINI, "x/y"),
    ],
)
def test_models(path: str, dialect: http_pb2.Dialect.ValueType, model: str) -> None:
    """The list and one of it, in the dialects that the path can say."""
    route = routes.resolve(path, "local")

    assert (routes.MODELS, dialect, model, ("GET", "HEAD")) == (
        route.handler,
        route.dialect,
        route.rest,
        route.methods,
    )


@pytest.mark.parametrize(
    "rest",
    [
        "openai/chat/completions",
        "openai/v1/chat/completions",
        "openai/",
        "google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent",
        "custom-mine/a//b%2Fc/../d",
        "compatible/v1/models",
    ],
)
def test_native(rest: str) -> None:
    """Everything after the provider is its own, to the byte."""
    route = routes.resolve(f"/v1/acme/gw/{rest}", "local")
    provider, _, path = rest.partition("/")

    assert (routes.NATIVE, "acme", "gw", provider, path, ()) == (
        route.handler,
        route.account_id,
        route.gateway_id,
        route.provider,
        route.rest,
        route.methods,
    )


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/", http_pb2.DIALECT_NATIVE),
        ("/v1", http_pb2.DIALECT_NATIVE),
        ("/v1/x", http_pb2.DIALECT_NATIVE),
        ("/v1/messages/batches", http_pb2.DIALECT_ANTHROPIC_MESSAGES),
        ("/v1/acme/gw/compat/v1/messages/x", http_pb2.DIALECT_ANTHROPIC_MESSAGES),
        ("/v1/v1/messages/x", http_pb2.DIALECT_ANTHROPIC_MESSAGES),
        ("/v1/acme/gw/nope", http_pb2.DIALECT_NATIVE),
        ("/v1/chat/nope", http_pb2.DIALECT_OPENAI_CHAT),
        ("/v1/acme/gw/compat/nope", http_pb2.DIALECT_OPENAI_CHAT),
        ("/v1/acme/gw/compat/", http_pb2.DIALECT_OPENAI_CHAT),
        ("/v1beta", http_pb2.DIALECT_GEMINI),
        ("/v1beta/", http_pb2.DIALECT_GEMINI),
        ("/v1beta/files", http_pb2.DIALECT_GEMINI),
        ("/v1/acme/gw/compat/v1beta/cachedContents", http_pb2.DIALECT_GEMINI),
    ],
)
def test_paths_that_lead_nowhere(path: str, dialect: http_pb2.Dialect.ValueType) -> None:
    """They are not found, which is told in the dialect that such a client most likely speaks."""
    with pytest.raises(GatewayError) as caught:
        routes.resolve(path, "local")

    assert (Reason.NOT_FOUND, dialect) == (caught.value.reason, routes.dialect_of_failure(path))


def test_templates_hold_nothing_of_the_request() -> None:
    """What spans and metrics are named after has a bounded number of forms."""
    paths = ["/v1beta/models/a/b:countTokens", "/v1/models/a/b", "/v1/a/b/compat/models/c/d", "/v1/a/b/c/d"]

    assert [
        "/v1beta/models/{model}:countTokens",
        "/v1/models/{model}",
        "/v1/{account}/{gateway}/compat/models/{model}",
        "/v1/{account}/{gateway}/{provider}/{path}",
    ] == [routes.resolve(path).template for path in paths]


def test_the_default_account_is_part_of_what_is_remembered() -> None:
    """The same path leads to another account in a process with another default."""
    assert ["a", "b"] == [routes.resolve("/v1/messages", account).account_id for account in ("a", "b")]


@given(st.lists(st.sampled_from(["v1", "v1beta", "models", "compat", "a", "b:generateContent", "", "%2F"])))
def test_resolving_never_fails_in_another_way(parts: list[str]) -> None:
    """Any path leads somewhere or is not found."""
    try:
        route = routes.resolve("/" + "/".join(parts), "local")
    except GatewayError as error:
        assert Reason.NOT_FOUND == error.reason  # noqa: PT017 - either outcome is right
    else:
        assert route.handler
        assert route.account_id or not parts
