"""
Cloudflare's Workers AI: OpenAI's API where clients speak it, `run` or that again where they do not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote

import orjson
from yarl import URL

from kit.errors import GatewayError, Reason
from kit.telemetry import names
from services.providers.adapters.adapter import (
    native_exchange,
    outgoing_headers,
    read_own_error,
    unsupported,
)
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.adapters.places import NativePlace
from services.providers.adapters.translated import is_chat, translate, translate_fetching
from services.providers.call import ClientDialect, Exchange, Reading
from services.providers.credentials import brings_key
from services.providers.dialects.openai_chat.target_side import chat_target
from services.providers.dialects.openai_error import openai_error
from services.providers.dialects.workers_ai import errors
from services.providers.dialects.workers_ai.models import NAME, speaks_chat, task
from services.providers.dialects.workers_ai.native import native_stream, read_native_answer
from services.providers.dialects.workers_ai.side import target
from services.providers.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.call import Call, ErrorAnswer
    from services.providers.config import ProvidersConfig, ProviderSettings
    from services.providers.dialects.neutral.conversation import MediaPart
    from services.providers.fetch import Fetcher
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["WorkersAIAdapter"]

_ACCOUNT: Final = "HEADRACE_PROVIDER_WORKERS_AI_ACCOUNT"
_CHAT: Final = "v1/chat/completions"
_EMBEDDINGS: Final = "v1/embeddings"
_OPERATIONS: Final = {"chat": names.OPERATION_CHAT, "embeddings": names.OPERATION_EMBEDDINGS}
# Native paths of OpenAI's API, whose version clients may leave out.
_OPENAI: Final = ("chat/", "completions", "embeddings", "responses")
# What names of models begin with, also where a client encodes it.
_MODELS: Final = ("@", "%40")


class WorkersAIAdapter:
    """
    Speaks to Workers AI in one account.

    Args:
        provider: The row.
        settings: Hold the account, which is a part of every path.
        config: Limits.
        fetcher: Gets images that models take as bytes only; None: such a request is refused.
    """

    def __init__(
        self,
        provider: Provider,
        settings: ProviderSettings,
        config: ProvidersConfig,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._provider = provider
        self._operator_key = settings.api_key
        self._max_event_bytes = config.max_event_bytes
        self._fetcher = fetcher
        override = settings.base_url
        # An address of the operator's that has a path leads to an account already.
        self._addressed = bool(settings.account or (override is not None and override.path.strip("/")))
        base = URL(provider.base_url.format(account=settings.account or "unset"), encoded=True)
        self._endpoint = Endpoint(base, override)
        self._openai = OpenAIAdapter(provider, self._endpoint, settings.api_key, config)
        self._run = target(config.max_tokens_default)
        self._chat = chat_target(provider.chat)

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
        if not self._addressed:
            self._miss_account()
        match call.dialect:
            case ClientDialect.NATIVE:
                return self._native(call)
            case ClientDialect.OPENAI_CHAT:
                return await self._same(call, _CHAT)
            case ClientDialect.OPENAI_EMBEDDINGS:
                return await self._same(call, _EMBEDDINGS)
            case _ if is_chat(call):
                return await self._translated(call)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return no models: they are listed by another API, for another kind of token."""
        return []

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _miss_account(self) -> NoReturn:
        text = f"Workers AI is called in an account, and which one is not set: {_ACCOUNT}."
        raise GatewayError(Reason.INVALID_PROVIDER, text, provider=self._provider.slug)

    async def _same(self, call: Call, path: str) -> Exchange:
        made = await self._openai.exchange(call)
        return replace(
            made, url=self._endpoint.url(path), reading=replace(made.reading, error=_read_openai_error)
        )

    async def _translated(self, call: Call) -> Exchange:
        if not NAME.fullmatch(call.model):
            raise GatewayError(
                Reason.INVALID_REQUEST, "That cannot be the name of a model at Workers AI.", param="model"
            )
        chat = speaks_chat(call.model)
        side, path = (self._chat, _CHAT) if chat else (self._run, f"run/{call.model}")
        limit = self._max_event_bytes
        if self._fetcher is None:
            made = translate(call, side, max_event_bytes=limit, read_error=_read_own_error)
        else:
            made = await translate_fetching(
                call,
                side,
                fetcher=self._fetcher,
                wants=_wants_bytes,
                max_event_bytes=limit,
                read_error=_read_own_error,
            )
        return Exchange(
            method="POST",
            # Not kept as those of fixed paths are: there is one for each model.
            url=self._endpoint.url(_CHAT) if chat else URL(f"{self._endpoint.url('')}/{path}", encoded=True),
            headers=outgoing_headers(call, self._provider, self._operator_key),
            body=made.written.body,
            reading=made.reading,
            operation=names.OPERATION_CHAT,
            notes=made.notes,
        )

    def _native(self, call: Call) -> Exchange:
        """Relay a call by any of the forms of a path: `{model}`, `run/{model}`, and OpenAI's."""
        assert call.native is not None
        asked = call.native.path.strip("/")
        path = asked.removeprefix("v1/")
        if path.startswith(_MODELS):
            path = f"run/{path}"
        elif path.startswith(_OPENAI):
            path = f"v1/{path}"
        elif not path.startswith("run/"):
            path = asked
        moved = replace(call.native, path=path)
        place = NativePlace(url=self._endpoint.native(moved), path=self._endpoint.bare(path))
        made = native_exchange(call, self._provider, self._endpoint, self._operator_key, place=place)
        reading = replace(made.reading, error=_read_own_error)
        if not place.path.startswith("run/"):
            return replace(made, reading=reading)
        size, model = len(call.body), unquote(place.path.removeprefix("run/"))
        return replace(
            made,
            operation=_OPERATIONS.get(task(model), ""),
            reading=Reading(
                stream=lambda: native_stream(request_bytes=size),
                whole=read_native_answer,
                error=_read_own_error,
                verbatim=True,
            ),
        )


def _wants_bytes(part: MediaPart) -> bool:
    return part.kind == "image"


def _read_own_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    return replace(read_own_error(status, body, headers), failure_class=errors.classify(status, body))


def _read_openai_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error for a client that expects OpenAI's shape; one in Cloudflare's is put into it."""
    found = _read_own_error(status, body, headers)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        return found
    return replace(found, body=openai_error(status, found.failure_class, found.message))
