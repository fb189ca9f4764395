"""
The universal endpoint: one call, or several to be tried in order, each of any provider.

A step is `{provider, endpoint, headers?, authorization?, config?, query}`. It becomes what the same call on
the provider's own path, or on a compat path, would have become. Source: the public product's page of the
endpoint, and what its clients send.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from kit.providers import canonical
from services.edge import routes
from services.edge.handlers import compat, gemini, native, step_headers

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.exchange import Exchange
    from services.edge.routes import Route

__all__ = ["exchange", "parse"]

_MOST_STEPS: Final = 20  # each is tried for as long as its time-outs let it be
_LONGEST_ENDPOINT: Final = 4096
_COMPAT: Final = "compat"
# Its models can stand alone where its other endpoints are called by path.
_WORKERS_AI: Final = "workers-ai"


def parse(body: bytes) -> Any:
    """
    Read a body that must be JSON.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(Reason.INVALID_REQUEST, f"The body is not valid JSON: {error}.") from None


def exchange(
    route: Route, *, headers: RequestHeaders, asked: Any, max_messages: int, where: str = ""
) -> Exchange:
    """
    Read what is asked for; the steps after the first are its alternatives.

    Args:
        route: Whose account and gateway.
        headers: The request's headers, sorted.
        asked: One step, or a list of them.
        max_messages: Longest conversation that is taken.
        where: Where `asked` stands in what the client sent, for the paths that errors name.

    Raises:
        GatewayError: INVALID_REQUEST and the like, whose `param` is the path of what is wrong.
    """
    if not isinstance(asked, list):
        return replace(_step(route, headers, asked, max_messages, where), numbered=True)
    if not 1 <= len(asked) <= _MOST_STEPS:
        raise _bad(where, f"must have 1 to {_MOST_STEPS} steps; there are {len(asked)}")
    first, *others = (
        _step(route, headers, step, max_messages, _join(where, str(index)))
        for index, step in enumerate(asked)
    )
    return replace(first, alternatives=tuple(others), numbered=True)


def _step(route: Route, outer: RequestHeaders, asked: Any, max_messages: int, where: str) -> Exchange:
    if not isinstance(asked, dict):
        raise _bad(where, "must be an object with `provider`, `endpoint` and `query`")
    provider = _provider(asked.get("provider"), _join(where, "provider"))
    path, query = _endpoint(asked.get("endpoint"), provider, _join(where, "endpoint"))
    body = _body(asked.get("query"), _join(where, "query"))
    headers = step_headers.merge(outer, asked, where)
    called = _called(route, provider, path, where)
    if called.handler == routes.NATIVE:
        streamed = isinstance(asked["query"], dict) and asked["query"].get("stream") is True
        try:
            return native.exchange(
                called, method="POST", query=query, headers=headers, body=body, streamed=streamed
            )
        except GatewayError as error:
            raise _at(error, _join(where, "endpoint")) from None
    try:
        if called.dialect == http_pb2.DIALECT_GEMINI:
            gemini.take_key(query, headers)
        return compat.exchange(called, query=query, headers=headers, body=body, max_messages=max_messages)
    except GatewayError as error:
        raise _at(error, _join(_join(where, "query"), error.metadata.get("param", ""))) from None


def _provider(asked: Any, where: str) -> str:
    if not isinstance(asked, str) or not asked:
        raise _bad(where, "must be the name of a provider")
    if not asked.isascii() or not asked.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise _no_provider(where)
    return asked


def _endpoint(asked: Any, provider: str, where: str) -> tuple[str, str]:
    """Give path and query string of what is called, relative to the provider's base."""
    if not isinstance(asked, str):
        raise _bad(where, "must be a path such as `chat/completions`")
    if len(asked) > _LONGEST_ENDPOINT:
        raise _bad(where, f"must have at most {_LONGEST_ENDPOINT} characters")
    if not asked.isascii() or not asked.isprintable() or " " in asked or "#" in asked:
        raise _bad(where, "must be a path and perhaps a query, percent-encoded as in a URL")
    path, _, query = asked.partition("?")
    path = path.lstrip("/")
    if path.startswith("@") and canonical(provider) == _WORKERS_AI:
        path = f"run/{path}"
    return path, query


def _body(asked: Any, where: str) -> bytes:
    if not isinstance(asked, dict | list):
        raise _bad(where, "must be the body of the call, as a JSON object")
    try:
        return orjson.dumps(asked)
    except orjson.JSONEncodeError:
        # It is read to four times the depth that it is written to.
        raise _bad(where, "is nested too deeply") from None


def _called(route: Route, provider: str, path: str, where: str) -> Route:
    """Find what a step calls, as the path of an own request would say it."""
    try:
        called = routes.resolve(f"/v1/{route.account_id}/{route.gateway_id}/{provider}/{path}")
    except GatewayError:
        called = None
    if called is None or called.handler not in (routes.NATIVE, routes.CHAT):
        if provider != _COMPAT:
            raise _no_provider(_join(where, "provider"))
        raise _bad(_join(where, "endpoint"), "is none that can be called with a body under `compat`")
    return called


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where and name else where or name


def _bad(where: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, f"{where or 'The body'}: {message}.", param=where)


def _no_provider(where: str) -> GatewayError:
    return GatewayError(Reason.INVALID_PROVIDER, f"{where}: Invalid provider", param=where)


def _at(error: GatewayError, where: str) -> GatewayError:
    """Give the same error with the path of what it is about."""
    found = GatewayError(error.reason, f"{where}: {error.message}", param=where)
    found.metadata = {**error.metadata, **found.metadata}
    return found
