"""The front door: a real Envoy with our configuration before backends on Unix sockets."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from deploy.envoy.render import Otlp
from tests.fakes.front_door import RunningFrontDoor, describe, launch, running_front_door
from tests.fakes.otlp_collector import OtlpCollector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[RunningFrontDoor]:
    """An Envoy with one edge and no other service."""
    async with running_front_door(tmp_path) as running:
        yield running


@pytest.fixture
async def full_door(tmp_path: Path) -> AsyncIterator[RunningFrontDoor]:
    """An Envoy with one edge and every other service."""
    async with running_front_door(tmp_path, services=True) as running:
        yield running


def unary(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Give a method of which both messages are bytes."""
    callable_: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return callable_


async def call(door: RunningFrontDoor, method: str, *metadata: tuple[str, str]) -> dict[str, Any]:
    """Make a unary call with an empty message on the gRPC port, and give the echo."""
    async with grpc.aio.insecure_channel(door.grpc_address) as channel:
        answer: bytes = await unary(channel, method)(b"", metadata=metadata, timeout=10)
    echo: dict[str, Any] = json.loads(answer)
    return echo


async def unhealthy(door: RunningFrontDoor, index: int) -> None:
    """Wait until Envoy knows that an edge is not ready."""
    path = door.edges[index].path
    wanted = f"edge_http::{path}::health_flags::/failed_active_hc"
    async with asyncio.timeout(10):
        while wanted not in await door.admin("/clusters"):  # noqa: ASYNC110  # Envoy's to know, not ours
            await asyncio.sleep(0.05)


