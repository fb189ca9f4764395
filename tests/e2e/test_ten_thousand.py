"""Thousands of requests, most of which meet a fault, leave nothing behind: ten with --whole."""

from __future__ import annotations

import asyncio
import random
import re
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from kit.probe import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Launch
    from tests.fakes.stack import Stack

pytestmark = pytest.mark.timeout(300)

REQUESTS, WHOLE_REQUESTS = 2_500, 10_000
AT_ONCE = 96
WARM = 1_500
# What clients and providers do, by how often: good answers, each fault before and within an answer, and
# clients that leave.
FAULTS = (
    *[""] * 6, "+status=500", "+status=429+retry-after-ms=1", "+status=400", "+status=503+html", "+reset",
    "+cut=0", "+cut=2", "+end=2", "+malformed=2", "+error-after=1", "+first-error=overloaded_error",
    "+silent", "+stall=1", "+no-done", "+slow=20",
)  # fmt: skip
MOST_FILES = 8
MOST_GROWTH_BYTES, WHOLE_MOST_GROWTH_BYTES = 16 << 20, 24 << 20


def _steps(rng: random.Random, number: int) -> tuple[list[dict[str, Any]], bool]:
    streamed = rng.random() < 0.5
    steps = [
        {
            "provider": "compat",
            "endpoint": "chat/completions",
            "config": {"requestTimeout": 150, "maxAttempts": rng.choice((1, 2)), "retryDelay": 5},
            "query": {
                "model": f"openai/gpt-4o+text=one%20two%20three{rng.choice(FAULTS)}",
                "messages": [{"role": "user", "content": f"request {number % 5_000}"}],
                "stream": streamed,
            },
        }
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return steps, streamed


async def _one(session: aiohttp.ClientSession, stack: Stack, rng: random.Random, number: int) -> None:
    steps, _ = _steps(rng, number)
    headers = {"cf-aig-authorization": f"Bearer {stack.token}"}
    if rng.random() < 0.3:
        headers["cf-aig-cache-ttl"] = "60"
    leaves = rng.random() < 0.1
    timeout = aiohttp.ClientTimeout(total=0.02 if leaves else 30)
    try:
        async with session.post(stack.gateway_url(), json=steps, headers=headers, timeout=timeout) as answer:
            await answer.read()
            assert answer.status in {200, 400, 429, 500, 502, 503, 504, 529}, await answer.text()
    except TimeoutError:
        assert leaves, "an answer took longer than 30 s"
    except aiohttp.ClientPayloadError:
        # A native stream that broke off can be told by the connection alone.
        pass


async def _load(stack: Stack, count: int, seed: int) -> None:
    rng = random.Random(seed)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:
        numbers = iter(range(count))

        async def client() -> None:
            for number in numbers:
                await _one(session, stack, rng, number)

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def _figures(stack: Stack) -> dict[str, float]:
    text = (await ask(stack.run_dir / "headrace-admin.sock", "/metrics")).body.decode()
    names = ("headrace_event_loop_tasks", "process_open_fds", "process_resident_memory_bytes")
    return {name: float(re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1]) for name in names}  # type: ignore[index]  # all are there


async def _at_rest(stack: Stack) -> dict[str, float]:
    """Give the figures once nothing is under way any more: they are those of the quietest moment."""
    quietest = await _figures(stack)
    for _ in range(12):
        await asyncio.sleep(0.25)
        found = await _figures(stack)
        quietest = {name: min(value, found[name]) for name, value in quietest.items()}
    return quietest


async def test_nothing_is_left_behind(
    launch: Launch, record_property: Callable[[str, object], None], *, whole: bool
) -> None:
    """Tasks and sockets are what they were, memory is flat after warming up, and no error was logged."""
    stack = launch(
        "inline",
        envoy=False,
        # What providers keep open is closed soon, so that it is not taken for a leak.
        HEADRACE_PROVIDERS_IDLE_TIMEOUT_S="0.5",
        HEADRACE_PROVIDERS_KEEPALIVE_S="1",
        HEADRACE_CACHE_MAX_BYTES="4000000",
        HEADRACE_EDGE_DECISION_TIMEOUT_S="20",
    )
    await _load(stack, WARM, 1)
    before = await _at_rest(stack)
    count = WHOLE_REQUESTS if whole else REQUESTS
    await _load(stack, count, 2)
    after = await _at_rest(stack)
    grown = after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
    record_property(f"memory_grown_by_{count}_requests_mb", round(grown / 2**20, 1))

    assert before["headrace_event_loop_tasks"] == after["headrace_event_loop_tasks"]
    # Files of the spool and of databases are opened when they are needed first.
    assert after["process_open_fds"] <= before["process_open_fds"] + MOST_FILES
    assert grown < (WHOLE_MOST_GROWTH_BYTES if whole else MOST_GROWTH_BYTES)
    assert [] == stack.errors()
