"""Property-based tests of the edge: whatever is sent, it is no defect of ours."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.calls import call, chat_body

if TYPE_CHECKING:
    import aiohttp

    from tests.fakes.stack import Stack

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"

PATHS = [
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/local/default/compat/chat/completions",
    "/v1/local/default/openai/chat/completions",
    "/v1/local/default/anthropic/v1/messages",
    "/v1/local/default",
    "/v1",
    "/client/v4/accounts/local/ai-gateway/gateways/default/logs",
    "/client/v4/accounts/local/ai-gateway/gateways/default/logs?per_page=0&filters=[",
    "/readyz",
]
TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "robot"]) | JSON},
        optional={"content": TEXT | JSON, "tool_calls": JSON, "tool_call_id": TEXT | JSON, "name": JSON},
    ),
    max_size=4,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from([GPT, CLAUDE, "local/x", "dynamic/x"]) | JSON,
        "messages": MESSAGES | JSON,
        "stream": st.booleans() | JSON,
        "stream_options": JSON,
        "tools": JSON,
        "tool_choice": JSON,
        "max_tokens": st.integers() | JSON,
        "temperature": JSON,
        "stop": JSON,
        "response_format": JSON,
        "input": TEXT | JSON,
        "n": JSON,
    },
)
NAMES = st.sampled_from(
    [
        "cf-aig-cache-ttl",
        "cf-aig-metadata",
        "cf-aig-custom-cost",
        "cf-aig-event-id",
        "cf-aig-cache-key",
        "traceparent",
    ]
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
# Valid JSON that is hard to hold: numbers beyond any field's width, and nesting.
NUMBERS = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | st.sampled_from([1e300, 2**63, 2**64])
NESTED = st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth))
COSTS = st.dictionaries(
    st.sampled_from(["per_token_in", "per_token_out", "per_cache_read_token", "total_cost"]) | TEXT,
    NUMBERS | NUMBERS.map(abs) | NESTED | JSON,
    min_size=1,
    max_size=3,
)
METADATA = st.dictionaries(TEXT, NUMBERS | NESTED | JSON, max_size=6)
HEADERS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "cf-aig-custom-cost": COSTS.map(json.dumps),
            "cf-aig-metadata": METADATA.map(json.dumps),
        },
    ),
    # On both sides of what the front door lets through.
    st.tuples(NAMES | st.just("x-long"), st.integers(1, 80) | st.integers(55, 66)).map(
        lambda pair: {pair[0]: "x" * 1024 * pair[1]}
    ),
)


@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "OPTIONS"]),
    path=st.sampled_from(PATHS) | st.sampled_from(PATHS).map(lambda path: path + "/%2e%2e/%00x"),
    body=BODIES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    headers=HEADERS,
)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_input_makes_a_500(
    stack: Stack, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """Whatever is sent, the answer is one of the caller's doing: never a defect of ours."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    try:
        connection.request(
            method,
            path,
            body=body,
            headers={
                "authorization": f"Bearer {stack.token}",
                "cf-aig-authorization": stack.token,
                "content-type": "application/json",
                # Has the fake upstream answer whatever it is asked, so a 500 is ours.
                "x-fake": "words=3",
                **{name: value.encode("latin-1") for name, value in headers.items()},
            },
        )
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()

    assert response.status < 500 or response.status in {501, 503}, answer
    assert b"Traceback" not in answer


async def test_after_all_that_it_still_works(stack: Stack, session: aiohttp.ClientSession) -> None:
    """Every service is ready, and a good request is answered."""
    answer = await call(
        session, f"{stack.openai_base_url}/chat/completions", chat_body(GPT, "hello"), token=stack.token
    )

    assert stack.is_ready()
    assert answer.status == 200
