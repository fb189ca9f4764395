"""
What an adapter is, and what all adapters do alike: headers, credentials and native calls.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol

from kit import tokens
from kit.errors import GatewayError, Reason
from kit.telemetry import names
from services.providers.adapters.places import native_place
from services.providers.call import ClientDialect, ErrorAnswer, Exchange, Reading
from services.providers.credentials import credential_headers
from services.providers.dialects.failures import classify, error_message
from services.providers.dialects.native import native_dialect, native_stream, read_native_answer
from services.providers.dialects.retry_after import parse_retry_after
from services.providers.headers import request_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kit.secret import Secret
    from services.providers.adapters.places import NativePlace
    from services.providers.call import Call
    from services.providers.endpoint import Endpoint
    from services.providers.headers import HeaderList
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

    ErrorReader = Callable[[int, bytes, Mapping[str, str]], ErrorAnswer]

__all__ = [
    "Adapter",
    "native_exchange",
    "outgoing_headers",
    "read_own_error",
    "unsupported",
]

MeteredApi = Literal["openai", "anthropic", "gemini"]

_NOTHING: frozenset[str] = frozenset()
_SET_BY_ADAPTER = tokens.CREDENTIAL_HEADERS | {"content-type"}
_JSON = [("content-type", "application/json")]

_OPERATIONS = {
    "chat/completions": names.OPERATION_CHAT,
    "responses": names.OPERATION_CHAT,
    "messages": names.OPERATION_CHAT,
    "completions": names.OPERATION_TEXT_COMPLETION,
    "embeddings": names.OPERATION_EMBEDDINGS,
    # Gemini's, after the model's name.
    "generateContent": names.OPERATION_GENERATE_CONTENT,
    "streamGenerateContent": names.OPERATION_GENERATE_CONTENT,
    "embedContent": names.OPERATION_EMBEDDINGS,
    "batchEmbedContents": names.OPERATION_EMBEDDINGS,
}


class Adapter(Protocol):
    """Speaks one provider's API."""

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        ...

    @property
    def host(self) -> str:
        """Host that is called."""
        ...

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call needs nobody else's key: it brings its own, or there is none to be had."""
        ...

    async def exchange(self, call: Call) -> Exchange:
        """
        Make the request to send from what is asked.

        Raises:
            GatewayError: the call cannot be made: UNSUPPORTED, CREDENTIAL_MISSING, INVALID_REQUEST, ….
        """
        ...

    async def models(self) -> list[ModelRow] | None:
        """Return the models known without asking the provider; None: it has to be asked."""
        ...

    async def check(self) -> None:
        """Raise when calls cannot be made at all."""
        ...


def unsupported(call: Call, provider: Provider) -> GatewayError:
    """Say that a provider has nothing for a dialect."""
    return GatewayError(
        Reason.UNSUPPORTED,
        f"The provider {provider.slug} cannot be called in the dialect {call.dialect.value}.",
        provider=provider.slug,
        param="dialect",
    )


def outgoing_headers(call: Call, provider: Provider, operator_key: Secret | None) -> HeaderList:
    """
    Return the headers of a call with a body of ours: the client's, the provider's own, the credential.

    Raises:
        GatewayError: CREDENTIAL_MISSING or INVALID_REQUEST.
    """
    credential = credential_headers(call, provider.auth, operator_key=operator_key, provider=provider.slug)
    kept = request_headers(call.headers, drop=_SET_BY_ADAPTER)
    if provider.drop_headers:
        kept = [pair for pair in kept if not pair[0].startswith(provider.drop_headers)]
    given = {name for name, _ in kept}
    own = [pair for pair in provider.set_headers if pair[0] not in given]
    return [*kept, *own, *credential, *_JSON]


def native_exchange(
    call: Call,
    provider: Provider,
    endpoint: Endpoint,
    operator_key: Secret | None,
    *,
    place: NativePlace | None = None,
    api: MeteredApi | None = None,
    read_error: ErrorReader | None = None,
) -> Exchange:
    """
    Relay a native call: method, path, query, body and headers as the client sent them.

    Args:
        call: The call, with a target.
        provider: Whose it is.
        endpoint: What its path is joined to.
        operator_key: Used when the call brings none.
        place: Where it goes, when the adapter knows better.
        api: Whose API its path is of, likewise.
        read_error: Reads what its errors are, where they have a shape of their own.

    Raises:
        GatewayError: CREDENTIAL_MISSING, INVALID_REQUEST or METHOD_NOT_ALLOWED.
    """
    assert call.native is not None
    credential = credential_headers(call, provider.auth, operator_key=operator_key, provider=provider.slug)
    # A key of ours does not go beside whatever the client put into the headers for keys.
    kept = request_headers(call.headers, drop=tokens.CREDENTIAL_HEADERS if credential else _NOTHING)
    if provider.target_header:
        kept = [pair for pair in kept if pair[0] != provider.target_header]
    given = {name for name, _ in kept}
    own = [pair for pair in provider.set_headers if pair[0] not in given]
    place = place or native_place(call, provider, endpoint)
    read_error = read_error or read_own_error
    size, path = len(call.body), place.path
    # Providers of OpenAI's API that have Anthropic's too have it under this path.
    if api is None:
        api = "anthropic" if path.removeprefix("anthropic/v1/") == "messages" else "openai"
        path = path.removeprefix("anthropic/v1/")
    dialect, metered = native_dialect(api, path), api
    return Exchange(
        method=call.native.method,
        url=place.url,
        headers=[*kept, *own, *credential],
        body=call.body,
        operation=_OPERATIONS.get(path.rpartition(":")[2], ""),
        dialect=ClientDialect(dialect) if dialect else None,
        guarded=place.guarded,
        reading=Reading(
            stream=lambda: native_stream(metered, path, request_bytes=size),
            whole=lambda body: read_native_answer(metered, path, body),
            error=read_error,
            verbatim=True,
        ),
    )


def read_own_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error whose bytes go to the client as they are."""
    return ErrorAnswer(
        status=status,
        body=body,
        failure_class=classify(status, body),
        message=error_message(status, body),
        retry_after_s=parse_retry_after(headers, now_s=time.time()),
    )