class TestHttp:
    """What the HTTP port does with a request."""

    async def test_http1(self, door: RunningFrontDoor) -> None:
        """HTTP/1.1 reaches the edge, and its answer comes back with its own headers and none of Envoy's."""
        async with door.http.post(door.url + "/v1/chat/completions", data=b"body") as answer:
            body = await answer.read()

        assert (answer.status, body) == (200, b"body")
        assert answer.headers["server"] == "fake-edge"
        assert [name for name in answer.headers if name.lower().startswith("x-envoy")] == []

    async def test_http2_with_prior_knowledge(self, tmp_path: Path) -> None:
        """A client that begins with HTTP/2 is served on the same port."""

        async def answer_as_grpc(request: web.BaseRequest) -> web.StreamResponse:
            headers = {"content-type": "application/grpc", "grpc-status": "5", "grpc-message": "over http/2"}
            return web.Response(headers=headers)

        async with (
            running_front_door(tmp_path, handler=answer_as_grpc) as door,
            grpc.aio.insecure_channel(door.url.removeprefix("http://")) as channel,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await unary(channel, "/some.Service/Method")(b"", timeout=10)

        assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.NOT_FOUND, "over http/2")
        assert [request.path for request in door.edge.requests] == ["/some.Service/Method"]

    async def test_stream_is_not_buffered(self, tmp_path: Path) -> None:
        """Each chunk arrives before the edge writes the next one."""
        arrived = asyncio.Queue[bytes]()

        async def stream(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            for index in range(5):
                await response.write(b"data: %d\n\n" % index)
                assert b"data: %d\n\n" % index == await arrived.get()
            return response

        async with (
            running_front_door(tmp_path, handler=stream) as door,
            door.http.get(door.url + "/stream") as answer,
        ):
            seen = []
            async for chunk in answer.content.iter_any():
                seen.append(chunk)
                await arrived.put(chunk)

        assert [b"data: %d\n\n" % index for index in range(5)] == seen

    async def test_upload_is_not_buffered(self, tmp_path: Path) -> None:
        """The edge reads the start of a body before the client has sent the end of it."""
        arrived = asyncio.Event()

        async def read_first(request: web.BaseRequest) -> web.StreamResponse:
            first = await request.content.readany()
            arrived.set()
            return web.Response(body=first + await request.read())

        async def upload() -> AsyncIterator[bytes]:
            yield b"first "
            await asyncio.wait_for(arrived.wait(), 5)
            yield b"second"

        async with (
            running_front_door(tmp_path, handler=read_first) as door,
            door.http.post(door.url + "/upload", data=upload()) as answer,
        ):
            body = await answer.read()

        assert body == b"first second"

    async def test_disconnect_reaches_the_edge(self, tmp_path: Path) -> None:
        """When a client goes away in the middle of a stream, the edge knows within 200 ms."""
        gone = asyncio.Event()

        async def stream(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"begin")
            while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110  # no event for it
                await asyncio.sleep(0.005)
            gone.set()
            return response

        async with running_front_door(tmp_path, handler=stream) as door:
            answer = await door.http.get(door.url + "/stream")
            await answer.content.readany()
            answer.close()
            left = time.monotonic()
            await asyncio.wait_for(gone.wait(), 5)

            assert time.monotonic() - left < 0.2

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/local/default/openai/v1/files/a%2Fb",
            "/v1//x///y",
            "/v1/a/../b/./c",
            "/v1/a/%2e%2e/b",
            "/v1/%c3%a9?q=%20&b=a+b",
            "/v1/x;y=1/z:generate?key=k&key=l",
            "/v1/a\\b",
        ],
    )
    async def test_path_is_unchanged(self, door: RunningFrontDoor, path: str) -> None:
        """A path arrives byte for byte, dots, slashes and escapes included."""
        answer = await door.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())

        assert answer.startswith(b"HTTP/1.1 200")
        assert [path] == [request.raw_path for request in door.edge.requests]

    async def test_reserved_headers_are_removed(self, door: RunningFrontDoor) -> None:
        """Names that belong to us or by which Envoy takes orders do not pass; the client's others do."""
        sent = {
            "headrace-caller": "providers",
            "Headrace-Anything": "x",
            "x-envoy-retry-on": "5xx",
            "x-envoy-max-retries": "9",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-host": "evil",
            "x-request-id": "mine",
            "cf-aig-metadata": "{}",
        }
        async with door.http.get(door.url + "/v1/models", headers=sent) as answer:
            await answer.read()

        got = {name.lower(): value for name, value in door.edge.requests[0].headers.items()}
        ours = {name for name in got if name.startswith(("headrace-", "x-envoy-"))}
        assert ours == {"headrace-client-address"}
        assert (got["x-request-id"], got["cf-aig-metadata"]) == ("mine", "{}")
        assert "203.0.113.7" not in got["x-forwarded-for"]
        assert "x-forwarded-host" not in got

    async def test_nothing_is_invented(self, door: RunningFrontDoor) -> None:
        """The edge sees only the headers that the client sent and where they came from."""
        await door.raw(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

        names = {name.lower() for name in door.edge.requests[0].headers}
        assert {"host", "x-forwarded-for", "x-forwarded-proto", "headrace-client-address"} == names

    async def test_upgrade_is_refused_at_once(self, door: RunningFrontDoor) -> None:
        """A request that wants to be a WebSocket is answered instead of left hanging with its body."""
        head = b"POST /v1/x HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n"
        async with asyncio.timeout(5):
            answer = await door.raw(head + b"content-length: 5\r\n\r\nhello")

        assert answer.startswith(b"HTTP/1.1 403")
        assert b"AiGatewayError" in answer
        assert door.edge.requests == []


class TestLimits:
    """What is refused before the edge sees it."""

    async def test_header_block_too_large(self, door: RunningFrontDoor) -> None:
        """More than 60 KiB of headers are refused with our envelope."""
        head = b"GET /v1/x HTTP/1.1\r\nhost: x\r\nbig: " + b"x" * 62 * 1024 + b"\r\n\r\n"
        answer = await door.raw(head)

        assert answer.startswith(b"HTTP/1.1 431")
        assert door.edge.requests == []

    async def test_too_many_headers(self, door: RunningFrontDoor) -> None:
        """More than a hundred headers are refused."""
        lines = b"".join(b"x-%d: y\r\n" % index for index in range(120))
        answer = await door.raw(b"GET /v1/x HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n")

        assert answer.startswith(b"HTTP/1.1 431")
        assert door.edge.requests == []

    async def test_idle_stream_is_ended(self, tmp_path: Path) -> None:
        """A request that moves in neither direction for too long gets 504."""

        async def never(request: web.BaseRequest) -> web.StreamResponse:
            await asyncio.sleep(30)
            return web.Response()

        async with (
            running_front_door(tmp_path, handler=never, stream_idle_timeout_s=0.3) as door,
            door.http.get(door.url + "/v1/chat/completions") as answer,
        ):
            body = await answer.json()

        assert answer.status == 504
        assert (body["error"]["message"], body["httpCode"]) == ("stream timeout", 504)


class TestOutage:
    """What a client sees while an edge is away."""

    @pytest.mark.parametrize(
        ("path", "shape"),
        [
            ("/v1/chat/completions", "openai"),
            ("/v1/local/default/compat/chat/completions", "openai"),
            ("/v1/models?x=1", "openai"),
            ("/v1/messages", "anthropic"),
            ("/v1/local/default/compat/messages", "anthropic"),
            ("/v1/local/default/compat/v1/messages/count_tokens", "anthropic"),
            ("/v1/audio/speech", "openai"),
            ("/v1/local/default/compat/v1/images/edits", "openai"),
            ("/v1beta/models/openai/x:generateContent?key=x", "google"),
            ("/v1/local/default/compat/v1beta/models", "google"),
            ("/v1/models/openai/x:countTokens", "google"),
            ("/v1/models/ollama/llama3:latest", "openai"),
            ("/v1/local/default/google-ai-studio/v1beta/models/x:generateContent", "gateway"),
            ("/v1/local/default/openai/v1/chat/completions", "gateway"),
            ("/client/v4/accounts/local/ai-gateway/gateways", "gateway"),
        ],
    )
    async def test_error_has_the_dialect_of_the_path(
        self, door: RunningFrontDoor, path: str, shape: str
    ) -> None:
        """Without an edge the answer is 503 in the shape that the path's clients parse."""
        await door.edge.stop()
        async with door.http.get(door.url + path) as answer:
            body = await answer.json()

        assert (answer.status, answer.content_type) == (503, "application/json")
        assert (body["success"], body["name"], body["httpCode"]) == (False, "AiGatewayError", 503)
        message = body["message"]
        assert message.startswith("The gateway did not answer")
        expected = {
            "openai": {"message": message, "type": "api_error", "code": "http_503", "param": None},
            "anthropic": {"type": "api_error", "message": message},
            "google": {"code": 503, "message": message, "status": "UNAVAILABLE"},
            "gateway": [{"code": 7000, "message": message}],
        }
        assert expected[shape] == body["error"]
        assert ("error" if shape == "anthropic" else None) == body.get("type")

    async def test_request_waits_for_a_restart(self, tmp_path: Path) -> None:
        """A request that comes while the edge restarts waits for it instead of failing."""
        async with running_front_door(tmp_path, connect_retries=20) as door:
            await door.edge.stop()
            waiting = asyncio.create_task(door.http.post(door.url + "/v1/x", data=b"kept"))
            await asyncio.sleep(0.8)
            await door.edge.start()
            answer = await asyncio.wait_for(waiting, 10)
            body = await answer.read()

        assert (answer.status, body) == (200, b"kept")

    async def test_request_is_never_sent_twice(self, tmp_path: Path) -> None:
        """A request that the edge got and did not answer fails; it is not sent again."""

        async def hang_up(request: web.BaseRequest) -> web.StreamResponse:
            await request.read()
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        async with running_front_door(tmp_path, handler=hang_up) as door:
            async with door.http.post(door.url + "/v1/x", data=b"once") as answer:
                await answer.read()

            assert answer.status == 503
            assert len(door.edge.requests) == 1

    async def test_unready_edge_is_passed_over(self, tmp_path: Path) -> None:
        """Of several edges, only those that are ready are asked."""
        async with running_front_door(tmp_path, edges=3) as door:
            door.edges[1].ready = False
            await unhealthy(door, 1)
            for _ in range(30):
                async with door.http.get(door.url + "/v1/x") as answer:
                    assert answer.status == 200

            assert len(door.edges[1].requests) == 0
            assert len(door.edges[0].requests) + len(door.edges[2].requests) == 30

    async def test_unready_edges_are_better_than_none(self, door: RunningFrontDoor) -> None:
        """When no edge is ready all are asked: cached decisions may still do."""
        door.edge.ready = False
        await unhealthy(door, 0)
        async with door.http.get(door.url + "/v1/x") as answer:
            assert answer.status == 200


class TestGrpc:
    """What the gRPC port does with a call."""

    @pytest.mark.parametrize(
        ("method", "service"),
        [
            ("/headrace.inference.v1.InferenceService/Chat", "edge"),
            ("/headrace.auth.v1.TokenService/ListTokens", "auth"),
            ("/headrace.router.v1.RouterService/Plan", "router"),
            ("/headrace.cache.v1.CacheService/Lookup", "cache"),
            ("/headrace.ledger.v1.LedgerService/List", "ledger"),
            ("/headrace.provider.v1.ProviderService/Invoke", "providers"),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "edge"),
        ],
    )
    async def test_routed_by_service(self, full_door: RunningFrontDoor, method: str, service: str) -> None:
        """A call goes to the service that owns its package."""
        echo = await call(full_door, method)

        assert service == echo["service"]

    async def test_health(self, full_door: RunningFrontDoor) -> None:
        """The health service on the public port is the edge's."""
        async with grpc.aio.insecure_channel(full_door.grpc_address) as channel:
            answer: bytes = await unary(channel, "/grpc.health.v1.Health/Check")(b"", timeout=10)

        assert answer == b"\x08\x01"

    async def test_caller_is_external(self, full_door: RunningFrontDoor) -> None:
        """Whatever a caller says of itself, services see `external`, once."""
        echo = await call(
            full_door,
            "/headrace.auth.v1.AuthService/Authenticate",
            ("headrace-caller", "providers"),
            ("headrace-deadline", "1"),
            ("authorization", "Bearer x"),
        )

        ours = [pair for pair in echo["metadata"] if pair[0].startswith("headrace-")]
        assert sorted(ours) == [
            ["headrace-caller", "external"],
            ["headrace-client-address", "127.0.0.1"],
        ]
        assert ["authorization", "Bearer x"] in echo["metadata"]

    async def test_unknown_service(self, full_door: RunningFrontDoor) -> None:
        """A call to anything else is UNIMPLEMENTED, with a sentence that says what to do."""
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call(full_door, "/other.v1.Service/Method")

        assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "headrace.* services only" in (failure.value.details() or "")

    async def test_service_away(self, door: RunningFrontDoor) -> None:
        """A call to a service that does not run is UNAVAILABLE."""
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call(door, "/headrace.auth.v1.AuthService/Authenticate")

        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE


