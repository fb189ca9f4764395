"""What the universal endpoint makes of the steps that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.edge import headers, routes
from services.edge.handlers import universal

if TYPE_CHECKING:
    from services.edge.pipeline.exchange import Exchange

TOKEN = "hr_abcdefghijkl_" + "s" * 43
ROUTE = routes.resolve("/v1/local/default")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STEP = {"provider": "openai", "endpoint": "chat/completions", "query": CHAT}


def read(asked: Any, **outer: str) -> Exchange:
    """Read steps that came with headers, whose names are written with underscores."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in outer.items()]
    return universal.exchange(ROUTE, headers=headers.read(raw), asked=asked, max_messages=10)


def sent(exchange: Exchange) -> dict[str, str]:
    """Give the headers that may go to the provider."""
    return {name: value.decode() for name, value in exchange.headers.forwarded}


@pytest.mark.parametrize("path", ["/v1/local/default", "/v1/local/default/"])
def test_where_it_is(path: str) -> None:
    """It stands at the gateway's root, with a slash at the end or without."""
    route = routes.resolve(path, "other")

    assert (routes.UNIVERSAL, "local", "default", "/v1/{account}/{gateway}") == (
        route.handler, route.account_id, route.gateway_id, route.template,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "endpoint", "path", "query"),
    [
        ("openai", "chat/completions", "chat/completions", ""),
        ("openai", "/v1/chat/completions", "v1/chat/completions", ""),
        ("azure-openai", "r/d/chat/completions?api-version=1", "r/d/chat/completions", "api-version=1"),
        ("custom-mine", "a//b%2Fc?x=%20y&z", "a//b%2Fc", "x=%20y&z"),
        ("replicate", "", "", ""),
        ("workers-ai", "@cf/meta/llama-3.1-8b-instruct", "run/@cf/meta/llama-3.1-8b-instruct", ""),
        ("workers-ai", "run/@cf/meta/llama-3.1-8b-instruct", "run/@cf/meta/llama-3.1-8b-instruct", ""),
        ("workers-ai", "v1/chat/completions", "v1/chat/completions", ""),
        ("openai", "@cf/x", "@cf/x", ""),
    ],
)
def test_a_step_is_a_call_of_the_providers_own(provider: str, endpoint: str, path: str, query: str) -> None:
    """It is a POST of `query` to the provider's path."""
    exchange = read({"provider": provider, "endpoint": endpoint, "query": {"prompt": "é", "n": 1.5}})

    assert exchange.native is not None
    assert ("POST", path, query) == (exchange.native.method, exchange.native.path, exchange.native.query)
    assert (http_pb2.DIALECT_NATIVE, provider, False) == (
        exchange.dialect, exchange.provider, exchange.streamed,
    )  # fmt: skip
    assert {"prompt": "é", "n": 1.5} == orjson.loads(exchange.body)
    assert f"{provider}/{path}" == exchange.endpoint


@pytest.mark.parametrize(
    ("endpoint", "dialect", "model", "query"),
    [
        ("chat/completions", http_pb2.DIALECT_OPENAI_CHAT, "dynamic/x", {**CHAT, "model": "dynamic/x"}),
        ("v1/chat/completions", http_pb2.DIALECT_OPENAI_CHAT, "openai/m", {**CHAT, "model": "openai/m"}),
        ("messages", http_pb2.DIALECT_ANTHROPIC_MESSAGES, "openai/m", {**CHAT, "model": "openai/m"}),
        ("embeddings", http_pb2.DIALECT_OPENAI_EMBEDDINGS, "openai/e", {"model": "openai/e", "input": "x"}),
        ("v1beta/models/openai/m:generateContent", http_pb2.DIALECT_GEMINI, "openai/m", {"contents": []}),
    ],
)
def test_a_step_in_a_dialect_of_ours(
    endpoint: str, dialect: http_pb2.Dialect.ValueType, model: str, query: Any
) -> None:
    """The provider `compat` stands for the calls that name model and provider in one."""
    exchange = read({"provider": "compat", "endpoint": endpoint, "query": query})

    assert (dialect, model, None) == (exchange.dialect, exchange.requested_model, exchange.native)
    assert exchange.endpoint.startswith("compat/")


@pytest.mark.parametrize(
    ("step", "streamed"),
    [
        ({**STEP, "query": {"stream": True}}, True),
        ({**STEP, "query": {"stream": False}}, False),
        ({**STEP, "query": {"tools": [{"stream": True}]}}, False),
        ({**STEP, "query": [{"stream": True}]}, False),
        ({**STEP, "endpoint": "models/m:streamGenerateContent?alt=sse"}, True),
        ({"provider": "compat", "endpoint": "responses", "query": {"model": "a/b", "stream": True}}, True),
    ],
)
def test_whether_a_stream_is_asked_for(step: Any, *, streamed: bool) -> None:
    """The member `stream` of `query` says it, or the path."""
    assert streamed is read(step).streamed


