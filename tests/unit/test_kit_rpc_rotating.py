"""When a channel with new certificates takes the place of the one before it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

from kit.rpc.rotating import RotatingChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.tls import TlsSource

READY = grpc.ChannelConnectivity.READY
CONNECTING = grpc.ChannelConnectivity.CONNECTING
FAILING = grpc.ChannelConnectivity.TRANSIENT_FAILURE


@dataclass(eq=False, slots=True)
class FakeChannel:
    """A channel in a state that is given, which gets ready when it is told to."""

    state: grpc.ChannelConnectivity = CONNECTING
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    closed: int = 0

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002  # gRPC's
        return self.state

    async def channel_ready(self) -> None:
        await self.ready.wait()

    async def close(self, grace: float | None = None) -> None:
        self.closed += 1


class FakeSource:
    """Certificates, which are any object here."""

    def __init__(self) -> None:
        self.files = object()
        self.changed: Callable[[], None] = lambda: None

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.changed = changed
        return lambda: None

    def change(self) -> None:
        self.files = object()
        self.changed()


@dataclass(slots=True)
class World:
    """A rotating channel, and the channels that it opened."""

    source: FakeSource = field(default_factory=FakeSource)
    opened: list[FakeChannel] = field(default_factory=list)

    def channel(self) -> RotatingChannel:
        return RotatingChannel(
            cast("Any", self._open), cast("TlsSource", self.source), service="auth", caller="edge"
        )

    def _open(self, _: object) -> FakeChannel:
        self.opened.append(FakeChannel())
        return self.opened[-1]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.rpc.rotating._CONNECT_S", 0.005)


@pytest.mark.parametrize(
    ("state", "replaced"),
    [(READY, False), (CONNECTING, False), (FAILING, True)],
    ids=["ready", "again", "broken"],
)
async def test_a_channel_is_kept_while_it_works(state: grpc.ChannelConnectivity, *, replaced: bool) -> None:
    """One that connects anew, as it does every time a server ends an old connection, is not broken."""
    world = World()
    channel = world.channel()
    (old,) = world.opened
    old.state = READY
    world.source.change()
    await asyncio.sleep(0.01)
    old.state = state
    await asyncio.sleep(0.05)
    after = channel.retired or old.closed

    assert (2, replaced) == (len(world.opened), bool(after))
    await channel.close()


async def test_a_channel_that_is_not_needed_is_closed() -> None:
    """A close while a new one connects leaves none open."""
    world = World()
    channel = world.channel()
    world.opened[0].state = READY
    world.source.change()
    await asyncio.sleep(0.01)
    await channel.close()

    assert [1, 1] == [each.closed for each in world.opened]
