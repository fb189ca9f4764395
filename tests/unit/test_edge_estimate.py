"""What limits reserve for a request before it runs."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from services.edge.headers import RequestHeaders
from services.edge.pipeline.estimate import asked_models, estimate
from services.edge.pipeline.exchange import Exchange


def _exchange(body: Any, dialect: Any = http_pb2.DIALECT_OPENAI_CHAT) -> Exchange:
    return Exchange(
        account_id="a", gateway_id="g", token="", dialect=dialect, endpoint="e",
        body=orjson.dumps(body), headers=RequestHeaders(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 4096),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 8, "max_tokens": 7}, 8),
        ({"max_output_tokens": 9}, 9),
        ({"generationConfig": {"maxOutputTokens": 10}}, 10),
        ({"inferenceConfig": {"maxTokens": 11}}, 11),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"max_tokens": None}, 4096),
        ({"max_tokens": "7"}, 4096),
    ],
)
def test_tokens_out_are_what_the_request_allows(body: Any, expected: int) -> None:
    """In each dialect's word; where it says nothing, what is usual."""
    assert expected == estimate(_exchange(body), usual_output_tokens=4096)[1]


def test_embeddings_give_no_tokens() -> None:
    """What has no answer in tokens is not taken to have the usual one."""
    exchange = _exchange({"input": "x"}, http_pb2.DIALECT_OPENAI_EMBEDDINGS)

    assert 0 == estimate(exchange, usual_output_tokens=4096)[1]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=200))
def test_words_never_have_more_tokens_than_estimated(words: list[str]) -> None:
    """No tokenizer makes more of text than one token of each two bytes with the JSON around it."""
    text = " ".join(words)
    tokens_in, _ = estimate(
        _exchange({"messages": [{"role": "user", "content": text}]}), usual_output_tokens=1
    )

    assert tokens_in >= len(text.split())


def test_an_image_is_not_counted_by_its_bytes() -> None:
    """A megabyte of base64 is a few thousand tokens, not half a million."""
    image = base64.b64encode(bytes(range(256)) * 4096).decode()
    tokens_in, _ = estimate(_exchange({"url": f"data:image/png;base64,{image}"}), usual_output_tokens=1)

    assert 4096 <= tokens_in < 10_000


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("v1/chat/completions", {"messages": [], "model": "gpt-4o"}, "gpt-4o"),
        ("v1/messages", {"metadata": {"model": "cheap"}, "model": "claude-opus-4-5"}, "claude-opus-4-5"),
        ("v1beta/models/gemini-2.5-pro:generateContent", {"model": "other"}, "gemini-2.5-pro"),
        (
            "bedrock-runtime/us-east-1/model/anthropic.claude-v2%3A1/invoke",
            {},
            "anthropic.claude-v2:1",
        ),
        ("v1/files", {}, ""),
        ("v1/chat/completions", [], ""),
        ("v1/chat/completions", {"model": 5}, ""),
    ],
)
def test_native_calls_name_their_model_themselves(path: str, body: Any, expected: str) -> None:
    """Limits by model and prices hold on a provider's own paths too."""
    native = provider_service_pb2.NativeTarget(method="POST", path=path, query="model=cheap")
    exchange = replace(_exchange(body, http_pb2.DIALECT_NATIVE), native=native)
    found = (expected,) if expected else ()

    assert found == asked_models(exchange, "")
    native.method, native.query = "GET", "model=gpt-realtime&x=1"
    assert (found if "/model" in path else ("gpt-realtime",)) == asked_models(exchange, "")
    assert ("named",) == asked_models(exchange, "named")
