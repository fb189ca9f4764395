"""What goes to the steps of a plan, and which steps a token may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.router.v1 import router_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, BODY, CHAT, post
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        yield found


async def test_a_key_stays_with_its_provider(peers: Peers) -> None:
    """The key in a request goes to every step of the first provider, and to no other's."""
    peers.router.steps = [
        router_service_pb2.Step(provider=provider, model="m") for provider in ("openai", "openai", "groq")
    ]
    peers.provider.earlier = [[GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]] * 2
    headers = {"cf-aig-authorization": TOKEN, "authorization": "Bearer sk-theirs", "x-a": "1"}
    async with peers.client.post(CHAT, json=BODY, headers=headers) as answer:
        assert 200 == answer.status

    seen = [{header.name for header in request.headers} for request in peers.provider.requests]
    assert [True, True, False] == ["authorization" in names for names in seen]
    assert [True, True, True] == ["x-a" in names for names in seen]


@pytest.mark.parametrize(("models", "expected"), [(["gpt-x"], 200), (["gpt-x", "other"], 403), ("odd", 200)])
async def test_token_restrictions_on_what_a_provider_falls_back_to(
    peers: Peers, models: object, expected: int
) -> None:
    """Models that a body names for the provider to fall back to are held to the restriction as well."""
    peers.auth.restrictions.models.append("openai/gpt-x")
    status, _, _ = await post(peers, json={**BODY, "models": models})

    assert expected == status
