"""The edge and the cache: what is asked for, what is kept, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headrace.provider.v1 import provider_service_pb2
from headrace.router.v1 import custom_provider_pb2, router_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, failure, post
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


CACHED = {"cf-aig-authorization": TOKEN, "cf-aig-cache-ttl": "60"}
NATIVE = "/v1/local/default"


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail()]
        yield found


async def test_answer_in_pieces_is_cached(peers: Peers) -> None:
    """Whether an answer is cached does not depend on how many reads it took."""
    peers.provider.script = [head(), chunk(ANSWER[:5]), chunk(ANSWER[5:]), tail()]
    first = await post(peers, **{"cf-aig-cache-ttl": "60"})
    second = await post(peers, **{"cf-aig-cache-ttl": "60"})

    assert ("MISS", "HIT") == (first[2]["cf-aig-cache-status"], second[2]["cf-aig-cache-status"])
    assert first[1] == second[1]


async def test_cache_miss_then_hit(peers: Peers) -> None:
    """The second request is answered from the cache, costs no provider call and uses nothing."""
    first = await post(peers, **{"cf-aig-cache-ttl": "60"})
    second = await post(peers, **{"cf-aig-cache-ttl": "60"})

    assert ("MISS", "HIT") == (first[2]["cf-aig-cache-status"], second[2]["cf-aig-cache-status"])
    assert (first[1], 1, [60]) == (second[1], len(peers.provider.requests), peers.cache.ttls)


@pytest.mark.parametrize(
    ("headers", "ttl"),
    [
        ({"cf-aig-cache-ttl": "5"}, 60),
        ({"cf-aig-cache-key": "k"}, 300),
        ({"cf-aig-cache-ttl": "99999999"}, 2_592_000),
    ],
)
async def test_cache_lifetimes(peers: Peers, headers: dict[str, str], ttl: int) -> None:
    """Lifetimes are clamped to what is allowed; a key of one's own without any gets five minutes."""
    await post(peers, **headers)
    await asyncio.sleep(0.05)

    assert peers.cache.ttls == [ttl]


async def test_cache_skipped_for_reading(peers: Peers) -> None:
    """`cf-aig-skip-cache` asks the provider though there is an entry."""
    await post(peers, **{"cf-aig-cache-ttl": "60"})
    await post(peers, **{"cf-aig-cache-ttl": "60", "cf-aig-skip-cache": "true"})

    assert len(peers.provider.requests) == 2


async def test_dead_cache_is_a_miss(peers: Peers) -> None:
    """A cache that fails changes nothing for the client."""
    peers.cache.failure = GatewayError(Reason.SERVICE_UNAVAILABLE, "away")
    status, _, headers = await post(peers, **{"cf-aig-cache-ttl": "60"})

    assert (200, "MISS") == (status, headers["cf-aig-cache-status"])


async def test_errors_are_not_cached(peers: Peers) -> None:
    """Only whole, successful answers are kept."""
    peers.provider.script = [
        head(400, failure=failure(provider_service_pb2.FAILURE_CLASS_INVALID_REQUEST)),
        chunk(b"{}"),
        tail(),
    ]
    await post(peers, **{"cf-aig-cache-ttl": "60"})
    await asyncio.sleep(0.05)

    assert peers.cache.entries == {}


CHOICES: list[dict[str, str]] = [
    {"accept": "audio/mpeg"},
    {"prefer": "wait"},
    {"x-fal-target-url": "https://queue.fal.run/a"},
    {"x-fal-target-url": "https://queue.fal.run/b"},
    {"anthropic-beta": "a"},
    {"x-amzn-bedrock-guardrailidentifier": "g"},
    {"cf-aig-strict": "true"},
    {"cf-aig-byok-alias": "team-a"},
    {"cf-aig-byok-alias": "team-b"},
]


async def test_what_chooses_an_answer_is_part_of_the_question(peers: Peers) -> None:
    """Same path, same body, another format, address, key or strictness: nobody gets the other's answer."""
    for headers in ({}, *CHOICES):
        await peers.client.post(f"{NATIVE}/fal/", data=b"{}", headers={**CACHED, **headers})
    endpoints = [request.endpoint for request in peers.cache.looked_up]

    assert "fal/" == endpoints[0]
    assert len({*endpoints}) == 1 + len(CHOICES)


