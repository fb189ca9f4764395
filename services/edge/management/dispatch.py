"""
Answers requests of the management API: finds the operation, admits, reads, calls, wraps.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
from aiohttp import web
from pydantic import ValidationError

from kit.errors import GatewayError, Reason
from services.edge import http_body
from services.edge.management import admission, envelope
from services.edge.management.operation import Call
from services.edge.management.query import plain_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from services.edge.headers import RequestHeaders
    from services.edge.management.admission import Admission
    from services.edge.management.operation import Operation
    from services.edge.routes import Route

__all__ = ["Dispatch"]

PREFIX = "/client/v4"
_MOST_BODY_BYTES = 1 << 20
_BODY_TIMEOUT_S = 60
_LONGEST_SEGMENT = 256
# No account and no gateway has a longer name.
_LONGEST_NAME = 64
_DEEPEST = 100
_PLACES = ("body", "query", "path")
# Fields of requests between services that hold what is the body here.
_WRAPPERS = frozenset({"config", "provider", "settings", "spec"})


class Dispatch:
    """
    Answers requests of the management API.

    Args:
        admission: Knows who calls.
        operations: What there is, each method and path once.
        public_url: Where clients reach this installation, without a slash at the end; empty for where the
            request itself says that it went.
    """

    def __init__(self, admission: Admission, operations: Iterable[Operation], public_url: str = "") -> None:
        self._admission = admission
        self._public_url = public_url
        # By number of segments; those with fewer variables first, so that a fixed path wins over one like it.
        self._rows: dict[int, list[tuple[tuple[str, ...], dict[str, Operation]]]] = defaultdict(list)
        by_path: dict[tuple[str, ...], dict[str, Operation]] = defaultdict(dict)
        for operation in operations:
            by_path[tuple(operation.path.strip("/").split("/"))][operation.method] = operation
        for segments, methods in sorted(by_path.items(), key=lambda row: sum(map(_is_variable, row[0]))):
            self._rows[len(segments)].append((segments, methods))

    async def answer(self, request: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        """Answer a request."""
        try:
            return await self._answer(request, route, headers)
        except GatewayError as error:
            return envelope.failure(error)
        except web.HTTPRequestEntityTooLarge:
            return envelope.failure(_too_large())

    async def _answer(self, request: web.BaseRequest, route: Route, headers: RequestHeaders) -> web.Response:
        segments = [unquote(part) for part in route.rest.strip("/").split("/")]
        account_id = segments[1] if len(segments) > 1 and segments[0] == "accounts" else ""
        if _names_nobody(segments):
            # Told from the request alone, so that nothing is kept under names of any length.
            raise _not_found()
        principal = await self._admission.authenticate(account_id, headers)
        path, methods = self._find(segments)
        method = "GET" if request.method == "HEAD" else request.method
        operation = methods.get(method)
        if operation is None:
            raise GatewayError(
                Reason.METHOD_NOT_ALLOWED,
                f"{request.method[:16]} is not allowed here; {' or '.join(sorted(methods))} is.",
                method=request.method[:16],
            )
        admission.check(principal, operation, path)
        query = (
            None if operation.query is None else _read(operation.query, plain_query(request.query), "query")
        )
        body = None if operation.body is None else _read(operation.body, await _json(request), "body")
        call = Call(
            account_id=account_id,
            path=path,
            query=query,
            body=body,
            principal=principal,
            actor=admission.actor(principal, headers),
            origin=self._public_url or _origin(request),
        )
        try:
            given = await operation.handler(call)
        except GatewayError as error:
            raise _located(error, operation) from error
        return envelope.answer(operation, query, given)

    def _find(self, segments: list[str]) -> tuple[Mapping[str, str], Mapping[str, Operation]]:
        for row, methods in self._rows.get(len(segments), ()):
            path = _match(row, segments)
            if path is not None:
                return path, methods
        raise _not_found()


def _names_nobody(segments: list[str]) -> bool:
    """Say whether the account or the gateway in a path has a name that none can have."""
    if segments[0] != "accounts":
        return False
    names = [*segments[1:2], *(segments[4:5] if segments[2:4] == ["ai-gateway", "gateways"] else ())]
    return any(len(name) > _LONGEST_NAME for name in names)


def _not_found() -> GatewayError:
    return GatewayError(Reason.NOT_FOUND, "Not Found", resource="path")


def _located(error: GatewayError, operation: Operation) -> GatewayError:
    """Say where in the request the thing stands that a service complains of; it knows its message only."""
    param = error.metadata.get("param", "")
    if not param or param.startswith(_PLACES):
        return error
    first, _, rest = param.partition(".")
    inside = rest if first in _WRAPPERS and rest else param
    error.metadata["param"] = f"{'query' if operation.body is None else 'body'}.{inside}"
    return error


def _origin(request: web.BaseRequest) -> str:
    scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def _match(row: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for wanted, given in zip(row, segments, strict=True):
        if not _is_variable(wanted):
            if wanted != given:
                return None
        elif not 1 <= len(given) <= _LONGEST_SEGMENT or not given.isprintable():
            return None
        else:
            found[wanted[1:-1]] = given
    return found


def _is_variable(segment: str) -> bool:
    return segment.startswith("{")


async def _json(request: web.BaseRequest) -> Any:
    raw = await http_body.read(request, None, limit_bytes=_MOST_BODY_BYTES, timeout_s=_BODY_TIMEOUT_S)
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise GatewayError(Reason.INVALID_REQUEST, "The body must be JSON.", param="body") from None
    if _is_deep(found):
        raise GatewayError(
            Reason.INVALID_REQUEST, f"The body may be {_DEEPEST} levels deep at most.", param="body"
        )
    return found


def _is_deep(value: Any) -> bool:
    """Tell whether JSON is deeper than it could be written again: readers go further than writers."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            member
            for each in level
            if isinstance(each, dict | list)
            for member in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _read(model: type[BaseModel], value: Any, where: str) -> BaseModel:
    """
    Check what was sent.

    Raises:
        GatewayError: INVALID_REQUEST; with the path to the first thing that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        raise GatewayError(
            Reason.INVALID_REQUEST, f"{path}: {_sentence(first['msg'])}", param=path[:256]
        ) from None


def _sentence(text: str) -> str:
    return text.removeprefix("Value error, ").rstrip(".")


def _too_large() -> GatewayError:
    return GatewayError(
        Reason.TOO_LARGE,
        f"The body is longer than the {_MOST_BODY_BYTES} bytes that are allowed.",
        limit_bytes=str(_MOST_BODY_BYTES),
    )