class TestLog:
    """What the access log holds."""

    async def test_entry(self, door: RunningFrontDoor) -> None:
        """An entry has the trace, the path without its query, and no secret."""
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        headers = {
            "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
            "authorization": "Bearer hr_secret",
            "cf-aig-authorization": "Bearer hr_secret",
        }
        async with door.http.get(door.url + "/readyz") as answer:  # a poll, which is not logged
            await answer.read()
        async with door.http.post(door.url + "/v1/x?key=hidden", data=b"1234", headers=headers) as answer:
            await answer.read()
        [entry] = await door.access_log(1)

        assert (
            entry["method"],
            entry["path"],
            entry["status"],
            entry["bytes_in"],
        ) == ("POST", "/v1/x", 200, 4)
        assert headers["traceparent"] == entry["traceparent"]
        assert entry["upstream"] == "edge_http"
        assert not any(word in json.dumps(entry) for word in ("hidden", "hr_secret"))


class TestProcess:
    """How the process starts and ends."""

    async def test_ends_quickly(self, door: RunningFrontDoor) -> None:
        """SIGTERM ends an idle Envoy within a second, with status 0."""
        begun = time.monotonic()
        door.process.terminate()
        status = await asyncio.wait_for(door.process.wait(), 5)

        assert status == 0
        assert time.monotonic() - begun < 1

    async def test_port_in_use(self, door: RunningFrontDoor, tmp_path: Path) -> None:
        """A second Envoy on the same port ends with an error instead of sharing the port."""
        second = tmp_path / "second"
        second.mkdir()
        front = describe(second, http_port=door.front.http_port)
        process = await launch(front, second)
        status = await asyncio.wait_for(process.wait(), 10)

        assert status != 0
        assert "Address already in use" in (second / "envoy.log").read_text()

    async def test_two_side_by_side(self, door: RunningFrontDoor, tmp_path: Path) -> None:
        """Two installations on one machine do not disturb each other."""
        second = tmp_path / "second"
        second.mkdir()
        async with running_front_door(second) as other:
            statuses = []
            for each in (door, other):
                async with each.http.get(each.url + "/v1/x") as answer:
                    statuses.append(answer.status)

        assert statuses == [200, 200]


