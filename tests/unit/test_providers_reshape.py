"""Kept answers in their other form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import TextPart, ToolCallPart
from services.providers.dialects.neutral.fold import folded, unfolded
from services.providers.dialects.usage import UsageCounts
from services.providers.reshape import _SIDES, _context, reshaped

if TYPE_CHECKING:
    from headrace.common.v1.http_pb2 import Dialect

CHAT, RESPONSES, MESSAGES = (
    http_pb2.DIALECT_OPENAI_CHAT,
    http_pb2.DIALECT_OPENAI_RESPONSES,
    http_pb2.DIALECT_ANTHROPIC_MESSAGES,
)
REQUESTS: dict[Any, bytes] = {
    CHAT: b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
    RESPONSES: b'{"model":"m","input":"hi"}',
    MESSAGES: b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
}
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
CALLS = st.builds(
    ToolCallPart,
    id=st.from_regex(r"call_[a-z0-9]{6}", fullmatch=True),
    name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    arguments=st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda found: orjson.dumps(found).decode()),
)
PARTS = st.lists(st.builds(TextPart, text=TEXTS), max_size=1).flatmap(
    lambda texts: st.lists(CALLS, max_size=2, unique_by=lambda call: call.id).map(
        lambda calls: [*texts, *calls]
    )
)


def _completion(parts: list[Any]) -> Completion:
    finish = Finish.TOOL_CALLS if any(isinstance(part, ToolCallPart) for part in parts) else Finish.STOP
    return Completion(
        id="answer_1", model="m-1", choices=[Choice(parts=parts, finish=finish)],
        usage=UsageCounts(input_tokens=11, output_tokens=7),
    )  # fmt: skip


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
@given(parts=PARTS.filter(bool))
def test_there_and_back_says_the_same(dialect: Dialect.ValueType, parts: list[Any]) -> None:
    """An answer in one piece becomes a stream, and that the same answer again: words, calls, end, counts."""
    make_target, client = _SIDES[dialect]
    request = REQUESTS[dialect]
    body = client.write_answer(_completion(parts), _context(client, "m-1", 5, request))
    stream, stream_type = reshaped(dialect, body, stream=True, now_s=5, request=_with_usage(dialect))
    again, again_type = reshaped(dialect, stream, stream=False, now_s=5, request=request)
    read = make_target().read_answer

    assert ("text/event-stream", "application/json") == (stream_type, again_type)
    first, second = read(body), read(again)
    assert first.choices == second.choices
    assert (first.model, first.usage) == (second.model, second.usage)


def _with_usage(dialect: Dialect.ValueType) -> bytes:
    """A request whose stream tells usage, which in chat completions must be asked for."""
    document = orjson.loads(REQUESTS[dialect])
    return orjson.dumps(
        {**document, "stream": True, "stream_options": {"include_usage": True}}
        if dialect == CHAT
        else document
    )


@given(st.lists(PARTS, min_size=1, max_size=3))
def test_folding_undoes_unfolding(choices: list[list[Any]]) -> None:
    """Whatever the choices, and however many."""
    completion = Completion(
        id="i", model="m", choices=[Choice(index=number, parts=parts) for number, parts in enumerate(choices)]
    )  # fmt: skip

    assert completion == folded(unfolded(completion))


BROKEN = [
    (CHAT, b"data: {}\n\n", False),
    (CHAT, b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n', False),
    (CHAT, b"<html>", True),
    (MESSAGES, b'{"type":"error","error":{"type":"api_error","message":"x"}}', True),
    (http_pb2.DIALECT_GEMINI, b"{}", True),
    (http_pb2.DIALECT_NATIVE, b"{}", True),
    (http_pb2.DIALECT_UNSPECIFIED, b"{}", False),
]


@pytest.mark.parametrize(("dialect", "body", "stream"), BROKEN)
def test_what_has_no_other_form(dialect: Dialect.ValueType, body: bytes, *, stream: bool) -> None:
    """What is not whole, not readable, or of a dialect without another form is told apart."""
    with pytest.raises(GatewayError) as caught:
        reshaped(dialect, body, stream=stream, now_s=5, request=REQUESTS.get(dialect, b"{}"))

    assert Reason.UNSUPPORTED == caught.value.reason


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
@given(body=st.binary(max_size=60), stream=st.booleans())
def test_nothing_crashes(dialect: Dialect.ValueType, body: bytes, *, stream: bool) -> None:
    """Whatever the bytes: another form, or the one error."""
    try:
        reshaped(dialect, body, stream=stream, now_s=5, request=REQUESTS[dialect])
    except GatewayError as error:
        assert Reason.UNSUPPORTED == error.reason  # noqa: PT017 - either way is right
