"""
The running systems that end-to-end tests share.

One stack per topology and test process, started on first use and kept to the end; tests of one topology are
kept on one worker (see `tests/conftest.py`). What kills, stops or floods a stack starts its own by `launch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import aiohttp
import pytest

from tests.e2e.log_view import LogView
from tests.e2e.topologies import TOPOLOGIES
from tests.e2e.upstreams import Upstreams, running_upstreams
from tests.fakes.stack import Setup, Stack, Topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Launch(Protocol):
    """Starts a stack that is stopped when the test is over, if it still runs then."""

    def __call__(
        self,
        topology: Topology,
        *,
        local_model: bool = ...,
        envoy: bool = ...,
        workers: int = ...,
        **env: str,
    ) -> Stack:
        """Start one, with further settings in `env`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test time for starting a stack."""
    for item in items:
        if "tests/e2e/" in str(item.path) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstreams]:
    """Run the stand-in providers and the collector of traces."""
    with running_upstreams(tmp_path_factory.mktemp("upstreams")) as running:
        yield running


class Stacks:
    """The shared stacks, by topology."""

    def __init__(self, upstreams: Upstreams, factory: pytest.TempPathFactory) -> None:
        self._upstreams = upstreams
        self._factory = factory
        self._running: dict[Topology, Stack] = {}

    def get(self, topology: Topology) -> Stack:
        """Give the stack of a topology, starting it on first use."""
        if topology not in self._running:
            setup = Setup(topology=topology, local_model=True, env=self._upstreams.environment())
            stack = Stack(setup, self._factory.mktemp(topology))
            try:
                stack.start()
            except BaseException:
                stack.stop()
                raise
            self._running[topology] = stack
        return self._running[topology]

    def stop(self) -> None:
        """Stop them all, each of which must leave nothing and have found no defect in itself."""
        stopped = [stack.stop() for stack in self._running.values()]
        for how in stopped:
            how.assert_clean()
        errors = [line for stack in self._running.values() for line in stack.errors()]
        assert not errors, "\n".join(errors)


@pytest.fixture(scope="session")
def stacks(upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stacks]:
    """Keep the shared stacks."""
    stacks = Stacks(upstreams, tmp_path_factory)
    yield stacks
    stacks.stop()


@pytest.fixture(params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> Topology:
    """Name how services are spread over processes."""
    topology: Topology = request.param
    return topology


@pytest.fixture
def stack(topology: Topology, stacks: Stacks) -> Stack:
    """Give the shared stack of the topology."""
    return stacks.get(topology)


@pytest.fixture
def launch(upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Start stacks of the test's own."""
    started: list[Stack] = []

    def start(
        topology: Topology, *, local_model: bool = False, envoy: bool = True, workers: int = 1, **env: str
    ) -> Stack:
        setup = Setup(
            topology=topology,
            local_model=local_model,
            envoy=envoy,
            workers=workers,
            env={**upstreams.environment(), **env},
        )
        stack = Stack(setup, tmp_path_factory.mktemp("own"))
        started.append(stack)
        stack.start()
        return stack

    yield start
    for stack in started:
        stack.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP client without limits of its own."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        yield session


@pytest.fixture
def logs(session: aiohttp.ClientSession, stack: Stack) -> LogView:
    """Give the shared stack's log."""
    return LogView(session, stack)
