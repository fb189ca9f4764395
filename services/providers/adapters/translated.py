"""
Calls in a dialect that a provider does not speak: translated there, and the answer back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from services.providers.adapters.adapter import read_own_error
from services.providers.call import ARRAY_STREAM, EVENT_STREAM, ClientDialect, Reading
from services.providers.dialects.anthropic import client_side as anthropic_messages
from services.providers.dialects.gemini import client_side as gemini
from services.providers.dialects.neutral.translate import read_conversation
from services.providers.dialects.openai_chat import side as openai_chat
from services.providers.dialects.openai_responses import client_side as openai_responses
from services.providers.fetch import fetch_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.providers.call import Call, ErrorAnswer
    from services.providers.dialects.neutral.conversation import MediaPart
    from services.providers.dialects.neutral.sides import ClientSide, TargetSide, Written
    from services.providers.dialects.neutral.translate import ClientRequest
    from services.providers.fetch import Fetcher

__all__ = ["CLIENTS", "Translated", "is_chat", "stream_type", "translate", "translate_fetching"]

# What clients may speak on compat paths when they ask for a chat.
CLIENTS: Final[Mapping[ClientDialect, ClientSide]] = {
    ClientDialect.OPENAI_CHAT: openai_chat.CLIENT,
    ClientDialect.OPENAI_RESPONSES: openai_responses.CLIENT,
    ClientDialect.ANTHROPIC_MESSAGES: anthropic_messages.CLIENT,
    ClientDialect.GEMINI: gemini.CLIENT,
}

# Calls in those dialects that ask for no answer of a model's.
_NO_CHATS: Final = frozenset({"batchEmbedContents", "count_tokens", "countTokens", "embedContent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """
    A call in the provider's dialect.

    Attributes:
        written: What to send.
        reading: How the answer becomes the client's.
        notes: What was dropped, clamped or emulated.
    """

    written: Written
    reading: Reading
    notes: tuple[str, ...]


def is_chat(call: Call) -> bool:
    """Tell whether a call is a chat that can be translated."""
    return call.dialect in CLIENTS and call.operation not in _NO_CHATS


def translate(
    call: Call,
    target: TargetSide,
    *,
    max_event_bytes: int,
    read_error: Callable[[int, bytes, Mapping[str, str]], ErrorAnswer] = read_own_error,
) -> Translated:
    """
    Translate a chat.

    Args:
        call: In one of the dialects of `CLIENTS`.
        target: What the provider speaks.
        max_event_bytes: Longest event of a stream.
        read_error: Reads the provider's error; its body is written anew for the client.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    return _translated(_read(call), call, target, max_event_bytes, read_error)


async def translate_fetching(
    call: Call,
    target: TargetSide,
    *,
    fetcher: Fetcher | None,
    wants: Callable[[MediaPart], bool],
    max_event_bytes: int,
    read_error: Callable[[int, bytes, Mapping[str, str]], ErrorAnswer] = read_own_error,
) -> Translated:
    """
    Translate a chat for a target that takes some media as bytes only: those on the web are fetched before.

    Args:
        call: In one of the dialects of `CLIENTS`.
        target: What the provider speaks.
        fetcher: Gets the media; None: nothing is fetched, and the target refuses what it cannot take.
        wants: Says of a part with an http or https address whether the target wants its bytes.
        max_event_bytes: Longest event of a stream.
        read_error: Reads the provider's error; its body is written anew for the client.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    request = _read(call)
    if fetcher is not None:
        await fetch_remote(request.conversation, fetcher, wants)
    return _translated(request, call, target, max_event_bytes, read_error)


def stream_type(call: Call) -> str:
    """Return the content type of the stream that a client asked for."""
    return "application/json" if call.operation == ARRAY_STREAM else EVENT_STREAM


def _read(call: Call) -> ClientRequest:
    client = gemini.CLIENT_OF_ARRAYS if call.operation == ARRAY_STREAM else CLIENTS[call.dialect]
    return read_conversation(client, call.body, strict=call.strict)


def _translated(
    request: ClientRequest,
    call: Call,
    target: TargetSide,
    max_event_bytes: int,
    read_error: Callable[[int, bytes, Mapping[str, str]], ErrorAnswer],
) -> Translated:
    client = request.client
    translation = request.write(target, model=call.model, stream=call.stream, now_s=int(time.time()))

    def error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
        found = read_error(status, body, headers)
        return replace(found, body=client.write_error(found.status, found.failure_class, found.message))

    return Translated(
        written=translation.written,
        reading=Reading(
            stream=lambda: translation.stream(max_event_bytes=max_event_bytes),
            whole=translation.read_answer,
            error=error,
            stream_type=stream_type(call),
        ),
        notes=translation.notes,
    )