async def test_what_chooses_nothing_is_no_part_of_the_question(peers: Peers) -> None:
    """Two SDKs that ask the same share an answer."""
    for headers in ({"accept": "*/*"}, {"accept": "application/json"}, {"user-agent": "x", "x-trace": "y"}):
        await peers.client.post(f"{NATIVE}/openai/a?b=c", data=b"{}", headers={**CACHED, **headers})

    assert ["openai/a?b=c"] * 3 == [request.endpoint for request in peers.cache.looked_up]


async def test_another_address_of_an_accounts_provider_is_another_question(peers: Peers) -> None:
    """An account that changes its own provider is not answered from what the old one said."""
    for index, url in enumerate(("https://old.example", "https://new.example")):
        custom = custom_provider_pb2.CustomProvider(slug="mine", base_url=url, enabled=True)
        peers.router.steps = [router_service_pb2.Step(provider="custom-mine", model="m", custom=custom)]
        path = f"{NATIVE}/custom-mine{index}/a"  # by another name, so that the plan is asked for again
        await peers.client.post(path, data=b"{}", headers=CACHED)
    lines = [request.endpoint.split("\n")[1] for request in peers.cache.looked_up]

    assert len(set(lines)) == 2


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("google-ai-studio/v1beta/models/m:streamGenerateContent?alt=sse", "text/event-stream"),
        ("google-ai-studio/v1beta/models/m:streamGenerateContent", "application/json"),
        (
            "aws-bedrock/bedrock-runtime/us-east-1/model/m/converse-stream",
            "application/vnd.amazon.eventstream",
        ),
        ("elevenlabs/v1/text-to-speech/v/stream", "audio/mpeg"),
    ],
)
async def test_native_streams_are_replayed(peers: Peers, path: str, content_type: str) -> None:
    """That a stream was asked for may stand in the path; the log says so too."""
    peers.provider.script = [head(200, content_type), chunk(b"a"), chunk(b"b"), tail()]
    for expected in ("MISS", "HIT"):
        async with peers.client.post(f"{NATIVE}/{path}", data=b"{}", headers=CACHED) as answer:
            assert (b"ab", expected) == (await answer.read(), answer.headers["cf-aig-cache-status"])
            assert content_type == answer.headers["content-type"]
    entries = await peers.entries(2)

    assert [(True, False), (True, True)] == [(entry.streamed, entry.cached) for entry in entries]
    assert 1 == len(peers.provider.requests)


async def test_notes_of_a_translation_are_kept_with_the_answer(peers: Peers) -> None:
    """What was dropped is told to whoever gets the answer from the cache, and to the log."""
    peers.provider.script = [head(translation_notes=["dropped=seed", "dropped=user"]), chunk(ANSWER), tail()]
    first = await post(peers, **{"cf-aig-cache-ttl": "60"})
    second = await post(peers, **{"cf-aig-cache-ttl": "60"})
    await peers.ledger.recorded.wait()
    await asyncio.sleep(0.15)

    assert ("HIT", "dropped=seed; dropped=user") == (
        second[2]["cf-aig-cache-status"],
        second[2]["cf-aig-translation"],
    )
    assert first[2]["cf-aig-translation"] == second[2]["cf-aig-translation"]
    assert all(entry.translation_notes for entry in peers.ledger.entries.values())


async def test_a_hit_costs_nothing_and_has_the_answers_type(peers: Peers) -> None:
    """Whatever price the caller names: an answer of ours is free, and is what it was."""
    peers.provider.script = [head(200, "audio/mpeg"), chunk(b"\x00\xff"), tail()]
    headers = {**CACHED, "cf-aig-custom-cost": '{"total_cost": 2}'}
    costs = []
    for _ in range(2):
        async with peers.client.post(f"{NATIVE}/cartesia/tts/bytes", data=b"{}", headers=headers) as answer:
            assert ("audio/mpeg", b"\x00\xff") == (answer.content_type, await answer.read())
            costs.append(answer.headers["cf-aig-cost"])
        await asyncio.sleep(0.05)

    assert ["2.000000000", "0.000000000"] == costs
