"""
Calls of a provider's own API, relayed as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, unquote_plus

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2
from kit import tokens
from kit.errors import GatewayError, Reason
from services.edge.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.exchange import Upload
    from services.edge.routes import Route

__all__ = ["exchange"]

# Only looked for, never parsed: a native body belongs to the provider. It decides what the log says and
# whether the cache is asked, not how the answer is relayed.
_STREAM_ASKED = re.compile(rb'"stream"\s*:\s*true')
# Some providers have a path for it: `m:streamGenerateContent`, `converse-stream`, `text-to-speech/v/stream`.
_STREAM_PATH = re.compile(r"(?::stream[A-Za-z]+|[/-]stream)/?$")
# A query may hold a credential (`?key=`), which neither logs nor errors may repeat.
_LONGEST_LOGGED_PATH = 512
# Where providers that take a key in the query look for it.
_KEYS = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})


def exchange(
    route: Route,
    *,
    method: str,
    query: str,
    headers: RequestHeaders,
    body: bytes,
    upload: Upload | None = None,
    streamed: bool | None = None,
) -> Exchange:
    """
    Describe a native call.

    Args:
        route: Which provider, and what of it.
        method: HTTP method.
        query: Query string of the request.
        headers: Its headers, sorted.
        body: Its body; empty when it is sent on as it comes.
        upload: The body, when it is sent on as it comes.
        streamed: Whether the body asks for a stream, where that is known. None: it is looked for.

    Raises:
        GatewayError: INVALID_REQUEST; path or query holds a token of ours, which no provider may see.
    """
    if tokens.find(unquote(route.rest)):
        raise _misplaced_token("path")
    if query and _holds_token(query):
        raise _misplaced_token("query")
    return Exchange(
        account_id=route.account_id,
        gateway_id=route.gateway_id,
        token=headers.gateway_token,
        dialect=http_pb2.DIALECT_NATIVE,
        endpoint=route.endpoint[:_LONGEST_LOGGED_PATH],
        provider=route.provider,
        native=provider_service_pb2.NativeTarget(method=method, path=route.rest, query=query),
        body=body,
        upload=upload,
        streamed=(_STREAM_ASKED.search(body) is not None if streamed is None else streamed)
        or _STREAM_PATH.search(route.rest) is not None,
        headers=headers,
    )


def _misplaced_token(where: str) -> GatewayError:
    return GatewayError(
        Reason.INVALID_REQUEST,
        f"The {where} holds a token of the gateway's: send it in cf-aig-authorization.",
        param=where,
    )


def _holds_token(query: str) -> bool:
    decoded = unquote_plus(query)
    if tokens.PREFIX not in decoded:
        return False
    return bool(tokens.find(decoded)) or any(
        name.lower() in _KEYS and value.strip().startswith(tokens.PREFIX) for name, value in parse_qsl(query)
    )
