"""Envoy between clients and real services, with TLS everywhere: what it says of callers is what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from deploy.certificates import Authority, lay
from deploy.envoy.render import Identity, PublicTls
from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT
from tests.fakes.front_door import running_front_door
from tests.fakes.peers import chunk, edge_between, head, tail
from tests.fakes.ports import free_ports
from tests.fakes.tls_world import SERVER, spiffe, tls_world

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORGED = (("headrace-caller", "edge"),)


def identity(directory: Path, authority: Authority) -> Identity:
    """Give Envoy its certificate."""
    lay(directory / "envoy", authority.issue(uri=spiffe("envoy")))
    return Identity(directory=directory / "envoy", trust_domain="headrace")


async def test_request_through_envoy(tmp_path: Path) -> None:
    """A client that speaks plain HTTP to Envoy is answered by an edge that lets in Envoy alone."""
    authority = Authority.new()
    lay(tmp_path / "edge", authority.issue(dns=[SERVER], uri=spiffe("edge")))
    async with edge_between(tmp_path, tls_dir=str(tmp_path / "edge")) as peers:
        peers.provider.script = [head(), chunk(ANSWER), tail()]
        peers.auth.restrictions.addresses.append("127.0.0.0/8")  # as Envoy sees the client
        address = peers.base.removeprefix("http://")
        own = identity(tmp_path, authority)
        async with (
            running_front_door(tmp_path, edge_http=(address,), identity=own) as door,
            door.http.post(door.url + CHAT, json=BODY, headers=AUTH) as response,
        ):
            found = response.status, await response.read()

    assert (200, ANSWER) == found


async def test_callers_through_envoy(tmp_path: Path) -> None:
    """A client is who its certificate says, may do what was granted to it, and is nobody else."""
    public = Authority.new("public")
    lay(tmp_path / "public", public.issue(dns=["localhost"]))
    port, grpc_port = free_ports(2)
    shown = PublicTls(
        directory=tmp_path / "public", port=port, http3_port=port, grpc_port=grpc_port, alt_svc=":443"
    )
    async with tls_world(tmp_path, ["reporting=AuthService/Authenticate"]) as world:
        own = identity(tmp_path, world.authority)

        async def call(files: Mapping[str, bytes] | None) -> grpc.StatusCode:
            pair = (files["tls.key"], files["tls.crt"]) if files else (None, None)
            credentials = grpc.ssl_channel_credentials(public.pem, *pair)
            async with grpc.aio.secure_channel(door.grpc_tls_address, credentials) as channel:
                stub: Any = auth_service_pb2_grpc.AuthServiceStub(channel)
                try:
                    await stub.Authenticate(pb.AuthenticateRequest(), metadata=FORGED, timeout=10)
                except grpc.aio.AioRpcError as error:
                    return error.code()
            return grpc.StatusCode.OK

        async with running_front_door(tmp_path, auth=(world.target,), identity=own, public_tls=shown) as door:
            found = [
                await call(world.authority.issue(uri=spiffe("caller/reporting"))),
                await call(world.authority.issue(uri=spiffe("caller/billing"))),
                await call(world.authority.issue(uri=spiffe("edge"))),
                await call(None),
            ]

    refused = grpc.StatusCode.PERMISSION_DENIED
    assert [grpc.StatusCode.OK, refused, refused, refused] == found
