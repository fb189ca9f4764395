"""`python -m services envoy` as a program: its stop, its hot restart, and what watches it may ask."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest
from aiohttp import web

from deploy.envoy.admin import Admin
from kit import rundir
from kit.probe import ask
from tests.fakes.front_door import FakeEdge, say_hello
from tests.fakes.ports import free_port
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(slots=True)
class Streams:
    """Answers `/stream` with two halves, the second one when it may, and all else with a greeting."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        if request.path != "/stream":
            return await say_hello(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begin ")
        self.begun.set()
        await self.release.wait()
        await response.write(b"end")
        return response


@dataclass(slots=True)
class Door:
    """
    The front door as a process, and an edge behind it.

    Attributes:
        process: The process that was started; Envoy is its child.
        port: For HTTP.
        metrics: Where it may be watched.
        run_dir: Its files.
        streams: What the edge does.
    """

    process: asyncio.subprocess.Process
    port: int
    metrics: tuple[str, int]
    run_dir: Path
    streams: Streams

    @property
    def url(self) -> str:
        """Base URL of the HTTP port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> Admin:
        """Envoy's admin interface."""
        return Admin(self.run_dir / "envoy-admin.sock")

    def envoys(self) -> list[psutil.Process]:
        """Give the Envoys that run."""
        return psutil.Process(self.process.pid).children()

    async def until_epoch(self, epoch: int) -> None:
        """Wait until the so-manyeth Envoy takes requests."""
        async with asyncio.timeout(20):
            while await self.admin.epoch() != epoch:
                assert self.process.returncode is None
                await asyncio.sleep(0.02)


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    """Give the settings of a front door."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OTEL_"))}
    return {
        **clean,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_ENVOY_EDGE_HTTP": f"unix:{tmp_path}/edge.sock",
        "HEADRACE_ENVOY_EDGE_GRPC": f"unix:{tmp_path}/edge-grpc.sock",
        "HEADRACE_ENVOY_ACCESS_LOG": str(tmp_path / "access.log"),
        "HEADRACE_PORT": str(free_port()),
        "HEADRACE_GRPC_PORT": str(free_port()),
        "HEADRACE_ENVOY_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "HEADRACE_GRACE_S": "20",
        **changes,
    }


@asynccontextmanager
async def running(tmp_path: Path, **changes: str) -> AsyncIterator[Door]:
    """Run a front door with one edge."""
    env = environment(tmp_path, **changes)
    streams = Streams()
    edge = FakeEdge(tmp_path / "edge.sock", streams.answer)
    await edge.start()
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "envoy", env=env, stdout=log, stderr=log
        )
    host, _, port = env["HEADRACE_ENVOY_METRICS_LISTEN"].rpartition(":")
    door = Door(process, int(env["HEADRACE_PORT"]), (host, int(port)), rundir.resolve(tmp_path), streams)
    try:
        await door.until_epoch(0)
        yield door
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        streams.release.set()
        await edge.stop()


async def stream(door: Door, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    """Begin a stream, and give it once its first half is there."""
    answer = await session.get(door.url + "/stream")
    assert await answer.content.readany() == b"begin "
    return answer


async def not_ready(door: Door) -> None:
    """Wait until the front door says that it is not ready."""
    while (await ask(door.metrics, "/ready", timeout_s=10)).status == 200:  # noqa: ASYNC110  # Envoy's to know
        await asyncio.sleep(0.01)


async def test_hot_restart_fails_nothing(tmp_path: Path) -> None:
    """While one Envoy follows another a stream goes on, and every request on any connection is answered."""
    statuses: list[int] = []
    enough = asyncio.Event()

    async def ask_steadily(*, anew: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=anew)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not enough.is_set():
                async with session.post(door.url + "/v1/x", data=b"x") as answer:
                    await answer.read()
                    statuses.append(answer.status)
                await asyncio.sleep(0.005)

    # Its connection ends with it, so that nothing else is left in the old Envoy.
    once = aiohttp.TCPConnector(force_close=True)
    async with running(tmp_path) as door, aiohttp.ClientSession(connector=once) as session:
        running_stream = await stream(door, session)
        steady = [asyncio.create_task(ask_steadily(anew=anew)) for anew in (True, False, False)]
        first = door.envoys()
        door.process.send_signal(signal.SIGHUP)
        await door.until_epoch(1)
        taken_over = len(statuses)
        while len(statuses) < taken_over + 50:  # noqa: ASYNC110  # they count themselves
            await asyncio.sleep(0.01)
        enough.set()
        await asyncio.gather(*steady)
        both = door.envoys()
        # The stream is the old Envoy's, and a stop waits for that too.
        door.process.terminate()
        await not_ready(door)
        await asyncio.sleep(0.5)
        still_there = door.process.returncode
        door.streams.release.set()
        rest = await running_stream.read()
        status = await asyncio.wait_for(door.process.wait(), 20)

    assert (None, 0) == (still_there, status)
    assert {200} == set(statuses)
    assert b"end" == rest
    assert (1, 2) == (len(first), len(both))
    assert "hot restart done" in (tmp_path / "log").read_text()


async def test_stop_lets_a_stream_end(tmp_path: Path) -> None:
    """On SIGTERM: not ready while requests are still taken, then no new connection, then the end."""
    async with running(tmp_path, HEADRACE_DRAIN_DELAY_S="1.5") as door, aiohttp.ClientSession() as session:
        running_stream = await stream(door, session)
        ready_before = (await ask(door.metrics, "/ready", timeout_s=10)).status
        door.process.terminate()
        await not_ready(door)
        async with session.get(door.url + "/v1/x") as answer:
            during = (answer.status, answer.headers.get("connection"))
        while (await ask(("127.0.0.1", door.port), "/v1/x", timeout_s=5)).status:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
        watched = (await ask(door.metrics, "/stats/prometheus", timeout_s=10)).status
        still_there = door.process.returncode
        door.streams.release.set()
        rest = await running_stream.read()
        status = await asyncio.wait_for(door.process.wait(), 10)

    assert (200, (200, "close")) == (ready_before, during)
    assert (200, None) == (watched, still_there)
    assert (b"end", 0) == (rest, status)
    assert [] == list(door.run_dir.iterdir())


async def test_grace_is_the_limit(tmp_path: Path) -> None:
    """A stream that does not end is cut when the grace is over, and the stop is one that was asked for."""
    async with running(tmp_path, HEADRACE_GRACE_S="0.3") as door, aiohttp.ClientSession() as session:
        running_stream = await stream(door, session)
        door.process.terminate()
        status = await asyncio.wait_for(door.process.wait(), 10)
        with pytest.raises(aiohttp.ClientError):
            await running_stream.read()

    assert status == 0


@pytest.mark.parametrize("victim", ["parent", "envoy"])
async def test_neither_lives_alone(tmp_path: Path, victim: str) -> None:
    """When the parent dies Envoy does, and when Envoy dies the parent ends with a failure."""
    async with running(tmp_path) as door:
        (envoy,) = door.envoys()
        if victim == "parent":
            door.process.kill()
        else:
            envoy.kill()
        status = await asyncio.wait_for(door.process.wait(), 10)
        with suppress(psutil.NoSuchProcess):
            await asyncio.to_thread(envoy.wait, 10)

    assert (-signal.SIGKILL if victim == "parent" else 1) == status


async def test_what_may_be_asked_over_the_network(tmp_path: Path) -> None:
    """Of the admin interface, readiness and metrics are offered, and by GET alone."""
    async with running(tmp_path) as door:
        offered = {
            path: (await ask(door.metrics, path, timeout_s=10)).status
            for path in ("/live", "/ready", "/stats/prometheus", "/stats", "/config_dump", "/")
        }
        posted = [
            (await ask(door.metrics, path, method="POST", timeout_s=10)).status
            for path in ("/ready", "/quitquitquit", "/healthcheck/fail")
        ]

    good = {"/live", "/ready", "/stats/prometheus"}
    assert {path: 200 if path in good else 404 for path in offered} == offered
    assert [404, 404, 404] == posted


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        (
            "HEADRACE_ENVOY_TLS_DIR",
            "/nowhere",
            "HEADRACE_ENVOY_TLS_DIR: there is no file tls.crt in /nowhere",
        ),
        ("HEADRACE_AUTH_ADDRESS", "auth", "not an address: 'auth'"),
        ("HEADRACE_ENVOY_EDGE_GRPC", "", "must be set together"),
        ("HEADRACE_ENVOY_METRICS_LISTEN", "9100", "must be host:port"),
        ("HEADRACE_ENVOY_NOTHING", "1", "is not a setting"),
    ],
)
async def test_bad_settings(tmp_path: Path, name: str, value: str, complaint: str) -> None:
    """What cannot work is said at once, with the exit code that keeps supervisors from trying again."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "envoy"),
        env=environment(tmp_path, **{name: value}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()

    assert process.returncode == 2
    assert complaint in output.decode()
