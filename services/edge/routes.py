"""
Which handler answers which path. The one table of the edge's HTTP surface.

Paths are matched as they were sent, percent-encoding and all, because native ones are relayed to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Route", "resolve"]

CHAT = "chat"
MODELS = "models"
NATIVE = "native"
LOGS = "logs"
LOG = "log"
LOG_REQUEST = "log_request"
LOG_RESPONSE = "log_response"
HEALTHZ = "healthz"
READYZ = "readyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    Where a path leads.

    Attributes:
        handler: Name of the handler; `server.HttpServer` maps it to code.
        template: The path with its variables, for metrics and spans.
        methods: Methods that the handler takes; empty for any.
        dialect: Dialect of the answer, errors included.
        endpoint: What is called, without account and gateway.
        account_id: Account in the path; empty for the default one.
        gateway_id: Gateway in the path.
        provider: Provider in a native path.
        rest: What follows the provider in a native path, or an id.
    """

    handler: str
    template: str
    methods: tuple[str, ...] = ()
    dialect: http_pb2.Dialect.ValueType = http_pb2.DIALECT_NATIVE
    endpoint: str = ""
    account_id: str = ""
    gateway_id: str = "default"
    provider: str = ""
    rest: str = ""


@dataclass(frozen=True, slots=True)
class _Compat:
    handler: str
    methods: tuple[str, ...]
    dialect: http_pb2.Dialect.ValueType


# What stands both under `/v1/{account}/{gateway}/compat/` and, for the default ones, under `/v1/`.
_COMPAT: Mapping[str, _Compat] = {
    "chat/completions": _Compat(CHAT, ("POST",), http_pb2.DIALECT_OPENAI_CHAT),
    "embeddings": _Compat(CHAT, ("POST",), http_pb2.DIALECT_OPENAI_EMBEDDINGS),
    "models": _Compat(MODELS, ("GET", "HEAD"), http_pb2.DIALECT_OPENAI_CHAT),
}

_MANAGEMENT = "client/v4/accounts/"
_READ = ("GET", "HEAD")
# No account, gateway or provider has a longer name; what decisions are kept under stays small.
_LONGEST_NAME = 64


def resolve(path: str) -> Route:
    """
    Find where a path leads.

    Args:
        path: Path as sent, without query.

    Raises:
        GatewayError: NOT_FOUND.
    """
    trimmed = path.removeprefix("/")
    if trimmed.startswith("v1/"):
        route = _data_plane(trimmed[3:])
    elif trimmed.startswith(_MANAGEMENT):
        route = _management(trimmed[len(_MANAGEMENT) :])
    else:
        route = _OPERATIONS.get(trimmed)
    if route is None or max(map(len, (route.account_id, route.gateway_id, route.provider))) > _LONGEST_NAME:
        raise GatewayError(Reason.NOT_FOUND, "There is nothing at this path.", resource="path")
    return route


_OPERATIONS: Mapping[str, Route] = {
    "healthz": Route(handler=HEALTHZ, template="/healthz", methods=_READ),
    "readyz": Route(handler=READYZ, template="/readyz", methods=_READ),
}


def _data_plane(rest: str) -> Route | None:
    if short := _COMPAT.get(rest.removesuffix("/")):
        return _compat_route(short, rest, template=f"/v1/{rest}")
    account_id, _, rest = rest.partition("/")
    gateway_id, _, rest = rest.partition("/")
    provider, slash, rest = rest.partition("/")
    if not (account_id and gateway_id and provider and slash):
        return None
    if provider == "compat":
        compat = _COMPAT.get(rest.removesuffix("/"))
        if compat is None:
            return None
        template = f"/v1/{{account}}/{{gateway}}/compat/{rest}"
        return _compat_route(compat, rest, template=template, account_id=account_id, gateway_id=gateway_id)
    return Route(
        handler=NATIVE,
        template="/v1/{account}/{gateway}/{provider}/{path}",
        endpoint=f"{provider}/{rest}",
        account_id=account_id,
        gateway_id=gateway_id,
        provider=provider,
        rest=rest,
    )


def _compat_route(
    compat: _Compat, rest: str, *, template: str, account_id: str = "", gateway_id: str = "default"
) -> Route:
    return Route(
        handler=compat.handler,
        template=template,
        methods=compat.methods,
        dialect=compat.dialect,
        endpoint=f"compat/{rest.removesuffix('/')}",
        account_id=account_id,
        gateway_id=gateway_id,
    )


_LOG_PARTS = {"": LOG, "request": LOG_REQUEST, "response": LOG_RESPONSE}


def _management(rest: str) -> Route | None:
    account_id, _, rest = rest.partition("/")
    if not account_id or not rest.startswith("ai-gateway/gateways/"):
        return None
    gateway_id, _, rest = rest.removeprefix("ai-gateway/gateways/").partition("/")
    collection, _, rest = rest.partition("/")
    if not gateway_id or collection != "logs":
        return None
    base = "/client/v4/accounts/{account}/ai-gateway/gateways/{gateway}/logs"
    if not rest:
        return Route(handler=LOGS, template=base, methods=_READ, account_id=account_id, gateway_id=gateway_id)
    log_id, _, part = rest.partition("/")
    handler = _LOG_PARTS.get(part)
    if handler is None:
        return None
    template = f"{base}/{{log}}/{part}".removesuffix("/")
    return Route(
        handler=handler,
        template=template,
        methods=_READ,
        account_id=account_id,
        gateway_id=gateway_id,
        rest=log_id,
    )
