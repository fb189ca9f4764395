"""What a router's limits do while Valkey is away, over real gRPC."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import duration_pb2

from headrace.common.v1 import caller_pb2
from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import put_gateway
from tests.fakes.one_service import OneService, serve
from tests.fakes.valkey_server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MODES = ("hard", "soft")


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


@asynccontextmanager
async def _router(server: Server, tmp_path: Path, **env: str) -> AsyncIterator[tuple[OneService, Any]]:
    """Serve a router with a gateway for each mode of a limit of money, named after it."""
    settings = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_ROUTER_VALKEY_URL": server.new_url().reveal(),
        **env,
    }
    async with serve(build, settings) as one:
        for mode in MODES:
            rule = {
                "id": "r", "limitType": "cost", "limit": 1, "window": 86_400, "technique": "fixed",
                "mode": mode,
            }  # fmt: skip
            document = json.dumps({"enabled": True, "rules": [rule]})
            await put_gateway(one.channel("cli"), gateway_id=mode, spend_limits_json=document)
        yield one, RouterServiceStub(one.channel("edge"))


async def _reserve(stub: Any, mode: str, reservation_id: str) -> pb.ReserveResponse:
    caller = caller_pb2.Caller(account_id="acme", gateway_id=mode, token_id="t1")
    request = pb.ReserveRequest(
        caller=caller, id=reservation_id, provider="openai", model="gpt-4o", tokens=10, nano_usd=1000,
        lifetime=duration_pb2.Duration(seconds=60),
    )  # fmt: skip
    answer: pb.ReserveResponse = await stub.Reserve(request, timeout=20)
    return answer


async def _refused(stub: Any, reservation_id: str) -> tuple[Reason, str]:
    with pytest.raises(GatewayError) as caught:
        await _reserve(stub, "hard", reservation_id)
    return caught.value.reason, caught.value.message


async def test_a_restart_is_waited_for(server: Server, tmp_path: Path) -> None:
    """Nobody is refused, whatever the limit."""
    async with _router(server, tmp_path, HEADRACE_ROUTER_COUNTERS_WAIT_S="30") as (_, stub):
        server.stop()
        soft = await _reserve(stub, "soft", "s")
        waiting = [asyncio.create_task(_reserve(stub, "hard", f"h{number}")) for number in range(20)]
        await asyncio.wait(waiting, timeout=0.3)
        assert not any(task.done() for task in waiting)
        server.start()
        hard = await asyncio.gather(*waiting)

    assert {True} == {answer.reserved for answer in (soft, *hard)}


async def test_a_long_outage_refuses_what_has_a_hard_limit(server: Server, tmp_path: Path) -> None:
    """With a clear error, and goes on with everything else."""
    async with _router(server, tmp_path, HEADRACE_ROUTER_COUNTERS_WAIT_S="0.2") as (_, stub):
        server.stop()
        hard = [await _refused(stub, "a"), await _refused(stub, "b")]
        soft = await _reserve(stub, "soft", "c")

    assert [(Reason.SERVICE_UNAVAILABLE, "Limits cannot be checked at the moment.")] * 2 == hard
    assert soft.reserved


async def test_who_waits_is_told_when_the_router_stops(server: Server, tmp_path: Path) -> None:
    """So that another router is asked."""
    async with _router(server, tmp_path, HEADRACE_ROUTER_COUNTERS_WAIT_S="60") as (one, stub):
        server.stop()
        waiting = asyncio.create_task(_reserve(stub, "hard", "a"))
        await asyncio.wait((waiting,), timeout=0.2)
        assert one.service.drain is not None
        await one.service.drain(5.0)
        with pytest.raises(GatewayError) as caught:
            await waiting

    assert Reason.SERVICE_UNAVAILABLE is caught.value.reason
