"""Many streams at once through Envoy."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING

import aiohttp

from tests.e2e.calls import DONE, Answer, call, chat_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

STREAMS = 200
WORDS = 40
MEBIBYTE = 1 << 20
# Cumulative: how many turns of an event loop were late by at most so many seconds.
LATE = re.compile(r'^headrace_event_loop_stall_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


async def late_turns(stack: Stack, *, by_s: float) -> dict[str, int]:
    """Give, by process, how many turns of its event loop were late by more than a bound."""
    late = {}
    for path in stack.run_dir.glob("*-admin.sock"):
        connector = aiohttp.UnixConnector(path=str(path))
        async with aiohttp.ClientSession(connector=connector) as admin:
            metrics = (await call(admin, "http://admin/metrics", method="GET")).body.decode()
        if buckets := {float(bound): float(count) for bound, count in LATE.findall(metrics)}:
            late[path.name.removesuffix("-admin.sock")] = int(max(buckets.values()) - buckets[by_s])
    return late


async def one_stream(stack: Stack, session: aiohttp.ClientSession, text: str) -> Answer:
    """Ask for a text to be said back, slowly."""
    return await call(
        session,
        f"{stack.openai_base_url}/chat/completions",
        chat_body("openai/gpt-4o-mini+echo+pace=20", text, stream=True),
        token=stack.token,
    )


def texts(count: int) -> list[str]:
    """Make texts that have no word in common."""
    return [" ".join(f"{uuid.uuid4().hex[:8]}-{number}" for _ in range(WORDS)) for number in range(count)]


async def test_200_streams_each_get_their_own_text(
    stack: Stack, session: aiohttp.ClientSession, record_property: Callable[[str, object], None]
) -> None:
    """Each of 200 streams at once gets the whole of its own text and nothing else; memory is bounded."""
    await asyncio.gather(*(one_stream(stack, session, text) for text in texts(STREAMS)))
    before = sum(stack.rss_bytes().values())
    late_before = {by_s: await late_turns(stack, by_s=by_s) for by_s in (0.1, 1.0)}
    began = time.monotonic()
    asked = texts(STREAMS)
    answers = await asyncio.gather(*(one_stream(stack, session, text) for text in asked))
    took_s = time.monotonic() - began
    grown_mib = (sum(stack.rss_bytes().values()) - before) / MEBIBYTE
    record_property("streams_took_s", round(took_s, 2))
    record_property("memory_grown_mib", round(grown_mib, 1))
    late = {
        by_s: {name: count - before[name] for name, count in (await late_turns(stack, by_s=by_s)).items()}
        for by_s, before in late_before.items()
    }
    record_property("turns_late_by_100_ms", late[0.1])

    assert [answer.status for answer in answers] == [200] * STREAMS
    assert [answer.text for answer in answers] == asked
    assert {answer.events[-1].data for answer in answers} == {DONE}
    assert len({answer.log_id for answer in answers}) == STREAMS
    # Promised are 100 ms on a machine with nothing else to do.
    assert set(late[1.0].values()) == {0}
    # The first round has filled pools and caches; a second one of the same size needs next to nothing.
    assert grown_mib < 100


async def test_a_slow_reader_does_not_fill_memory(
    stack: Stack,
    session: aiohttp.ClientSession,
    upstreams: Upstreams,
    record_property: Callable[[str, object], None],
) -> None:
    """A client that stops reading a fast, long stream makes the upstream wait; memory does not fill."""
    marker = uuid.uuid4().hex
    before = sum(stack.rss_bytes().values())
    response = await session.post(
        f"{stack.openai_base_url}/chat/completions",
        json=chat_body("openai/gpt-4o-mini+words=400000", marker, stream=True),
        headers={"authorization": f"Bearer {stack.token}"},
    )
    await asyncio.sleep(4)
    grown_mib = (sum(stack.rss_bytes().values()) - before) / MEBIBYTE
    response.close()
    [received] = upstreams.received(marker)
    await asyncio.to_thread(upstreams.background.run, received.closed.wait(), timeout_s=10)
    record_property("slow_reader_memory_grown_mib", round(grown_mib, 1))

    assert response.status == 200
    # The whole stream is some 80 MiB, in each of four processes if it were kept.
    assert grown_mib < 60
