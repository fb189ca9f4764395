"""Kept answers in the other form on native paths, and steps of the universal endpoint that are kept."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.calls import DONE, Answer, call, chat_body
from tests.e2e.topologies import one_topology

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.upstreams import Upstreams
    from tests.fakes.stack import Stack

topology = one_topology

TTL = {"cf-aig-cache-ttl": "60"}
NATIVE = {
    "openai": ("chat/completions", "gpt-4o-mini", DONE),
    "anthropic": ("v1/messages", "claude-haiku-4-5", '{"type":"message_stop"}'),
}


def _step(provider: str, text: str, model: str = "", **members: Any) -> dict[str, Any]:
    endpoint, known, _ = NATIVE[provider]
    query = {**chat_body(model or known, text, **members), "max_tokens": 500}
    return {"provider": provider, "endpoint": endpoint, "query": query, "config": {"maxAttempts": 1}}


async def _universal(
    session: aiohttp.ClientSession, stack: Stack, steps: Any, gateway: str = "default", **headers: str
) -> Answer:
    token = {"cf-aig-authorization": f"Bearer {stack.token}"}
    return await call(session, stack.gateway_url(gateway), steps, headers={**token, **headers})


@pytest.mark.parametrize("provider", NATIVE)
@pytest.mark.parametrize("universal", [False, True])
async def test_a_plain_native_answer_is_whole_as_a_stream(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams, provider: str, *, universal: bool
) -> None:
    """It is longer than its provider said that the plain one is, and goes on to its own end."""
    marker = f"kept {uuid.uuid4().hex}"
    endpoint, _, end = NATIVE[provider]
    answers = []
    for stream in (False, True):
        step = _step(provider, marker, stream=stream)
        if universal:
            answers.append(await _universal(session, stack, step, **TTL))
        else:
            url = f"{stack.gateway_url()}/{provider}/{endpoint}"
            headers = {**TTL, "cf-aig-authorization": f"Bearer {stack.token}"}
            answers.append(await call(session, url, step["query"], headers=headers))
    plain, streamed = answers

    assert ["MISS", "HIT"] == [answer.headers["cf-aig-cache-status"] for answer in answers]
    assert len(upstreams.received(marker)) == 1
    assert len(plain.body) == int(plain.headers["content-length"])
    assert "content-length" not in streamed.headers
    assert end == streamed.events[-1].data.replace(" ", "")


async def test_kept_and_shared_answers_are_of_the_step_that_answered(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    """Three at once and one afterwards: all are told the number and the provider of the second step."""
    marker = f"kept {uuid.uuid4().hex}"
    steps = [_step("openai", marker, "gpt-4o-mini+status=500+delay=200"), _step("anthropic", marker)]
    asking = [_universal(session, stack, steps, **TTL) for _ in range(3)]
    answers = [*await asyncio.gather(*asking), await _universal(session, stack, steps, **TTL)]

    assert "HIT" == answers[-1].headers["cf-aig-cache-status"]
    assert {("1", "anthropic")} == {
        (answer.headers["cf-aig-step"], answer.headers["cf-aig-provider"]) for answer in answers
    }


async def test_an_idempotency_key_of_a_universal_request(
    stack: Stack, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    """The same again makes no second call; something else under the same key is refused."""
    gateway, marker = f"idem-{uuid.uuid4().hex[:8]}", f"kept {uuid.uuid4().hex}"
    settings = {
        "cache_invalidate_on_update": False, "cache_ttl": 0, "collect_logs": True,
        "rate_limiting_interval": None, "rate_limiting_limit": None, "idempotency_ttl": 300,
    }  # fmt: skip
    gateways = f"{stack.base_url}/client/v4/accounts/{stack.account}/ai-gateway/gateways"
    made = await call(session, gateways, {"id": gateway, **settings}, token=stack.token)
    key = {"Idempotency-Key": marker}
    first, again, other = [
        await _universal(session, stack, _step("openai", text), gateway, **key)
        for text in (marker, marker, f"{marker} more")
    ]

    assert (200, 200, 200, 409) == (made.status, first.status, again.status, other.status)
    assert ("MISS", "HIT") == tuple(each.headers["cf-aig-cache-status"] for each in (first, again))
    assert len(upstreams.received(marker)) == 1
