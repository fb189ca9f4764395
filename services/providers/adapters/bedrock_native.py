"""
Native calls of Bedrock: `bedrock-runtime/{region}/…` and `bedrock-mantle/{region}/…`.

A client's own signature is forwarded with everything that it covers. Any other call is signed here, or gets
an API key, and nothing goes along that signs.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from yarl import URL

from kit import tokens
from kit.errors import GatewayError, Reason
from kit.telemetry import names
from services.providers.adapters.adapter import native_exchange
from services.providers.adapters.aws_eventstream import AwsFrames
from services.providers.adapters.aws_keys import (
    AwsKeys,
    is_region,
    is_signed,
    signature_headers,
    signed_names,
)
from services.providers.adapters.places import NativePlace
from services.providers.call import ErrorAnswer, Reading
from services.providers.dialects.converse.failures import read_error
from services.providers.dialects.converse.native_meter import NativeMeter, read_native_answer
from services.providers.dialects.retry_after import parse_retry_after
from services.providers.endpoint import Endpoint, check_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from services.providers.call import Call, Exchange
    from services.providers.registry import Provider

__all__ = ["BedrockNative", "read_aws_error", "runtime_host"]

_RUNTIME: Final = "bedrock-runtime"
_MANTLE: Final = "bedrock-mantle"
# What a signature is for, by the first segment of the path.
_SERVICES: Final = {_RUNTIME: "bedrock", _MANTLE: "bedrock-mantle"}
_SUFFIXES: Final = {"cn-": "amazonaws.com.cn", "eusc-": "amazonaws.eu"}
_NO_HOST: Final = URL("https://bedrock.invalid")
_CALLS: Final = ("converse", "converse-stream", "invoke", "invoke-with-response-stream")
_SIGNATURE: Final = "X-Amz-Signature"  # of a call that is signed in its query
_CODING: Final = "accept-encoding"
# What a signature covers and the connection sets by itself.
_SET_ON_THE_WAY: Final = frozenset({"host", "content-length"})


class BedrockNative:
    """
    Makes native calls.

    Args:
        provider: The row.
        override: Address of the operator's, for either service.
        max_event_bytes: Longest frame of a stream.
        own_regions: Those that the operator named: any other is the client's choice.
    """

    def __init__(
        self, provider: Provider, override: URL | None, max_event_bytes: int, own_regions: AbstractSet[str]
    ) -> None:
        self._provider = replace(provider, auth=replace(provider.auth, query=_SIGNATURE))
        self._override = override
        self._max_event_bytes = max_event_bytes
        self._own_regions = own_regions

    def is_signed(self, call: Call) -> bool:
        """Tell whether the client signed a call, in a header or in the query."""
        assert call.native is not None
        return is_signed(_header(call, "authorization")) or f"{_SIGNATURE}=" in call.native.query

    def exchange(self, call: Call, key_of: Callable[[Call], AwsKeys | str]) -> Exchange:
        """
        Make the request to send.

        Args:
            call: With a target.
            key_of: Finds the key for a call that is not signed.

        Raises:
            GatewayError: INVALID_REQUEST, CREDENTIAL_MISSING or METHOD_NOT_ALLOWED.
        """
        service, region, place = self._place(call)
        if self.is_signed(call):
            made = self._forwarded(call, place, _header(call, "authorization"))
        else:
            made = self._made(_with_key(call, place.url, service, region, key_of(call)), place)
        return self._metered(made, call, place) if service == _RUNTIME else made

    def _place(self, call: Call) -> tuple[str, str, NativePlace]:
        target = call.native
        assert target is not None
        check_target(target)
        service, _, rest = target.path.strip("/").removeprefix("v1/").partition("/")
        region, _, path = rest.partition("/")
        if service not in _SERVICES or not is_region(region) or not path:
            text = "Paths of Bedrock are bedrock-runtime/{region}/{path} or bedrock-mantle/{region}/{path}."
            raise GatewayError(Reason.INVALID_REQUEST, text, param="path")
        host = runtime_host(region) if service == _RUNTIME else f"{_MANTLE}.{region}.api.aws"
        base = str(self._override or f"https://{host}").rstrip("/")
        query = f"?{target.query}" if target.query else ""
        place = NativePlace(
            url=URL(f"{base}/{path}{query}", encoded=True),
            path=path.removeprefix("openai/").removeprefix("v1/"),
            guarded=self._override is None and region not in self._own_regions,
        )
        return service, region, place

    def _forwarded(self, call: Call, place: NativePlace, authorization: str) -> Exchange:
        """
        Forward a call with the client's signature.

        Raises:
            GatewayError: INVALID_REQUEST; the signature covers what does not go on.
        """
        made = self._made(call, place)
        covered = signed_names(authorization)
        if _CODING in covered:
            made = replace(made, headers=[*made.headers, (_CODING, _header(call, _CODING))])
        lost = covered - {name for name, _ in made.headers} - _SET_ON_THE_WAY
        if lost:
            text = f"The signature covers the header {min(lost)[:64]}, which is not forwarded."
            raise GatewayError(Reason.INVALID_REQUEST, text, param="authorization")
        return made

    def _made(self, call: Call, place: NativePlace) -> Exchange:
        return native_exchange(call, self._provider, Endpoint(_NO_HOST), None, place=place)

    def _metered(self, made: Exchange, call: Call, place: NativePlace) -> Exchange:
        """Meter what has Bedrock's own shape; OpenAI's API at the same host is metered already."""
        last = place.path.rpartition("/")[2]
        if last not in _CALLS:
            return replace(made, reading=replace(made.reading, error=read_aws_error))
        heard: dict[str, str] = {}
        size = len(call.body)
        embeds = last == "invoke" and "embed" in place.path
        return replace(
            made,
            operation=names.OPERATION_EMBEDDINGS if embeds else names.OPERATION_CHAT,
            reading=Reading(
                stream=lambda: NativeMeter(AwsFrames(self._max_event_bytes), request_bytes=size),
                whole=lambda body: read_native_answer(body, heard),
                error=read_aws_error,
                verbatim=True,
                headers=heard.update,
            ),
        )


def runtime_host(region: str) -> str:
    """Return the host of Bedrock's runtime in a region."""
    suffix = next(
        (suffix for start, suffix in _SUFFIXES.items() if region.startswith(start)), "amazonaws.com"
    )
    return f"{_RUNTIME}.{region}.{suffix}"


