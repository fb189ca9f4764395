"""How the provider service opens a WebSocket: whose key, which addresses, and by which proxy."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import custom_provider_pb2
from kit.errors import GatewayError, Reason
from kit.secret import Secret
from tests.fakes.key_vault import KeyVault, paying
from tests.fakes.ports import free_port
from tests.fakes.provider_calls import ProviderHarness, native_request, provider_harness, timeouts_message
from tests.fakes.realtime import FakeRealtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST, SECOND = "sk-stored-first-0123456789", "sk-stored-second-0123456789"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeRealtime]:
    async with FakeRealtime() as server:
        yield server


async def opened(providers: ProviderHarness, request: pb.InvokeRequest, *offers: str) -> pb.Opened:
    """Open a session and end it."""

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield pb.ConnectRequest(open=request, subprotocols=offers)
        await asyncio.Event().wait()

    answers: Any = providers.servicer.Connect(messages(), None)
    async with asyncio.timeout(10), aclosing(answers):
        first: pb.ConnectResponse = await anext(answers)
        return first.opened


def session(provider: str = "openai", query: str = "model=m", **given: Any) -> pb.InvokeRequest:
    given.setdefault("headers", {})
    return native_request(provider, given.pop("path", ""), method="GET", query=query, **given)


async def test_a_refused_key_gives_way(upstream: FakeRealtime) -> None:
    """Another stored key of the pool is tried in the place of one that is refused."""
    vault = KeyVault()
    vault.put("openai", FIRST, SECOND)
    async with paying(vault) as payer, provider_harness(upstream.url, payer=payer) as providers:
        one = await opened(providers, session())
        used = upstream.handshakes[0].headers["authorization"].removeprefix("Bearer ")
        upstream.refuses = {used}
        ends = [await opened(providers, session()) for _ in range(3)]

    assert [101] * 4 == [one.status, *(each.status for each in ends)]
    assert {FIRST, SECOND} == {
        each.headers["authorization"].removeprefix("Bearer ") for each in upstream.handshakes
    }


async def test_all_keys_refused(upstream: FakeRealtime) -> None:
    """When all are, the provider's own answer is the answer, without any of them."""
    upstream.refuses = {FIRST, SECOND}
    vault = KeyVault()
    vault.put("openai", FIRST, SECOND)
    async with paying(vault) as payer, provider_harness(upstream.url, payer=payer) as providers:
        answer = await opened(providers, session())

    assert (401, 2) == (answer.status, len(upstream.handshakes))
    assert pb.FAILURE_CLASS_AUTHENTICATION == getattr(answer.failure, "class")
    assert b"Incorrect API key" in answer.body
    assert not [key for key in (FIRST, SECOND) if key.encode() in answer.SerializeToString()]


async def test_without_a_key(upstream: FakeRealtime) -> None:
    """Without any key the provider is not asked."""
    async with provider_harness(upstream.url) as providers:
        with pytest.raises(GatewayError) as caught:
            await opened(providers, session())

    assert (Reason.CREDENTIAL_MISSING, []) == (caught.value.reason, upstream.handshakes)


async def test_a_path_that_leads_elsewhere(upstream: FakeRealtime) -> None:
    """A model that is no part of a path is refused, as such a path is."""
    async with provider_harness(upstream.url, operator_key=FIRST) as providers:
        for request in (session("workers-ai", "model=../../x"), session(path="v1/../x")):
            with pytest.raises(GatewayError) as caught:
                await opened(providers, request)
            assert Reason.INVALID_REQUEST is caught.value.reason

    assert [] == upstream.handshakes


async def test_an_account_cannot_lead_inside(upstream: FakeRealtime) -> None:
    """An address that an account chose is looked at for a WebSocket as it is for a request."""
    request = session("custom-inside")
    request.custom.CopyFrom(
        custom_provider_pb2.CustomProvider(base_url=upstream.url.replace("http:", "https:"))
    )
    async with provider_harness(upstream.url, operator_key=FIRST) as providers:
        with pytest.raises(GatewayError) as caught:
            await opened(providers, request)

    assert (Reason.INVALID_REQUEST, "base_url") == (caught.value.reason, caught.value.metadata["param"])


async def test_by_the_proxy() -> None:
    """The operator's proxy is asked for WebSockets as well."""
    asked: list[str] = []

    async def refuse(request: web.BaseRequest) -> web.Response:
        asked.append(f"{request.method} {request.raw_path}")
        return web.json_response({"error": {"message": "Not through me."}}, status=403)

    runner, port = web.ServerRunner(web.Server(refuse)), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    proxy = Secret(f"http://127.0.0.1:{port}")
    async with provider_harness("http://provider.test", operator_key=FIRST, proxy_url=proxy) as providers:
        answer = await opened(providers, session())
    await runner.cleanup()

    assert (403, ["GET http://provider.test/v1/realtime?model=m"]) == (answer.status, asked)


async def test_a_provider_that_does_not_answer() -> None:
    """A handshake has a time of its own."""
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    request = session(timeouts=timeouts_message(connect=0.05, first_byte=0.05))
    async with provider_harness(f"http://127.0.0.1:{port}", operator_key=FIRST) as providers:
        with pytest.raises(GatewayError) as caught:
            await opened(providers, request)
    for writer in writers:
        writer.close()
    silent.close()

    assert (Reason.UPSTREAM_TIMEOUT, "connect", "operator") == (
        caught.value.reason, caught.value.metadata["timer"], caught.value.metadata["key"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "first",
    [
        pb.ConnectRequest(),
        pb.ConnectRequest(frame=pb.Frame(data=b"x")),
        pb.ConnectRequest(open=pb.InvokeRequest(client_dialect=http_pb2.DIALECT_OPENAI_CHAT)),
    ],
    ids=["nothing", "a frame", "another dialect"],
)
async def test_a_beginning_that_is_none(upstream: FakeRealtime, first: pb.ConnectRequest) -> None:
    """A session begins with a native call."""

    async def messages() -> AsyncIterator[pb.ConnectRequest]:
        yield first

    async with provider_harness(upstream.url) as providers:
        with pytest.raises(GatewayError) as caught:
            await anext(aiter(providers.servicer.Connect(messages(), None)))

    assert Reason.INVALID_REQUEST is caught.value.reason
