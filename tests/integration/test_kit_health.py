"""The health server of a process: what probes are told while it starts, serves and drains."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc.aio
import orjson
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit import rundir
from tests.fakes.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = ROOT / "tests" / "fakes" / "whole_process.py"
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class _Process:
    """A scripted process that has no socket in its run directory."""

    def __init__(self, process: asyncio.subprocess.Process, health_port: int, home: Path) -> None:
        self.process = process
        self.home = home
        self._address = f"127.0.0.1:{health_port}"

    async def logged(self, event: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while line := await self.process.stdout.readline():
                if line.startswith(b"{") and orjson.loads(line)["event"] == event:
                    return
        raise AssertionError(f"it ended without {event!r}")

    async def told(self) -> tuple[int, int, int]:
        """Return what it says of `live`, `ready` and itself."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            ask = health_pb2_grpc.HealthStub(channel).Check
            answers = [
                await ask(health_pb2.HealthCheckRequest(service=name), timeout=10)
                for name in ("live", "ready", "")
            ]
        live, ready, itself = (answer.status for answer in answers)
        return live, ready, itself


@asynccontextmanager
async def _running(home: Path, *words: str, **env: str) -> AsyncIterator[_Process]:
    grpc_port, admin_port, health_port = free_ports(3)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        *words,
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": tempfile.gettempdir(),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "HEADRACE_DATA_DIR": str(home),
            "HEADRACE_LISTEN": f"127.0.0.1:{grpc_port}",
            "HEADRACE_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
            "HEADRACE_HEALTH_LISTEN": f"127.0.0.1:{health_port}",
            **env,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield _Process(process, health_port, home)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_process_that_still_starts_is_live(tmp_path: Path) -> None:
    """It may wait for its database for minutes: nobody shall kill it for that, or send it requests."""
    async with _running(tmp_path, "slow-build") as running:
        await running.logged("building")

        assert (SERVING, NOT_SERVING, NOT_SERVING) == await running.told()


async def test_a_process_that_drains_is_live_and_not_ready(tmp_path: Path) -> None:
    """It is ready when it serves; from the wish to stop on it is not, and stays live. It needs no socket."""
    async with _running(tmp_path, HEADRACE_DRAIN_DELAY_S="60", HEADRACE_GRACE_S="1") as running:
        await running.logged("ready")
        assert (SERVING, SERVING, SERVING) == await running.told()
        assert [] == list(rundir.resolve(tmp_path).iterdir())

        running.process.send_signal(signal.SIGTERM)
        await running.logged("stopping")
        while (told := await running.told())[1] == SERVING:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
        assert (SERVING, NOT_SERVING, NOT_SERVING) == told
