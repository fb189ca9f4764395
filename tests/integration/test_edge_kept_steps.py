"""Which step a kept or a shared answer is told to be of: the one that brought it, as its asker counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.common.v1 import http_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import router_service_pb2
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT, failure
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "/v1/local/default"
CACHED = {**AUTH, "cf-aig-authorization": AUTH["authorization"], "cf-aig-cache-ttl": "60"}
ONCE = {"maxAttempts": 1}
OPENAI = {
    "provider": "compat", "endpoint": "chat/completions", "config": ONCE,
    "query": {**BODY, "model": "openai/gpt-x"},
}  # fmt: skip
CLAUDE = {
    "provider": "anthropic", "endpoint": "v1/messages", "config": ONCE,
    "query": {"model": "claude", "max_tokens": 5, "messages": []},
}  # fmt: skip
TWO = [
    router_service_pb2.Step(provider="openai", model="gpt-x"),
    router_service_pb2.Step(provider="groq", model="llama"),
]
OF_ANTHROPIC = ("1", "anthropic", "claude-served")


def _fails(status: int = 500) -> list[Any]:
    refused = failure(pb.FAILURE_CLASS_SERVER, upstream_status=status)
    return [head(status, failure=refused), chunk(b'{"error":{"message":"its own"}}'), tail()]


def _answers(served: str) -> list[Any]:
    return [head(body_dialect=http_pb2.DIALECT_NATIVE, served_model=served), chunk(ANSWER), tail()]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        yield found


async def _ask(peers: Peers, asked: Any, url: str = URL) -> tuple[int, str, tuple[str, ...]]:
    async with peers.client.post(url, data=orjson.dumps(asked), headers=CACHED) as answer:
        await answer.read()
        of = tuple(answer.headers.get(f"cf-aig-{name}", "") for name in ("step", "provider", "model"))
        return answer.status, answer.headers["cf-aig-cache-status"], of


async def _together(peers: Peers, asked: Any, gate: asyncio.Event, url: str = URL) -> list[Any]:
    """Ask three times at once; the gate holds the first call of a provider."""
    asking = [asyncio.create_task(_ask(peers, asked, url)) for _ in range(3)]
    while len(peers.cache.looked_up) < 3:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()
    return await asyncio.gather(*asking)


async def test_a_hit_is_of_the_element_that_was_kept(peers: Peers) -> None:
    """Clients choose by the number whose words the answer is in; the log has it too."""
    peers.provider.earlier = [_fails(), _answers("claude-served"), _fails()]
    missed = await _ask(peers, [OPENAI, CLAUDE])
    hit = await _ask(peers, [OPENAI, CLAUDE])
    entries = await peers.entries(2)

    assert (200, "MISS", OF_ANTHROPIC) == missed
    assert (200, "HIT", OF_ANTHROPIC) == hit
    assert [(1, "anthropic", ""), (1, "anthropic", "")] == [
        (entry.step, entry.provider, entry.target_model) for entry in entries
    ]


async def test_elements_are_counted_in_the_list_that_asks(peers: Peers) -> None:
    """What is second in one list is first in another, and the only one of a request by itself."""
    peers.provider.earlier = [_fails(), _answers("claude-served"), _fails()]
    await _ask(peers, [OPENAI, CLAUDE])
    alone = await _ask(peers, CLAUDE["query"], f"{URL}/anthropic/v1/messages")
    first = await _ask(peers, [CLAUDE, OPENAI])

    assert [("HIT", ("0", *OF_ANTHROPIC[1:]))] * 2 == [alone[1:], first[1:]]


async def test_those_who_follow_are_told_the_element_that_answered(peers: Peers) -> None:
    """All of three at once."""
    gate = asyncio.Event()
    peers.provider.earlier = [[gate.wait, *_fails()], _answers("claude-served")]
    answers = await _together(peers, [OPENAI, CLAUDE], gate)
    entries = await peers.entries(3)

    assert {OF_ANTHROPIC} == {of for *_, of in answers}
    assert ([200] * 3, 2) == ([status for status, *_ in answers], len(peers.provider.requests))
    assert {(1, "anthropic")} == {(entry.step, entry.provider) for entry in entries}


async def test_those_who_follow_a_failure_are_told_whose_it_is(peers: Peers) -> None:
    """The words are the last element's provider's."""
    gate = asyncio.Event()
    peers.provider.earlier = [[gate.wait, *_fails()]]
    peers.provider.script = _fails(529)
    answers = await _together(peers, [OPENAI, CLAUDE], gate)
    entries = await peers.entries(3)

    assert {(529, ("1", "anthropic"))} == {(status, of[:2]) for status, _, of in answers}
    assert 2 == len(peers.provider.requests)
    assert {(1, "anthropic", "")} == {(entry.step, entry.provider, entry.target_model) for entry in entries}


async def test_those_who_follow_one_element_are_not_told_of_the_next(peers: Peers) -> None:
    """Whoever asks for the first one alone gets its failure as its own, while the list goes on."""
    peers.provider.script = _answers("claude-served")
    uncached = {**CLAUDE, "headers": {"cf-aig-cache-ttl": 0}}
    await _ask(peers, uncached)  # what it may do is known then, and the list goes on at once
    gate = asyncio.Event()
    peers.provider.earlier = [[gate.wait, *_fails(529)]]
    before = len(peers.cache.looked_up)
    listed = asyncio.create_task(_ask(peers, [OPENAI, uncached]))
    while peers.provider.earlier:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    alone = [asyncio.create_task(_ask(peers, OPENAI["query"], CHAT)) for _ in range(5)]
    while len(peers.cache.looked_up) < before + 6:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    gate.set()

    assert OF_ANTHROPIC == (await listed)[2]
    assert {(529, ("0", "openai", "gpt-x"))} == {
        (status, of) for status, _, of in await asyncio.gather(*alone)
    }


async def test_a_hit_is_of_the_step_of_the_plan(peers: Peers) -> None:
    """Where router names the steps, the kept answer is of the one that brought it, and of its model."""
    peers.router.steps = TWO
    peers.provider.earlier = [_fails(400), _answers("")]
    missed = await _ask(peers, BODY, CHAT)
    hit = await _ask(peers, BODY, CHAT)

    assert [("MISS", ("1", "groq", "llama")), ("HIT", ("1", "groq", "llama"))] == [missed[1:], hit[1:]]


async def test_a_plans_step_is_no_element_and_the_other_way_about(peers: Peers) -> None:
    """What a route tries for an element does not count there, but does for who asks for the route alone."""
    peers.router.steps = TWO
    peers.provider.earlier = [_fails(400), _answers("")]
    one = {**OPENAI, "query": BODY}
    missed = await _ask(peers, one)
    alone = await _ask(peers, BODY, CHAT)
    again = await _ask(peers, one)

    assert ["0", "1", "0"] == [found[2][0] for found in (missed, alone, again)]
    assert ["MISS", "HIT", "HIT"] == [found[1] for found in (missed, alone, again)]


async def test_those_who_follow_a_plan_that_failed_are_told_its_last_step(peers: Peers) -> None:
    """Provider and model as well."""
    peers.router.steps = TWO
    gate = asyncio.Event()
    peers.provider.earlier = [[gate.wait, *_fails(400)]]
    peers.provider.script = _fails(400)
    answers = await _together(peers, BODY, gate, CHAT)

    assert {(400, ("1", "groq", "llama"))} == {(status, of) for status, _, of in answers}


async def test_an_answer_of_which_no_step_is_known(peers: Peers) -> None:
    """One that was kept before steps were: it is told as of the first."""
    peers.router.steps = TWO
    peers.provider.earlier = [_fails(400), _answers("")]
    await _ask(peers, BODY, CHAT)
    while not peers.cache.entries:  # noqa: ASYNC110 - the fake has nothing to wait for
        await asyncio.sleep(0.01)
    for entry in peers.cache.entries.values():
        entry.ClearField("step")
        entry.ClearField("target_model")

    assert ("HIT", ("0", "groq", "gpt-x")) == (await _ask(peers, BODY, CHAT))[1:]
