"""
Amazon Bedrock on compat paths: Converse for chats, InvokeModel for embeddings, CountTokens.

What is sent is signed last of all, and for the host that is connected to, also where the operator set its
address: a host of AWS's own takes the signature there, and whatever passes calls on has to sign them anew.
Native calls are `bedrock_native.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import orjson
from yarl import URL

from kit import tokens
from kit.config import ConfigError
from kit.errors import GatewayError, Reason
from kit.telemetry import names
from services.providers.adapters.adapter import unsupported
from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.adapters.aws_keys import (
    AwsKeys,
    is_region,
    is_signed,
    load_botocore,
    read_keys,
    signature_headers,
)
from services.providers.adapters.bedrock_native import BedrockNative, read_aws_error, runtime_host
from services.providers.adapters.translated import is_chat, translate, translate_fetching
from services.providers.call import ClientDialect, ErrorAnswer, Exchange, Reading
from services.providers.credentials import brings_key, check_stored, credential_text
from services.providers.dialects.answer import Answer, load_object
from services.providers.dialects.converse.embeddings import read_embeddings, write_embeddings_request
from services.providers.dialects.converse.families import base_model, region_of
from services.providers.dialects.converse.native_meter import INPUT_TOKENS, NativeMeter, header_count
from services.providers.dialects.converse.request_writer import write_count_request
from services.providers.dialects.converse.side import converse_target
from services.providers.dialects.embeddings import (
    read_openai_embeddings_request,
    write_openai_embeddings_answer,
)
from services.providers.dialects.neutral.notes import Notes
from services.providers.dialects.openai_error import openai_error
from services.providers.dialects.usage import UsageCounts
from services.providers.headers import request_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.adapters.translated import Translated
    from services.providers.call import Call
    from services.providers.config import ProvidersConfig, ProviderSettings
    from services.providers.dialects.embeddings import EmbeddingsRequest
    from services.providers.dialects.neutral.conversation import MediaPart
    from services.providers.dialects.neutral.sides import TargetSide
    from services.providers.fetch import Fetcher
    from services.providers.headers import HeaderList
    from services.providers.model_row import ModelRow
    from services.providers.registry import Provider

__all__ = ["BedrockAdapter"]

_DEFAULT_REGION: Final = "us-east-1"
_SERVICE: Final = "bedrock"
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,2047}")
_ANSWER_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_JSON: Final = ("content-type", "application/json")
_SET_HERE: Final = tokens.CREDENTIAL_HEADERS | {"content-type", "accept"}
# What a client may have signed, and what means something to other providers only.
_NOT_SENT: Final = ("x-amz-", "anthropic-", "openai-", "x-stainless-")
_BETA: Final = "anthropic-beta"
# Which call counts tokens, and the member in which the client's dialect has the number.
_COUNTS: Final = {
    (ClientDialect.ANTHROPIC_MESSAGES, "count_tokens"): "input_tokens",
    (ClientDialect.GEMINI, "countTokens"): "totalTokens",
}


class BedrockAdapter:
    """
    Speaks to Bedrock in any region.

    Args:
        provider: The row.
        settings: An address of the operator's takes the place of every region's; keys are API keys, or
            access keys as JSON.
        config: Limits.
        fetcher: Gets media that Converse takes as bytes only; None: such a request is refused.

    Raises:
        ConfigError: the operator's key or region cannot be one.
    """

    def __init__(
        self,
        provider: Provider,
        settings: ProviderSettings,
        config: ProvidersConfig,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._provider = provider
        self._override = settings.base_url
        self._operator_key = settings.api_key
        self._region = settings.region or _DEFAULT_REGION
        self._max_event_bytes = config.max_event_bytes
        self._fetcher = fetcher
        own = self._check_settings()
        self._native = BedrockNative(
            provider, settings.base_url, config.max_event_bytes, {own.region if own else "", settings.region}
        )

    @property
    def provider(self) -> Provider:
        """What is known of the provider."""
        return self._provider

    @property
    def host(self) -> str:
        """Host that is called, as far as it does not depend on the call."""
        return (self._override.host if self._override else None) or runtime_host(self._region)

    def brings_key(self, call: Call) -> bool:
        """Tell whether a call brings its own key, or is signed where that opens something."""
        if call.dialect is ClientDialect.NATIVE and self._native.is_signed(call):
            return True
        return brings_key(_unsigned(call), self._provider.auth)

    async def exchange(self, call: Call) -> Exchange:
        """Make the request to send."""
        await load_botocore()
        if call.dialect is ClientDialect.NATIVE:
            return self._native.exchange(call, self._key)
        if not _MODEL.fullmatch(call.model):
            raise GatewayError(
                Reason.INVALID_REQUEST, "That cannot be the name of a model at AWS.", param="model"
            )
        if (call.dialect, call.operation) in _COUNTS:
            return await self._count(call)
        if call.dialect is ClientDialect.OPENAI_EMBEDDINGS:
            return self._embeddings(call)
        if is_chat(call):
            return await self._chat(call)
        raise unsupported(call, self._provider)

    async def models(self) -> list[ModelRow] | None:
        """Return no models: which there are depends on account and region, and another API lists them."""
        return []

    async def check(self) -> None:
        """Do nothing: the provider's state is not ours."""

    def _check_settings(self) -> AwsKeys | None:
        # At an address of the operator's no host is made of it.
        if self._override is None and not is_region(self._region):
            raise ConfigError(
                [f"HEADRACE_PROVIDER_AWS_BEDROCK_REGION must be a region, but is {self._region!r}"]
            )
        try:
            return read_keys(self._operator_key.reveal()) if self._operator_key is not None else None
        except ValueError as error:
            raise ConfigError([f"HEADRACE_PROVIDER_AWS_BEDROCK_API_KEY {error}"]) from None

    async def _chat(self, call: Call) -> Exchange:
        head = _Head()
        made = await self._translated(call, converse_target(call.model, AwsFrames, answer_id=head.answer_id))
        endpoint = "converse-stream" if call.stream else "converse"
        reading = replace(made.reading, headers=head.take)
        exchange = self._post(call, call.model, endpoint, made.written.body, reading)
        return replace(exchange, operation=names.OPERATION_CHAT, notes=(*made.notes, *exchange.notes))

    async def _count(self, call: Call) -> Exchange:
        member = _COUNTS[call.dialect, call.operation]
        target = replace(converse_target(call.model, AwsFrames), write_request=write_count_request)
        made = await self._translated(call, target)
        reading = replace(made.reading, whole=lambda body: _counted(body, member))
        # Tokens are counted by a model, and not by a profile that spreads requests over regions.
        model = base_model(call.model) if "." in base_model(call.model) else call.model
        exchange = self._post(call, model, "count-tokens", made.written.body, reading)
        return replace(exchange, notes=(*made.notes, *exchange.notes))

    async def _translated(self, call: Call, target: TargetSide) -> Translated:
        limit = self._max_event_bytes
        if self._fetcher is None:
            return translate(call, target, max_event_bytes=limit, read_error=read_aws_error)
        return await translate_fetching(
            call,
            target,
            fetcher=self._fetcher,
            wants=_anything,
            max_event_bytes=limit,
            read_error=read_aws_error,
        )

    def _embeddings(self, call: Call) -> Exchange:
        notes = Notes(strict=call.strict)
        request = read_openai_embeddings_request(call.body, notes)
        body = write_embeddings_request(request, call.model, notes)
        head = _Head()
        reading = Reading(
            stream=lambda: NativeMeter(AwsFrames(self._max_event_bytes)),
            whole=lambda answer: _embedded(answer, call.model, request, head),
            error=_openai_error,
            headers=head.take,
        )
        exchange = self._post(call, call.model, "invoke", body, reading)
        return replace(
            exchange, operation=names.OPERATION_EMBEDDINGS, notes=(*notes.taken(), *exchange.notes)
        )

    def _post(self, call: Call, model: str, endpoint: str, body: bytes, reading: Reading) -> Exchange:
        key = self._key(call)
        chosen = region_of(model)
        own = key.region if isinstance(key, AwsKeys) else self._region
        region = chosen or own
        if chosen and not is_region(chosen):
            raise GatewayError(Reason.INVALID_REQUEST, "The model's ARN names no region.", param="model")
        base = str(self._override or f"https://{runtime_host(region)}").rstrip("/")
        url = f"{base}/model/{quote(model, safe='')}/{endpoint}"
        notes = Notes(strict=call.strict)
        headers = self._headers(call, notes)
        if isinstance(key, AwsKeys):
            headers += signature_headers(
                "POST", url, dict([_JSON]), body, keys=key, service=_SERVICE, region=region
            )
        else:
            headers.append(("authorization", f"Bearer {key}"))
        return Exchange(
            method="POST",
            url=URL(url, encoded=True),
            headers=[*headers, _JSON],
            body=body,
            reading=reading,
            notes=notes.taken(),
            guarded=self._override is None and bool(chosen) and chosen != own,
        )

    def _headers(self, call: Call, notes: Notes) -> HeaderList:
        if any(name == _BETA for name, _ in call.headers):
            notes.dropped(_BETA)
        kept = request_headers(call.headers, drop=_SET_HERE)
        return [pair for pair in kept if not pair[0].startswith(_NOT_SENT)]

    def _key(self, call: Call) -> AwsKeys | str:
        """
        Find whose key is used: the request's own API key, or a stored or the operator's key of either kind.

        Raises:
            GatewayError: CREDENTIAL_MISSING, or INVALID_REQUEST for a key that cannot be one.
        """
        slug = self._provider.slug
        text = credential_text(
            _unsigned(call), self._provider.auth, operator_key=self._operator_key, provider=slug
        )
        try:
            return read_keys(text) or check_stored(text.strip(), call, slug)
        except ValueError as error:
            raise GatewayError(
                Reason.INVALID_REQUEST, f"The key for AWS {error}.", param="authorization"
            ) from None


