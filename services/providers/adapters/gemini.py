"""
Google's AI Studio: Gemini's own dialect as it is, chats and embeddings of other dialects translated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kit.telemetry import names
from services.providers.adapters.adapter import native_exchange, outgoing_headers, unsupported
from services.providers.adapters.google import (
    EMBEDDING_CALLS,
    MODEL_NAME,
    bad_model,
    gemini_body,
    gemini_method,
    gemini_reading,
    read_embeddings_error,
    read_google_error,
)
from services.providers.adapters.places import NativePlace, native_place
from services.providers.adapters.translated import is_chat, translate_fetching
from services.providers.call import ClientDialect, Exchange, NativeTarget, Reading
from services.providers.credentials import brings_key
from services.providers.dialects.embeddings import read_openai_embeddings_request
from services.providers.dialects.gemini import embeddings
from services.providers.dialects.gemini.target_side import gemini_target, wanted_media
from services.providers.dialects.native import OpaqueStream
from services.providers.dialects.neutral.notes import Notes

if TYPE_CHECKING:
    from kit.secret import Secret
    from services.providers.call import Call
    from services.providers.config import ProvidersConfig
    from services.providers.endpoint import Endpoint
    from services.providers.fetch import Fetcher
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["GeminiAdapter"]

_TARGET: Final = gemini_target(vertex=False)
_COLLECTIONS: Final = ("models", "tunedModels")
# OpenAI's API at AI Studio, natively.
_COMPATIBLE: Final = "openai/"


class GeminiAdapter:
    """
    Speaks to AI Studio.

    Args:
        provider: The row.
        endpoint: Where its API is.
        operator_key: Used when a call brings none.
        config: Limits.
        fetcher: Gets media from the web that Google does not get itself; None: they are refused.
    """

    def __init__(
        self,
        provider: Provider,
        endpoint: Endpoint,
        operator_key: Secret | None,
        config: ProvidersConfig,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._operator_key = operator_key
        self._max_event_bytes = config.max_event_bytes
        self._fetcher = fetcher

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
        match call.dialect:
            case ClientDialect.NATIVE:
                return self._native(call)
            case ClientDialect.GEMINI:
                return self._same(call)
            case ClientDialect.OPENAI_EMBEDDINGS:
                return self._embed(call)
            case _ if is_chat(call):
                return await self._chat(call)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return None: the provider knows."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    async def _chat(self, call: Call) -> Exchange:
        translated = await translate_fetching(
            call,
            _TARGET,
            fetcher=self._fetcher,
            wants=wanted_media(call.model, vertex=False),
            max_event_bytes=self._max_event_bytes,
            read_error=read_google_error,
        )
        method, query = gemini_method(call)
        made = self._post(call, method, query, translated.written.body, translated.reading)
        return replace(made, notes=translated.notes)

    def _same(self, call: Call) -> Exchange:
        method, query = gemini_method(call)
        body = gemini_body(call, self._named(call.model))
        made = self._post(call, method, query, body, gemini_reading(call, body, self._max_event_bytes))
        if method in EMBEDDING_CALLS:
            return replace(made, operation=names.OPERATION_EMBEDDINGS)
        return made

    def _embed(self, call: Call) -> Exchange:
        notes = Notes(strict=call.strict)
        request = read_openai_embeddings_request(call.body, notes)
        body = embeddings.write_batch(request, self._named(call.model), notes)
        reading = Reading(
            stream=OpaqueStream,
            whole=lambda answer: embeddings.read_batch(answer, request, call.model),
            error=read_embeddings_error,
        )
        made = self._post(call, "batchEmbedContents", "", body, reading)
        return replace(made, operation=names.OPERATION_EMBEDDINGS, notes=notes.taken())

    def _native(self, call: Call) -> Exchange:
        place = native_place(call, self._provider, self._endpoint)
        compatible = place.path.startswith(_COMPATIBLE)
        return native_exchange(
            call,
            self._provider,
            self._endpoint,
            self._operator_key,
            place=NativePlace(
                url=place.url, path=place.path.removeprefix(_COMPATIBLE), guarded=place.guarded
            ),
            api="openai" if compatible else "gemini",
            read_error=read_google_error,
        )

    def _post(self, call: Call, method: str, query: str, body: bytes, reading: Reading) -> Exchange:
        path = f"{self._named(call.model)}:{method}"
        return Exchange(
            method="POST",
            url=self._endpoint.native(NativeTarget(method="POST", path=path, query=query)),
            headers=outgoing_headers(call, self._provider, self._operator_key),
            body=body,
            reading=reading,
            operation=names.OPERATION_CHAT,
        )

    def _named(self, model: str) -> str:
        """Return a model's name with its collection."""
        collection, _, name = model.rpartition("/")
        if collection not in {"", *_COLLECTIONS} or not MODEL_NAME.fullmatch(name):
            raise bad_model(self._provider.slug)
        return f"{collection or 'models'}/{name}"
