"""What a change of an account's own provider tells the router."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from headrace.auth.v1 import auth_service_pb2, token_pb2
from headrace.common.v1 import actor_pb2
from headrace.router.v1 import custom_provider_pb2 as pb
from kit.errors import GatewayError, Reason
from services.edge.management.custom_providers import CustomProviders
from services.edge.management.models.custom_provider import UpdateCustomProvider
from services.edge.management.operation import Call

if TYPE_CHECKING:
    from services.edge.management.peers import Peers


async def _change(
    body: dict[str, Any], stored: tuple[str, ...] = (), permissions: tuple[int, ...] = ()
) -> pb.UpdateCustomProviderRequest:
    """Change a provider, and give what the router was asked."""
    asked = []

    async def update(request: pb.UpdateCustomProviderRequest, **_: object) -> pb.UpdateCustomProviderResponse:
        asked.append(request)
        return pb.UpdateCustomProviderResponse()

    async def get(request: object, **_: object) -> pb.GetCustomProviderResponse:
        now = pb.CustomProvider(slug="mine", base_url="https://here.example/v1")
        return pb.GetCustomProviderResponse(provider=now)

    async def has_keys(account_id: str, provider: str) -> bool:
        return provider in stored

    async def forget(account_id: str, *, provider: str) -> None:
        assert asked, "kept answers are forgotten once the change is made"

    stub = SimpleNamespace(UpdateCustomProvider=update, GetCustomProvider=get)
    peers = SimpleNamespace(custom_providers=stub, timeout_s=1, has_keys=has_keys, forget=forget)
    resource = CustomProviders(cast("Peers", peers))
    (handler,) = (each.handler for each in resource.operations() if each.method == "PATCH")
    await handler(
        Call(
            account_id="acme",
            path={"id": "i"},
            query=None,
            body=UpdateCustomProvider.model_validate(body),
            principal=auth_service_pb2.Principal(permissions=permissions),  # type: ignore[arg-type]  # numbers of an enum
            actor=actor_pb2.Actor(),
            origin="",
        )
    )
    (request,) = asked
    return request


async def test_what_is_left_out_or_null_stays() -> None:
    """A null neither switches a provider off nor takes its name away."""
    nulls = dict.fromkeys(("name", "slug", "base_url", "enable", "beta", "position"))

    assert ["link"] == list((await _change({**nulls, "link": "https://a"})).update_mask.paths)


async def test_a_null_clears_what_may_be_empty() -> None:
    """So does what says nothing."""
    request = await _change({"description": None, "headers": None, "enable": False})

    assert {"description", "headers", "enabled"} == set(request.update_mask.paths)
    assert pb.CustomProvider() == request.provider


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({"base_url": "https://there.example/v1"}, "custom-mine"),
        ({"base_url": "https://here.example:8443/v1"}, "custom-mine"),
        ({"slug": "other"}, "custom-other"),
    ],
)
async def test_stored_keys_are_not_sent_elsewhere(body: dict[str, Any], stored: str) -> None:
    """Whoever may change an address may not read keys by it; an operator may."""
    with pytest.raises(GatewayError) as raised:
        await _change(body, (stored,))
    assert Reason.CONFLICT is raised.value.reason

    by_operator = await _change(body, (stored,), (token_pb2.PERMISSION_OPERATOR,))
    without_keys = await _change(body)
    assert list(body) == list(by_operator.update_mask.paths) == list(without_keys.update_mask.paths)


async def test_another_path_at_the_same_address() -> None:
    """Where keys go stays the same."""
    request = await _change({"base_url": "https://HERE.example/v2"}, ("custom-mine",))

    assert "https://HERE.example/v2" == request.provider.base_url
