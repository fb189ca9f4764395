"""
Anthropic's API: its own dialect as it is, every other translated both ways.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from kit.telemetry import names
from services.providers.adapters.adapter import native_exchange, outgoing_headers, read_own_error, unsupported
from services.providers.adapters.translated import CLIENTS, translate
from services.providers.call import Call, ClientDialect, ErrorAnswer, Exchange, Reading
from services.providers.credentials import brings_key
from services.providers.dialects.answer import Answer, load_object
from services.providers.dialects.anthropic import same as anthropic_messages
from services.providers.dialects.anthropic.errors import write_error
from services.providers.dialects.anthropic.same import MessagesStream
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.openai_chat.same import put_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret
    from services.providers.config import ProvidersConfig
    from services.providers.endpoint import Endpoint
    from services.providers.headers import HeaderList
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["AnthropicAdapter"]

_PATH: Final = "v1/messages"
_COUNT_PATH: Final = "v1/messages/count_tokens"
_BETA: Final = "anthropic-beta"


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

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return brings_key(call, self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        match call.dialect, call.operation:
            case ClientDialect.NATIVE, _:
                return native_exchange(call, self._provider, self._endpoint, self._operator_key)
            case ClientDialect.ANTHROPIC_MESSAGES, "":
                return self._messages(call)
            case ClientDialect.ANTHROPIC_MESSAGES, "count_tokens":
                return self._count_tokens(call)
            case dialect, "" if dialect in CLIENTS:
                return self._translated(call)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _translated(self, call: Call) -> Exchange:
        headers = outgoing_headers(call, self._provider, self._operator_key)
        target = anthropic_target(
            default_max_tokens=self._default_max_tokens,
            beta=",".join(value for name, value in headers if name == _BETA),
        )
        translated = translate(call, target, max_event_bytes=self._max_event_bytes)
        return Exchange(
            method="POST",
            url=self._endpoint.url(_PATH),
            headers=_merged(headers, translated.written.headers),
            body=translated.written.body,
            reading=translated.reading,
            operation=names.OPERATION_CHAT,
            notes=translated.notes,
        )

    def _messages(self, call: Call) -> Exchange:
        body = put_model(call.body, call.model)
        reading = Reading(
            stream=lambda: MessagesStream(request_bytes=len(body), max_event_bytes=self._max_event_bytes),
            whole=anthropic_messages.read_answer,
            error=_own_error,
        )
        return self._own(call, _PATH, body, reading, names.OPERATION_CHAT)

    def _count_tokens(self, call: Call) -> Exchange:
        """Ask for the length of a prompt, which nobody is billed for."""
        reading = Reading(
            stream=lambda: MessagesStream(verbatim=True),
            whole=_counted,
            error=_own_error,
        )
        return self._own(call, _COUNT_PATH, put_model(call.body, call.model), reading, "")

    def _own(self, call: Call, path: str, body: bytes, reading: Reading, operation: str) -> Exchange:
        return Exchange(
            method="POST",
            url=self._endpoint.url(path),
            headers=outgoing_headers(call, self._provider, self._operator_key),
            body=body,
            reading=reading,
            operation=operation,
        )


def _merged(headers: HeaderList, extra: Mapping[str, str]) -> HeaderList:
    """Lay headers over others; the request's writer has merged what may stand in both."""
    if not extra:
        return headers
    return [pair for pair in headers if pair[0] not in extra] + list(extra.items())


def _counted(body: bytes) -> Answer:
    """Take a count as it is: its tokens were not used."""
    document = load_object(body)
    failed = document.get("type") == "error"
    failure = anthropic_messages.in_band_error(document, body, started=False) if failed else None
    return Answer(body=body, failure=failure)


def _own_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error in Anthropic's shape; one that is not (a proxy's HTML page) is put into it."""
    found = read_own_error(status, body, headers)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        return found
    return replace(found, body=write_error(status, found.failure_class, found.message))