class TestTracing:
    """What the front door adds to a trace."""

    @pytest.mark.parametrize("sampled", ["01", "00"])
    async def test_continued(self, tmp_path: Path, sampled: str) -> None:
        """The caller's trace goes on through Envoy's own span, and the caller's decision to record holds."""
        trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        with OtlpCollector() as collector:
            otlp = Otlp(endpoint=collector.endpoint)
            async with running_front_door(tmp_path, otlp=otlp) as door:
                headers = {"traceparent": f"00-{trace_id}-{parent_id}-{sampled}", "tracestate": "v=1"}
                async with door.http.get(door.url + "/v1/models", headers=headers) as answer:
                    await answer.read()
                forwarded = door.edge.requests[0].headers
                [entry] = await door.access_log(1)
                # Spans leave every half second: what is not sent after two is not going to be.
                trees = await asyncio.to_thread(collector.wait_for, trace_id, bool, timeout_s=2)

        version, seen_trace, seen_parent, flags = forwarded["traceparent"].split("-")
        assert ("00", trace_id, sampled, "v=1") == (version, seen_trace, flags, forwarded["tracestate"])
        assert parent_id != seen_parent
        assert trace_id == entry["trace_id"]
        if sampled == "00":
            assert trees == ()
        else:
            span = trees[0].span
            assert (span.service, span.name, span.kind) == ("headrace-envoy", "envoy.http", "SERVER")
            assert (parent_id, seen_parent) == (span.parent_id, span.span_id)

    async def test_begun(self, tmp_path: Path) -> None:
        """A request without a trace gets one, which the edge sees and the log names."""
        with OtlpCollector() as collector:
            otlp = Otlp(endpoint=collector.endpoint)
            async with running_front_door(tmp_path, otlp=otlp) as door:
                async with door.http.get(door.url + "/v1/models") as answer:
                    await answer.read()
                [entry] = await door.access_log(1)
                trace_id = door.edge.requests[0].headers["traceparent"].split("-")[1]
                trees = await asyncio.to_thread(collector.wait_for, trace_id, bool, timeout_s=10)

        assert trace_id == entry["trace_id"]
        assert [trace_id] == [tree.span.trace_id for tree in trees]
