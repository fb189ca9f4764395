"""Makes an operator's token over auth's own socket, where no token is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.rpc import TIMEOUT_S, channel
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from headrace.auth.v1 import token_pb2
    from kit.runtime_config import RuntimeConfig

__all__ = ["recover"]


async def recover(runtime: RuntimeConfig, name: str) -> token_pb2.CreateTokenResponse:
    """
    Make a token of the installation's own account that allows everything.

    Raises:
        GatewayError: Auth is elsewhere, or refuses.
    """
    from headrace.auth.v1 import token_pb2 as pb
    from headrace.auth.v1.token_pb2_grpc import TokenServiceStub
    from headrace.common.v1 import actor_pb2

    if not runtime.target("auth").startswith("unix:"):
        raise GatewayError(
            Reason.PERMISSION_DENIED, "This works only on the machine that auth runs on, over its socket."
        )
    permissions = [number for number in pb.Permission.values() if number != pb.PERMISSION_UNSPECIFIED]
    request = pb.CreateTokenRequest(
        owner=pb.TokenOwner(account_id=runtime.account),
        spec=pb.TokenSpec(name=name, grants=[pb.Grant(account_id=runtime.account, permissions=permissions)]),
        actor=actor_pb2.Actor(interface="cli"),
    )
    async with channel("auth", runtime) as opened:
        answer: pb.CreateTokenResponse = await TokenServiceStub(opened).CreateToken(
            request, timeout=TIMEOUT_S
        )
    return answer
