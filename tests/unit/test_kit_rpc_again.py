"""Which calls wait for a connection once a service has been away for long."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from kit.rpc.again import RepeatingChannel

# As gRPC says it.
FAILING = "connections to all backends failing; last error: "
SILENT = f"{FAILING}UNAVAILABLE: ipv4:10.0.0.1:9000: connection attempt timed out before receiving SETTINGS"
REFUSED = f"{FAILING}UNKNOWN: ipv4:10.0.0.1:9000: Failed to connect to remote host: Connection refused (111)"
RESERVE = "/headrace.router.v1.RouterService/Reserve"
PLAN = "/headrace.router.v1.RouterService/Plan"


class Channel:
    """Has no connection for so many calls."""

    def __init__(self) -> None:
        self.failures = 0
        self.details = SILENT
        self.states: list[grpc.ChannelConnectivity] = []

    def get_state(self) -> grpc.ChannelConnectivity:
        return self.states.pop() if self.states else grpc.ChannelConnectivity.READY

    def unary_unary(self, method: str) -> Any:
        async def call(_: bytes, **__: Any) -> str:
            if self.failures:
                self.failures -= 1
                nothing = grpc.aio.Metadata()
                raise grpc.aio.AioRpcError(
                    grpc.StatusCode.UNAVAILABLE, nothing, nothing, details=self.details
                )
            return method

        return call


@pytest.mark.parametrize(
    ("method", "details", "answered"),
    [(RESERVE, SILENT, True), (RESERVE, REFUSED, False), (PLAN, SILENT, False)],
)
async def test_after_a_silence_a_call_waits_for_the_next_connection(
    method: str, details: str, *, answered: bool
) -> None:
    """It may be this host that was cut off. Nobody waits where somebody refused, or can do without."""
    inner = Channel()
    channel: Any = RepeatingChannel(inner, patience_s=0.2)  # type: ignore[arg-type]
    inner.details = details
    inner.failures = 1_000_000
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(method)(b"", timeout=20)
    inner.failures = 2
    try:
        found = await channel.unary_unary(method)(b"", timeout=20)
    except grpc.aio.AioRpcError:
        found = None

    assert (method if answered else None) == found


async def test_a_call_that_waits_has_an_end() -> None:
    """Each has as much patience as the first one had."""
    inner = Channel()
    channel: Any = RepeatingChannel(inner, patience_s=0.1)  # type: ignore[arg-type]
    inner.failures = 1_000_000
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(RESERVE)(b"", timeout=20)


async def test_what_is_sent_while_it_is_asked_waits_after_a_silence_too() -> None:
    """It cannot be sent twice, so it does not begin before there is a connection."""
    inner = Channel()
    channel: Any = RepeatingChannel(inner, patience_s=0.1)  # type: ignore[arg-type]
    inner.failures = 1_000_000
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(RESERVE)(b"", timeout=20)
    inner.states = [grpc.ChannelConnectivity.TRANSIENT_FAILURE] * 3
    await channel.until_connected()

    assert [] == inner.states
