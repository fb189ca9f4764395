"""
The edge's HTTP server: connections in, handlers called, errors told.

A bare aiohttp server rather than an application: routing is ours (`routes`), and each layer between the
connection and the pipeline would be paid for by every request.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.client_exceptions import ClientError

from headrace.common.v1 import http_pb2
from kit.errors import GatewayError, Reason
from kit.rpc.caller import ENVOY, identity
from kit.telemetry import names
from services.edge import http_body, routes
from services.edge.body_room import NoRoomError
from services.edge.client_address import of_connection
from services.edge.handlers import compat, gemini, native, universal
from services.edge.handlers.models import dialect_of
from services.edge.headers import RequestHeaders, read
from services.edge.http_body import BodyTooSlowError
from services.edge.http_protocol import EdgeServer, cut
from services.edge.http_sink import HttpSink, named, refusal
from services.edge.http_upload import HttpUpload
from services.edge.management import envelope
from services.edge.realtime.handshake import asks_for_websocket
from services.edge.wire import errors

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from kit.service import Runtime
    from services.edge.body_room import BodyRoom, Held
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.exchange import Exchange
    from services.edge.pipeline.pipeline import Pipeline
    from services.edge.realtime.realtime import Realtime
    from services.edge.routes import Route
    from services.edge.websocket.sockets import Sockets

    Handler = Callable[[web.BaseRequest, Route, RequestHeaders], Awaitable[web.StreamResponse]]
    Call = Callable[[web.BaseRequest, Route, RequestHeaders, Held | None], Awaitable[web.StreamResponse]]

__all__ = ["HttpServer"]

# Once no request runs, connections only have to be closed.
_CLOSING_S = 0.2
_POLL_S = 0.02
_TOO_SLOW = 408
# A body that came with its headers and is no longer than this is not worth being counted.
_SHORT_BYTES = 16 << 10


class HttpServer:
    """
    Serves HTTP.

    Args:
        runtime: What the process gives.
        config: Limits and addresses.
        pipeline: Answers inference requests.
        handlers: Answer everything else, by the names in `routes`.
        sockets: Serve WebSockets of the universal endpoint.
        realtime: Serves those that lead to a provider.
        room: What bodies may take, all together.
    """

    def __init__(
        self,
        runtime: Runtime,
        config: EdgeConfig,
        pipeline: Pipeline,
        handlers: Mapping[str, Handler],
        sockets: Sockets,
        *,
        realtime: Realtime,
        room: BodyRoom,
    ) -> None:
        self._settings = runtime.settings
        self._tls = runtime.tls
        # With TLS, nobody but Envoy gets in.
        self._trust_network = runtime.settings.trust_network or runtime.tls is not None
        self._tracing = runtime.tracing
        self._log = runtime.log("http")
        self._config = config
        self._pipeline = pipeline
        self._sockets = sockets
        self._realtime = realtime
        self._room = room
        self._calls: dict[str, Call] = {
            routes.CHAT: self._compat,
            routes.NATIVE: self._native,
            routes.UNIVERSAL: self._universal,
            **{name: partial(self._other, handler) for name, handler in handlers.items()},
        }
        self._runner: web.ServerRunner | None = None
        self._server: EdgeServer | None = None

    async def start(self) -> None:
        """
        Begin to listen.

        Raises:
            OSError: An address cannot be listened on.
        """
        limit = self._config.max_body_bytes
        server = EdgeServer(
            self._serve,
            request_factory=partial(_request, limit=limit),
            # A client that goes away ends its handler, and with it the upstream call.
            handler_cancellation=True,
            # Bodies belong to the provider as they are, compressed or not.
            auto_decompress=False,
            access_log=None,
            max_line_size=self._config.max_header_bytes,
            max_field_size=self._config.max_header_bytes,
            admits=self._admits,
            room=self._room,
        )
        self._server = server
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_S)
        await self._runner.setup()
        for address in self._addresses():
            await self._site(self._runner, address).start()

    async def drain(self, grace_s: float) -> None:
        """Stop accepting, and wait for running requests as long as the grace lasts."""
        if self._runner is not None and self._server is not None:
            until_s = time.monotonic() + grace_s
            for site in list(self._runner.sites):
                await site.stop()
            self._server.leave()
            self._sockets.stop()
            self._realtime.stop(grace_s)
            await self._pipeline.stop(grace_s)
            await self._sockets.close()
            # What is no request of the pipeline's: lists, changes of settings.
            while self._server.busy and time.monotonic() < until_s - _CLOSING_S:  # noqa: ASYNC110  # aiohttp's to know
                await asyncio.sleep(_POLL_S)
            await self._runner.cleanup()
            self._runner = None
            for address in self._addresses():
                _forget(address)

    def _addresses(self) -> tuple[str, ...]:
        default = f"unix:{self._settings.socket(f'{self._settings.process}-http')}"
        return self._config.listen_http or (default,)

    def _site(self, runner: web.ServerRunner, address: str) -> web.BaseSite:
        if address.startswith("unix:"):
            _forget(address)
            return web.UnixSite(runner, address.removeprefix("unix:"))
        host, _, port = address.rpartition(":")
        return web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=self._context())

    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        from kit.tls import server_context

        return server_context(self._tls)

    def _admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Say whether a connection may bring requests: with TLS, it is Envoy's."""
        if certificate is None:  # no TLS: a socket of this machine, or a network without
            return True
        uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
        who = identity(uris, self._settings.tls_trust_domain)
        if who != ENVOY:
            self._log.warning("connection refused: only Envoy may connect", peer_identity=who)
        return who == ENVOY

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        dialect: http_pb2.Dialect.ValueType | None = None
        try:
            route = routes.resolve(path, self._settings.account)
            dialect = route.dialect
            _check_method(request.method, route)
            headers = read(request.raw_headers)
            headers.client_address = of_connection(
                request.get_extra_info("peername"), headers.client_address, trust_network=self._trust_network
            )
            if route.handler == routes.MODELS:
                dialect = dialect_of(route, request.headers)
            if query and dialect == http_pb2.DIALECT_GEMINI:
                gemini.take_key(query, headers)
            with self._tracing.server_span(
                f"{request.method} {route.template}", headers.trace, {names.HTTP_ROUTE: route.template}
            ) as span:
                call = self._calls[route.handler]
                if request.content.is_eof() and request.content.total_bytes <= _SHORT_BYTES:
                    # All of it came with the headers, as it does for most requests.
                    response = await call(request, route, headers, None)
                else:
                    with self._room.hold() as held:
                        response = await call(request, route, headers, held)
                if span is not None:
                    span.set_attribute(names.HTTP_REQUEST_METHOD, request.method)
                    span.set_attribute(names.HTTP_RESPONSE_STATUS_CODE, response.status)
                return response
        except GatewayError as error:
            ends = isinstance(error, NoRoomError) and not request.content.is_eof()
            return self._refuse(request, error, dialect, ends=ends)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(request, self._too_large(), dialect)
        except BodyTooSlowError:
            slow = GatewayError(Reason.INVALID_REQUEST, "The request body took too long to arrive.")
            return self._refuse(request, slow, dialect, status=_TOO_SLOW, ends=True)
        except (ClientError, web.RequestPayloadError):
            # The body broke off, or its framing makes no sense; whoever still listens is told.
            broken = GatewayError(Reason.INVALID_REQUEST, "The request body could not be read to its end.")
            return self._refuse(request, broken, dialect)
        except ConnectionError:
            raise
        except Exception as failure:  # noqa: BLE001 - the last line of defence, which tells and logs
            self._log.error("request failed", exc_info=failure, route=path[:200])
            internal = GatewayError(Reason.INTERNAL, "Something went wrong on our side.")
            return self._refuse(request, internal, dialect)

    async def _compat(
        self, request: web.BaseRequest, route: Route, headers: RequestHeaders, held: Held | None
    ) -> web.StreamResponse:
        exchange = compat.exchange(
            route,
            query=request.raw_path.partition("?")[2],
            headers=headers,
            body=await self._body(request, held),
            max_messages=self._config.max_messages,
        )
        return await self._run(request, exchange, held)

    async def _native(
        self, request: web.BaseRequest, route: Route, headers: RequestHeaders, held: Held | None
    ) -> web.StreamResponse:
        if asks_for_websocket(request):
            return await self._realtime.answer(request, route, headers)
        body, upload = await self._body_or_upload(request, held)
        exchange = native.exchange(
            route,
            method=request.method,
            query=request.raw_path.partition("?")[2],
            headers=headers,
            body=body,
            upload=upload,
        )
        if upload is None:
            return await self._run(request, exchange, held)
        try:
            return await self._run(request, exchange, None)
        finally:
            await upload.close()

    async def _universal(
        self, request: web.BaseRequest, route: Route, headers: RequestHeaders, held: Held | None
    ) -> web.StreamResponse:
        if request.method == "GET":
            return await self._sockets.answer(request, route, headers)
        exchange = universal.exchange(
            route,
            headers=headers,
            asked=universal.parse(await self._body(request, held)),
            max_messages=self._config.max_messages,
        )
        # Whatever its steps speak, an error of the gateway's own is told in the gateway's own words.
        return await self._run(request, exchange, held, route.dialect)

    async def _other(
        self,
        handler: Handler,
        request: web.BaseRequest,
        route: Route,
        headers: RequestHeaders,
        held: Held | None,
    ) -> web.StreamResponse:
        del held  # these take bodies of the management API alone, which are short and of known callers
        return named(await handler(request, route, headers))

    async def _body(self, request: web.BaseRequest, held: Held | None) -> bytes:
        config = self._config
        if held is None:
            # All of it came with the headers: nothing to wait for.
            body = request.content.read_nowait()
            if len(body) > (limit := config.max_body_bytes):
                raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=len(body))
            return body
        return await http_body.read(
            request, held, limit_bytes=config.max_body_bytes, timeout_s=config.body_timeout_s
        )

    async def _body_or_upload(
        self, request: web.BaseRequest, held: Held | None
    ) -> tuple[bytes, HttpUpload | None]:
        """Read a body that is short and there, and leave any other to be sent on as it comes."""
        config, length = self._config, request.content_length
        first = b""
        if "expect" not in request.headers:
            if not request.body_exists or (length is not None and length <= config.whole_body_bytes):
                return await self._body(request, held), None
            if length is None:
                first, whole = await http_body.begin(request, held, most_bytes=config.whole_body_bytes)
                if whole:
                    return first, None
        upload = HttpUpload(
            request,
            first=first,
            held=held,
            limit_bytes=config.max_upload_bytes,
            idle_s=config.body_timeout_s,
        )
        return b"", upload

    async def _run(
        self,
        request: web.BaseRequest,
        exchange: Exchange,
        held: Held | None,
        dialect: http_pb2.Dialect.ValueType | None = None,
    ) -> web.StreamResponse:
        if held is not None:
            exchange.keep(held)
        sink = HttpSink(request, exchange.dialect if dialect is None else dialect, self._log)
        await self._pipeline.run(exchange, sink)
        assert sink.response is not None
        return sink.response

    def _too_large(self) -> GatewayError:
        limit = self._config.max_body_bytes
        return GatewayError(
            Reason.TOO_LARGE,
            f"The request body is longer than the {limit} bytes that are allowed.",
            limit_bytes=str(limit),
        )

    def _refuse(
        self,
        request: web.BaseRequest,
        error: GatewayError,
        dialect: http_pb2.Dialect.ValueType | None,
        *,
        status: int | None = None,
        ends: bool = False,
    ) -> web.Response:
        """Answer with an error, maybe the connection's last; no dialect: the path leads nowhere."""
        if request.writer.output_size > 0:
            # A second answer inside the first would be taken for its end.
            cut(request)
        if request.raw_path.startswith("/client/"):
            return envelope.failure(error)
        if dialect is None:
            dialect = routes.dialect_of_failure(request.raw_path)
        response = refusal(error, errors.body(error, dialect, status=status), [], status=status)
        if ends:
            response.force_close()
        return response


def _check_method(method: str, route: Route) -> None:
    if route.methods and method not in route.methods:
        raise GatewayError(
            Reason.METHOD_NOT_ALLOWED,
            f"{method} is not allowed here; {' or '.join(route.methods)} is.",
            method=method,
        )


def _forget(address: str) -> None:
    """Remove the socket of this address, if it is one; an earlier life may have left it."""
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)


def _request(
    message: Any, payload: Any, protocol: Any, writer: Any, task: Any, *, limit: int
) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, protocol._loop, client_max_size=limit)  # noqa: SLF001 - as aiohttp's own factory does
