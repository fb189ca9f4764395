"""Calls between services, over a socket and inline: the same behaviour in both."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import prometheus_client
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from headrace.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from kit.config import load
from kit.errors import GatewayError, Reason
from kit.rpc import deadline
from kit.rpc.endpoint import endpoints
from kit.rpc.inline import InlineRegistry
from kit.rpc.server import RpcServer
from kit.runtime_config import RuntimeConfig
from kit.service import Binding, Runtime
from kit.telemetry.tracing import Tracing, accept_context, propagation_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class FakeAuth(auth_service_pb2_grpc.AuthServiceServicer):
    """Does what the token says."""

    def __init__(self) -> None:
        self.trace: dict[str, str] = {}
        self.remaining_s: float | None = None
        self.closed = asyncio.Event()

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Any) -> pb.AuthenticateResponse:
        self.trace = propagation_headers()
        self.remaining_s = deadline.budget(None)
        match request.token:
            case "refuse":
                raise GatewayError(Reason.RATE_LIMITED, "Slow down.", retry_after_s=1.5, limit="7")
            case "crash":
                raise ValueError("a secret detail")
            case "hang":
                await asyncio.sleep(30)
        return pb.AuthenticateResponse(principal=pb.Principal(account_id=request.account_id))

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        try:
            for generation in range(1_000_000):
                answer = pb.WatchResponse()
                answer.invalidation.generation = generation
                yield answer
                await asyncio.sleep(0)
        finally:
            self.closed.set()


class FakeLedger(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Counts what it is sent."""

    async def Record(self, request_iterator: Any, context: Any) -> ledger_service_pb2.RecordResponse:
        count = 0
        async for request in request_iterator:
            count += len(request.entries)
        return ledger_service_pb2.RecordResponse(recorded_count=count)

    async def List(self, request: Any, context: Any) -> ledger_service_pb2.ListResponse:
        return ledger_service_pb2.ListResponse()

    async def Get(self, request: Any, context: Any) -> ledger_service_pb2.GetResponse:
        return ledger_service_pb2.GetResponse()

    async def GetPayload(self, request: Any, context: Any) -> ledger_service_pb2.GetPayloadResponse:
        return ledger_service_pb2.GetPayloadResponse()

    async def UpdateEntry(self, request: Any, context: Any) -> ledger_service_pb2.UpdateEntryResponse:
        return ledger_service_pb2.UpdateEntryResponse()

    async def DeleteEntries(self, request: Any, context: Any) -> ledger_service_pb2.DeleteEntriesResponse:
        return ledger_service_pb2.DeleteEntriesResponse()


class World:
    """A called service and a caller of it."""

    def __init__(self, fake: FakeAuth, runtime: Runtime) -> None:
        self.fake = fake
        self.auth = auth_service_pb2_grpc.AuthServiceStub(runtime.channel("auth"))
        self.ledger = ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("auth"))
        self.health = health_pb2_grpc.HealthStub(runtime.channel("auth"))


@asynccontextmanager
async def world(topology: str, caller: str = "edge", tracer: Any = None) -> AsyncIterator[World]:
    fake = FakeAuth()
    bindings = (
        Binding(
            service="headrace.auth.v1.AuthService",
            add=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
            servicer=fake,
            callers=frozenset({"edge"}),
        ),
        Binding(
            service="headrace.ledger.v1.LedgerService",
            add=ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server,
            servicer=FakeLedger(),
            callers={"Record": frozenset({"edge"})},
        ),
    )
    found = [each for binding in bindings for each in endpoints(binding, Tracing("auth"))]
    with tempfile.TemporaryDirectory(prefix="hr-") as directory:
        address = f"unix:{Path(directory) / 'a.sock'}"
        inline = InlineRegistry(["auth"] if topology == "inline" else [])
        inline.add("auth", found)
        server = RpcServer(found, max_message_bytes=1 << 20)
        await server.start([address])
        server.set_serving(serving=True)
        runtime = Runtime(
            name=caller,
            env={},
            settings=load(RuntimeConfig, {"HEADRACE_DATA_DIR": directory}),
            tracing=Tracing(caller, tracer),
            metrics=prometheus_client.CollectorRegistry(),
            inline=inline,
            addresses={"auth": address},
        )
        try:
            yield World(fake, runtime)
        finally:
            await runtime.close()
            await server.stop(0)


both = pytest.mark.parametrize("topology", ["split", "inline"])


@both
async def test_answers(topology: str) -> None:
    """A call is answered."""
    async with world(topology) as here:
        answer = await here.auth.Authenticate(pb.AuthenticateRequest(account_id="a"))

        assert answer.principal.account_id == "a"


@both
async def test_error_crosses_whole(topology: str) -> None:
    """Reason, message, metadata and retry time arrive as they were raised."""
    async with world(topology) as here:
        with pytest.raises(GatewayError) as caught:
            await here.auth.Authenticate(pb.AuthenticateRequest(token="refuse"))

        error = caught.value
        assert (Reason.RATE_LIMITED, "Slow down.", 1.5, {"limit": "7"}) == (
            error.reason,
            error.message,
            error.retry_after_s,
            error.metadata,
        )


@both
async def test_crash_tells_nothing(topology: str) -> None:
    """An unexpected exception becomes INTERNAL, without its text."""
    async with world(topology) as here:
        with pytest.raises(GatewayError) as caught:
            await here.auth.Authenticate(pb.AuthenticateRequest(token="crash"))

        assert caught.value.reason == Reason.INTERNAL
        assert "secret" not in caught.value.message


