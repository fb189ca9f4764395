"""
Google's Vertex AI: a host for each region, and models of Google's and of Anthropic's behind the same paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from yarl import URL

from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.telemetry import names
from kit.tokens import CREDENTIAL_HEADERS
from services.providers.adapters.adapter import native_exchange, outgoing_headers, unsupported
from services.providers.adapters.google import (
    EMBEDDING_CALLS,
    gemini_body,
    gemini_method,
    gemini_reading,
    read_embeddings_error,
    read_google_error,
)
from services.providers.adapters.google_tokens import GoogleTokens, ServiceAccount, read_account
from services.providers.adapters.places import NativePlace
from services.providers.adapters.translated import is_chat, translate_fetching
from services.providers.adapters.vertex_anthropic import COUNT_TOKENS, claude_reading, raw_body
from services.providers.adapters.vertex_places import (
    ANTHROPIC,
    GLOBAL,
    HOST,
    base_of,
    metered,
    parent_of,
    publisher_and_model,
    region_in,
)
from services.providers.call import ClientDialect, Exchange, NativeTarget, Reading
from services.providers.credentials import brings_key, check_stored, credential_text
from services.providers.dialects.anthropic.target_side import anthropic_target
from services.providers.dialects.embeddings import read_openai_embeddings_request
from services.providers.dialects.gemini import embeddings
from services.providers.dialects.gemini.target_side import gemini_target, wanted_media
from services.providers.dialects.native import OpaqueStream
from services.providers.dialects.neutral.notes import Notes
from services.providers.endpoint import Endpoint, check_target

if TYPE_CHECKING:
    from kit.clock import Clock
    from services.providers.call import Call
    from services.providers.config import ProvidersConfig, ProviderSettings
    from services.providers.fetch import Fetcher
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider
    from services.providers.upstream import Upstream

__all__ = ["VertexAdapter"]

_TARGET: Final = gemini_target(vertex=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Credential:
    """
    What a call on compat paths is made with.

    Attributes:
        account: Whose token is to be minted; None: `token` is one.
        parent: `projects/…/locations/…`.
    """

    account: ServiceAccount | None
    token: str = field(repr=False)
    region: str
    parent: str


class VertexAdapter:
    """
    Speaks to Vertex AI.

    Args:
        provider: The row.
        settings: The operator's key is the JSON of a service account. An address takes the place of all
            hosts, and of the one that gives tokens.
        config: Limits.
        fetcher: Gets media from the web that Google does not get itself; None: they are refused.
        upstream: Where tokens are asked for; None: service accounts are refused.
        clock: The time.
    """

    def __init__(
        self,
        provider: Provider,
        settings: ProviderSettings,
        config: ProvidersConfig,
        *,
        fetcher: Fetcher | None = None,
        upstream: Upstream | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._provider = provider
        self._settings = settings
        self._config = config
        self._fetcher = fetcher
        override = settings.base_url
        self._tokens: GoogleTokens | None = None
        if upstream is not None:
            self._tokens = GoogleTokens(
                upstream,
                clock or SystemClock(),
                provider=provider.slug,
                token_url=override and override.origin().with_path("/token"),
            )

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Host that is called, as far as it does not depend on the call."""
        return (self._settings.base_url.host if self._settings.base_url else None) or HOST

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key."""
        return brings_key(call, self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        if call.dialect is ClientDialect.NATIVE:
            return await self._native(call)
        publisher, model = publisher_and_model(call.model, self._provider.slug)
        credential = self._credential(call)
        call = replace(call, model=model)
        if publisher == ANTHROPIC:
            return await self._claude(call, credential)
        match call.dialect:
            case ClientDialect.GEMINI if call.operation != "batchEmbedContents":
                return await self._same(call, credential)
            case ClientDialect.OPENAI_EMBEDDINGS:
                return await self._embed(call, credential)
            case _ if is_chat(call):
                return await self._chat(call, credential)
            case _:
                raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return None; there is no list that the provider would give either."""
        return None

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    async def _chat(self, call: Call, credential: _Credential) -> Exchange:
        translated = await translate_fetching(
            call,
            _TARGET,
            fetcher=self._fetcher,
            wants=wanted_media(call.model, vertex=True),
            max_event_bytes=self._config.max_event_bytes,
            read_error=read_google_error,
        )
        method, query = gemini_method(call)
        path = f"publishers/google/models/{call.model}:{method}"
        made = await self._post(
            call, credential, path, translated.written.body, translated.reading, query=query
        )
        return replace(made, notes=translated.notes)

    async def _same(self, call: Call, credential: _Credential) -> Exchange:
        method, query = gemini_method(call)
        path = f"publishers/google/models/{call.model}"
        body = gemini_body(call, f"{credential.parent}/{path}")
        reading = gemini_reading(call, body, self._config.max_event_bytes)
        made = await self._post(call, credential, f"{path}:{method}", body, reading, query=query)
        if method in EMBEDDING_CALLS:
            return replace(made, operation=names.OPERATION_EMBEDDINGS)
        return made

    async def _embed(self, call: Call, credential: _Credential) -> Exchange:
        notes = Notes(strict=call.strict)
        request = read_openai_embeddings_request(call.body, notes)
        body = embeddings.write_instances(request, notes)
        reading = Reading(
            stream=OpaqueStream,
            whole=lambda answer: embeddings.read_predictions(answer, request, call.model),
            error=read_embeddings_error,
        )
        made = await self._post(
            call, credential, f"publishers/google/models/{call.model}:predict", body, reading
        )
        return replace(made, operation=names.OPERATION_EMBEDDINGS, notes=notes.taken())

    async def _claude(self, call: Call, credential: _Credential) -> Exchange:
        path = (
            f"publishers/anthropic/models/{call.model}:{'streamRawPredict' if call.stream else 'rawPredict'}"
        )
        if call.dialect is ClientDialect.ANTHROPIC_MESSAGES and call.operation in {"", COUNT_TOKENS}:
            counted = call.operation == COUNT_TOKENS
            if counted:
                path = "publishers/anthropic/models/count-tokens:rawPredict"
            body = raw_body(call.body, model=call.model if counted else "")
            reading = claude_reading(len(body), self._config.max_event_bytes, counted=counted)
            return await self._post(call, credential, path, body, reading)
        if not is_chat(call):
            raise unsupported(call, self._provider)
        beta = ",".join(value.decode("latin-1") for name, value in call.headers if name == "anthropic-beta")
        translated = await translate_fetching(
            call,
            anthropic_target(default_max_tokens=self._config.max_tokens_default, beta=beta),
            fetcher=self._fetcher,
            # At its own hosts alone Anthropic gets media from the web by itself.
            wants=lambda _: True,
            max_event_bytes=self._config.max_event_bytes,
            read_error=read_google_error,
        )
        body = raw_body(translated.written.body)
        made = await self._post(call, credential, path, body, translated.reading)
        extra = translated.written.headers
        headers = [pair for pair in made.headers if pair[0] not in extra] + list(extra.items())
        return replace(made, headers=headers, notes=translated.notes)

    async def _native(self, call: Call) -> Exchange:
        target = call.native
        assert target is not None
        check_target(target)
        _, account = self._key(call)
        own = (account.region if account else "") or self._settings.region
        # A path without a region is one of the API's that have none.
        endpoint = self._endpoint(region_in(target.path) or own or GLOBAL)
        api, path = metered(endpoint.bare(target.path))
        place = NativePlace(url=endpoint.native(target), path=path, guarded=not endpoint.overridden)
        if account is not None:
            call = _with_token(call, await self._token(account))
        return native_exchange(
            call,
            self._provider,
            endpoint,
            self._settings.api_key,
            place=place,
            api=api,
            read_error=read_google_error,
        )

    async def _post(
        self,
        call: Call,
        credential: _Credential,
        path: str,
        body: bytes,
        reading: Reading,
        *,
        query: str = "",
    ) -> Exchange:
        token = await self._token(credential.account) if credential.account else credential.token
        endpoint = self._endpoint(credential.region)
        target = NativeTarget(method="POST", path=f"v1/{credential.parent}/{path}", query=query)
        headers = outgoing_headers(_with_token(call, token), self._provider, None)
        if not path.startswith("publishers/anthropic/"):
            headers = [pair for pair in headers if not pair[0].startswith("anthropic-")]
        return Exchange(
            method="POST",
            url=endpoint.native(target),
            headers=headers,
            body=body,
            reading=reading,
            operation=names.OPERATION_CHAT,
            guarded=not endpoint.overridden,
        )

    def _key(self, call: Call) -> tuple[str, ServiceAccount | None]:
        """
        Return the credential of a call, the request's, else a stored one, else the operator's, and read it.

        Raises:
            GatewayError: CREDENTIAL_MISSING, there is none; INVALID_REQUEST, it cannot be one.
        """
        slug = self._provider.slug
        text = credential_text(call, self._provider.auth, operator_key=self._settings.api_key, provider=slug)
        account = read_account(text)
        return (text, account) if account is not None else (check_stored(text.strip(), call, slug), None)

    def _credential(self, call: Call) -> _Credential:
        key, account = self._key(call)
        project = (account.project if account else "") or self._settings.project
        region = (account.region if account else "") or self._settings.region
        if not region or not project:
            lacking = "project" if region else "region"
            text = f"Neither the credential nor the operator's settings name a {lacking} of Vertex AI."
            raise GatewayError(Reason.INVALID_REQUEST, text, param=lacking)
        return _Credential(account=account, token=key, region=region, parent=parent_of(project, region))

    def _endpoint(self, region: str) -> Endpoint:
        base = URL(base_of(region, self._provider.base_url))
        return Endpoint(base, self._settings.base_url, version=self._provider.version)

    async def _token(self, account: ServiceAccount) -> str:
        if self._tokens is None:
            text = "Service accounts cannot be used here."
            raise GatewayError(Reason.UNSUPPORTED, text, provider=self._provider.slug)
        return await self._tokens.token(account)


def _with_token(call: Call, token: str) -> Call:
    """Put a token in the place of every credential that the call brought."""
    kept = [pair for pair in call.headers if pair[0] not in CREDENTIAL_HEADERS]
    return replace(call, headers=[*kept, ("authorization", f"Bearer {token}".encode())])
