from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.sse import parse_events
from services.providers.dialects.anthropic.same import MessagesStream
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.openai_responses.same import ResponsesStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.metered import MeteredStream
    from services.providers.dialects.stream import AnswerStream

WATCHING: list[Callable[..., MeteredStream]] = [OpenAIStream, ResponsesStream, MessagesStream]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-1, 9)
    | st.sampled_from(
        [
            "stop",
            "error",
            "response.completed",
            "response.failed",
            "message_delta",
            "message_start",
            "x.delta",
            "é",
        ]
    )
)
KEYS = [
    "type",
    "object",
    "error",
    "usage",
    "choices",
    "index",
    "delta",
    "content",
    "finish_reason",
    "response",
    "status",
    "output",
    "model",
    "message",
    "code",
]
VALUES = st.recursive(
    LEAVES,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(KEYS), children),
    max_leaves=10,
)
EVENT = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6).map(
        lambda value: b"data: " + orjson.dumps(value)
    ),
    VALUES.map(lambda value: b"event: error\ndata: " + orjson.dumps(value)),
    st.sampled_from([b"data: [DONE]", b": ping", b"data: {", b"data:", b"junk"]),
)
STREAMS = st.tuples(st.lists(EVENT, max_size=8), st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n"])).map(
    lambda parts: parts[1].join([*parts[0], b""])
)


def drive(stream: AnswerStream, data: bytes, size: int) -> bytes:
    out = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size))
    return out + stream.finish()


@pytest.mark.parametrize("make", WATCHING)
@given(data=STREAMS, size=st.integers(1, 80))
def test_splits_make_no_difference(make: Callable[..., AnswerStream], data: bytes, size: int) -> None:
    """Case 54: whatever comes, how it is split changes neither the events nor what is learnt from them."""
    whole, split = make(), make()
    expected, found = drive(whole, data, max(1, len(data))), drive(split, data, size)

    assert parse_events(expected) == parse_events(found)
    assert _learnt(whole) == _learnt(split)


@pytest.mark.parametrize("make", WATCHING)
@given(data=STREAMS | st.binary(max_size=60), size=st.integers(1, 80))
def test_verbatim_alters_nothing(make: Callable[..., AnswerStream], data: bytes, size: int) -> None:
    """On native paths the bytes are the provider's, whatever they are."""
    assert data == drive(make(verbatim=True), data, size)


def _learnt(stream: AnswerStream) -> tuple[Any, ...]:
    failure = stream.failure and (stream.failure.failure_class, stream.failure.message)
    return stream.usage, stream.finish_reason, stream.served_model, failure, stream.done