def read_aws_error(status: int, body: bytes, headers: Mapping[str, str]) -> ErrorAnswer:
    """Read an error of AWS's; its bytes go to the client of a native call as they are."""
    failure_class, message = read_error(status, body, headers)
    return ErrorAnswer(
        status=status,
        body=body,
        failure_class=failure_class,
        message=message,
        retry_after_s=parse_retry_after(headers, now_s=time.time()),
    )


def _with_key(call: Call, url: URL, service: str, region: str, key: AwsKeys | str) -> Call:
    """Put a credential into a call in place of whatever of the kind the client sent."""
    kept = [
        pair
        for pair in call.headers
        if pair[0] not in tokens.CREDENTIAL_HEADERS and not pair[0].startswith("x-amz-")
    ]
    if isinstance(key, AwsKeys):
        assert call.native is not None
        content_type = _header(call, "content-type")
        added = signature_headers(
            call.native.method,
            str(url),
            {"content-type": content_type} if content_type else {},
            call.body,
            keys=key,
            service=_SERVICES[service],
            region=region,
        )
    elif service == _MANTLE:
        added = [("x-api-key", key)]
    else:
        added = [("authorization", f"Bearer {key}")]
    return replace(call, headers=[*kept, *((name, value.encode()) for name, value in added)])


def _header(call: Call, name: str) -> str:
    return next((value.decode("latin-1") for header, value in call.headers if header == name), "")
