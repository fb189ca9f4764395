"""A process of the edge that is asked to stop, as a load balancer sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import aiohttp

from tests.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    try:
        async with session.get(url) as answer:
            return answer.status
    except aiohttp.ClientConnectionError:
        return 0


async def test_not_healthy_while_it_waits_to_be_left_alone() -> None:
    """From SIGTERM until it stops listening, the edge answers and says 503."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/healthz"
    with tempfile.TemporaryDirectory(prefix="hr-") as home:  # a test's own may be too long for sockets
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", "all", "--only", "openai"),
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
                "HEADRACE_DATA_DIR": home,
                "HEADRACE_EDGE_LISTEN_HTTP": f"127.0.0.1:{port}",
                "HEADRACE_DRAIN_DELAY_S": "1",
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(30), aiohttp.ClientSession() as session:
                while (before := await _status(session, url)) != 200:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
                process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.3)
                after = await _status(session, url)
                code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    assert (200, 503, 0) == (before, after, code)
