"""
OpenAI's API, and every provider's that is like it: same dialect in, same bytes out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from kit.telemetry import names
from services.providers.adapters.adapter import (
    ModelRow,
    native_exchange,
    outgoing_headers,
    read_own_error,
    unsupported,
)
from services.providers.call import Call, ClientDialect, ErrorAnswer, Exchange, Reading
from services.providers.dialects import openai_chat, openai_embeddings, openai_responses
from services.providers.dialects.openai_chat_stream import OpenAIStream
from services.providers.dialects.openai_error import openai_error
from services.providers.dialects.openai_responses import ResponsesStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret
    from services.providers.config import ProvidersConfig
    from services.providers.endpoint import Endpoint
    from services.providers.registry import Provider

__all__ = ["OpenAIAdapter", "read_openai_error"]


class OpenAIAdapter:
    """Speaks to one provider of OpenAI's API."""

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

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        match call.dialect:
            case ClientDialect.OPENAI_CHAT:
                return self._chat(call)
            case ClientDialect.OPENAI_EMBEDDINGS:
                body = openai_chat.put_model(call.body, call.model)
                reading = Reading(
                    stream=lambda: OpenAIStream(request_bytes=len(body)),
                    whole=openai_embeddings.read_answer,
                    error=read_openai_error,
                )
                return self._post(call, "embeddings", body, reading, names.OPERATION_EMBEDDINGS)
            case ClientDialect.OPENAI_RESPONSES:
                return self._responses(call)
            case ClientDialect.NATIVE:
                return native_exchange(call, self._provider, self._endpoint, self._operator_key)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _chat(self, call: Call) -> Exchange:
        prepared = openai_chat.prepare_request(
            call.body, call.model, stream=call.stream, meter_usage=self._provider.stream_usage
        )
        reading = Reading(
            stream=lambda: OpenAIStream(
                injected_usage=prepared.injected_usage,
                choices=prepared.choices,
                request_bytes=len(prepared.body),
                max_event_bytes=self._max_event_bytes,
            ),
            whole=openai_chat.read_answer,
            error=read_openai_error,
        )
        return self._post(call, "chat/completions", prepared.body, reading, names.OPERATION_CHAT)

    def _responses(self, call: Call) -> Exchange:
        body = openai_chat.put_model(call.body, call.model)
        reading = Reading(
            stream=lambda: ResponsesStream(request_bytes=len(body), max_event_bytes=self._max_event_bytes),
            whole=openai_responses.read_answer,
            error=read_openai_error,
        )
        return self._post(call, "responses", body, reading, names.OPERATION_CHAT)

    def _post(self, call: Call, path: str, body: bytes, reading: Reading, operation: str) -> Exchange:
        return Exchange(
            method="POST",
            url=self._endpoint.url(path),
            headers=outgoing_headers(call, self._provider, self._operator_key),
            body=body,
            reading=reading,
            operation=operation,
        )


def read_openai_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error in OpenAI's shape; one that is not (a proxy's HTML page) is put into it."""
    found = read_own_error(status, body, headers)
    try:
        own = isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        own = False
    return found if own else replace(found, body=openai_error(status, found.failure_class, found.message))
