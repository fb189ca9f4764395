"""
Meters native answers of `run`, whose models answer with text, vectors, images and sound alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.errors import GatewayError
from services.providers.dialects.answer import Answer, garbled, load_object
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.watched import WatchedStream
from services.providers.dialects.workers_ai.answer_reader import read_answer
from services.providers.dialects.workers_ai.answer_shape import found_usage
from services.providers.dialects.workers_ai.stream_reader import RunStreamReader

if TYPE_CHECKING:
    from services.providers.dialects.stream import AnswerStream

__all__ = ["native_stream", "read_native_answer"]


def native_stream(*, request_bytes: int = 0) -> AnswerStream:
    """
    Make the meter for an event stream.

    Args:
        request_bytes: Length of the request body.
    """
    return WatchedStream(RunStreamReader(), request_bytes=request_bytes)


def read_native_answer(body: bytes) -> Answer:
    """Meter a whole answer. Never raises, never changes the body."""
    try:
        completion = read_answer(body)
    except InBandError:
        return Answer(body=body)
    except GatewayError:
        return _other(body)
    return Answer(
        body=body,
        usage=completion.usage,
        finish_reason=completion.choices[0].finish.value,
        served_model=completion.model,
    )


def _other(body: bytes) -> Answer:
    """Meter what is no chat: vectors have a count of tokens as well."""
    try:
        result = load_object(body).get("result")
    except GatewayError as error:
        return garbled(body, error.message)
    return Answer(body=body, usage=found_usage(result) if isinstance(result, dict) else None)
