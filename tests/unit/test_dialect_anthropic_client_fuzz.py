"""
No request makes the reader of Anthropic messages fall over.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.client_side import CLIENT
from services.providers.dialects.neutral.notes import Notes
from tests.fakes.odd_json import bent, odd_values

MARK = {"type": "ephemeral", "ttl": "5m"}
TEXT = {"type": "text", "text": "a", "cache_control": MARK, "citations": []}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
GOOD: dict[str, Any] = {
    "model": "m",
    "max_tokens": 10,
    "system": [TEXT],
    "messages": [
        {
            "role": "user",
            "content": [
                TEXT,
                IMAGE,
                {"type": "document", "source": {"type": "url", "url": "https://a"}},
                {"type": "document", "source": {"type": "content", "content": [TEXT, IMAGE]}},
                {"type": "search_result", "title": "t", "source": "s", "content": [TEXT]},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "gemini:a:b:c"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "tool_use", "id": "t1__sig_YQ", "name": "f", "input": {"a": 1}},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [TEXT], "is_error": True}],
        },
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "service_tier": "auto",
    "top_k": 1,
    "cache_control": MARK,
}
WORDS = [
    *GOOD,
    *("type", "text", "image", "document", "content", "source", "role", "user", "assistant", "tool_use"),
    *("tool_result", "thinking", "data", "url", "base64", "name", "input", "citations", "format", "effort"),
]


def outcome(body: bytes) -> Reason | None:
    """Read a body; None: it was read. A refusal names what it is about."""
    try:
        CLIENT.read_request(body, Notes())
    except GatewayError as error:
        return error.reason if error.metadata["param"] else Reason.INTERNAL
    return None


REFUSALS = {None, Reason.INVALID_REQUEST, Reason.UNSUPPORTED}


def test_the_good_request_is_one() -> None:
    """What the others are bent from is read without a fault."""
    assert None is outcome(orjson.dumps(GOOD))


@given(bent(GOOD, WORDS))
@example({**GOOD, "metadata": {"user_id": None}})
def test_bent_requests(body: dict[str, Any]) -> None:
    """A request with something wrong in it is read, or refused by a name."""
    assert outcome(orjson.dumps(body)) in REFUSALS


@given(odd_values(WORDS))
def test_any_json(body: Any) -> None:
    """Any JSON at all is read or refused."""
    assert outcome(orjson.dumps(body)) in REFUSALS


@given(st.binary(max_size=40))
def test_any_bytes(body: bytes) -> None:
    """Bytes that are no JSON are refused."""
    assert Reason.INVALID_REQUEST is outcome(body)


@pytest.mark.parametrize("depth", [200, 300, 1000])
def test_deep_nesting(depth: int) -> None:
    """Arguments that nest beyond what can be written are refused, not fallen over."""
    block = b'{"type":"tool_use","id":"a","name":"f","input":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    body = b'{"messages":[{"role":"assistant","content":[' + block + b"]}]}"

    assert (depth < 250) == (outcome(body) is None)
