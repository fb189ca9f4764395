"""Gateways made and changed at a running router, as other suites need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.router.v1 import gateway_pb2
from headrace.router.v1 import gateway_service_pb2 as pb
from headrace.router.v1.gateway_service_pb2_grpc import GatewayServiceStub
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    import grpc.aio

__all__ = ["DEFAULTS", "get_gateway", "put_gateway", "settings"]

# What a gateway that made itself has, where that is not what a message without it says.
DEFAULTS = {"authentication": True, "collect_logs": True, "collect_payloads": True}


def settings(**changes: Any) -> gateway_pb2.GatewaySettings:
    """Return the settings of a gateway that made itself, with some of them changed."""
    return gateway_pb2.GatewaySettings(**{**DEFAULTS, **changes})


async def put_gateway(
    channel: grpc.aio.Channel, account_id: str = "acme", gateway_id: str = "default", **changes: Any
) -> gateway_pb2.Gateway:
    """Make a gateway, or replace its settings; what is not named is as of one that made itself."""
    stub: Any = GatewayServiceStub(channel)
    wanted: dict[str, Any] = {
        "account_id": account_id,
        "gateway_id": gateway_id,
        "settings": settings(**changes),
    }
    try:
        made: pb.CreateGatewayResponse = await stub.CreateGateway(
            pb.CreateGatewayRequest(**wanted), timeout=5
        )
    except GatewayError as error:
        if error.reason is not Reason.CONFLICT:
            raise
        replaced: pb.ReplaceGatewayResponse = await stub.ReplaceGateway(
            pb.ReplaceGatewayRequest(**wanted), timeout=5
        )
        return replaced.gateway
    return made.gateway


async def get_gateway(
    channel: grpc.aio.Channel, account_id: str = "acme", gateway_id: str = "default"
) -> gateway_pb2.Gateway:
    """Find a gateway."""
    stub: Any = GatewayServiceStub(channel)
    request = pb.GetGatewayRequest(account_id=account_id, gateway_id=gateway_id)
    answer: pb.GetGatewayResponse = await stub.GetGateway(request, timeout=5)
    return answer.gateway
