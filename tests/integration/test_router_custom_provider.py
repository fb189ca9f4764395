"""Providers that accounts named themselves, at a router alone over real gRPC."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import field_mask_pb2

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


async def _make(one: OneService, account_id: str = "acme", **changes: Any) -> pb.CustomProvider:
    provider = pb.CustomProvider()
    provider.CopyFrom(MINE)
    for name, value in changes.items():
        setattr(provider, name, value)
    request = pb.CreateCustomProviderRequest(account_id=account_id, provider=provider)
    answer: pb.CreateCustomProviderResponse = await _stub(one).CreateCustomProvider(request, timeout=5)
    return answer.provider


async def _change(one: OneService, provider_id: str, *paths: str, **changes: Any) -> pb.CustomProvider:
    request = pb.UpdateCustomProviderRequest(
        account_id="acme",
        id=provider_id,
        provider=pb.CustomProvider(**changes),
        update_mask=field_mask_pb2.FieldMask(paths=paths),
    )
    answer: pb.UpdateCustomProviderResponse = await _stub(one).UpdateCustomProvider(request, timeout=5)
    return answer.provider


async def _list(one: OneService, **wanted: Any) -> pb.ListCustomProvidersResponse:
    request = pb.ListCustomProvidersRequest(**{"account_id": "acme", **wanted})
    answer: pb.ListCustomProvidersResponse = await _stub(one).ListCustomProviders(request, timeout=5)
    return answer


async def _delete(one: OneService, provider_id: str) -> None:
    request = pb.DeleteCustomProviderRequest(account_id="acme", id=provider_id)
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


async def test_a_provider_is_made_and_used(router: OneService) -> None:
    """The next plan that names it has what is needed to call it, and nothing that is for people."""
    made = await _make(router, description="For all", position=3)
    step = await _step(router)
    native = await _step(router, model="", provider="custom-mine", client_dialect=http_pb2.DIALECT_NATIVE)
    needed = pb.CustomProvider()
    needed.CopyFrom(made)
    for name in ("id", "description", "position"):
        needed.ClearField(name)

    assert (36, "For all", 3) == (len(made.id), made.description, made.position)
    assert (needed, "custom-mine", "m") == (step.custom, step.provider, step.model)
    assert ("https://llm.example/v1", [("x-team", b"a")]) == (
        step.custom.base_url,
        [(header.name, header.value) for header in step.custom.headers],
    )
    assert (needed, "") == (native.custom, native.model)


async def test_a_provider_is_found_and_changed(router: OneService) -> None:
    """Only what the mask names changes, and plans have it at once."""
    made = await _make(router)
    changed = await _change(router, made.id, "base_url", "headers", base_url="https://b.example", name="no")
    request = pb.GetCustomProviderRequest(account_id="acme", id=made.id)
    found = (await _stub(router).GetCustomProvider(request, timeout=5)).provider

    assert ("https://b.example", "Mine", 0) == (changed.base_url, changed.name, len(changed.headers))
    assert changed == found
    assert "https://b.example" == (await _step(router)).custom.base_url


@pytest.mark.parametrize(
    ("paths", "changes", "reason", "param"),
    [
        ((), {}, Reason.INVALID_REQUEST, "update_mask"),
        (("id",), {}, Reason.INVALID_REQUEST, "update_mask"),
        (("create_time",), {}, Reason.INVALID_REQUEST, "update_mask"),
        (("base_url",), {}, Reason.INVALID_REQUEST, "base_url"),
        (("slug",), {"slug": "A"}, Reason.INVALID_REQUEST, "slug"),
        (("slug",), {"slug": "ops-llm"}, Reason.CONFLICT, "slug"),
        (("slug",), {"slug": "other"}, Reason.CONFLICT, "slug"),
    ],
)
async def test_a_change_that_may_not_be(
    router: OneService, paths: tuple[str, ...], changes: dict[str, Any], reason: Reason, param: str
) -> None:
    """Nothing is changed by it."""
    made = await _make(router)
    await _make(router, slug="other")
    with pytest.raises(GatewayError) as caught:
        await _change(router, made.id, *paths, **changes)

    assert (reason, param) == (caught.value.reason, caught.value.metadata["param"])
    assert made in (await _list(router)).providers


async def test_providers_are_listed(router: OneService) -> None:
    """In parts, in an order, and only those that are asked for."""
    for slug in ("b", "a", "c"):
        await _make(router, slug=slug, enabled=slug != "b")
    some = await _list(router, page_size=1, offset=1, order_by="slug", descending=True)
    enabled = await _list(router, enabled=True, beta=False, search="MIN")

    assert (["b"], 3) == ([found.slug for found in some.providers], some.total_count)
    assert (["a", "c"], 2) == ([found.slug for found in enabled.providers], enabled.total_count)
    assert [["custom-ops-llm"]] * 2 == [list(found.operator_providers) for found in (some, enabled)]


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"order_by": "id"}, "order_by"),
        ({"page_size": 1001}, "page_size"),
        ({"offset": -1}, "offset"),
        ({"search": "\0"}, "search"),
        ({"account_id": ""}, "account_id"),
    ],
)
async def test_a_list_that_makes_no_sense(router: OneService, wanted: dict[str, Any], param: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(GatewayError) as caught:
        await _list(router, **wanted)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_others_do_not_have_it(router: OneService) -> None:
    """The same slug of another account leads nowhere."""
    await _make(router)
    error = await _refusal(router, account_id="other")

    assert (Reason.INVALID_PROVIDER, "custom-mine") == (error.reason, error.metadata["provider"])


async def test_a_switched_off_provider_is_not_used(router: OneService) -> None:
    """It stays in the list, and plans refuse it."""
    await _make(router, enabled=False)
    answer = await _list(router)

    assert [("mine", False)] == [(found.slug, found.enabled) for found in answer.providers]
    assert Reason.INVALID_PROVIDER == (await _refusal(router)).reason


async def test_a_deleted_provider_is_gone_at_once(router: OneService) -> None:
    """Watchers hear that earlier plans of the account are void, and the next plan refuses it."""
    made = await _make(router)
    watching: Any = RouterServiceStub(router.channel("edge"))
    watch = watching.Watch(router_service_pb2.WatchRequest())
    async with aclosing(watch):
        first = await anext(watch)
        await _delete(router, made.id)
        told = await asyncio.wait_for(anext(watch), 1)

    assert (first.invalidation.generation + 1, "acme") == (
        told.invalidation.generation,
        told.invalidation.scope,
    )
    assert Reason.INVALID_PROVIDER == (await _refusal(router)).reason
    with pytest.raises(GatewayError) as caught:
        await _delete(router, made.id)
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
        await _make(router, **changes)
    answer = await _list(router)

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
        (stub.CreateCustomProvider, pb.CreateCustomProviderRequest()),
        (stub.ListCustomProviders, pb.ListCustomProvidersRequest()),
        (stub.GetCustomProvider, pb.GetCustomProviderRequest()),
        (stub.UpdateCustomProvider, pb.UpdateCustomProviderRequest()),
        (stub.DeleteCustomProvider, pb.DeleteCustomProviderRequest()),
    ):
        with pytest.raises(GatewayError) as caught:
            await call(request, timeout=5)
        assert Reason.CALLER_NOT_ALLOWED == caught.value.reason