def test_further_steps_are_alternatives() -> None:
    """They stand in order, and have none themselves."""
    exchange = read([STEP, {**STEP, "provider": "groq"}, {**STEP, "provider": "mistral"}])

    assert ("openai", ["groq", "mistral"]) == (
        exchange.provider, [other.provider for other in exchange.alternatives],
    )  # fmt: skip
    assert [()] * 2 == [other.alternatives for other in exchange.alternatives]
    assert () == read([STEP]).alternatives == read(STEP).alternatives


def test_a_credential_goes_to_its_own_step() -> None:
    """A step has its own headers and nothing of the request's but the user agent."""
    exchange = read(
        [
            {**STEP, "headers": {"Authorization": "Bearer sk-one", "Content-Type": "text/plain", "x-a": "1"}},
            {**STEP, "authorization": "Bearer sk-two"},
            {**STEP, "authorization": "no", "headers": {"authorization": "Bearer sk-three"}},
            STEP,
        ],
        authorization="Bearer sk-outer",
        x_api_key="outer",
        user_agent="client/1",
        content_type="application/json",
        origin="https://example.com",
    )
    every = {"content-type": "application/json", "user-agent": "client/1"}

    assert [
        {**every, "authorization": "Bearer sk-one", "x-a": "1"},
        {**every, "authorization": "Bearer sk-two"},
        {**every, "authorization": "Bearer sk-three"},
        every,
    ] == [sent(each) for each in (exchange, *exchange.alternatives)]


def test_values_of_headers_that_are_not_text() -> None:
    """Numbers and booleans are written out, objects as JSON, and null is nothing."""
    given = {"a": 1, "b": True, "c": {"d": [1]}, "e": None, "f": 2.0, "cf-aig-metadata": {"team": 7}}
    exchange = read({**STEP, "headers": given})
    found = {name: value for name, value in sent(exchange).items() if len(name) == 1}

    assert {"a": "1", "b": "true", "c": '{"d":[1]}', "f": "2"} == found
    assert {"team": "7"} == exchange.options.metadata


def test_precedence() -> None:
    """A step's headers win over its `config`, and that over the request's headers."""
    exchange = read(
        [
            {**STEP, "headers": {"cf-aig-max-attempts": 4}, "config": {"maxAttempts": 3, "retryDelay": 20}},
            {**STEP, "config": {"requestTimeout": "1500", "backoff": "linear", "other": 1}},
            STEP,
        ],
        cf_aig_max_attempts="2",
        cf_aig_retry_delay="10",
        cf_aig_request_timeout="1000",
        cf_aig_cache_ttl="90",
    )
    found = [each.options for each in (exchange, *exchange.alternatives)]

    assert [(4, 0.02, 1.0, ""), (2, 0.01, 1.5, "linear"), (2, 0.01, 1.0, "")] == [
        (each.max_attempts, each.retry_delay_s, each.request_timeout_s, each.backoff) for each in found
    ]
    assert [90, 90, 90] == [each.cache_ttl_s for each in found]


@pytest.mark.parametrize(
    ("outer", "step", "token"),
    [
        ({"cf_aig_authorization": f"Bearer {TOKEN}"}, {}, TOKEN),
        ({"cf_aig_authorization": "Bearer undefined"}, {}, ""),
        ({"authorization": f"Bearer {TOKEN}"}, {}, ""),
        ({}, {"cf-aig-authorization": TOKEN}, TOKEN),
        ({"cf_aig_authorization": "Bearer junk"}, {"cf-aig-authorization": TOKEN}, TOKEN),
        ({"cf_aig_authorization": TOKEN}, {"cf-aig-authorization": "Bearer undefined"}, TOKEN),
        ({}, {"authorization": f"Bearer {TOKEN}"}, ""),
    ],
)
def test_whose_request_it_is(outer: dict[str, str], step: dict[str, str], token: str) -> None:
    """The gateway's token stands in its own header, of the request or of the step; none is sent on."""
    exchange = read({**STEP, "headers": step}, **outer)

    assert token == exchange.token
    assert TOKEN not in str(sent(exchange))


def test_a_token_in_place_of_a_key_on_compat() -> None:
    """As on compat paths, a step's `Authorization` may be the gateway's token."""
    step = {"provider": "compat", "endpoint": "responses", "query": {"model": "a/b"}}

    assert TOKEN == read({**step, "authorization": f"Bearer {TOKEN}"}).token


