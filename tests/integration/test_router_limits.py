"""Limits at real routers, over real gRPC: one with its own memory, and two that share a real Valkey."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import duration_pb2

from headrace.common.v1 import caller_pb2, http_pb2
from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.gateways import put_gateway
from tests.fakes.one_service import OneService, serve
from tests.fakes.valkey_server import shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DOLLAR = 1_000_000_000
DAY = {"window": 86_400, "technique": "fixed"}
CALLER = caller_pb2.Caller(account_id="acme", gateway_id="default", token_id="t1", metadata={"user": "ann"})


class Routers:
    """Routers with the same gateway, and stubs of them."""

    def __init__(self, found: list[OneService]) -> None:
        self.found = found
        self.stubs: list[Any] = [RouterServiceStub(one.channel("edge")) for one in found]

    async def put(self, **changes: Any) -> None:
        for one in self.found:
            await put_gateway(one.channel("cli"), **changes)

    async def put_rule(self, name: str = "spend_limits", **rule: Any) -> None:
        document = {"enabled": True, "rules": [{"id": "r", **DAY, **rule}]}
        await self.put(**{f"{name}_json": json.dumps(document)})

    async def reserve(self, reservation_id: str, *, at: int = 0, **fields: Any) -> pb.ReserveResponse:
        request = pb.ReserveRequest(
            **{
                "caller": CALLER, "id": reservation_id, "provider": "openai", "model": "gpt-4o",
                "tokens": 10, "nano_usd": 1000, "lifetime": duration_pb2.Duration(seconds=60), **fields,
            }
        )  # fmt: skip
        answer: pb.ReserveResponse = await self.stubs[at].Reserve(request, timeout=20)
        return answer

    async def passes(self, reservation_id: str, *, at: int = 0, **fields: Any) -> bool:
        try:
            await self.reserve(reservation_id, at=at, **fields)
        except GatewayError as error:
            assert error.reason in {Reason.RATE_LIMITED, Reason.SPEND_LIMITED}  # noqa: PT017
            return False
        return True

    async def settle(self, *ids: str, at: int = 0, **amounts: Any) -> None:
        settlements = [pb.Settlement(id=each, caller=CALLER, **amounts) for each in ids]
        await self.stubs[at].Settle(pb.SettleRequest(settlements=settlements), timeout=20)

    async def refused(self, reservation_id: str, **fields: Any) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.reserve(reservation_id, **fields)
        return caught.value


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Routers]:
    async with serve(build, {"HEADRACE_DATA_DIR": str(tmp_path / "data")}) as one:
        yield Routers([one])


@pytest.fixture(params=["0", "20"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Routers]:
    """Two that count each request by itself, and two that count some in advance."""
    url = shared_valkey().new_url().reveal()
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(
                serve(
                    build,
                    {
                        "HEADRACE_DATA_DIR": str(tmp_path / name),
                        "HEADRACE_ROUTER_VALKEY_URL": url,
                        "HEADRACE_VALKEY_TIMEOUT_S": "20",
                        "HEADRACE_ROUTER_LEASE": request.param,
                    },
                )
            )
            for name in ("one", "other")
        ]
        yield Routers(found)


async def _limited(router: Any, **fields: Any) -> bool:
    request = pb.PlanRequest(
        caller=CALLER,
        authenticated=True,
        client_dialect=http_pb2.DIALECT_OPENAI_CHAT,
        requested_model="openai/gpt-4o",
        **fields,
    )
    answer: pb.PlanResponse = await router.Plan(request, timeout=20)
    return answer.limited


async def test_a_plan_says_whether_there_are_limits(alone: Routers) -> None:
    """From the moment at which they are set, and no longer."""
    found = [await _limited(alone.stubs[0])]
    for changes in (
        {"rate_limit": 1, "rate_limit_interval": duration_pb2.Duration(seconds=9)},
        {},
        {"spend_limits_json": '{"enabled":true,"rules":[{"limitType":"cost","limit":1,"window":60}]}'},
        {"spend_limits_json": '{"enabled":false,"rules":[{"limitType":"cost","limit":1,"window":60}]}'},
    ):
        await alone.put(**changes)
        found.append(await _limited(alone.stubs[0]))

    assert [False, True, False, True, False] == found


async def test_a_gateway_without_limits_reserves_nothing(alone: Routers) -> None:
    """There is nothing to settle, and settling it all the same is no error."""
    await alone.put()

    assert pb.ReserveResponse() == await alone.reserve("a")
    await alone.settle("a", nano_usd=1)


async def test_what_is_left_is_told_with_each_step(alone: Routers) -> None:
    """The tightest limit of each unit, with this request counted."""
    rules = [
        {"id": "wide", "limitType": "requests", "limit": 100, **DAY},
        {"id": "tight", "limitType": "requests", "limit": 5, **DAY},
        {"id": "words", "limitType": "tokens", "limit": 1000, **DAY},
    ]
    spend = {"id": "money", "limitType": "cost", "limit": 1, "mode": "hard", **DAY}
    await alone.put(
        rate_limits_json=json.dumps({"enabled": True, "rules": rules}),
        spend_limits_json=json.dumps({"enabled": True, "rules": [spend]}),
    )
    first = await alone.reserve("a")
    await alone.settle("a", tokens=4, nano_usd=250)
    second = await alone.reserve("b", counted=True)

    assert first.reserved
    assert [
        (pb.LIMIT_UNIT_REQUESTS, "tight", 5, 4),
        (pb.LIMIT_UNIT_TOKENS, "words", 1000, 990),
        (pb.LIMIT_UNIT_NANO_USD, "money", DOLLAR, DOLLAR - 1000),
    ] == [(each.unit, each.rule, each.limit, each.remaining) for each in first.limits]
    assert [("words", 986), ("money", DOLLAR - 1250)] == [
        (each.rule, each.remaining) for each in second.limits
    ]
    assert all(0 < each.reset.ToSeconds() <= 86_400 for each in first.limits)


async def test_a_refusal_says_which_limit_and_when_to_come_back(alone: Routers) -> None:
    """As it crosses the wire."""
    await alone.put_rule(limitType="cost", limit=0.000001, mode="hard")
    await alone.reserve("a")
    error = await alone.refused("b")

    assert (
        Reason.SPEND_LIMITED,
        "Spend limit exceeded: rule 'r' (cost limit 0.000001 per 86400s, fixed) for openai gpt-4o",
        {"rule": "r", "limit": "1000", "remaining": "0", "unit": "nano_usd"},
    ) == (
        error.reason,
        error.message,
        {name: value for name, value in error.metadata.items() if name != "reset_s"},
    )
    assert 0 < float(error.metadata["reset_s"]) <= 86_400
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 86_400


async def test_a_token_has_a_budget_of_its_own(alone: Routers) -> None:
    """What one spends is not taken from another."""
    await alone.put_rule(limitType="cost", limit=0.000001, mode="hard", token={"mode": "partition"})
    other = caller_pb2.Caller(account_id="acme", gateway_id="default", token_id="t2")
    nobody = caller_pb2.Caller(account_id="acme", gateway_id="default")

    assert [True, False, True, False, True, True] == [
        await alone.passes("a"),
        await alone.passes("b"),
        await alone.passes("c", caller=other),
        await alone.passes("d", caller=other),
        await alone.passes("e", caller=nobody),
        await alone.passes("f", caller=nobody),
    ]


async def test_counters_outlive_a_change_of_the_rule(alone: Routers) -> None:
    """A limit that is raised has what was spent behind it."""
    await alone.put_rule(limitType="cost", limit=0.000001, mode="hard")
    before = [await alone.passes("a"), await alone.passes("b")]
    await alone.put_rule(limitType="cost", limit=0.000002, mode="hard")
    after = [await alone.passes("c"), await alone.passes("d")]

    assert ([True, False], [True, False]) == (before, after)


async def test_a_hard_limit_lets_nothing_through_whose_price_is_unknown(alone: Routers) -> None:
    """A soft one does."""
    await alone.put_rule(limitType="cost", limit=1, mode="hard")
    error = await alone.refused("a", nano_usd=None)
    await alone.put_rule(limitType="cost", limit=1)

    assert (Reason.SPEND_LIMITED, {"rule": "r"}) == (error.reason, error.metadata)
    assert (await alone.reserve("a", nano_usd=None)).reserved


async def test_a_ticket_is_counted_and_settled_and_never_refused(alone: Routers) -> None:
    """Also where the gateway has no limits of its own."""
    await alone.put()
    entry = {"key": "route/element/ann", "unit": "cost", "limit": 10, "window": 3600, "technique": "sliding"}
    found = [await alone.reserve(name, ticket=json.dumps([entry]).encode()) for name in ("a", "b")]

    assert [(True, 0), (True, 0)] == [(each.reserved, len(each.limits)) for each in found]
    with pytest.raises(GatewayError) as caught:
        await alone.reserve("c", ticket=b"nonsense")
    assert (Reason.INVALID_REQUEST, "ticket") == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 257}, "id"),
        ({"provider": ""}, "provider"),
        ({"model": "x" * 1025}, "provider"),
        ({"tokens": -1}, "tokens"),
        ({"nano_usd": -1}, "tokens"),
        ({"caller": caller_pb2.Caller(account_id="", gateway_id="default")}, "account_id"),
    ],
)
async def test_what_is_malformed_is_refused(alone: Routers, fields: dict[str, Any], param: str) -> None:
    """By the name of what is wrong."""
    error = await alone.refused("a", **fields)

    assert (Reason.INVALID_REQUEST, param) == (error.reason, error.metadata["param"])


@pytest.mark.parametrize("kind", ["gateway", "requests", "cost"])
async def test_of_many_requests_over_two_routers_exactly_the_limit_passes(pair: Routers, kind: str) -> None:
    """In a fixed window, whoever asks whom."""
    if kind == "gateway":
        await pair.put(rate_limit=37, rate_limit_interval=duration_pb2.Duration(seconds=86_400))
    elif kind == "requests":
        await pair.put_rule("rate_limits", limitType="requests", limit=37)
    else:
        await pair.put_rule(limitType="cost", limit=0.000037, mode="hard")
    found = await asyncio.gather(
        *(pair.passes(f"{number}", at=number % 2, nano_usd=1000) for number in range(120))
    )

    assert 37 == sum(found)


async def test_one_router_settles_what_another_reserved(pair: Routers) -> None:
    """Repeated to both, it counts once; a repeated question reserves once."""
    await pair.put_rule(limitType="cost", limit=0.00001, mode="hard")
    await pair.reserve("a", nano_usd=10_000)
    await pair.reserve("a", at=1, nano_usd=10_000)
    full = await pair.passes("b", at=1)
    for at in (1, 0):
        await pair.settle("a", at=at, nano_usd=4000)

    assert not full
    assert 5000 == (await pair.reserve("b", at=1, nano_usd=1000)).limits[0].remaining


async def test_a_dollar_is_not_overspent_when_a_router_and_callers_vanish(pair: Routers) -> None:
    """
    64 callers of two routers, one of which stops in the middle; a tenth of the callers vanish.

    What providers charged is within the dollar. When the time of what nobody settled is over, it counts as
    used: nothing stays reserved.
    """
    await pair.put_rule(limitType="cost", limit=1, mode="hard")
    chance = random.Random(5)
    charged: list[int] = []
    half_way = asyncio.Event()
    moment = duration_pb2.Duration(nanos=300_000_000)

    async def call(number: int) -> None:
        for turn in range(10):
            estimate = chance.randrange(1, 20_000_000)
            name = f"{number}.{turn}"
            if not await pair.passes(name, at=number % 2, nano_usd=estimate, lifetime=moment):
                continue
            used = chance.randrange(estimate + 1)
            charged.append(used)
            if len(charged) == 60:
                half_way.set()
            if chance.random() < 0.1:
                return
            await pair.settle(name, at=number % 2, nano_usd=used)

    tasks = [asyncio.create_task(call(number)) for number in range(64)]
    await half_way.wait()
    await pair.found[1].stop(0)
    await asyncio.gather(*tasks, return_exceptions=True)

    probe = pb.ReserveRequest(caller=CALLER, id="probe", provider="openai", nano_usd=0)
    before = (await pair.stubs[0].Reserve(probe, timeout=20)).limits[0].remaining
    metrics, after, turn = pair.found[0].metrics, before, 0
    while not metrics.get_sample_value("headrace_router_settlements_total", {"result": "expired"}):
        turn += 1
        probe.id = f"probe {turn}"
        after = (await pair.stubs[0].Reserve(probe, timeout=20)).limits[0].remaining

    assert sum(charged) <= DOLLAR - before <= DOLLAR
    assert before == after
