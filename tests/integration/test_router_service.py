"""Router alone, over real gRPC on a Unix socket, with a real database."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import duration_pb2

from headrace.common.v1 import caller_pb2, http_pb2
from headrace.router.v1 import gateway_pb2, gateway_service_pb2
from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.gateway_service_pb2_grpc import GatewayServiceStub
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.database import DatabaseUnusableError
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import get_gateway, put_gateway
from tests.fakes.one_service import OneService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MODEL = "openai/gpt-4o-mini"
SECOND = duration_pb2.Duration(seconds=1)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HEADRACE_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
async def router(env: dict[str, str]) -> AsyncIterator[OneService]:
    async with serve(build, env) as one:
        yield one


def _router(one: OneService, caller: str = "edge") -> Any:
    return RouterServiceStub(one.channel(caller))


async def _plan(
    one: OneService, *, gateway_id: str = "default", account_id: str = "acme", **fields: Any
) -> pb.PlanResponse:
    request = pb.PlanRequest(
        **{
            "caller": caller_pb2.Caller(account_id=account_id, gateway_id=gateway_id, token_id="t"),
            "authenticated": True,
            "client_dialect": http_pb2.DIALECT_OPENAI_CHAT,
            "requested_model": MODEL,
            **fields,
        }
    )
    answer: pb.PlanResponse = await _router(one).Plan(request, timeout=5)
    return answer


async def _refused(one: OneService, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await _plan(one, **fields)
    return caught.value


async def _get(one: OneService, gateway_id: str = "default", account_id: str = "acme") -> gateway_pb2.Gateway:
    return await get_gateway(one.channel("cli"), account_id, gateway_id)


async def _set(one: OneService, **settings: Any) -> gateway_pb2.Gateway:
    return await put_gateway(one.channel("cli"), **settings)


async def _missing(one: OneService, gateway_id: str = "default") -> bool:
    """Tell whether there is no such gateway. Asking for `default` itself would make it."""
    stub: Any = GatewayServiceStub(one.channel("cli"))
    answer = await stub.ListGateways(
        gateway_service_pb2.ListGatewaysRequest(account_id="acme", gateway_ids=[gateway_id]), timeout=5
    )
    return not answer.total_count


async def test_the_first_authenticated_request_makes_the_default_gateway(router: OneService) -> None:
    """It has the promised settings, and the plan its lifetime."""
    assert await _missing(router)
    plan = await _plan(router)
    gateway = await _get(router)

    assert [("openai", "gpt-4o-mini")] == [(step.provider, step.model) for step in plan.steps]
    assert "" != gateway.internal_id
    assert (True, True, True, False, False) == (
        plan.settings.authentication,
        plan.settings.collect_logs,
        plan.settings.collect_payloads,
        plan.settings.HasField("cache_ttl"),
        plan.settings.HasField("retry"),
    )
    assert (60_000, 300_000, "acme") == (
        plan.lifetime.reuse_for.ToMilliseconds(),
        plan.lifetime.grace.ToMilliseconds(),
        plan.lifetime.scope,
    )
    assert plan.lifetime.generation > 0


async def test_without_a_token_nothing_is_made(router: OneService) -> None:
    """Who has no token gets the settings that `default` would have, no steps, and leaves no trace."""
    plan = await _plan(router, authenticated=False)

    assert (True, []) == (plan.settings.authentication, list(plan.steps))
    assert await _missing(router)


@pytest.mark.parametrize("authenticated", [True, False])
@pytest.mark.parametrize("gateway_id", ["nope", "", "Default", "a--b", "x" * 65, "../default", "default\n"])
async def test_no_other_gateway_is_there_for_anybody(
    router: OneService, gateway_id: str, *, authenticated: bool
) -> None:
    """An unknown or impossible name is not found, with a token or without, and not made."""
    error = await _refused(router, gateway_id=gateway_id, authenticated=authenticated)

    assert (Reason.GATEWAY_NOT_FOUND, {"gateway_id": gateway_id[:64].replace("\n", "?")}) == (
        error.reason,
        error.metadata,
    )
    assert await _missing(router, gateway_id)


async def test_accounts_do_not_share_gateways(router: OneService) -> None:
    """The same name in two accounts is two gateways."""
    await _plan(router)
    await _plan(router, account_id="other")
    await _set(router, byok_only=True)

    assert (True, False) == (
        (await _get(router)).settings.byok_only,
        (await _get(router, account_id="other")).settings.byok_only,
    )


@pytest.mark.parametrize(
    ("fields", "reason", "metadata"),
    [
        ({"requested_model": "gpt-4o"}, Reason.BAD_CHAT_FORMAT, {"param": "model"}),
        ({"requested_model": ""}, Reason.BAD_CHAT_FORMAT, {"param": "model"}),
        ({"requested_model": "nope/x"}, Reason.INVALID_PROVIDER, {"provider": "nope"}),
        (
            {"requested_model": "", "provider": "nope", "client_dialect": http_pb2.DIALECT_NATIVE},
            Reason.INVALID_PROVIDER,
            {"provider": "nope"},
        ),
        (
            {"requested_model": "dynamic/support"},
            Reason.ALL_STEPS_FAILED,
            {"resource": "route", "id": "support", "param": "model"},
        ),
        ({"provider": "openai"}, Reason.INVALID_REQUEST, {"param": "provider"}),
        ({"continuation": b"x"}, Reason.INVALID_REQUEST, {"param": "continuation"}),
        ({"account_id": ""}, Reason.INVALID_REQUEST, {"param": "account_id"}),
        ({"account_id": "a/b"}, Reason.INVALID_REQUEST, {"param": "account_id"}),
    ],
)
async def test_a_plan_is_refused(
    router: OneService, fields: dict[str, Any], reason: Reason, metadata: dict[str, str]
) -> None:
    """Each error has its reason and names what is wrong."""
    error = await _refused(router, **fields)

    assert (reason, metadata) == (error.reason, error.metadata)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "local"])
async def test_native_paths_are_planned(router: OneService, provider: str) -> None:
    """Each provider's own API is one step, without a model."""
    plan = await _plan(router, requested_model="", provider=provider, client_dialect=http_pb2.DIALECT_NATIVE)

    assert [(provider, "")] == [(step.provider, step.model) for step in plan.steps]


