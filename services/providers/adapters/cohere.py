"""
Cohere's API: chats, embeddings and rankings are translated, native calls relayed and metered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kit.telemetry import names
from services.providers.adapters.adapter import (
    native_exchange,
    outgoing_headers,
    read_own_error,
    unsupported,
)
from services.providers.adapters.places import native_place
from services.providers.adapters.translated import is_chat, translate
from services.providers.call import ClientDialect, Exchange, Reading
from services.providers.credentials import brings_key
from services.providers.dialects.cohere import embeddings, rerank
from services.providers.dialects.cohere.native import native_stream, read_native_answer
from services.providers.dialects.cohere.side import TARGET
from services.providers.dialects.embeddings import read_openai_embeddings_request
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.native import OpaqueStream
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.openai_error import openai_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret
    from services.providers.call import Call, ErrorAnswer
    from services.providers.config import ProvidersConfig
    from services.providers.endpoint import Endpoint
    from services.providers.headers import HeaderList
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["CohereAdapter"]

_CHAT: Final = "v2/chat"
_EMBED: Final = "v2/embed"
_RERANK: Final = "v2/rerank"
# OpenAI's API at Cohere, natively.
_COMPATIBLE: Final = "compatibility/"
_NATIVE_OPERATIONS: Final = {
    "chat": names.OPERATION_CHAT,
    "generate": names.OPERATION_TEXT_COMPLETION,
    "embed": names.OPERATION_EMBEDDINGS,
}
# What was asked or answered is not allowed.
_BLOCKED: Final = 498
# Cohere's older word for a bearer token.
_TOKEN: Final = b"token "


class CohereAdapter:
    """Speaks to Cohere."""

    def __init__(
        self, provider: Provider, endpoint: Endpoint, operator_key: Secret | None, config: ProvidersConfig
    ) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._operator_key = operator_key
        self._max_event_bytes = config.max_event_bytes

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Host that is called."""
        return self._endpoint.host

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return brings_key(call, self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        if is_chat(call):
            return self._chat(call)
        match call.dialect:
            case ClientDialect.OPENAI_EMBEDDINGS:
                return self._embed(call)
            case ClientDialect.OPENAI_OTHER if call.operation == "rerank":
                return self._rerank(call)
            case ClientDialect.NATIVE:
                return self._native(call)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _chat(self, call: Call) -> Exchange:
        translated = translate(
            call, TARGET, max_event_bytes=self._max_event_bytes, read_error=_read_own_error
        )
        return replace(
            self._post(call, _CHAT, translated.written.body, translated.reading, names.OPERATION_CHAT),
            notes=translated.notes,
        )

    def _embed(self, call: Call) -> Exchange:
        notes = Notes(strict=call.strict)
        request = read_openai_embeddings_request(call.body, notes)
        body = embeddings.write_request(request, call.model, notes)
        reading = Reading(
            stream=OpaqueStream,
            whole=lambda answer: embeddings.read_answer(
                answer,
                model=call.model,
                inputs=len(request.inputs),
                encoding_format=request.encoding_format,
            ),
            error=_read_error,
        )
        made = self._post(call, _EMBED, body, reading, names.OPERATION_EMBEDDINGS)
        return replace(made, notes=notes.taken())

    def _rerank(self, call: Call) -> Exchange:
        notes = Notes(strict=call.strict)
        request = rerank.prepare_request(call.body, call.model, notes)
        reading = Reading(
            stream=OpaqueStream,
            whole=lambda answer: rerank.read_answer(answer, request),
            error=_read_error,
        )
        return replace(self._post(call, _RERANK, request.body, reading, ""), notes=notes.taken())

    def _native(self, call: Call) -> Exchange:
        place = native_place(call, self._provider, self._endpoint)
        if place.path.startswith(_COMPATIBLE):
            path = place.path.removeprefix(_COMPATIBLE).removeprefix("v1/")
            place = replace(place, path=path)
            return native_exchange(call, self._provider, self._endpoint, self._operator_key, place=place)
        made = native_exchange(call, self._provider, self._endpoint, self._operator_key, place=place)
        path = made.url.raw_path.strip("/")
        bare = self._endpoint.bare(path)
        size = len(call.body)
        version = "v2" if f"/v2/{bare}" in f"/{path}" else "v1"
        reading = Reading(
            stream=lambda: native_stream(f"{version}/{bare}", request_bytes=size),
            whole=read_native_answer,
            error=_read_own_error,
            verbatim=True,
        )
        return replace(made, reading=reading, operation=_NATIVE_OPERATIONS.get(bare, ""), dialect=None)

    def _post(self, call: Call, path: str, body: bytes, reading: Reading, operation: str) -> Exchange:
        return Exchange(
            method="POST",
            url=self._endpoint.url(path),
            headers=self._headers(call),
            body=body,
            reading=reading,
            operation=operation,
        )

    def _headers(self, call: Call) -> HeaderList:
        bare = [
            (name, value[len(_TOKEN) :] if name == "authorization" and _is_token(value) else value)
            for name, value in call.headers
        ]
        return outgoing_headers(replace(call, headers=bare), self._provider, self._operator_key)


def _is_token(value: bytes) -> bool:
    return value[: len(_TOKEN)].lower() == _TOKEN


def _read_own_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    found = read_own_error(status, body, headers)
    return replace(found, failure_class=FailureClass.CONTENT_POLICY) if status == _BLOCKED else found


def _read_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error for a client that expects OpenAI's shape, which Cohere's `{"message": …}` is not."""
    found = _read_own_error(status, body, headers)
    return replace(found, body=openai_error(found.status, found.failure_class, found.message))
