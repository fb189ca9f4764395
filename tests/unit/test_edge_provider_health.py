"""Who is shown what of the health of providers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.auth.v1 import auth_service_pb2, token_pb2
from headrace.common.v1 import actor_pb2
from headrace.router.v1 import router_service_pb2 as pb
from services.edge.management.models.provider_health import HealthQuery, ProviderHealth
from services.edge.management.operation import Call
from services.edge.management.provider_health import ProviderHealths

if TYPE_CHECKING:
    from services.edge.management.models.forms import Listed
    from services.edge.management.peers import Peers

OPEN = pb.ProviderHealth(
    provider="openai", model="gpt", shared=True, circuit="open", retry_after=Duration(seconds=4),
    success_rate=0.0, first_byte=Duration(nanos=250_000_000), weight=1.0, failures=5,
)  # fmt: skip
QUIET = pb.ProviderHealth(provider="x-ai", key="operator", shared=True, circuit="closed", weight=0.5)


async def ask(
    *,
    permissions: tuple[int, ...] = (),
    providers: tuple[str, ...] = (),
    **query: Any,
) -> tuple[Listed[Any], pb.GetHealthRequest]:
    """Ask as a token with such permissions that is narrowed to such providers."""
    asked = []

    async def get(request: pb.GetHealthRequest, **_: object) -> pb.GetHealthResponse:
        asked.append(request)
        return pb.GetHealthResponse(health=[OPEN, QUIET])

    peers = SimpleNamespace(router=SimpleNamespace(GetHealth=get), timeout_s=1)
    (operation,) = ProviderHealths(cast("Peers", peers)).operations()
    principal = auth_service_pb2.Principal(permissions=permissions)  # type: ignore[arg-type]  # numbers of an enum
    principal.restrictions.providers.extend(providers)
    listed = await operation.handler(
        Call(
            account_id="acme",
            path={},
            query=HealthQuery.model_validate(query),
            body=None,
            principal=principal,
            actor=actor_pb2.Actor(),
            origin="",
        )
    )
    (request,) = asked
    return listed, request


async def test_what_is_shown() -> None:
    """What is not known is null, and never zero."""
    listed, _ = await ask()
    models = [ProviderHealth.model_validate(each) for each in listed.items]

    assert (4000, 0.0, 250) == (models[0].retry_after_ms, models[0].success_rate, models[0].first_byte_ms)
    assert (None, None, None) == (models[1].retry_after_ms, models[1].success_rate, models[1].first_byte_ms)


@pytest.mark.parametrize(
    ("permission", "expected"),
    [(token_pb2.PERMISSION_AI_GATEWAY_READ, False), (token_pb2.PERMISSION_OPERATOR, True)],
)
async def test_only_operators_see_what_is_shared(permission: int, *, expected: bool) -> None:
    """It tells which models other accounts use."""
    _, request = await ask(permissions=(permission,))

    assert ("acme", expected) == (request.account_id, request.shared)


async def test_a_token_for_some_providers_sees_those() -> None:
    """And no others."""
    listed, _ = await ask(providers=("openai",))

    assert (["openai"], 1) == ([each["provider"] for each in listed.items], listed.total)


async def test_a_provider_is_asked_for_by_any_of_its_names() -> None:
    """Router knows one."""
    assert "grok" == (await ask(provider="xai"))[1].provider


async def test_a_page_is_a_page() -> None:
    """The total is of all pages."""
    listed, _ = await ask(page=2, per_page=1)

    assert (["x-ai"], 2) == ([each["provider"] for each in listed.items], listed.total)