class _Head:
    """What the headers of one answer say, once they are there."""

    def __init__(self) -> None:
        self._headers: Mapping[str, str] = {}

    def take(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def answer_id(self) -> str:
        found = self._headers.get("x-amzn-requestid", "")
        return found if _ANSWER_ID.fullmatch(found) else ""

    def input_tokens(self) -> int | None:
        return header_count(self._headers, INPUT_TOKENS)


def _unsigned(call: Call) -> Call:
    """Leave out a client's signature, which is for a request of its own and opens nothing here."""
    kept = [
        (name, value)
        for name, value in call.headers
        if name != "authorization" or not is_signed(value.decode("latin-1"))
    ]
    return replace(call, headers=kept, native=None)


def _anything(part: MediaPart) -> bool:
    """Want every part as bytes: Converse fetches nothing from the web."""
    del part
    return True


def _counted(body: bytes, member: str) -> Answer:
    tokens_in = load_object(body).get("inputTokens")
    if not isinstance(tokens_in, int) or isinstance(tokens_in, bool):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no number of tokens.")
    return Answer(body=orjson.dumps({member: tokens_in}))


def _embedded(body: bytes, model: str, request: EmbeddingsRequest, head: _Head) -> Answer:
    vectors, counted = read_embeddings(body)
    told = head.input_tokens()
    found = counted if told is None else told
    usage = UsageCounts(input_tokens=found, output_tokens=0) if found is not None else None
    return Answer(
        body=write_openai_embeddings_answer(vectors, model, usage, request.encoding_format), usage=usage
    )


def _openai_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    found = read_aws_error(status, body, headers)
    return replace(found, body=openai_error(status, found.failure_class, found.message))
