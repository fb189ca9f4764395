"""Calls to a service with several replicas, while replicas stop, die, and come back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from headrace.auth.v1 import auth_service_pb2 as pb
from headrace.auth.v1 import auth_service_pb2_grpc, credential_pb2, credential_pb2_grpc
from kit.errors import GatewayError, Reason
from tests.fakes.name_server import name_server
from tests.fakes.replicas import HANG, Replica, addresses, channel_to, killable, replica, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT_S = 20.0


class Client:
    """Calls whichever replica gRPC picks."""

    def __init__(self, channel: Any) -> None:
        self._auth: Any = auth_service_pb2_grpc.AuthServiceStub(channel)
        self._credentials: Any = credential_pb2_grpc.CredentialServiceStub(channel)

    async def ask(self, word: str = "") -> None:
        """Ask for something that may be asked twice."""
        await self._auth.Authenticate(pb.AuthenticateRequest(token=word), timeout=TIMEOUT_S)

    async def change(self, word: str = "") -> None:
        """Ask for something that must not happen twice."""
        reports = [credential_pb2.KeyReport()] if word else []
        await self._credentials.ReportKeys(
            credential_pb2.ReportKeysRequest(reports=reports), timeout=TIMEOUT_S
        )

    def watch(self) -> Any:
        return self._auth.Watch(pb.WatchRequest())

    async def until(self, *replicas: Replica) -> None:
        """Ask until each of some replicas was asked: connections to all of them are there."""
        async with asyncio.timeout(TIMEOUT_S):
            while not all(each.calls for each in replicas):
                await self.ask()
        for each in replicas:
            each.calls = 0


@asynccontextmanager
async def _two() -> AsyncIterator[tuple[Replica, Replica, Client]]:
    one, other = addresses(2)
    async with replica(one) as first, replica(other) as second, channel_to(one, other) as channel:
        client = Client(channel)
        await client.until(first, second)
        yield first, second, client


async def test_calls_go_to_all_replicas_in_turn() -> None:
    """Each has its share."""
    async with _two() as (first, second, client):
        for _ in range(10):
            await client.ask()

        assert (5, 5) == (first.calls, second.calls)


async def test_a_replica_that_leaves_is_left_and_answers_what_it_has() -> None:
    """New calls go to the other one, long before it closes a connection."""
    async with _two() as (first, second, client):
        held = [asyncio.create_task(client.change(HANG)) for _ in range(2)]
        while first.calls + second.calls < 2:  # noqa: ASYNC110 - the other end of a connection
            await asyncio.sleep(0.005)
        first.server.leave()
        async with asyncio.timeout(TIMEOUT_S):
            while True:  # until the client has heard of it
                before = first.calls
                for _ in range(4):
                    await client.change()
                if before == first.calls:
                    break
        for each in (first, second):
            each.let_go.set()

        assert [None, None] == await asyncio.gather(*held)


async def test_a_planned_stop_fails_no_call() -> None:
    """Under calls without a pause, of a kind that is not made again."""
    async with _two() as (first, second, client):
        stop = asyncio.Event()

        async def call() -> int:
            made = 0
            while not stop.is_set():
                await client.change()
                made += 1
            return made

        callers = [asyncio.create_task(call()) for _ in range(8)]
        await asyncio.sleep(0.1)
        first.server.leave()
        await asyncio.sleep(0.2)
        await first.server.stop(5)
        await asyncio.sleep(0.1)
        stop.set()

        made = sum(await asyncio.gather(*callers))

        assert first.calls + second.calls == made


async def test_a_call_that_a_killed_replica_had_goes_to_another_if_it_may() -> None:
    """What may be asked twice is asked again; what must not be is a clear error, and is not done twice."""
    one, other = addresses(2)
    async with killable(one) as process, replica(other) as second, channel_to(one, other) as channel:
        client = Client(channel)
        known = asyncio.create_task(said(process, "known"))
        while not (known.done() and second.calls):
            await client.ask("known")
        second.calls = 0
        # Two calls in a row go to two replicas.
        calls = [
            asyncio.create_task(call(HANG)) for call in (client.ask, client.ask, client.change, client.change)
        ]
        for _ in range(2):
            await said(process, HANG)
        process.kill()
        while second.calls < 3:  # noqa: ASYNC110 - the other end of a connection
            await asyncio.sleep(0.005)
        second.let_go.set()
        asks, changes = (await asyncio.gather(*calls, return_exceptions=True))[:2], calls[2:]

        assert [None, None] == asks
        failed = [each.exception() for each in changes if each.exception() is not None]
        assert [Reason.SERVICE_UNAVAILABLE] == [getattr(each, "reason", None) for each in failed]
        assert 3 == second.calls


@pytest.mark.parametrize(
    ("reason", "answered"), [(Reason.SERVICE_UNAVAILABLE, 4), (Reason.UNAUTHENTICATED, 2)]
)
async def test_what_one_replica_cannot_do_another_may(reason: Reason, answered: int) -> None:
    """A replica that cannot reach its database does not fail calls that may be made again."""
    async with _two() as (first, second, client):
        first.failing = reason
        failed = []
        for _ in range(4):
            try:
                await client.ask()
            except GatewayError as error:
                failed.append(error.reason)

        assert [reason] * (4 - answered) == failed
        assert answered == second.calls


async def _lost(channel: grpc.aio.Channel) -> None:
    """Wait until a channel knows that its replica has gone: what is sent before goes with it."""
    while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)


async def test_a_call_waits_for_a_replica_to_come_back() -> None:
    """When there is none at all for a moment, as between two replicas of a service that has one."""
    (one,) = addresses(1)
    async with channel_to(one) as channel:
        client = Client(channel)
        async with replica(one) as first:
            await client.until(first)
        await _lost(channel)
        waiting = asyncio.create_task(client.change())
        watching = client.watch()
        first_told = asyncio.create_task(anext(watching))
        await asyncio.sleep(0.1)
        async with replica(one) as second, aclosing(watching):
            await waiting
            await first_told

            assert 2 == second.calls


async def test_what_is_sent_while_it_is_asked_waits_too() -> None:
    """It cannot be sent twice, so it does not begin before there is a connection."""
    (one,) = addresses(1)

    async def requests() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    async with channel_to(one) as channel:
        client = Client(channel)
        async with replica(one) as first:
            await client.until(first)
        await _lost(channel)
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(requests())
        told = asyncio.create_task(anext(answers))
        await asyncio.sleep(0.1)
        async with replica(one), aclosing(answers):
            assert (await told).HasField("list_services_response")


async def test_nobody_waits_for_a_service_that_has_long_been_away() -> None:
    """The first call waits, later ones fail at once."""
    (one,) = addresses(1)
    async with channel_to(one) as channel:
        channel._channel._patience_s = 0.1  # type: ignore[attr-defined]
        client = Client(channel)
        with pytest.raises(GatewayError) as caught:
            await client.ask()
        assert Reason.SERVICE_UNAVAILABLE == caught.value.reason
        async with asyncio.timeout(TIMEOUT_S):
            for _ in range(50):
                with pytest.raises(GatewayError):
                    await client.change()


async def test_a_connection_that_grows_old_takes_no_call_with_it() -> None:
    """A stream on it goes on, and calls go on over the next one."""
    (one,) = addresses(1)
    async with replica(one, max_age_s=0.2) as first, channel_to(one) as channel:
        client = Client(channel)
        async with aclosing(client.watch()) as stream:
            await asyncio.wait_for(anext(stream), TIMEOUT_S)
            until = asyncio.get_running_loop().time() + 0.8
            while asyncio.get_running_loop().time() < until:
                await client.change()
            first.let_go.set()

            assert await asyncio.wait_for(anext(stream), TIMEOUT_S)


async def test_a_new_replica_has_work_soon() -> None:
    """Its address is found when a connection to another one has grown old, and no call fails."""
    one, other = addresses(2)
    async with name_server() as names, replica(one, max_age_s=0.3) as first:
        names.addresses = [_host(one)]
        async with channel_to(names.target(_port(one))) as channel:
            client = Client(channel)
            await client.until(first)
            async with replica(other) as second:
                names.addresses.append(_host(other))
                async with asyncio.timeout(TIMEOUT_S):
                    while not second.calls:
                        await client.change()
                        await asyncio.sleep(0.01)


async def test_a_replica_takes_the_place_of_the_only_one() -> None:
    """Without a failed call, of those that are not made again once they were sent."""
    one, other = addresses(2)
    async with name_server() as names, replica(one) as first, replica(other) as second:
        names.addresses = [_host(one)]
        async with channel_to(names.target(_port(one))) as channel:
            client = Client(channel)
            await client.until(first)
            names.addresses = [_host(other)]
            first.server.leave()
            calls = [asyncio.create_task(client.change()) for _ in range(4)]
            await asyncio.sleep(0.1)
            await first.server.stop(5)

            assert [None] * 4 == await asyncio.gather(*calls)
            assert 4 == first.calls + second.calls
            await client.change()
            assert second.calls


def _host(address: str) -> str:
    return address.partition(":")[0]


def _port(address: str) -> int:
    return int(address.partition(":")[2])