async def test_a_change_is_there_at_once(router: OneService) -> None:
    """The next plan has the new settings and a higher generation; the time of change moved."""
    before = await _plan(router)
    made = await _get(router)
    changed = await _set(
        router, cache_ttl=duration_pb2.Duration(seconds=60), retry=gateway_pb2.Retry(max_attempts=3)
    )
    after = await _plan(router)

    assert (60, 3, False) == (
        after.settings.cache_ttl.seconds,
        after.settings.retry.max_attempts,
        after.settings.byok_only,
    )
    assert changed == await _get(router)
    assert after.lifetime.generation == before.lifetime.generation + 1
    assert made.create_time == changed.create_time
    assert made.update_time.ToNanoseconds() < changed.update_time.ToNanoseconds()


async def test_a_gateway_without_authentication_plans_for_anybody(router: OneService) -> None:
    """Turning authentication off gives steps to who has no token."""
    await _plan(router)
    await _set(router, authentication=False)
    plan = await _plan(router, authenticated=False)

    assert (False, 1) == (plan.settings.authentication, len(plan.steps))


@pytest.mark.parametrize("caller", ["external", "cli", "auth", ""])
async def test_others_may_not_plan(router: OneService, caller: str) -> None:
    """Only the edge asks for plans and watches."""
    with pytest.raises(GatewayError) as caught:
        await _router(router, caller).Plan(pb.PlanRequest(), timeout=5)
    with pytest.raises(GatewayError) as watched:
        async for _ in _router(router, caller).Watch(pb.WatchRequest(), timeout=5):
            pass

    assert (Reason.CALLER_NOT_ALLOWED,) * 2 == (caught.value.reason, watched.value.reason)


