"""
Calls of a provider's own API, relayed as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from kit import tokens
from kit.errors import GatewayError, Reason
from services.edge.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders

__all__ = ["exchange"]

# Only looked for, never parsed: a native body belongs to the provider. It decides what the log says and
# whether the cache is asked, not how the answer is relayed.
_STREAM_ASKED = re.compile(rb'"stream"\s*:\s*true')
# A query may hold a credential (`?key=`), which neither logs nor errors may repeat.
_LONGEST_LOGGED_PATH = 512
# Where providers that take a key in the query look for it.
_KEYS = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})


def exchange(
    *,
    account_id: str,
    gateway_id: str,
    provider: str,
    method: str,
    path: str,
    query: str,
    headers: RequestHeaders,
    body: bytes,
) -> Exchange:
    """
    Describe a native call.

    Raises:
        GatewayError: INVALID_REQUEST; the query holds a token of ours, which no provider may see.
    """
    if query and _holds_token(query):
        raise GatewayError(
            Reason.INVALID_REQUEST,
            "The query holds a token of the gateway's: send it in cf-aig-authorization.",
            param="query",
        )
    return Exchange(
        account_id=account_id,
        gateway_id=gateway_id,
        token=headers.gateway_token,
        dialect=http_pb2.DIALECT_NATIVE,
        endpoint=f"{provider}/{path}"[:_LONGEST_LOGGED_PATH],
        provider=provider,
        native=provider_service_pb2.NativeTarget(method=method, path=path, query=query),
        body=body,
        streamed=_STREAM_ASKED.search(body) is not None,
        headers=headers,
    )


def _holds_token(query: str) -> bool:
    decoded = unquote_plus(query)
    if tokens.PREFIX not in decoded:
        return False
    return bool(tokens.find(decoded)) or any(
        name.lower() in _KEYS and value.strip().startswith(tokens.PREFIX) for name, value in parse_qsl(query)
    )
