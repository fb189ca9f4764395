"""Providers that accounts named themselves, at a router alone over real gRPC."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from headrace.common.v1 import caller_pb2, http_pb2
from headrace.router.v1 import custom_provider_pb2 as pb
from headrace.router.v1 import router_service_pb2
from headrace.router.v1.custom_provider_pb2_grpc import CustomProviderServiceStub
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MINE = pb.CustomProvider(
    slug="mine",
    base_url="https://llm.example/v1",
    name="Mine",
    headers=[http_pb2.Header(name="x-team", value=b"a")],
    enabled=True,
)


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[OneService]:
    env = {
        "HEADRACE_DATA_DIR": str(tmp_path / "data"),
        "HEADRACE_PROVIDER_CUSTOM_OPS_LLM_BASE_URL": "http://10.0.0.1:8000/v1",
    }
    async with serve(build, env) as one:
        yield one


def _stub(one: OneService, caller: str = "cli") -> Any:
    return CustomProviderServiceStub(one.channel(caller))


async def _put(one: OneService, account_id: str = "acme", **changes: Any) -> pb.CustomProvider:
    provider = pb.CustomProvider()
    provider.CopyFrom(MINE)
    for name, value in changes.items():
        setattr(provider, name, value)
    request = pb.PutCustomProviderRequest(account_id=account_id, provider=provider)
    answer: pb.PutCustomProviderResponse = await _stub(one).PutCustomProvider(request, timeout=5)
    return answer.provider


async def _delete(one: OneService, slug: str = "mine") -> None:
    request = pb.DeleteCustomProviderRequest(account_id="acme", slug=slug)
    await _stub(one).DeleteCustomProvider(request, timeout=5)


async def _step(
    one: OneService, model: str = "custom-mine/m", account_id: str = "acme", **fields: Any
) -> router_service_pb2.Step:
    request = router_service_pb2.PlanRequest(
        **{
            "caller": caller_pb2.Caller(account_id=account_id, gateway_id="default", token_id="t"),
            "authenticated": True,
            "client_dialect": http_pb2.DIALECT_OPENAI_CHAT,
            "requested_model": model,
            **fields,
        }
    )
    answer = await RouterServiceStub(one.channel("edge")).Plan(request, timeout=5)
    return answer.steps[0]


async def _refusal(one: OneService, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await _step(one, **fields)
    return caught.value


async def test_a_provider_is_put_and_used(router: OneService) -> None:
    """The next plan that names it has it in its step."""
    put = await _put(router)
    step = await _step(router)
    native = await _step(router, model="", provider="custom-mine", client_dialect=http_pb2.DIALECT_NATIVE)

    assert (put, "custom-mine", "m") == (step.custom, step.provider, step.model)
    assert ("https://llm.example/v1", [("x-team", b"a")]) == (
        step.custom.base_url,
        [(header.name, header.value) for header in step.custom.headers],
    )
    assert (put, "") == (native.custom, native.model)


async def test_others_do_not_have_it(router: OneService) -> None:
    """The same slug of another account leads nowhere."""
    await _put(router)
    error = await _refusal(router, account_id="other")

    assert (Reason.INVALID_PROVIDER, "custom-mine") == (error.reason, error.metadata["provider"])


async def test_a_switched_off_provider_is_not_used(router: OneService) -> None:
    """It stays in the list, and plans refuse it."""
    await _put(router, enabled=False)
    answer = await _stub(router).ListCustomProviders(
        pb.ListCustomProvidersRequest(account_id="acme"), timeout=5
    )

    assert [("mine", False)] == [(found.slug, found.enabled) for found in answer.providers]
    assert Reason.INVALID_PROVIDER == (await _refusal(router)).reason


async def test_a_deleted_provider_is_gone_at_once(router: OneService) -> None:
    """Watchers hear that earlier plans of the account are void, and the next plan refuses it."""
    await _put(router)
    watching: Any = RouterServiceStub(router.channel("edge"))
    watch = watching.Watch(router_service_pb2.WatchRequest())
    async with aclosing(watch):
        first = await anext(watch)
        await _delete(router)
        told = await asyncio.wait_for(anext(watch), 1)

    assert (first.invalidation.generation + 1, "acme") == (
        told.invalidation.generation,
        told.invalidation.scope,
    )
    assert Reason.INVALID_PROVIDER == (await _refusal(router)).reason
    with pytest.raises(GatewayError) as caught:
        await _delete(router)
    assert Reason.NOT_FOUND == caught.value.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"base_url": "http://llm.example"}, Reason.INVALID_REQUEST),
        ({"slug": "Mine"}, Reason.INVALID_REQUEST),
        ({"slug": "ops-llm"}, Reason.CONFLICT),
        ({"account_id": "a/b"}, Reason.INVALID_REQUEST),
    ],
)
async def test_what_may_not_be_kept_is_refused(
    router: OneService, changes: dict[str, Any], reason: Reason
) -> None:
    """Nothing is kept of it."""
    with pytest.raises(GatewayError) as caught:
        await _put(router, **changes)
    answer = await _stub(router).ListCustomProviders(
        pb.ListCustomProvidersRequest(account_id="acme"), timeout=5
    )

    assert (reason, []) == (caught.value.reason, list(answer.providers))


async def test_the_operators_own_providers_are_known(router: OneService) -> None:
    """One that settings name an address for is planned without anything stored."""
    step = await _step(router, model="custom-ops-llm/m")

    assert ("custom-ops-llm", "m", False) == (step.provider, step.model, step.HasField("custom"))


@pytest.mark.parametrize(("name", "slug"), [("xai", "grok"), ("bedrock", "aws-bedrock")])
async def test_other_names_of_providers(router: OneService, name: str, slug: str) -> None:
    """They are taken before models and in paths."""
    native = await _step(router, model="", provider=name, client_dialect=http_pb2.DIALECT_NATIVE)

    assert (slug, slug) == ((await _step(router, model=f"{name}/m")).provider, native.provider)


@pytest.mark.parametrize("caller", ["external", "auth", "providers", ""])
async def test_others_may_not_manage_them(router: OneService, caller: str) -> None:
    """No service but the edge and the command line reads or changes them."""
    stub = _stub(router, caller)
    for call, request in (
        (stub.PutCustomProvider, pb.PutCustomProviderRequest()),
        (stub.ListCustomProviders, pb.ListCustomProvidersRequest()),
        (stub.DeleteCustomProvider, pb.DeleteCustomProviderRequest()),
    ):
        with pytest.raises(GatewayError) as caught:
            await call(request, timeout=5)
        assert Reason.CALLER_NOT_ALLOWED == caught.value.reason
