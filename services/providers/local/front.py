"""
The HTTP address of all local models, in OpenAI's dialect.

It finds the model of a request, has it loaded, waits for its turn and relays. Only paths and headers that
inference needs reach llama.cpp: its other endpoints change or show what all requests share, and one header
makes it go on for clients that have gone.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiohttp import web

from kit.errors import GatewayError, Reason
from services.providers.local.failures import error_body, from_gateway, from_llama
from services.providers.local.fold import NotWholeError, fold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.providers.local.child import Child
    from services.providers.local.config import LocalConfig
    from services.providers.local.models import LocalModel
    from services.providers.local.pool import ModelPool

__all__ = ["Front"]

_FOLDED: Final = frozenset({"/v1/chat/completions", "/v1/completions"})
_RELAYED: Final = (
    *sorted(_FOLDED),
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
)
_JSON: Final = "application/json"
# Without meaning: llama.cpp begins streams of text completions with it, and clients choke on it.
_NULL_EVENT: Final = b"data: null\n\n"
_CUT: Final = "The local model's process ended in the middle of its answer."
_GONE: Final = "The local model's process ends when it is asked."
# The kernel takes a moment to end a process that holds a model, and lets it accept connections until then.
_ENDING_S: Final = 2.0


class Front:
    """
    The web application.

    Args:
        pool: The models in memory.
        models: All models; the first answers requests that name none.
        config: Bounds.
        api_key: What callers must present: other users of this machine can reach the port.
    """

    def __init__(
        self, pool: ModelPool, models: Sequence[LocalModel], config: LocalConfig, *, api_key: str
    ) -> None:
        self._pool = pool
        self._names = tuple(model.name for model in models)
        self._max_requests = config.max_requests
        self._expected = f"Bearer {api_key}".encode()
        self._in_flight = 0
        self.app = web.Application(client_max_size=config.max_request_bytes, middlewares=[self._guard])
        self.app.router.add_get("/v1/models", self._models)
        for path in _RELAYED:
            self.app.router.add_post(path, self._answer)

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, self._expected):
            return _error(401, error_body("The key of the local engine is wrong.", code="invalid_api_key"))
        try:
            return await handler(request)
        except GatewayError as error:
            return _error(*from_gateway(error))
        except web.HTTPException as error:
            return _error(error.status, error_body(f"The local engine says: {error.reason}."))

    async def _models(self, _request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "local"} for name in self._names]
        return web.Response(body=orjson.dumps({"object": "list", "data": data}), content_type=_JSON)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._in_flight >= self._max_requests:
            text = f"The local models already have {self._max_requests} requests to answer."
            raise GatewayError(Reason.OVERLOADED, text)
        self._in_flight += 1
        try:
            body = await request.read()
            document = _parse(body)
            name = document.setdefault("model", self._names[0])
            if not isinstance(name, str):
                raise GatewayError(Reason.INVALID_REQUEST, "`model` must be a string.", param="model")
            return await self._answer_by(name, request, document, body)
        finally:
            self._in_flight -= 1

    async def _answer_by(
        self, name: str, request: web.Request, document: dict[str, Any], body: bytes
    ) -> web.StreamResponse:
        for _ in range(2):
            async with self._pool.use(name) as child, child.turns:
                if not child.alive:
                    continue
                try:
                    return await self._relay(request, child, document, body)
                except (aiohttp.ClientError, OSError):
                    # Nothing was answered, and a generation changes nothing: it can be asked for again.
                    if not await child.ended(within_s=_ENDING_S):
                        break
        raise GatewayError(Reason.SERVICE_UNAVAILABLE, _GONE)

    async def _relay(
        self, request: web.Request, child: Child, document: dict[str, Any], body: bytes
    ) -> web.StreamResponse:
        stream = document.get("stream") is True
        folded = not stream and request.path in _FOLDED
        if folded:
            options = {"stream": True, "stream_options": {"include_usage": True}}
            body = orjson.dumps({**document, **options})
        async with child.session.post(
            f"http://llama{request.path}", data=body, headers={"Content-Type": _JSON}
        ) as answer:
            if answer.status == 200 and stream:
                return await _copy(request, answer)
            data = await answer.read()
        if answer.status != 200:
            return _error(*from_llama(answer.status, data))
        return _fold(data) if folded else web.Response(body=data, content_type=_JSON)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(Reason.INVALID_REQUEST, f"The body is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise GatewayError(Reason.INVALID_REQUEST, "The body must be a JSON object.")
    return document


async def _copy(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Relay a stream as it comes. One that is cut ends without the end of its HTTP body."""
    response = web.StreamResponse(headers={"Content-Type": answer.headers.get("Content-Type", "")})
    await response.prepare(request)
    try:
        head = await _first_event(answer) if request.path == "/v1/completions" else b""
        if head:
            await response.write(head)
        while data := await answer.content.readany():
            await response.write(data)
    except (aiohttp.ClientError, OSError):
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


async def _first_event(answer: aiohttp.ClientResponse) -> bytes:
    head = b""
    while len(head) < len(_NULL_EVENT) and _NULL_EVENT.startswith(head):
        data = await answer.content.readany()
        if not data:
            break
        head += data
    return head.removeprefix(_NULL_EVENT)


def _fold(stream: bytes) -> web.Response:
    try:
        return web.Response(body=fold(stream), content_type=_JSON)
    except NotWholeError as error:
        if error.error is None:
            return _error(502, error_body(_CUT, kind="server_error", code="upstream_cut"))
        return _error(*from_llama(500, orjson.dumps({"error": error.error})))


def _error(status: int, body: bytes) -> web.Response:
    retry = {"Retry-After": "1"} if status == 503 else {}
    return web.Response(status=status, body=body, content_type=_JSON, headers=retry)
