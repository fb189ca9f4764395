"""Stopping: streams finish within a grace, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import aiohttp

from tests.e2e.calls import DONE, Answer, call, chat_body
from tests.e2e.topologies import each_topology_of_its_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Launch
    from tests.fakes.stack import Stack, Topology

LIMIT_S = 5.0


@each_topology_of_its_own
async def test_it_stops_within_five_seconds_and_leaves_nothing(
    launch: Launch,
    topology: Topology,
    session: aiohttp.ClientSession,
    record_property: Callable[[str, object], None],
) -> None:
    """
    By SIGTERM, and in its next life by Ctrl-C: a running stream gets its end, the exit status is 0, and no
    process, socket or port stays.

    What was answered just before the stop is in the log after the next start.
    """
    stack = await asyncio.to_thread(launch, topology)
    answers = await stopped_in_use(stack, signal.SIGTERM, session, record_property)
    await asyncio.to_thread(stack.start)
    listed = await call(session, f"{stack.logs_url}?per_page=50", method="GET", token=stack.token)
    await stopped_in_use(stack, signal.SIGINT, session, record_property)

    assert sorted(entry["id"] for entry in listed.json["result"]) == sorted(one.log_id for one in answers)


async def stopped_in_use(
    stack: Stack,
    number: signal.Signals,
    session: aiohttp.ClientSession,
    record_property: Callable[[str, object], None],
) -> list[Answer]:
    """Stop it by a signal during a stream, demand a good end, and give all answers until then."""
    url = f"{stack.openai_base_url}/chat/completions"
    body = chat_body("openai/gpt-4o-mini+words=3", "late")
    answers = [await call(session, url, body, token=stack.token) for _ in range(20)]
    response = await session.post(
        url,
        json=chat_body("openai/gpt-4o-mini+words=20+pace=25", "to the end", stream=True),
        headers={"authorization": f"Bearer {stack.token}"},
    )
    begun = await response.content.readany()
    stopping = asyncio.create_task(asyncio.to_thread(stack.stop, number))
    rest = await response.read()
    stopped = await stopping
    streamed = Answer(status=response.status, headers=response.headers, body=begun + rest, read_at=())
    record_property(f"stopped_after_s by {number.name}", round(stopped.took_s, 2))

    assert {200} == {one.status for one in (*answers, streamed)}
    assert streamed.events[-1].data == DONE
    assert streamed.text.split()[-1] == "w19"
    stopped.assert_clean()
    assert stopped.took_s < LIMIT_S
    return [*answers, streamed]


async def test_an_endless_stream_does_not_hold_it_up(launch: Launch, session: aiohttp.ClientSession) -> None:
    """A stream that outlasts the grace is ended with an error; never as if it were whole."""
    stack = await asyncio.to_thread(launch, "split")
    response = await session.post(
        f"{stack.openai_base_url}/chat/completions",
        json=chat_body("openai/gpt-4o-mini+words=2000+pace=25", "endless", stream=True),
        headers={"authorization": f"Bearer {stack.token}"},
    )
    await response.content.readany()
    stopping = asyncio.create_task(asyncio.to_thread(stack.stop))
    body = b""
    with contextlib.suppress(aiohttp.ClientError):
        async for piece in response.content.iter_any():
            body += piece
    response.close()
    stopped = await stopping

    assert b"[DONE]" not in body
    stopped.assert_clean()
    assert stopped.took_s < LIMIT_S


async def test_a_stop_during_the_start_leaves_nothing(launch: Launch) -> None:
    """Ctrl-C right after the start ends everything that had begun."""
    stack = await asyncio.to_thread(launch, "split")
    (await asyncio.to_thread(stack.stop)).assert_clean()
    began = time.monotonic()
    starting = asyncio.create_task(asyncio.to_thread(stack.start))
    while not stack.runs:  # noqa: ASYNC110 - a thread of its own starts it
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.8)
    stopped = await asyncio.to_thread(stack.stop, signal.SIGINT)
    await asyncio.wait([starting])

    assert starting.exception() is not None or time.monotonic() - began < LIMIT_S
    assert stopped.processes == ()
    assert stopped.sockets == ()
    assert stopped.open_ports == ()
