"""
The ways through the dialects that are measured: every pair, and the four that hand bytes on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.conversations import request_body
from bench.targets import TARGETS
from services.providers.adapters.google import gemini_body
from services.providers.adapters.translated import CLIENTS
from services.providers.call import Call, ClientDialect
from services.providers.dialects.anthropic import same as anthropic_messages
from services.providers.dialects.gemini import same as gemini
from services.providers.dialects.neutral.translate import translate_request
from services.providers.dialects.openai_chat import same as openai_chat
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.openai_responses import same as openai_responses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.targets import Target
    from services.providers.dialects.answer import Answer
    from services.providers.dialects.stream import AnswerStream

__all__ = ["SAME", "Pair", "pairs"]

SAME: Final = "same dialect"
# By the names that these dialects have among those of providers.
_CLIENTS: Final = {
    "chat": ClientDialect.OPENAI_CHAT,
    "responses": ClientDialect.OPENAI_RESPONSES,
    "messages": ClientDialect.ANTHROPIC_MESSAGES,
    "gemini": ClientDialect.GEMINI,
}
_MAX_EVENT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    A client's dialect and a provider's, ready to be measured.

    Attributes:
        client: Name of the client's.
        target: Name of the provider's, or `SAME`.
        spoken: What the provider speaks.
        body: The client's.
        request: Makes the provider's request of the client's.
        answer: Makes the client's answer of the provider's.
        stream: Makes what a streamed answer goes through.
    """

    client: str
    target: str
    spoken: Target
    body: bytes
    request: Callable[[], object]
    answer: Callable[[bytes], Answer]
    stream: Callable[[], AnswerStream]


def pairs() -> list[Pair]:
    """Make all of them: for each client, the same dialect first."""
    return [pair for name in _CLIENTS for pair in (_same(name), *(_translated(name, aim) for aim in TARGETS))]


def _translated(client: str, target: str) -> Pair:
    dialect, spoken = _CLIENTS[client], TARGETS[target]
    plain, streaming = (
        partial(
            translate_request,
            CLIENTS[dialect],
            spoken.side,
            _body(client, spoken, stream=stream),
            model=spoken.model,
            stream=stream,
            now_s=1_700_000_000,
            strict=False,
        )
        for stream in (False, True)
    )
    return Pair(
        client=client,
        target=target,
        spoken=spoken,
        body=_body(client, spoken, stream=False),
        request=plain,
        answer=plain().read_answer,
        stream=partial(streaming().stream, max_event_bytes=_MAX_EVENT_BYTES),
    )


def _same(client: str) -> Pair:
    """Put together what the adapter of such a provider does with body and answer."""
    spoken = TARGETS[client]
    body = _body(client, spoken, stream=False)
    way = _SAME_WAYS[client]
    return Pair(
        client=client,
        target=SAME,
        spoken=spoken,
        body=body,
        request=partial(way.request, body, spoken.model),
        answer=way.answer,
        stream=partial(way.stream, request_bytes=len(body), max_event_bytes=_MAX_EVENT_BYTES),
    )


def _body(client: str, spoken: Target, *, stream: bool) -> bytes:
    return request_body(_CLIENTS[client], f"some-provider/{spoken.model}", stream=stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SameWay:
    """How a dialect is handed on: request, whole answer and stream."""

    request: Callable[[bytes, str], object]
    answer: Callable[[bytes], Answer]
    stream: Callable[..., AnswerStream]


def _gemini_request(body: bytes, model: str) -> bytes:
    call = Call(model=model, dialect=ClientDialect.GEMINI, body=body, stream=False, headers=())
    return gemini_body(call, f"models/{model}")


_SAME_WAYS: Final[Mapping[str, _SameWay]] = {
    "chat": _SameWay(
        request=partial(openai_chat.prepare_request, stream=False),
        answer=openai_chat.read_answer,
        stream=partial(OpenAIStream, injected_usage=True),
    ),
    "responses": _SameWay(
        request=openai_chat.put_model,
        answer=openai_responses.read_answer,
        stream=openai_responses.ResponsesStream,
    ),
    "messages": _SameWay(
        request=openai_chat.put_model,
        answer=anthropic_messages.read_answer,
        stream=anthropic_messages.MessagesStream,
    ),
    "gemini": _SameWay(request=_gemini_request, answer=gemini.read_answer, stream=gemini.GeminiStream),
}
