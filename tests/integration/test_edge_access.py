"""Who the edge lets in, from where, and whose keys it lets them spend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.auth.v1 import token_pb2
from headrace.inference.v1 import inference_service_pb2 as inf
from headrace.inference.v1 import inference_service_pb2_grpc
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT, post
from tests.fakes.peers import TOKEN, Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOGS = "/client/v4/accounts/local/ai-gateway/gateways/default/logs"
FORGED = {"headrace-client-address": "192.0.2.1", "x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1"}


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail()]
        yield found


def _spends(peers: Peers) -> bool:
    """Say whether the provider service may use keys besides the request's own."""
    return not peers.provider.requests[-1].credential.request_only


async def _status(peers: Peers, path: str = CHAT, **headers: str) -> int:
    if path == CHAT:
        async with peers.client.post(path, json=BODY, headers=headers) as answer:
            return answer.status
    async with peers.client.get(path, headers=headers) as answer:
        return answer.status


async def test_a_token_with_run_spends_what_is_stored(peers: Peers) -> None:
    """A request that is let in for its token may use stored keys, whatever the gateway asks for."""
    found = []
    for needed in (True, False):
        peers.router.settings["authentication"] = needed
        found.append((await _status(peers, **AUTH), _spends(peers)))

    assert [(200, True), (200, True)] == found


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"authorization": "Bearer undefined"}, id="undefined"),
        pytest.param({"cf-aig-authorization": "Bearer undefined"}, id="undefined for the gateway"),
        pytest.param({"cf-aig-authorization": TOKEN[:-1] + "x"}, id="a token that is not valid"),
        pytest.param({"authorization": "Bearer sk-mine"}, id="a key"),
    ],
)
async def test_without_authentication_anything_goes_and_spends_nothing(
    peers: Peers, headers: dict[str, str]
) -> None:
    """Whoever need not say who they are is answered, with the key that they bring and no other."""
    peers.router.settings["authentication"] = False

    assert (200, False) == (await _status(peers, **headers), _spends(peers))


async def test_a_token_without_run_spends_nothing(peers: Peers) -> None:
    """It is refused where a token is needed, and like none where it is not."""
    peers.auth.permissions = [token_pb2.PERMISSION_AI_GATEWAY_READ]
    refused = await _status(peers, **AUTH)
    peers.router.settings["authentication"] = False
    peers.router.asked = 0
    async with peers.client.post(CHAT.replace("/v1", "/v1/local/default/compat", 1), json=BODY) as answer:
        await answer.read()

    assert (403, 200, False) == (refused, answer.status, _spends(peers))


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("gateway_ids", ["other"]),
        ("providers", ["anthropic"]),
        ("models", ["openai/other"]),
        ("addresses", ["192.0.2.0/24"]),
        ("forbidden_addresses", ["127.0.0.0/8"]),
    ],
)
async def test_a_token_is_narrowed_wherever_it_is_presented(
    peers: Peers,
    needed: bool,  # noqa: FBT001
    field: str,
    names: list[str],
) -> None:
    """What it may not do, it may not do at a gateway that asks for no token either."""
    peers.router.settings["authentication"] = needed
    getattr(peers.auth.restrictions, field).extend(names)

    assert 403 == await _status(peers, **AUTH)
    assert [] == peers.provider.requests


@pytest.mark.parametrize(("networks", "refused"), [(["127.0.0.1", "::1"], False), (["192.0.2.0/24"], True)])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", LOGS])
async def test_addresses_count_on_every_way_in(
    peers: Peers,
    networks: list[str],
    refused: bool,  # noqa: FBT001
    path: str,
) -> None:
    """Inference, lists of models and management; what a client says of itself is not believed."""
    peers.auth.restrictions.addresses.extend(networks)

    assert refused == (await _status(peers, path, **AUTH, **FORGED) == 403)


