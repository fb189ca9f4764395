"""Certificates that change while they are in use: no call fails, and none that has begun is cut."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest

from deploy.certificates import Authority
from headrace.auth.v1 import auth_service_pb2 as pb
from kit.errors import GatewayError, Reason
from kit.rpc.rotating import RotatingChannel
from tests.fakes.tls_world import SERVER, TlsWorld, spiffe, tls_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from kit.tls import TlsSource

REQUEST = pb.AuthenticateRequest(account_id="a")


class Load:
    """Calls without a pause, and one stream that goes on all the time."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.answered = 0
        self.heard: list[int] = []
        self.failures: list[BaseException] = []

    async def call(self) -> None:
        """Call until cancelled."""
        while True:
            try:
                await self._stub.Authenticate(REQUEST, timeout=10)
                self.answered += 1
            except GatewayError as error:
                self.failures.append(error)
                await asyncio.sleep(0.01)

    async def listen(self) -> None:
        """Keep what the stream says; it does not end by itself."""
        try:
            async with aclosing(self._stub.Watch(pb.WatchRequest())) as events:
                async for event in events:
                    self.heard.append(event.invalidation.generation)
        except GatewayError as error:
            self.failures.append(error)

    async def goes_on(self) -> None:
        """Wait until more was answered and heard."""
        answered, heard = self.answered, len(self.heard)
        await until(lambda: self.answered > answered + 20 and len(self.heard) > heard + 2)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what it waits for tells nobody
            await asyncio.sleep(0.005)


@asynccontextmanager
async def load(stub: Any) -> AsyncIterator[Load]:
    """Keep a service busy."""
    running = Load(stub)
    tasks = [asyncio.create_task(work) for work in (running.call(), running.call(), running.listen())]
    try:
        await running.goes_on()
        yield running
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def change(world: TlsWorld, sources: dict[str, TlsSource], files: dict[str, dict[str, bytes]]) -> None:
    """Lay new files and have them read, as the watch does."""
    for name, content in files.items():
        world.lay(name, content)
        await sources[name].refresh()


async def test_leaf_is_renewed_under_load(tmp_path: Path) -> None:
    """Both sides get new certificates of the same authority."""
    async with tls_world(tmp_path) as world:
        sources = {"server": world.server_tls, "client": client(world, world.authority)}
        async with load(world.stub(sources["client"])) as running:
            renewed = world.authority.issue(uri=spiffe("edge"))
            await change(world, sources, {"client": renewed, "server": server_files(world.authority)})
            await until(lambda: renewed["tls.crt"] in world.auth.seen)
            await running.goes_on()

    assert ([], list(range(1, len(running.heard) + 1))) == (running.failures, running.heard)


async def test_authority_is_replaced_under_load(tmp_path: Path) -> None:
    """First both trust both, then both get new certificates, then the old authority goes."""
    async with tls_world(tmp_path) as world:
        old, new = world.authority, Authority.new()  # of the same name, as when cert-manager renews one
        sources = {"server": world.server_tls, "client": client(world, old)}
        async with load(world.stub(sources["client"])) as running:
            for authority, trusted in ((old, [old, new]), (new, [old, new]), (new, [new])):
                shown = authority.issue(uri=spiffe("edge"), trusted=trusted)
                server = server_files(authority, trusted)
                await change(world, sources, {"server": server, "client": shown})
                await until(partial(world.auth.seen.__contains__, shown["tls.crt"]))
                await running.goes_on()
        left_behind = world.stub(world.source("late", old.issue(uri=spiffe("edge"), trusted=[old, new])))
        with pytest.raises(GatewayError) as caught:
            await left_behind.Authenticate(REQUEST, timeout=5)

    assert ([], list(range(1, len(running.heard) + 1))) == (running.failures, running.heard)
    assert Reason.SERVICE_UNAVAILABLE == caught.value.reason


async def test_certificate_that_peers_do_not_know_yet(tmp_path: Path) -> None:
    """A client that is ahead of its server goes on with what works, until the server has caught up."""
    async with tls_world(tmp_path) as world:
        new = Authority.new()
        both = [world.authority, new]
        sources = {"server": world.server_tls, "client": client(world, world.authority)}
        async with load(world.stub(sources["client"])) as running:
            early = new.issue(uri=spiffe("edge"), trusted=both)
            await change(world, sources, {"client": early})
            await running.goes_on()
            seen_early = early["tls.crt"] in world.auth.seen
            await change(world, sources, {"server": server_files(world.authority, both)})
            await until(lambda: early["tls.crt"] in world.auth.seen)

    assert ([], False) == (running.failures, seen_early)


