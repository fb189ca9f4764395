"""
OpenAI's API, and every provider's that is like it: same dialect in, same bytes out; any other is translated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from kit.telemetry import names
from services.providers.adapters.adapter import native_exchange, outgoing_headers, read_own_error, unsupported
from services.providers.adapters.translated import is_chat, translate
from services.providers.call import Call, ClientDialect, ErrorAnswer, Exchange, Reading
from services.providers.credentials import brings_key
from services.providers.dialects import openai_embeddings, openai_other
from services.providers.dialects.openai_chat import same as openai_chat
from services.providers.dialects.openai_chat.models import lacks_chat, prefers_responses
from services.providers.dialects.openai_chat.same_stream import OpenAIStream
from services.providers.dialects.openai_chat.target_side import chat_target
from services.providers.dialects.openai_error import openai_error
from services.providers.dialects.openai_responses import same as openai_responses
from services.providers.dialects.openai_responses.request_reader import refuse_stored
from services.providers.dialects.openai_responses.same import ResponsesStream
from services.providers.dialects.openai_responses.target_side import responses_target
from services.providers.dialects.watched import WatchedStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.secret import Secret
    from services.providers.config import ProvidersConfig
    from services.providers.dialects.neutral.sides import TargetSide
    from services.providers.endpoint import Endpoint
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["OpenAIAdapter", "read_openai_error"]

_EMBEDDINGS: Final = "embeddings"
_RESPONSES: Final = "responses"
_COMPLETIONS: Final = "completions"
_JSON: Final = "application/json"


class OpenAIAdapter:
    """Speaks to one provider of OpenAI's API."""

    def __init__(
        self, provider: Provider, endpoint: Endpoint, operator_key: Secret | None, config: ProvidersConfig
    ) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._operator_key = operator_key
        self._max_event_bytes = config.max_event_bytes
        self._chat_target = chat_target(replace(provider.chat, stream_usage=provider.stream_usage))
        both = provider.responses and provider.chat.openai_models
        self._responses_target = responses_target(openai_models=True) if both else None

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Host that is called."""
        return self._endpoint.host

    @property
    def has_operator_key(self) -> bool:
        """Tell whether there is a key of the operator's."""
        return self._operator_key is not None

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return brings_key(call, self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        provider = self._provider
        match call.dialect:
            case ClientDialect.NATIVE:
                made = native_exchange(call, provider, self._endpoint, self._operator_key)
            case ClientDialect.OPENAI_CHAT if self._responses_target is None or not lacks_chat(call.model):
                made = self._completions(call, provider.chat_path, names.OPERATION_CHAT)
            case ClientDialect.OPENAI_RESPONSES if provider.responses:
                made = self._responses(call)
            case ClientDialect.OPENAI_EMBEDDINGS if provider.embeddings:
                made = self._embeddings(call)
            case ClientDialect.OPENAI_OTHER if call.operation in provider.endpoints:
                made = self._other(call)
            case _ if is_chat(call):
                made = self._translated(call)
            case _:
                raise unsupported(call, provider)
        return made

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _completions(self, call: Call, path: str, operation: str) -> Exchange:
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
        return self._post(call, path, prepared.body, reading, operation)

    def _responses(self, call: Call) -> Exchange:
        document = openai_chat.load_request(call.body)
        # The next turn may go to another provider, which would know nothing of this one.
        refuse_stored(document)
        body = openai_chat.with_model(call.body, document, call.model)
        reading = Reading(
            stream=lambda: ResponsesStream(request_bytes=len(body), max_event_bytes=self._max_event_bytes),
            whole=openai_responses.read_answer,
            error=read_openai_error,
        )
        return self._post(call, _RESPONSES, body, reading, names.OPERATION_CHAT)

    def _embeddings(self, call: Call) -> Exchange:
        body = openai_chat.put_model(call.body, call.model)
        reading = Reading(
            stream=lambda: OpenAIStream(request_bytes=len(body)),
            whole=openai_embeddings.answer_reader(call.body),
            error=read_openai_error,
        )
        return self._post(call, _EMBEDDINGS, body, reading, names.OPERATION_EMBEDDINGS)

    def _other(self, call: Call) -> Exchange:
        """Relay one of OpenAI's further endpoints; its answer may be in any format."""
        if call.operation == _COMPLETIONS:
            return self._completions(call, _COMPLETIONS, names.OPERATION_TEXT_COMPLETION)
        content_type = next(
            (value.decode("latin-1") for name, value in call.headers if name == "content-type"), _JSON
        )
        body = openai_other.prepare_request(call.body, content_type, call.model)
        reading = Reading(
            stream=lambda: WatchedStream(openai_other.EndpointReader(), request_bytes=len(body), opaque=True),
            whole=openai_other.read_answer,
            error=read_openai_error,
            any_format=True,
        )
        made = self._post(call, call.operation, body, reading, "")
        kept = [pair for pair in made.headers if pair[0] != "content-type"]
        return replace(made, headers=[*kept, ("content-type", content_type)])

    def _translated(self, call: Call) -> Exchange:
        target, path = self._target(call)
        translated = translate(call, target, max_event_bytes=self._max_event_bytes, read_error=read_own_error)
        written = translated.written
        made = self._post(call, path, written.body, translated.reading, names.OPERATION_CHAT)
        return replace(made, notes=translated.notes)

    def _target(self, call: Call) -> tuple[TargetSide, str]:
        """Choose the dialect to translate to, and where it is spoken."""
        if self._responses_target is not None and prefers_responses(call.model):
            return self._responses_target, _RESPONSES
        return self._chat_target, self._provider.chat_path

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
