"""
Whose credential the providers may use, as the edge tells them: by header, by gateway, by caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.provider.v1 import provider_service_pb2 as pb
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import AUTH
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHAT = {"model": "openai/m", "messages": [{"role": "user", "content": "Hello?"}]}
URL = "/v1/local/default/compat/chat/completions"


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(b"{}"), tail()]
        yield found


@pytest.mark.parametrize(
    ("settings", "headers", "expected"),
    [
        ({}, {}, {}),
        ({}, {"cf-aig-byok-alias": "team-a"}, {"alias": "team-a"}),
        ({"byok_only": True}, {}, {"no_operator": True}),
        ({"wholesale": False}, {}, {"no_operator": True}),
        ({"wholesale": True}, {}, {}),
        ({}, {"cf-aig-no-wholesale": "true"}, {"no_operator": True}),
        ({}, {"cf-aig-no-wholesale": "false"}, {}),
        # A request cannot allow what its gateway forbids.
        ({"byok_only": True}, {"cf-aig-no-wholesale": "false"}, {"no_operator": True}),
        (
            {"byok_only": True},
            {"cf-aig-byok-alias": "team-a"},
            {"alias": "team-a", "no_operator": True},
        ),
    ],
)
async def test_whose_key(
    settings: dict[str, bool], headers: dict[str, str], expected: dict[str, Any], peers: Peers
) -> None:
    """Gateway and request say together which keys may be used; none of their headers goes on."""
    peers.router.settings |= settings
    async with peers.client.post(URL, json=CHAT, headers={**AUTH, **headers}) as answer:
        assert 200 == answer.status
    (request,) = peers.provider.requests

    assert pb.CredentialSource(**expected) == request.credential
    assert not {header.name for header in request.headers} & set(headers)


@pytest.mark.parametrize("path", [URL, "/v1/local/default/openai/chat/completions"])
async def test_an_alias_that_does_not_exist(path: str, peers: Peers) -> None:
    """A client is told the code and the words of the public product."""
    text = "Provider 'openai' has no BYOK credential named 'nope'. Configured aliases: 'default'"
    peers.provider.script = [GatewayError(Reason.ALIAS_NOT_FOUND, text, provider="openai", alias="nope")]
    headers = {"cf-aig-authorization": TOKEN, "cf-aig-byok-alias": "nope"}
    async with peers.client.post(path, json=CHAT, headers=headers) as answer:
        body = await answer.json()

    assert (400, 2040, text) == (answer.status, body["internalCode"], body["message"])