@pytest.mark.parametrize("broken", ["other key", "expired", "half", "gone"])
async def test_unusable_files_change_nothing(tmp_path: Path, broken: str) -> None:
    """What does not fit is told once, and the certificate before it goes on."""
    registry = prometheus_client.CollectorRegistry()
    async with tls_world(tmp_path) as world:
        source = client(world, world.authority)
        source.measure(registry)
        before, good = source.files, world.authority.issue(uri=spiffe("edge"))
        world.lay("client", good | damage(world.authority, broken))
        for _ in range(2):
            await source.refresh()
        refused = count(registry, "refused")
        await world.stub(source).Authenticate(REQUEST, timeout=5)

        assert (before, 1.0) == (source.files, refused)
        world.lay("client", good)
        await source.refresh()
        assert (good["tls.crt"], 1.0) == (source.files.certificate, count(registry, "used"))


async def test_same_files_again_are_no_change(tmp_path: Path) -> None:
    """A directory that is swapped for one with the same content moves no connection."""
    async with tls_world(tmp_path) as world:
        files = world.authority.issue(uri=spiffe("edge"))
        source = world.source("client", files)
        told: list[int] = []
        source.subscribe(lambda: told.append(1))
        before = source.files
        world.lay("client", files)
        await source.refresh()

        assert (True, []) == (source.files is before, told)


async def test_files_are_watched(tmp_path: Path) -> None:
    """A change is found without being told."""
    async with tls_world(tmp_path) as world:
        source = client(world, world.authority)
        watching = asyncio.create_task(source.watch(every_s=0.01))
        renewed = world.authority.issue(uri=spiffe("edge"))
        world.lay("client", renewed)
        await until(lambda: source.files.certificate == renewed["tls.crt"])
        watching.cancel()


async def test_old_channel_ends_with_its_last_call(tmp_path: Path) -> None:
    """While a stream goes on its channel does too, and no longer."""
    made: list[RotatingChannel] = []
    async with tls_world(tmp_path) as world:
        source = client(world, world.authority)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kit.rpc.client.RotatingChannel", lambda *a, **k: noted(made, *a, **k))
            stub = world.stub(source)
        async with aclosing(stub.Watch(pb.WatchRequest())) as events:
            await anext(events)
            await change(world, {"client": source}, {"client": world.authority.issue(uri=spiffe("edge"))})
            await until(lambda: made[0].retired == 1)
            await anext(events)
            during = made[0].retired
        await until(lambda: made[0].retired == 0)

    assert 1 == during


async def test_old_channel_has_an_end(tmp_path: Path) -> None:
    """A stream without an end is cut off some day, as when its server goes, and can be opened again."""
    async with tls_world(tmp_path) as world:
        source = client(world, world.authority)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kit.rpc.client.RotatingChannel", partial(RotatingChannel, retired_s=0.05))
            stub = world.stub(source)
        events = stub.Watch(pb.WatchRequest())
        await anext(events)
        await change(world, {"client": source}, {"client": world.authority.issue(uri=spiffe("edge"))})
        with pytest.raises(GatewayError) as caught:
            await asyncio.wait_for(to_the_end(events), 10)
        async with aclosing(stub.Watch(pb.WatchRequest())) as again:
            first = await anext(again)

    assert (Reason.SERVICE_UNAVAILABLE, 1) == (caught.value.reason, first.invalidation.generation)


async def to_the_end(events: AsyncIterator[Any]) -> None:
    """Read a stream until it ends."""
    async for _ in events:
        pass


def client(world: TlsWorld, authority: Authority) -> TlsSource:
    """Give the edge its first certificate."""
    return world.source("client", authority.issue(uri=spiffe("edge")))


def server_files(authority: Authority, trusted: list[Authority] | None = None) -> dict[str, bytes]:
    """Give auth a certificate."""
    return authority.issue(dns=[SERVER], uri=spiffe("auth"), trusted=trusted)


def damage(authority: Authority, broken: str) -> dict[str, bytes]:
    """Give files that do not do."""
    match broken:
        case "other key":
            return {"tls.key": authority.issue(uri=spiffe("edge"))["tls.key"]}
        case "expired":
            old = datetime.now(UTC) - timedelta(days=2)
            return authority.issue(uri=spiffe("edge"), not_before=old, lifetime=timedelta(days=1))
        case "half":
            return {"tls.crt": authority.issue(uri=spiffe("edge"))["tls.crt"][:200]}
        case _:
            return {"ca.crt": b""}


def count(registry: prometheus_client.CollectorRegistry, result: str) -> float | None:
    """Read the count of changes."""
    return registry.get_sample_value("headrace_tls_reloads_total", {"result": result})


def noted(made: list[RotatingChannel], *args: Any, **kwargs: Any) -> RotatingChannel:
    """Make a channel and keep it for the test."""
    made.append(RotatingChannel(*args, **kwargs))
    return made[-1]