@both
async def test_caller_not_on_the_list_is_refused(topology: str) -> None:
    """A service that is not on the list cannot call, nor can one call an RPC that it is not listed for."""
    async with world(topology, caller="cache") as here:
        with pytest.raises(GatewayError) as caught:
            await here.auth.Authenticate(pb.AuthenticateRequest())

        assert caught.value.reason == Reason.CALLER_NOT_ALLOWED
    async with world(topology) as here:
        with pytest.raises(GatewayError) as caught:
            await here.ledger.Get(ledger_service_pb2.GetRequest())

        assert caught.value.reason == Reason.CALLER_NOT_ALLOWED


@both
async def test_timeout(topology: str) -> None:
    """A call that takes longer than its time-out fails with DEADLINE_EXCEEDED."""
    async with world(topology) as here:
        with pytest.raises(GatewayError) as caught:
            await here.auth.Authenticate(pb.AuthenticateRequest(token="hang"), timeout=0.1)

        assert caught.value.reason == Reason.DEADLINE_EXCEEDED


@both
async def test_deadline_shrinks_with_the_hop(topology: str) -> None:
    """The called service has less time for its own calls than its caller had."""
    async with world(topology) as here:
        with deadline.accept(10.0):
            await here.auth.Authenticate(pb.AuthenticateRequest())

        assert here.fake.remaining_s is not None
        assert 8.0 < here.fake.remaining_s < 10.0


@both
async def test_no_time_left_refuses_at_once(topology: str) -> None:
    """With less than the reserve left, the call is not made."""
    async with world(topology) as here:
        with deadline.accept(deadline.HOP_RESERVE_S / 2), pytest.raises(GatewayError) as caught:
            await here.auth.Authenticate(pb.AuthenticateRequest())

        assert caught.value.reason == Reason.DEADLINE_EXCEEDED


@both
async def test_trace_context_goes_along(topology: str) -> None:
    """With tracing off, the context that came in reaches the next service unchanged."""

    async def traced() -> dict[str, str]:
        accept_context({"traceparent": TRACEPARENT})
        async with world(topology) as here:
            await here.auth.Authenticate(pb.AuthenticateRequest())
            return here.fake.trace

    assert {"traceparent": TRACEPARENT} == await asyncio.create_task(traced())


@both
async def test_stopping_a_stream_early_stops_the_handler(topology: str) -> None:
    """A consumer that stops reading ends the handler on the other side."""
    async with world(topology) as here:
        stream: Any = here.auth.Watch(pb.WatchRequest())
        async with aclosing(stream):
            async for _ in stream:
                break
        await asyncio.wait_for(here.fake.closed.wait(), 5)


@both
async def test_cancelling_the_consumer_stops_the_handler(topology: str) -> None:
    """Cancelling the task that reads a stream ends the handler on the other side."""
    async with world(topology) as here:
        await _cancel_a_consumer(here)
        await asyncio.wait_for(here.fake.closed.wait(), 5)


async def test_traced_inline_stream_is_closed_with_its_consumer() -> None:
    """With spans around it too, a handler ends with its consumer, not when garbage is collected."""
    tracer = TracerProvider().get_tracer("test")
    async with world("inline", tracer=tracer) as here:
        gc.disable()
        try:
            await _cancel_a_consumer(here)
            await asyncio.wait_for(here.fake.closed.wait(), 1)
        finally:
            gc.enable()


async def _cancel_a_consumer(here: World) -> None:
    async def consume() -> None:
        async for _ in here.auth.Watch(pb.WatchRequest()):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@both
async def test_client_stream(topology: str) -> None:
    """A stream of requests arrives whole."""

    async def batches() -> AsyncIterator[ledger_service_pb2.RecordRequest]:
        for _ in range(3):
            request = ledger_service_pb2.RecordRequest()
            request.entries.add(id="x")
            yield request

    async with world(topology) as here:
        answer = await here.ledger.Record(batches())

        assert answer.recorded_count == 3


async def test_absent_service() -> None:
    """A service that is not there fails with SERVICE_UNAVAILABLE and says which it is."""
    async with world("split") as here:
        pass
    runtime = Runtime(
        name="edge",
        env={},
        settings=load(RuntimeConfig, {}),
        tracing=Tracing("edge"),
        metrics=prometheus_client.CollectorRegistry(),
        inline=InlineRegistry(),
        addresses={"auth": "unix:/nonexistent/a.sock"},
    )
    stub = auth_service_pb2_grpc.AuthServiceStub(runtime.channel("auth"))
    with pytest.raises(GatewayError) as caught:
        await stub.Authenticate(pb.AuthenticateRequest(), timeout=5)
    await runtime.close()

    assert (Reason.SERVICE_UNAVAILABLE, "auth") == (caught.value.reason, caught.value.metadata["service"])
    assert here is not None


async def test_health_and_reflection_are_served() -> None:
    """Every server answers health checks, and to anybody."""
    async with world("split", caller="nobody") as here:
        answer = await here.health.Check(
            health_pb2.HealthCheckRequest(service="headrace.auth.v1.AuthService")
        )

        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_every_reason_has_a_code() -> None:
    """The table of gRPC codes covers every reason, and never says OK."""
    from headrace.common.v1 import error_reason_pb2
    from kit.rpc.status import CODES

    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - not a dict

    assert declared - {"UNSPECIFIED"} == {reason.value for reason in Reason}
    assert set(CODES) == set(Reason)
    assert grpc.StatusCode.OK not in CODES.values()
