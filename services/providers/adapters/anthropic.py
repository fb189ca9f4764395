"""
Anthropic's API: its own dialect as it is, OpenAI chat translated both ways.
"""

from __future__ import annotations

import time
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
from services.providers.dialects import anthropic_messages
from services.providers.dialects.anthropic_messages import MessagesStream
from services.providers.dialects.anthropic_to_openai_chat import translate_answer, translate_error
from services.providers.dialects.anthropic_to_openai_stream import AnthropicToOpenAIStream
from services.providers.dialects.openai_chat import put_model
from services.providers.dialects.openai_chat_to_anthropic import translate_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret
    from services.providers.config import ProvidersConfig
    from services.providers.endpoint import Endpoint
    from services.providers.headers import HeaderList
    from services.providers.registry import Provider

__all__ = ["AnthropicAdapter"]

_PATH = "v1/messages"
_BETA = "anthropic-beta"
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicAdapter:
    """Speaks to one provider of Anthropic's API."""

    def __init__(
        self, provider: Provider, endpoint: Endpoint, operator_key: Secret | None, config: ProvidersConfig
    ) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._operator_key = operator_key
        self._max_event_bytes = config.max_event_bytes
        self._default_max_tokens = config.max_tokens_default

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
                return self._translated(call)
            case ClientDialect.ANTHROPIC_MESSAGES:
                return self._messages(call)
            case ClientDialect.NATIVE:
                return native_exchange(call, self._provider, self._endpoint, self._operator_key)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _translated(self, call: Call) -> Exchange:
        headers = outgoing_headers(call, self._provider, self._operator_key)
        translation = translate_request(
            call.body,
            model=call.model,
            stream=call.stream,
            now_s=int(time.time()),
            strict=call.strict,
            beta=",".join(value for name, value in headers if name == _BETA),
            default_max_tokens=self._default_max_tokens,
        )
        context, size = translation.response_context, len(translation.body)
        return Exchange(
            method="POST",
            url=self._endpoint.url(_PATH),
            headers=_merged(headers, translation.headers),
            body=translation.body,
            reading=Reading(
                stream=lambda: AnthropicToOpenAIStream(
                    context, request_bytes=size, max_event_bytes=self._max_event_bytes
                ),
                whole=lambda body: translate_answer(body, context),
                error=_translated_error,
            ),
            operation=names.OPERATION_CHAT,
            notes=translation.notes,
        )

    def _messages(self, call: Call) -> Exchange:
        body = put_model(call.body, call.model)
        return Exchange(
            method="POST",
            url=self._endpoint.url(_PATH),
            headers=outgoing_headers(call, self._provider, self._operator_key),
            body=body,
            reading=Reading(
                stream=lambda: MessagesStream(request_bytes=len(body), max_event_bytes=self._max_event_bytes),
                whole=anthropic_messages.read_answer,
                error=_own_error,
            ),
            operation=names.OPERATION_CHAT,
        )


def _merged(headers: HeaderList, extra: Mapping[str, str]) -> HeaderList:
    """Lay headers over others; `translate_request` has merged what may stand in both."""
    if not extra:
        return headers
    return [pair for pair in headers if pair[0] not in extra] + list(extra.items())


def _translated_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    found = translate_error(status, body, headers, now_s=time.time())
    return ErrorAnswer(
        status=found.status,
        body=found.body,
        failure_class=found.failure_class,
        message=found.message,
        retry_after_s=found.retry_after_s,
    )


def _own_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error in Anthropic's shape; one that is not (a proxy's HTML page) is put into it."""
    found = read_own_error(status, body, headers)
    try:
        own = isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        own = False
    if own:
        return found
    error = {"type": _ERROR_TYPES.get(status, "api_error"), "message": found.message}
    return replace(found, body=orjson.dumps({"type": "error", "error": error}))