def test_where_a_request_is_from_is_not_for_steps_to_say() -> None:
    """Trace and address are the request's."""
    trace = "00-11111111111111111111111111111111-2222222222222222-01"
    forged = {"headrace-client-address": "10.0.0.1", "traceparent": trace}
    exchange = read({**STEP, "headers": forged}, headrace_client_address="192.0.2.1")

    assert ("192.0.2.1", {}) == (exchange.headers.client_address, exchange.headers.trace)
    assert {"content-type"} == set(sent(exchange))


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (None, ""),
        ("text", ""),
        ([], ""),
        ([STEP] * 21, ""),
        ([STEP, 1], "1"),
        ({**STEP, "provider": ""}, "provider"),
        ([{**STEP, "provider": 1}], "0.provider"),
        ([STEP, {**STEP, "provider": "a/b"}], "1.provider"),
        ([{**STEP, "provider": "x" * 65}], "0.provider"),
        ([{**STEP, "endpoint": None}], "0.endpoint"),
        ([{**STEP, "endpoint": "a b"}], "0.endpoint"),
        ([{**STEP, "endpoint": "a\r\nb"}], "0.endpoint"),
        ([{**STEP, "endpoint": "é"}], "0.endpoint"),
        ([{**STEP, "endpoint": "a#b"}], "0.endpoint"),
        ([{**STEP, "endpoint": "x" * 4097}], "0.endpoint"),
        ([{**STEP, "endpoint": f"a?key={TOKEN}"}], "0.endpoint"),
        ([{**STEP, "provider": "compat", "endpoint": "models"}], "0.endpoint"),
        ([{**STEP, "provider": "compat", "endpoint": "nope"}], "0.endpoint"),
        ([{**STEP, "query": "text"}], "0.query"),
        ([{"provider": "openai", "endpoint": "x"}], "0.query"),
        ([{**STEP, "provider": "compat", "query": {}}], "0.query.model"),
        ([{**STEP, "provider": "compat", "query": {"model": "m", "messages": [1]}}], "0.query.messages.0"),
        ([{**STEP, "provider": "compat", "query": []}], "0.query"),
        ([{**STEP, "headers": []}], "0.headers"),
        ([{**STEP, "headers": {"a b": "x"}}], "0.headers"),
        ([{**STEP, "headers": {f"a{n}": "x" for n in range(65)}}], "0.headers"),
        ([{**STEP, "headers": {"x-a": "1\r\nx-b: 2"}}], "0.headers.x-a"),
        ([{**STEP, "headers": {"x-a": "x" * 16_385}}], "0.headers.x-a"),
        ([{**STEP, "authorization": "a\nb"}], "0.authorization"),
        ([{**STEP, "headers": {"CF-AIG-Cache-TTL": "soon"}}], "0.headers.cf-aig-cache-ttl"),
        ([{**STEP, "config": 1}], "0.config"),
        ([{**STEP, "config": {"maxAttempts": 6}}], "0.config.maxAttempts"),
        ([{**STEP, "config": {"maxAttempts": True}}], "0.config.maxAttempts"),
        ([{**STEP, "config": {"backoff": "never"}}], "0.config.backoff"),
        ({**STEP, "config": {"retryDelay": -1}}, "config.retryDelay"),
        ({**STEP, "config": {"requestTimeout": 1.5}}, "config.requestTimeout"),
    ],
)
def test_what_is_refused(asked: Any, param: str) -> None:
    """The error says where in the request it is, and nothing of what a credential may be in."""
    with pytest.raises(GatewayError) as caught:
        read(asked)

    assert param == caught.value.metadata.get("param", "")
    assert caught.value.message.startswith(param or "The body")
    assert TOKEN not in caught.value.message


def test_a_body_that_is_no_json() -> None:
    """It is told as such."""
    with pytest.raises(GatewayError, match="not valid JSON"):
        universal.parse(b"[{")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
_STEPS = st.fixed_dictionaries(
    {},
    optional={
        "provider": st.sampled_from(["openai", "compat", "custom-x"]) | _VALUES,
        "endpoint": st.sampled_from(["chat/completions", "v1beta/models/a:generateContent"]) | _VALUES,
        "headers": _VALUES,
        "authorization": _VALUES,
        "config": st.dictionaries(
            st.sampled_from(["requestTimeout", "maxAttempts", "retryDelay", "backoff"]), _VALUES
        ),
        "query": st.just(CHAT) | _VALUES,
    },
)


@given(_STEPS | st.lists(_STEPS, max_size=3))
def test_it_never_fails_in_another_way(asked: Any) -> None:
    """Whatever JSON comes is read or refused."""
    try:
        exchange = read(asked)
    except GatewayError as error:
        assert error.reason in (  # noqa: PT017 - either outcome is right
            Reason.INVALID_REQUEST, Reason.INVALID_PROVIDER, Reason.BAD_CHAT_FORMAT, Reason.TOO_LARGE,
        )  # fmt: skip
    else:
        assert exchange.account_id == "local"