async def test_a_change_is_heard_by_all_within_a_second(router: OneService) -> None:
    """Every watcher first hears the generation, then the change with its account."""
    await _plan(router)
    watches = [_router(router).Watch(pb.WatchRequest()) for _ in range(8)]
    first = [await asyncio.wait_for(anext(watch), 5) for watch in watches]
    began_s = time.monotonic()
    await _set(router, byok_only=True)
    heard = [await asyncio.wait_for(anext(watch), 1) for watch in watches]
    took_s = time.monotonic() - began_s
    for watch in watches:
        await watch.aclose()

    assert {""} == {event.invalidation.scope for event in first}
    assert {(first[0].invalidation.generation + 1, "acme")} == {
        (event.invalidation.generation, event.invalidation.scope) for event in heard
    }
    assert took_s < 1


async def test_what_makes_no_difference_is_not_told(router: OneService) -> None:
    """Neither a gateway that makes itself nor a change to the same value voids anything."""
    async with aclosing(_router(router).Watch(pb.WatchRequest())) as watch:
        await anext(watch)
        await _plan(router)
        await _set(router, authentication=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 0.2)


async def test_a_stop_ends_watches(env: dict[str, str]) -> None:
    """A stop does not wait for watchers, and their streams end without an error."""
    async with serve(build, env) as one:
        watch = _router(one).Watch(pb.WatchRequest())
        await asyncio.wait_for(anext(watch), 5)
        assert one.service.drain is not None
        await one.service.drain(5)

        assert [] == [event async for event in watch]


async def test_gateways_and_generation_survive_a_restart(env: dict[str, str]) -> None:
    """After a restart the settings are the same, and the generation goes on from where it was."""
    async with serve(build, env) as one:
        await _plan(one)
        gateway = await _set(one, cache_ttl=duration_pb2.Duration(seconds=3600))
        before = (await _plan(one)).lifetime.generation
    async with serve(build, env) as one:
        plan = await _plan(one)
        async with aclosing(_router(one).Watch(pb.WatchRequest())) as watch:
            event = await anext(watch)

        assert (before, before, "") == (
            plan.lifetime.generation,
            event.invalidation.generation,
            event.invalidation.scope,
        )
        assert gateway == await _get(one)


async def test_many_at_once_make_one_gateway(router: OneService) -> None:
    """First requests at the same time agree, and what is managed is what they got."""
    plans = await asyncio.gather(*(_plan(router) for _ in range(100)))
    made = await _get(router)
    again = await asyncio.gather(*(_get(router) for _ in range(10)))

    assert [plans[0].settings] * 100 == [plan.settings for plan in plans]
    assert [made] * 10 == again


async def test_plans_leave_out_what_only_managers_need(router: OneService) -> None:
    """Documents and the like are kept, and do not go along with every plan."""
    await _set(router, spend_limits_json="{}", store_id="s", logpush_public_key="k" * 16, cache_ttl=SECOND)
    plan = await _plan(router)
    kept = (await _get(router)).settings

    assert (60, "", "", "") == (
        plan.settings.cache_ttl.seconds,
        plan.settings.spend_limits_json,
        plan.settings.store_id,
        plan.settings.logpush_public_key,
    )
    assert (1, '{"enabled":false,"rules":[]}', "s") == (
        kept.cache_ttl.seconds,
        kept.spend_limits_json,
        kept.store_id,
    )


async def test_settings_decide_how_long_plans_hold(env: dict[str, str]) -> None:
    """`HEADRACE_ROUTER_REUSE_FOR_S` and `HEADRACE_ROUTER_GRACE_S` are what plans carry."""
    settings = {"HEADRACE_ROUTER_REUSE_FOR_S": "1.5", "HEADRACE_ROUTER_GRACE_S": "0"}
    async with serve(build, {**env, **settings}) as one:
        lifetime = (await _plan(one)).lifetime

    assert (1500, 0) == (lifetime.reuse_for.ToMilliseconds(), lifetime.grace.ToMilliseconds())


async def test_a_broken_database_stops_the_start(env: dict[str, str], tmp_path: Path) -> None:
    """A file that is no database is one clear sentence."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "router.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(DatabaseUnusableError, match=r"router\.db is not a SQLite database"):
        async with serve(build, env, name="router"):
            pass


async def test_the_service_is_ready_when_its_database_answers(router: OneService) -> None:
    """The check that readiness asks passes on a service that works."""
    await asyncio.wait_for(router.service.check(), 5)
