"""A client that goes away in the middle."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.e2e.calls import chat_body

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from tests.e2e.log_view import LogView
    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack
    from tests.fakes.upstream import Received

# Promised are 200 ms on a machine with nothing else to do; the number is reported, this bound only tells
# "at once" from "when the stream was over", which would be 20 s.
AT_ONCE_S = 1.0
ENDLESS = "words=1000+pace=20"


async def closed(received: Received, *, timeout_s: float = 10) -> float:
    """Give the time at which the gateway closed its connection to the upstream."""
    deadline = time.monotonic() + timeout_s
    while received.closed_at is None:
        assert time.monotonic() < deadline, "the upstream's connection stays open"
        await asyncio.sleep(0.005)
    return received.closed_at


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"])
async def test_a_client_that_leaves_mid_stream(
    stack: Stack,
    session: aiohttp.ClientSession,
    upstreams: Upstreams,
    logs: LogView,
    model: str,
    record_property: Callable[[str, object], None],
) -> None:
    """The upstream's connection is closed at once, and the log has what was used until then."""
    marker = uuid.uuid4().hex
    response = await session.post(
        f"{stack.openai_base_url}/chat/completions",
        json=chat_body(f"{model}+{ENDLESS}", marker, stream=True),
        headers={"authorization": f"Bearer {stack.token}"},
    )
    log_id = response.headers["cf-aig-log-id"]
    for _ in range(40):
        await response.content.readany()
    left_at = time.monotonic()
    response.close()
    [received] = upstreams.received(marker)
    took_s = await closed(received) - left_at
    entry = await logs.entry(log_id)
    record_property("upstream_closed_after_ms", round(took_s * 1000, 1))

    assert took_s < AT_ONCE_S
    assert entry["outcome"] == "disconnected"
    assert entry["success"] is False
    assert entry["tokens_in"] > 0
    # Estimated, since the provider had no chance to say: right to within some events.
    assert 20 <= entry["tokens_out"] <= 60
    assert entry["usage_metadata"]["estimated"] is True


async def test_a_client_that_leaves_before_the_first_byte(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams, logs: LogView
) -> None:
    """A call that is still waiting for its upstream is given up as well."""
    marker = uuid.uuid4().hex
    calling = asyncio.create_task(
        session.post(
            f"{stack.openai_base_url}/chat/completions",
            json=chat_body("openai/gpt-4o-mini+slow=15000", marker),
            headers={"authorization": f"Bearer {stack.token}", "cf-aig-event-id": marker},
        )
    )
    [received] = await asyncio.to_thread(upstreams.received, marker, count=1)
    left_at = time.monotonic()
    calling.cancel()
    await asyncio.wait([calling])
    took_s = await closed(received) - left_at
    entry = await logs.entry_of(marker)

    assert took_s < AT_ONCE_S
    assert entry["outcome"] == "disconnected"
    assert entry["success"] is False


async def test_many_clients_that_leave_at_any_moment(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """Whenever a client leaves, its upstream's connection is closed; see also `Stacks.stop`."""
    marker = uuid.uuid4().hex

    async def leave_after(reads: int) -> None:
        response = await session.post(
            f"{stack.openai_base_url}/chat/completions",
            json=chat_body("openai/gpt-4o-mini+words=20000", marker, stream=True),
            headers={"authorization": f"Bearer {stack.token}"},
        )
        for _ in range(reads):
            await response.content.readany()
        response.close()

    await asyncio.gather(*(leave_after(number % 12) for number in range(60)))
    left = [await closed(received) for received in upstreams.received(marker)]

    assert len(left) == 60


async def test_others_are_not_disturbed(stack: Stack, session: aiohttp.ClientSession) -> None:
    """While one client leaves, another's stream of the same kind goes on to its end."""
    url = f"{stack.openai_base_url}/chat/completions"
    headers = {"authorization": f"Bearer {stack.token}"}
    leaving = await session.post(
        url, json=chat_body(f"openai/gpt-4o-mini+{ENDLESS}", "leaves", stream=True), headers=headers
    )
    staying = await session.post(
        url,
        json=chat_body("openai/gpt-4o-mini+words=40+pace=10", "stays", stream=True),
        headers=headers,
    )
    await leaving.content.readany()
    leaving.close()
    async with staying:
        body = await staying.read()

    assert body.rstrip().endswith(b"data: [DONE]")
    assert b"w39" in body
