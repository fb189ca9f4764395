"""
A kept answer in its other form: a stream as one piece, or the other way round, in the same dialect.

It goes through the neutral model, so members that only this dialect has and that the model does not know are
not in the new form.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from services.providers.dialects.anthropic.client_side import CLIENT as MESSAGES
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.neutral.events import Ended, Failed
from services.providers.dialects.neutral.fold import folded, unfolded
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.neutral.sides import AnswerContext, InBandError
from services.providers.dialects.openai_chat.quirks import ChatQuirks
from services.providers.dialects.openai_chat.side import CLIENT as CHAT
from services.providers.dialects.openai_chat.target_side import chat_target
from services.providers.dialects.openai_responses.client_side import CLIENT as RESPONSES
from services.providers.dialects.openai_responses.target_side import responses_target
from services.providers.stream_kinds import EVENT_STREAM, JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.providers.dialects.neutral.sides import ClientSide, TargetSide

__all__ = ["reshaped"]

_MOST_EVENT_BYTES: Final = 64 << 20

_SIDES: Final[Mapping[http_pb2.Dialect.ValueType, tuple[Callable[[], TargetSide], ClientSide]]] = {
    http_pb2.DIALECT_OPENAI_CHAT: (lambda: chat_target(ChatQuirks()), CHAT),
    http_pb2.DIALECT_OPENAI_RESPONSES: (partial(responses_target, openai_models=True), RESPONSES),
    http_pb2.DIALECT_ANTHROPIC_MESSAGES: (anthropic_target, MESSAGES),
}


def reshaped(
    dialect: http_pb2.Dialect.ValueType, body: bytes, *, stream: bool, now_s: int, request: bytes
) -> tuple[bytes, str]:
    """
    Return an answer in its other form, and its content type.

    Args:
        dialect: Of the answer.
        body: All of it.
        stream: Whether a stream is wanted. The answer is in one piece then.
        now_s: Seconds since 1970.
        request: The request, whose own values some dialects repeat in answers.

    Raises:
        GatewayError: UNSUPPORTED; it has no other form in this dialect, or cannot be read.
    """
    if dialect not in _SIDES:
        raise _unsupported()
    make_target, client = _SIDES[dialect]
    target = make_target()
    try:
        if stream:
            return _as_stream(target, client, body, now_s, request), EVENT_STREAM
        return _in_one_piece(target, client, body, now_s, request), JSON
    except (GatewayError, InBandError, LookupError, TypeError, ValueError):
        raise _unsupported() from None


def _as_stream(target: TargetSide, client: ClientSide, body: bytes, now_s: int, request: bytes) -> bytes:
    completion = target.read_answer(body)
    writer = client.stream_writer(_context(client, completion.model, now_s, request))
    return writer.write(unfolded(completion)) + writer.end()


def _in_one_piece(target: TargetSide, client: ClientSide, body: bytes, now_s: int, request: bytes) -> bytes:
    reader = target.stream_reader(_MOST_EVENT_BYTES)
    events = [*reader.feed(body), *reader.finish()]
    if not events or not isinstance(events[-1], Ended) or any(isinstance(each, Failed) for each in events):
        raise _unsupported()
    completion = folded(events)
    return client.write_answer(completion, _context(client, completion.model, now_s, request))


def _context(client: ClientSide, model: str, now_s: int, request: bytes) -> AnswerContext:
    conversation = client.read_request(request, Notes())
    return AnswerContext(
        model=model,
        created_s=now_s,
        answer_id=secrets.token_hex(12),
        include_usage=conversation.include_usage,
        echo=conversation.echo,
    )


def _unsupported() -> GatewayError:
    return GatewayError(Reason.UNSUPPORTED, "This answer has no other form in its dialect.")
