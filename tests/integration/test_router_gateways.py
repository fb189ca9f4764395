"""Gateways managed at a router alone, over real gRPC."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from google.protobuf import duration_pb2

from headrace.audit.v1 import audit_service_pb2
from headrace.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from headrace.common.v1 import actor_pb2
from headrace.router.v1 import gateway_pb2, router_service_pb2
from headrace.router.v1 import gateway_service_pb2 as pb
from headrace.router.v1.gateway_service_pb2_grpc import GatewayServiceStub
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import settings
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACTOR = actor_pb2.Actor(token_id="t1", token_name="laptop", interface="api", address="::1")


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[OneService]:
    async with serve(build, {"HEADRACE_DATA_DIR": str(tmp_path / "data")}) as one:
        yield one


def _stub(one: OneService, caller: str = "edge") -> Any:
    return GatewayServiceStub(one.channel(caller))


async def _create(one: OneService, gateway_id: str = "mine", **wanted: Any) -> gateway_pb2.Gateway:
    request = pb.CreateGatewayRequest(
        **{
            "account_id": "acme",
            "gateway_id": gateway_id,
            "settings": settings(),
            "actor": ACTOR,
            **wanted,
        }
    )
    answer: pb.CreateGatewayResponse = await _stub(one).CreateGateway(request, timeout=5)
    return answer.gateway


async def _replace(one: OneService, gateway_id: str = "mine", **wanted: Any) -> gateway_pb2.Gateway:
    request = pb.ReplaceGatewayRequest(
        **{"account_id": "acme", "gateway_id": gateway_id, "actor": ACTOR, **wanted}
    )
    answer: pb.ReplaceGatewayResponse = await _stub(one).ReplaceGateway(request, timeout=5)
    return answer.gateway


async def _get(one: OneService, gateway_id: str = "mine") -> gateway_pb2.Gateway:
    request = pb.GetGatewayRequest(account_id="acme", gateway_id=gateway_id)
    answer: pb.GetGatewayResponse = await _stub(one).GetGateway(request, timeout=5)
    return answer.gateway


async def _list(one: OneService, **wanted: Any) -> pb.ListGatewaysResponse:
    request = pb.ListGatewaysRequest(**{"account_id": "acme", **wanted})
    answer: pb.ListGatewaysResponse = await _stub(one).ListGateways(request, timeout=5)
    return answer


async def _delete(one: OneService, gateway_id: str = "mine") -> gateway_pb2.Gateway:
    request = pb.DeleteGatewayRequest(account_id="acme", gateway_id=gateway_id, actor=ACTOR)
    answer: pb.DeleteGatewayResponse = await _stub(one).DeleteGateway(request, timeout=5)
    return answer.gateway


async def test_a_gateway_is_made_changed_and_deleted(router: OneService) -> None:
    """Its UUID and the time when it was made stay; deleted, it is gone."""
    made = await _create(router, settings=settings(dlp_json='{"enabled":true,"policies":[]}'))
    changed = await _replace(router, settings=settings(cache_ttl=duration_pb2.Duration(seconds=1)))

    assert 36 == len(made.internal_id)
    assert (made.internal_id, made.create_time) == (changed.internal_id, changed.create_time)
    assert made.update_time.ToNanoseconds() < changed.update_time.ToNanoseconds()
    assert (1, "") == (changed.settings.cache_ttl.seconds, changed.settings.dlp_json)
    assert changed == await _get(router) == await _delete(router)
    with pytest.raises(GatewayError) as caught:
        await _get(router)
    assert (Reason.GATEWAY_NOT_FOUND, {"gateway_id": "mine"}) == (caught.value.reason, caught.value.metadata)


async def test_what_came_out_can_be_put_back(router: OneService) -> None:
    """Clients that change one thing send everything back as they got it, which then is no other change."""
    made = await _create(
        router,
        settings=settings(
            spend_limits_json='{"rules":[{"limitType":"cost","limit":1,"window":60}]}',
            otel_json='[{"url":"https://a","headers":{"x-team":"b"},"authorization":"name"}]',
            stripe_json='{"authorization":"name","usage_events":[]}',
            guardrails_json='{"prompt":{"S1":"BLOCK"},"response":{}}',
            dlp_json='{"enabled":true,"action":"FLAG","profiles":[]}',
        ),
    )

    assert made == await _replace(router, settings=made.settings)


async def test_default_makes_itself_for_who_manages_it(router: OneService) -> None:
    """Looking at it and replacing its settings both do; deleted, it comes back as another one."""
    first = await _get(router, "default")
    await _delete(router, "default")
    replaced = await _replace(router, "default", settings=settings(byok_only=True))

    assert (True, True, False) == (
        first.settings.authentication,
        first.settings.collect_logs,
        first.settings.byok_only,
    )
    assert replaced.settings.byok_only
    assert first.internal_id != replaced.internal_id
    with pytest.raises(GatewayError) as caught:
        await _replace(router, "other", settings=settings())
    assert Reason.GATEWAY_NOT_FOUND == caught.value.reason


@pytest.mark.parametrize(
    ("wanted", "reason", "metadata"),
    [
        ({"gateway_id": "mine"}, Reason.CONFLICT, {"resource": "gateway", "param": "id"}),
        ({"gateway_id": "Mine"}, Reason.INVALID_REQUEST, {"param": "id"}),
        ({"gateway_id": ""}, Reason.INVALID_REQUEST, {"param": "id"}),
        ({"gateway_id": "x" * 65}, Reason.INVALID_REQUEST, {"param": "id"}),
        ({"account_id": "a/b"}, Reason.INVALID_REQUEST, {"param": "account_id"}),
        ({"settings": None}, Reason.INVALID_REQUEST, {"param": "settings"}),
        ({"settings": settings(log_management=1)}, Reason.INVALID_REQUEST, {"param": "log_management"}),
        (
            {"settings": settings(spend_limits_json='{"rules":[{"limitType":"cost","limit":1,"window":0}]}')},
            Reason.INVALID_REQUEST,
            {"param": "spend_limits.rules.0.window"},
        ),
    ],
)
async def test_a_gateway_that_may_not_be(
    router: OneService, wanted: dict[str, Any], reason: Reason, metadata: dict[str, str]
) -> None:
    """The error says why, and nothing is made."""
    await _create(router)
    with pytest.raises(GatewayError) as caught:
        await _create(router, **{"gateway_id": "other", **wanted})

    assert (reason, metadata) == (caught.value.reason, caught.value.metadata)
    assert 1 == (await _list(router)).total_count


async def test_a_refused_replacement_changes_nothing(router: OneService) -> None:
    """Whole or not at all."""
    made = await _create(router)
    with pytest.raises(GatewayError) as caught:
        await _replace(router, settings=settings(byok_only=True, otel_json="[{}]"))

    assert (Reason.INVALID_REQUEST, "otel.0.url") == (caught.value.reason, caught.value.metadata["param"])
    assert made == await _get(router)


async def test_gateways_are_listed(router: OneService) -> None:
    """In parts, by id; what makes no sense is named."""
    for gateway_id in ("b", "a", "a-c"):
        await _create(router, gateway_id)
    some = await _list(router, page_size=1, offset=1)
    found = await _list(router, search="A", gateway_ids=["a", "b"])

    assert (["a-c"], 3) == ([each.id for each in some.gateways], some.total_count)
    assert (["a"], 1) == ([each.id for each in found.gateways], found.total_count)
    for wanted, param in (
        ({"page_size": -1}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"offset": -1}, "offset"),
        ({"search": "\0"}, "search"),
        ({"gateway_ids": ["a"] * 1001}, "gateway_ids"),
    ):
        with pytest.raises(GatewayError) as caught:
            await _list(router, **wanted)
        assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_watchers_hear_of_every_change(router: OneService) -> None:
    """One event for each, with the account; none for what changes nothing."""
    stub: Any = RouterServiceStub(router.channel("edge"))
    async with aclosing(stub.Watch(router_service_pb2.WatchRequest())) as watch:
        first = (await anext(watch)).invalidation.generation
        await _create(router)
        await _replace(router, settings=settings(zdr=True))
        await _replace(router, settings=settings(zdr=True))
        await _delete(router)
        heard: list[tuple[int, str]] = []
        while not heard or heard[-1][0] < first + 3:
            event = (await asyncio.wait_for(anext(watch), 1)).invalidation
            heard.append((event.generation, event.scope))

    assert [(first + number, "acme") for number in range(4 - len(heard), 4)] == heard


async def test_who_changed_what_is_told(router: OneService) -> None:
    """By the audit log of this service, newest first."""
    await _create(router)
    await _delete(router)

    assert [("delete", "mine", ACTOR), ("create", "mine", ACTOR)] == [
        (entry.action, entry.resource_id, entry.actor) for entry in await _changes(router, "gateway")
    ]


@pytest.mark.parametrize(
    ("wanted", "resource_id", "shown"),
    [
        ({}, "acme", {"gateway_id": None, "provider": None, "key_sha256": None}),
        ({"gateway_id": "mine"}, "mine", {"gateway_id": "mine", "provider": None, "key_sha256": None}),
        (
            {"gateway_id": "mine", "provider": "openai"},
            "mine",
            {"gateway_id": "mine", "provider": "openai", "key_sha256": None},
        ),
        (
            {"gateway_id": "mine", "key_digest": b"\xab" * 32},
            "mine",
            {"gateway_id": "mine", "provider": None, "key_sha256": "ab" * 32},
        ),
    ],
)
async def test_a_purge_is_written_down(
    router: OneService, wanted: dict[str, Any], resource_id: str, shown: dict[str, Any]
) -> None:
    """With who asked and what is forgotten."""
    await _stub(router).RecordPurge(
        pb.RecordPurgeRequest(account_id="acme", actor=ACTOR, **wanted), timeout=5
    )
    (entry,) = await _changes(router, "cache")

    assert ("purge", resource_id, wanted.get("gateway_id", ""), ACTOR) == (
        entry.action, entry.resource_id, entry.gateway_id, entry.actor,
    )  # fmt: skip
    assert (shown, "") == (orjson.loads(entry.old_json), entry.new_json)


async def test_a_purge_that_makes_no_sense_is_not_written_down(router: OneService) -> None:
    """Each field is checked."""
    params = []
    for wanted in (
        {"gateway_id": "No Gateway"},
        {"provider": "x" * 65},
        {"provider": "a\nb"},
        {"gateway_id": "mine", "key_digest": b"short"},
        {"key_digest": b"\xab" * 32},
    ):
        request = pb.RecordPurgeRequest(account_id="acme", actor=ACTOR, **wanted)
        with pytest.raises(GatewayError) as caught:
            await _stub(router).RecordPurge(request, timeout=5)
        params.append(caught.value.metadata["param"])

    assert ["gateway_id", "provider", "provider", "key_digest", "gateway_id"] == params
    assert [] == await _changes(router, "cache")


async def _changes(one: OneService, kind: str) -> list[audit_service_pb2.AuditEntry]:
    audit: Any = AuditServiceStub(one.channel("edge"))
    request = audit_service_pb2.ListAuditEntriesRequest(account_id="acme", resource_type=kind)
    return list((await audit.ListAuditEntries(request, timeout=5)).entries)


@pytest.mark.parametrize("caller", ["external", "auth", "providers", "ledger"])
async def test_others_may_not_manage_gateways(router: OneService, caller: str) -> None:
    """No service but the edge and the command line reads or changes gateways."""
    stub = _stub(router, caller)
    for call, request in (
        (stub.CreateGateway, pb.CreateGatewayRequest()),
        (stub.ListGateways, pb.ListGatewaysRequest()),
        (stub.GetGateway, pb.GetGatewayRequest()),
        (stub.ReplaceGateway, pb.ReplaceGatewayRequest()),
        (stub.DeleteGateway, pb.DeleteGatewayRequest()),
        (stub.RecordPurge, pb.RecordPurgeRequest()),
    ):
        with pytest.raises(GatewayError) as caught:
            await call(request, timeout=5)
        assert Reason.CALLER_NOT_ALLOWED == caught.value.reason
