"""Calls between hosts: the certificate says who calls, and who does not show one that counts is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from deploy.certificates import Authority, service_names
from headrace.auth.v1 import auth_service_pb2 as pb
from kit.errors import GatewayError, Reason
from tests.fakes.tls_world import SERVER, TlsWorld, spiffe, tls_world

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = pb.AuthenticateRequest(account_id="a")
GRANT = "reporting=AuthService/Authenticate"


async def reason(stub: Any, metadata: tuple[tuple[str, str], ...] = ()) -> Reason | None:
    """Call, and say why it was refused; None: it was answered."""
    try:
        await stub.Authenticate(REQUEST, timeout=5, metadata=metadata)
    except GatewayError as error:
        return error.reason
    return None


def client(world: TlsWorld, identity: str, says: str = "edge") -> Any:
    """Give a stub for a caller with a certificate of an identity, who says in metadata what it likes."""
    files = world.authority.issue(uri=identity)
    return world.stub(world.source("client", files), says=says)


async def test_call_with_a_certificate_is_answered(tmp_path: Path) -> None:
    """The common case."""
    async with tls_world(tmp_path) as world:
        answer = await client(world, spiffe("edge")).Authenticate(REQUEST, timeout=5)

        assert "a" == answer.principal.account_id


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (spiffe("cache"), "edge"),
        (spiffe("cache"), ""),
        (spiffe("edge", "elsewhere"), "edge"),
        (spiffe("caller/edge"), "edge"),
        (spiffe("edge/x"), "edge"),
        (spiffe(""), "edge"),
        ("https://headrace/edge", "edge"),
        (spiffe("envoy"), "edge"),
        (spiffe("envoy"), "caller/reporting"),
    ],
)
async def test_whoever_is_not_on_the_list_may_not_call(tmp_path: Path, identity: str, says: str) -> None:
    """The identity counts, whatever the metadata says."""
    async with tls_world(tmp_path) as world:
        assert Reason.CALLER_NOT_ALLOWED == await reason(client(world, identity, says))


async def test_metadata_is_not_needed(tmp_path: Path) -> None:
    """A service that gives itself another name, or none, is the one that its certificate names."""
    async with tls_world(tmp_path) as world:
        assert [None, None] == [await reason(client(world, spiffe("edge"), says)) for says in ("", "cache")]


@pytest.mark.parametrize(
    ("identity", "says", "refused"),
    [
        (spiffe("caller/reporting"), "", False),
        (spiffe("caller/billing"), "", True),
        (spiffe("caller/billing"), "caller/reporting", True),
        (spiffe("reporting"), "", True),
        (spiffe("envoy"), "caller/reporting", False),
        (spiffe("envoy"), "caller/billing", True),
        (spiffe("envoy"), "external", True),
        (spiffe("envoy"), "", True),
    ],
)
async def test_operators_own_callers(tmp_path: Path, identity: str, says: str, *, refused: bool) -> None:
    """Who has a certificate of its own may call what was granted, directly or through Envoy."""
    async with tls_world(tmp_path, [GRANT]) as world:
        expected = Reason.CALLER_NOT_ALLOWED if refused else None

        assert expected == await reason(client(world, identity, says))


async def test_grant_is_for_one_rpc(tmp_path: Path) -> None:
    """A granted RPC opens no other."""
    async with tls_world(tmp_path, [GRANT]) as world:
        with pytest.raises(GatewayError) as caught:
            await anext(client(world, spiffe("caller/reporting")).Watch(pb.WatchRequest()))

        assert Reason.CALLER_NOT_ALLOWED == caught.value.reason


async def test_no_certificate_no_connection(tmp_path: Path) -> None:
    """Who speaks no TLS, or is of another authority, does not get as far as a call."""
    async with tls_world(tmp_path) as world:
        other = Authority.new()
        stranger = other.issue(uri=spiffe("edge"), trusted=[world.authority])
        impostor = world.authority.issue(uri=spiffe("edge"), trusted=[other])
        found = await asyncio.gather(
            reason(world.stub(None)),
            reason(world.stub(world.source("stranger", stranger))),
            reason(world.stub(world.source("impostor", impostor))),
        )

        assert [Reason.SERVICE_UNAVAILABLE] * 3 == list(found)
        assert set() == world.auth.seen


async def test_anonymous_tls_is_refused(tmp_path: Path) -> None:
    """TLS without a certificate of the client is not enough."""
    import grpc
    import grpc.aio

    from headrace.auth.v1 import auth_service_pb2_grpc

    async with tls_world(tmp_path) as world:
        credentials = grpc.ssl_channel_credentials(world.authority.pem)
        async with grpc.aio.secure_channel(world.target, credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await auth_service_pb2_grpc.AuthServiceStub(channel).Authenticate(REQUEST, timeout=5)

        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()


async def test_expired_client_is_refused(tmp_path: Path) -> None:
    """A certificate that ran out while it was in use gets no new connection."""
    async with tls_world(tmp_path) as world:
        source = world.source("client", world.authority.issue(uri=spiffe("edge")))
        old = datetime.now(UTC) - timedelta(days=2)
        expired = world.authority.issue(uri=spiffe("edge"), not_before=old, lifetime=timedelta(days=1))
        source._files = _unchecked(source, expired)  # as when time has passed; a start refuses it

        assert Reason.SERVICE_UNAVAILABLE == await reason(world.stub(source))


async def test_server_must_have_the_name_that_was_called(tmp_path: Path) -> None:
    """The certificate of another service of ours does not do."""
    async with tls_world(tmp_path) as world:
        world.lay("server", world.authority.issue(dns=service_names("cache"), uri=spiffe("cache")))
        await world.server_tls.refresh()
        refused = await reason(client(world, spiffe("edge")))
        world.lay("server", world.authority.issue(dns=[SERVER], uri=spiffe("auth")))
        await world.server_tls.refresh()

        assert (Reason.SERVICE_UNAVAILABLE, None) == (refused, await reason(client(world, spiffe("edge"))))


def _unchecked(source: Any, files: dict[str, bytes]) -> Any:
    import dataclasses

    return dataclasses.replace(
        source.files, certificate=files["tls.crt"], key=files["tls.key"], authorities=files["ca.crt"]
    )
