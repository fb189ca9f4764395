"""What a stored key's body tells auth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from headrace.auth.v1 import provider_config_pb2 as pb
from headrace.auth.v1 import token_pb2
from services.auth.vault import convert
from services.edge.management.provider_configs import ProviderConfigs
from tests.fakes.management_peers import run

ME = token_pb2.Token(
    id="t",
    owner=token_pb2.TokenOwner(account_id="acme"),
    grants=[token_pb2.Grant(account_id="acme", permissions=[token_pb2.PERMISSION_AI_GATEWAY_EDIT])],
)
LIST = "/accounts/{account_id}/ai-gateway/gateways/{gateway_id}/provider_configs"
NEW = {"provider_slug": "openai", "alias": "default", "default_config": True, "secret": "sk-0123456789"}


async def _sent(method: str, path: str, body: dict[str, Any]) -> Any:
    """Send a body, and give what auth was asked."""
    asked: list[Any] = []

    async def note(request: Any, **_: object) -> pb.CreateProviderConfigResponse:
        asked.append(request)
        return pb.CreateProviderConfigResponse(config=pb.ProviderConfig(provider="openai"))

    async def gateway(account_id: str, gateway_id: str) -> None:
        """Find a gateway."""

    stub = SimpleNamespace(CreateProviderConfig=note, GetProviderConfig=note, UpdateProviderConfig=note)
    peers = SimpleNamespace(provider_configs=stub, gateway=gateway, timeout_s=1)
    operations = ProviderConfigs(cast("Any", peers)).operations()
    await run(operations, method, path, by=ME, body=body, account_id="acme", gateway_id="main", id="i")
    return asked[-1]


@pytest.mark.parametrize(
    ("given", "limit"),
    [({}, None), ({"rate_limit": None}, None), ({"rate_limit": 0}, None), ({"rate_limit": 1.0}, 1)],
)
async def test_a_new_key_without_a_limit_is_used_any_number_of_times(
    given: dict[str, Any], limit: int | None
) -> None:
    """As one whose limit is null or 0 is; auth takes what it is sent."""
    request = await _sent("POST", LIST, {**NEW, **given})
    made, _ = convert.config(request, cast("Any", None), config_id="i", now=cast("Any", None))

    assert limit == made.rate_limit


@pytest.mark.parametrize(
    ("given", "limit"),
    [({}, None), ({"rate_limit": None}, 0), ({"rate_limit": 0}, 0), ({"rate_limit": 7.0}, 7)],
)
async def test_a_limit_is_taken_away_by_null_or_0(given: dict[str, Any], limit: int | None) -> None:
    """Left out, it stays as it is."""
    request = await _sent("PUT", LIST + "/{id}", given)

    assert limit == (request.rate_limit if request.HasField("rate_limit") else None)


async def test_a_part_of_a_request_is_no_limit() -> None:
    """It would be any number, once it is cut down to 0."""
    for method, path in (("POST", LIST), ("PUT", LIST + "/{id}")):
        with pytest.raises(ValidationError, match="fractional part"):
            await _sent(method, path, {**NEW, "rate_limit": 0.5} if method == "POST" else {"rate_limit": 0.5})