async def test_envoy_is_believed_where_the_network_is_ours(tmp_path: Path) -> None:
    """Behind Envoy on a network of ours, the address is the one that Envoy saw."""
    async with edge_between(tmp_path, trust_network="true") as peers:
        peers.provider.script = [head(), chunk(ANSWER), tail()]
        peers.auth.restrictions.addresses.append("192.0.2.0/24")
        found = [
            await _status(peers, **AUTH, **{"headrace-client-address": address})
            for address in ("192.0.2.77", "198.51.100.1", "nonsense")
        ]

    assert [200, 403, 403] == found


async def test_where_a_typed_call_comes_from_must_be_known(peers: Peers) -> None:
    """A narrowed token is refused where no address can be known; another one is not asked."""
    stub: Any = inference_service_pb2_grpc.InferenceServiceStub(peers.runtime.channel("edge"))
    message = inf.Message(role=inf.ROLE_USER, parts=[inf.Part(text="hi")])
    request = inf.ChatRequest(model="openai/gpt-x", messages=[message])
    chosen = b'{"model":"m","choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'
    peers.provider.script = [head(), chunk(chosen), tail()]
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    peers.auth.restrictions.addresses.append("192.0.2.0/24")
    with pytest.raises(GatewayError) as caught:
        await stub.Chat(request, metadata=metadata)
    from_envoy = (*metadata, ("headrace-client-address", "192.0.2.1"))
    answer = await stub.Chat(request, metadata=from_envoy)

    assert (Reason.PERMISSION_DENIED, "address") == (caught.value.reason, caught.value.metadata["resource"])
    assert answer.log_id


async def test_a_refusal_for_the_address_says_so(peers: Peers) -> None:
    """The client is told that it is the address, and not which would do."""
    peers.auth.restrictions.addresses.append("192.0.2.0/24")
    status, told, _ = await post(peers)

    assert 403 == status
    assert "may not be used from this address" in told["error"]["message"]
    assert "192.0.2" not in str(told)


async def test_who_may_spend_nothing_looks_for_other_answers(peers: Peers) -> None:
    """What a stored key paid for is not found without a token, by its content or by a chosen name."""
    peers.router.settings["authentication"] = False
    for headers in ({"cf-aig-cache-ttl": "60"}, {"cf-aig-cache-ttl": "60", "cf-aig-cache-key": "mine"}):
        for who in (AUTH, AUTH, {}, {}):
            await _status(peers, **headers, **who)
    asked = [(each.custom_key, each.credential_digest) for each in peers.cache.looked_up]

    assert asked[::2] == asked[1::2]
    assert asked[0][1] != asked[2][1]
    assert ("mine", "mine\n") == (asked[4][0], asked[6][0])


async def test_a_key_of_ones_own_finds_the_same_answers_with_a_token_or_without(peers: Peers) -> None:
    """Whoever pays themselves is who their key says."""
    peers.router.settings["authentication"] = False
    for token in ({"cf-aig-authorization": f"Bearer {TOKEN}"}, {}):
        await _status(peers, authorization="Bearer sk-mine", **{"cf-aig-cache-ttl": "60"}, **token)
    with_token, without = (each.credential_digest for each in peers.cache.looked_up)

    assert with_token == without != b""


@pytest.mark.parametrize(
    ("field", "names", "shared"),
    [
        ("models", [], True),
        ("gateway_ids", ["default"], True),
        ("models", ["openai/gpt-x"], False),
        ("providers", ["openai"], False),
    ],
)
async def test_under_a_chosen_name_a_narrowed_token_finds_no_answer_of_another_model(
    peers: Peers,
    field: str,
    names: list[str],
    shared: bool,  # noqa: FBT001
) -> None:
    """Tokens for some models only have the names that clients choose to themselves."""
    getattr(peers.auth.restrictions, field).extend(names)
    await _status(peers, **AUTH, **{"cf-aig-cache-ttl": "60", "cf-aig-cache-key": "mine"})
    [asked] = peers.cache.looked_up

    assert shared == (asked.custom_key == "mine")
    assert asked.custom_key.startswith("mine")
