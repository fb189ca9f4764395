from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.neutral.translate import Translation, translate_request
from services.providers.dialects.openai_chat.side import CLIENT

ANCIENT = "claude-3-haiku-20240307"
OLDER = "claude-sonnet-4-20250514"
OLD = "claude-sonnet-4-5"
ADAPTIVE = "claude-opus-4-6"
NEW = "claude-opus-4-8"
NEWEST = "claude-opus-5-5"
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def run(
    body: bytes,
    model: str = OLD,
    *,
    stream: bool = False,
    strict: bool = False,
    now_s: int = 1,
    beta: str = "",
) -> Translation:
    target = anthropic_target(beta=beta)
    return translate_request(CLIENT, target, body, model=model, stream=stream, now_s=now_s, strict=strict)


def translate(model: str = OLD, *, strict: bool = False, **members: Any) -> Translation:
    body = orjson.dumps({"messages": [USER], **members})
    return run(body, model, strict=strict)


def sent(model: str = OLD, **members: Any) -> dict[str, Any]:
    found = orjson.loads(translate(model, **members).written.body)
    assert isinstance(found, dict)
    return found


def refusal(model: str = OLD, *, strict: bool = False, **members: Any) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        translate(model, strict=strict, **members)
    assert caught.value.metadata["param"] in caught.value.message
    return caught.value.reason, caught.value.metadata["param"]


def both(model: str, *notes: str, **members: Any) -> dict[str, Any]:
    """Translate with exactly these notes, and see that strict mode refuses by the first one's parameter."""
    assert notes == translate(model, **members).notes
    if notes:
        param = notes[0].partition("=")[2].partition(":")[0]
        assert (Reason.UNSUPPORTED, param) == refusal(model, strict=True, **members)
    else:
        translate(model, strict=True, **members)
    return sent(model, **members)


KEYS = [
    "messages",
    "tools",
    "tool_choice",
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "file",
    "file_data",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "id",
    "tool_call_id",
    "parameters",
    "stop",
    "temperature",
    "top_p",
    "n",
    "max_tokens",
    "user",
    "reasoning_effort",
    "thinking",
    "budget_tokens",
    "response_format",
    "json_schema",
    "schema",
    "stream_options",
    "include_usage",
    "thinking_blocks",
    "signature",
    "reasoning_content",
    "cache_control",
    "is_error",
    "allowed_tools",
    "mode",
    "strict",
    "seed",
    "parallel_tool_calls",
    "refusal",
    "properties",
]
WORDS = [
    "user",
    "assistant",
    "system",
    "tool",
    "developer",
    "function",
    "text",
    "image_url",
    "file",
    "refusal",
    "input_audio",
    "json_object",
    "json_schema",
    "auto",
    "required",
    "none",
    "high",
    "low",
    "enabled",
    "adaptive",
    "allowed_tools",
    "thinking",
    "redacted_thinking",
    "x",
    "data:image/png;base64,cG5n",
    "https://x.test/a.pdf",
    "{}",
    '{"a":1}',
    "f",
    "object",
]
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5000)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.sampled_from(KEYS), children, max_size=6)
    ),
    max_leaves=30,
)


@given(
    document=st.dictionaries(st.sampled_from(KEYS), DOCUMENTS, max_size=8) | DOCUMENTS,
    model=st.sampled_from([ANCIENT, OLD, ADAPTIVE, NEW, NEWEST, "x"]),
    strict=st.booleans(),
)
def test_no_document_is_too_strange(document: Any, model: str, strict: bool) -> None:  # noqa: FBT001
    """Whatever JSON comes in, a request or a refusal with its parameter comes out."""
    try:
        body = json.dumps(document).encode()
    except ValueError:
        body = b"\xff"
    outcome = attempt(body, model, strict=strict)
    if isinstance(outcome, GatewayError):
        assert outcome.reason in {Reason.INVALID_REQUEST, Reason.UNSUPPORTED}
        assert outcome.metadata["param"]
    else:
        assert orjson.loads(outcome.written.body)["messages"][0]["role"] == "user"


def attempt(body: bytes, model: str, *, strict: bool = False) -> Translation | GatewayError:
    """Translate, and take a refusal for an outcome."""
    try:
        return run(body, model, stream=True, strict=strict)
    except GatewayError as error:
        return error


PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "refusal"])},
    optional={
        "text": st.sampled_from(["a", " ", "", None]),
        "refusal": st.sampled_from(["no", ""]),
        "image_url": st.sampled_from(["https://x.test/a", {"url": "data:image/png;base64,cG5n"}]),
        "file": st.just({"file_data": "data:text/plain;base64,SGk="}),
    },
)
CALL = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["c1", "c2"]),
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": st.sampled_from(["f", "g.h"]), "arguments": st.sampled_from(["", "{}", '{"a":[1]}'])}
        ),
    }
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "tool_call_id": st.sampled_from(["c1", "c2"]),
    },
    optional={
        "content": st.sampled_from(["Hi", " ", ""]) | st.lists(PART, max_size=3),
        "tool_calls": st.lists(CALL, max_size=2),
        "reasoning_content": st.just("hm"),
    },
)


@given(messages=st.lists(MESSAGE, min_size=1, max_size=6), effort=st.sampled_from([None, "low"]))
def test_what_is_sent_keeps_the_targets_rules(messages: list[dict[str, Any]], effort: str | None) -> None:
    """Cases 4 to 10: turns alternate from the user's, and no block is empty, for any conversation."""
    body = orjson.dumps({"messages": messages, "reasoning_effort": effort})
    try:
        found = orjson.loads(run(body).written.body)
    except GatewayError:
        return

    roles = [turn["role"] for turn in found["messages"]]
    assert ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2) == roles
    for turn in found["messages"]:
        assert turn["content"]
        kinds = [block["type"] == "tool_result" for block in turn["content"]]
        assert sorted(kinds, reverse=True) == kinds
        assert all(block["text"].strip() for block in turn["content"] if block["type"] == "text")
