"""Signals that come to `python -m services envoy` when something else is going on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import aiohttp

from kit import rundir
from kit.probe import ask
from tests.integration.test_envoy_run import environment, not_ready, running, stream

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_hang_up_does_not_undo_a_stop(tmp_path: Path) -> None:
    """An Envoy that is being stopped gets no successor, which would be ready and take connections again."""
    async with running(tmp_path) as door, aiohttp.ClientSession() as session:
        running_stream = await stream(door, session)
        door.process.terminate()
        await not_ready(door)
        while (await ask(("127.0.0.1", door.port), "/v1/x", timeout_s=5)).status:  # noqa: ASYNC110  # Envoy's
            await asyncio.sleep(0.01)
        door.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(2)  # about twice what a hot restart takes
        envoys = len(door.envoys())
        taken = (await ask(("127.0.0.1", door.port), "/v1/x", timeout_s=5)).status
        door.streams.release.set()
        rest = await running_stream.read()
        status = await asyncio.wait_for(door.process.wait(), 20)

    assert (1, 0) == (envoys, taken)
    assert (b"end", 0) == (rest, status)


async def test_a_stop_during_a_hot_restart_is_one_of_the_successor(tmp_path: Path) -> None:
    """Once stopped it is not ready, whichever Envoy it is that listens then; and streams end as they do."""
    async with (
        running(tmp_path, HEADRACE_DRAIN_DELAY_S="1") as door,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
    ):
        running_stream = await stream(door, session)
        door.process.send_signal(signal.SIGHUP)
        while len(door.envoys()) < 2:  # noqa: ASYNC110  # the program's to know; one of them may only check
            await asyncio.sleep(0.005)
        door.process.terminate()
        await not_ready(door)
        while (await ask(("127.0.0.1", door.port), "/v1/x", timeout_s=5)).status:  # noqa: ASYNC110  # Envoy's
            await asyncio.sleep(0.01)
        readiness = []
        for _ in range(20):
            readiness.append((await ask(door.metrics, "/ready", timeout_s=5)).status)
            await asyncio.sleep(0.1)
        door.streams.release.set()
        rest = await running_stream.read()
        status = await asyncio.wait_for(door.process.wait(), 20)

    assert 200 not in readiness
    assert (b"end", 0) == (rest, status)
    assert [] == list(door.run_dir.iterdir())


async def test_a_stop_during_the_start(tmp_path: Path) -> None:
    """A start that is no longer wanted ends in good order and leaves nothing."""
    env = environment(tmp_path, HEADRACE_GRACE_S="60")
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "envoy", env=env, stdout=log, stderr=log
        )
    try:
        while not (rundir.resolve(tmp_path) / "envoy.yaml").exists():  # noqa: ASYNC110  # the program's to write
            await asyncio.sleep(0.001)
        process.terminate()
        status = await asyncio.wait_for(process.wait(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert status == 0, (tmp_path / "log").read_text()
    assert [] == os.listdir(rundir.resolve(tmp_path))  # noqa: PTH208  # names will do
