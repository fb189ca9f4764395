"""The route engine by its tables: alone, and through router's `Plan`."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import random
from typing import TYPE_CHECKING

import pytest
import structlog

from headrace.common.v1 import caller_pb2, decision_pb2, http_pb2
from headrace.router.v1 import router_service_pb2 as pb
from kit.audit import Actor
from kit.clock import SystemClock
from kit.errors import GatewayError, Reason
from kit.generation import WatchHub
from kit.moment import now
from services.edge.pipeline.decision import joined, passed
from services.router.config import RouterConfig
from services.router.core.engine.asked import Asked, Input
from services.router.core.engine.compiled import compile_route
from services.router.core.engine.effects import (
    Begin,
    CheckRate,
    Claimed,
    ClaimProbe,
    Done,
    Drawn,
    Failed,
    NeedDraw,
    RateResult,
    Try,
)
from services.router.core.engine.pattern import Effort
from services.router.core.engine.steps import begun, step
from services.router.core.engine.surroundings import Surroundings
from services.router.core.gateway import Gateway
from services.router.core.health import HealthRules
from services.router.core.health_book import HealthBook
from services.router.core.limit_ticket import read_ticket, route_bucket
from services.router.core.plan import Catalogue
from services.router.core.route_graph import check_elements
from services.router.core.settings import GatewaySettings
from services.router.counters.memory import MemoryCounters
from services.router.counters.route_counters import RouteCounters
from services.router.counters.store import Scope, Take
from services.router.health_memory import MemoryHealth
from services.router.server.health import HealthRpcs
from services.router.server.plans import RouterServicer
from services.router.server.route_book import RouteBook
from services.router.server.route_plans import RoutePlans
from services.router.server.route_walk import RouteWalk
from tests.fakes.gateway_store import MemoryPlanGateways, MemoryPlanProviders
from tests.fakes.limits import limit_servicer
from tests.fakes.route_tables import RouteCase, condition_cases, route_cases
from tests.fakes.routes import MemoryRoutes, ToldHealth

if TYPE_CHECKING:
    from services.router.core.engine.effects import Effect, Event

CASES = [*route_cases(), *condition_cases()]
CATALOGUE = Catalogue(providers=frozenset({"openai", "anthropic"}))
INPUTS = [pb.PLAN_INPUT_BODY, pb.PLAN_INPUT_HEADERS, pb.PLAN_INPUT_METADATA]


@dataclass
class Came:
    """What came of a case."""

    tries: list[str] = field(default_factory=list)
    outcome: str = ""
    way: list[str] = field(default_factory=list)
    checks: list[CheckRate] = field(default_factory=list)


def _alone(case: RouteCase) -> Came:
    """Carry a case out on the engine, whose every question is answered from the table."""
    came = Came()
    route = compile_route(case.elements, {}, route_id="route-0", version_id="version-0")
    health = ToldHealth(case.health, probes=case.probes)
    around = Surroundings(asked=_asked(case), health=health, effort=Effort())
    state = begun(route)
    event: Event = Begin()
    while True:
        state, effect = step(route, around, state, event)
        if isinstance(effect, CheckRate):
            came.checks.append(effect)
        if isinstance(effect, Try):
            came.tries.append(effect.node.id)
        if isinstance(effect, Done):
            came.outcome = effect.outcome if not came.tries or effect.outcome != "empty" else "failed"
            break
        if isinstance(effect, Try) and effect.node.id not in case.failing:
            came.outcome = "answered"
            break
        event = _answer(case, health, effect)
    came.way = [f"{each.element_id} {each.output}" for each in state.trace]
    if came.outcome == "answered":
        came.way[-1] += "success"
    return came


def _asked(case: RouteCase) -> Asked:
    return Asked(
        account_id="acme",
        given=frozenset(Input),
        body=case.body_bytes,
        headers={name.lower(): [value] for name, value in case.headers.items()},
        metadata=case.metadata,
    )


def _answer(case: RouteCase, health: ToldHealth, effect: Effect) -> Event:
    match effect:
        case NeedDraw():
            return Drawn(case.draw)
        case CheckRate(node=node):
            used = case.used.get(node.id, 0)
            return RateResult(taken=used < node.limit, used=used)
        case ClaimProbe(node=node):
            return Claimed(health.claim(node.provider, node.model, "acme"))
        case _:
            return Failed(reason="UPSTREAM_ERROR", status=503)


class Router:
    """
    A router with one route, in memory.

    Args:
        case: Has the route, and what chance and health are.
    """

    def __init__(self, case: RouteCase) -> None:
        self.counters = MemoryCounters(clock=SystemClock())
        self.store, self.routes, self.hub = MemoryPlanGateways(), MemoryRoutes(), WatchHub(1)
        self.routes.put("acme", "default", "r", case.elements)
        self.health = ToldHealth(case.health, probes=case.probes)
        providers = MemoryPlanProviders()
        walk = RouteWalk(
            health=self.health, custom_providers=providers, catalogue=CATALOGUE, health_reuse_s=1.0
        )
        reported = MemoryHealth(
            HealthBook(HealthRules()), clock=SystemClock(), draw=random, changed=lambda *_: None
        )
        self.servicer = RouterServicer(
            store=self.store,
            custom_providers=providers,
            hub=self.hub,
            catalogue=CATALOGUE,
            config=RouterConfig(),
            clock=SystemClock(),
            health=HealthRpcs(reported),
            limits=limit_servicer(self.store, self.hub, counters=self.counters),
            routes=RoutePlans(
                book=RouteBook(store=self.routes, hub=self.hub, aliases={}),
                walk=walk,
                counters=RouteCounters(self.counters),
                health=self.health,
                draw=lambda: case.draw,
            ),
            log=structlog.get_logger(),
        )

    async def open(self) -> Router:
        """Make the gateway."""
        at = now(SystemClock())
        gateway = Gateway(
            account_id="acme",
            id="default",
            internal_id="i",
            settings=GatewaySettings(),
            created_at=at,
            updated_at=at,
        )
        await self.store.ensure(gateway, Actor())
        return self

    async def plan(self, case: RouteCase, *, given: bool = True, after: bytes = b"") -> pb.PlanResponse:
        """Ask for a plan, with all that may be needed or without."""
        request = pb.PlanRequest(
            caller=caller_pb2.Caller(account_id="acme", gateway_id="default", token_id="t"),
            authenticated=True,
            client_dialect=http_pb2.DIALECT_OPENAI_CHAT,
            requested_model="dynamic/r",
            continuation=after,
            failure=pb.StepFailure(reason="UPSTREAM_ERROR", status=503) if after else None,
        )
        if given:
            request.given.extend(INPUTS)
            request.caller.metadata.update(case.metadata)
            request.body = case.body_bytes
            for name, value in case.headers.items():
                request.headers.add(name=name, value=value.encode())
        return await self.servicer.Plan(request, None)


async def _planned(case: RouteCase) -> tuple[Came, list[pb.PlanResponse]]:
    """Carry a case out as the edge does: step by step, and then by the continuation."""
    router = await Router(case).open()
    for check in _alone(case).checks:
        node = check.node
        bucket = route_bucket(check.counter, node.unit, node.limit, node.window_s, node.technique)
        take = Take(bucket, case.used.get(node.id, 0))
        await router.counters.reserve(Scope("acme", "default"), f"used-{node.id}", [take], 60_000)
    came = Came()
    plans: list[pb.PlanResponse] = []
    decision: decision_pb2.Decision | None = None
    after = b""
    while True:
        try:
            plan = await router.plan(case, after=after)
        except GatewayError as error:
            came.outcome = {Reason.RATE_LIMITED: "refused", Reason.ALL_STEPS_FAILED: "empty"}[error.reason]
            return came, plans
        plans.append(plan)
        decision = joined(decision, plan.decision)
        for each in plan.steps:
            came.tries.append(each.element_id)
            if each.element_id not in case.failing:
                came.outcome = "answered"
                break
        if came.outcome or not plan.continuation:
            break
        after = plan.continuation
    came.outcome = came.outcome or "failed"
    told = passed(decision, came.tries[-1], answered=came.outcome == "answered")
    came.way = [f"{each.element_id} {each.output}" for each in told.steps]
    return came, plans


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_engine_takes_the_way_of_the_table(case: RouteCase) -> None:
    """Every row is a route that is taken on writing, and the engine alone goes its way."""
    assert case.elements == check_elements(case.elements, CATALOGUE.knows)
    came = _alone(case)

    assert (case.tries, case.outcome) == (tuple(came.tries), came.outcome)
    assert case.way is None or case.way == tuple(came.way)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_plans_take_the_way_of_the_table(case: RouteCase) -> None:
    """The same rows through `Plan`, with its continuations and real counters."""
    came, plans = await _planned(case)

    assert (case.tries, case.outcome) == (tuple(came.tries), came.outcome)
    if case.way is not None and case.outcome in ("answered", "failed"):
        assert case.way == tuple(came.way)
    if case.ticket is not None:
        assert case.ticket == len(read_ticket(plans[-1].ticket))
        assert bool(case.ticket) is plans[-1].limited


LONG, SHORT, NEVER = 60, 1, 0


@pytest.mark.parametrize(
    ("name", "reuse_s"),
    [
        ("one model: it answers", LONG),
        ("a chain of fallbacks: the first answers", SHORT),
        ("a chain of fallbacks: an open circuit is passed over", SHORT),
        ("a chain of fallbacks: a probe goes through a half-open circuit", NEVER),
        ("a chain of fallbacks: without a probe left it is passed over", SHORT),
        ("shares by chance: the lowest draw", NEVER),
        ("shares weighted by how providers do: as they are when nothing is known", NEVER),
        ("the fastest: the lower latency", SHORT),
        ("the fastest: a draw decides among equals", NEVER),
        ("the fastest: a probe comes first", NEVER),
        ("a limit of requests with a fallback: below the limit", NEVER),
        ("a limit of requests with a fallback: who does not say the key is not limited", NEVER),
        ("a way that ends without a model: the header is there", NEVER),
        (
            "a limit of everything behind a model: a way that does not come there is not counted",
            SHORT,
        ),
    ],
)
async def test_a_plan_is_reused_as_long_as_it_would_be_the_same(name: str, reuse_s: int) -> None:
    """Not where inputs, counts, chance or a probe had a part; for a moment where health had."""
    case = next(each for each in CASES if each.name == name)
    plan = await (await Router(case).open()).plan(case)

    assert reuse_s == plan.lifetime.reuse_for.ToSeconds()
    assert bool(reuse_s) is bool(plan.lifetime.grace.ToSeconds())


async def test_what_is_needed_is_asked_for_and_the_question_is_kept() -> None:
    """Nothing is decided or counted before; the demand holds as long as any plan."""
    case = next(each for each in CASES if each.name.startswith("conditions, older"))
    router = await Router(case).open()
    plan = await router.plan(case, given=False)

    assert [pb.PLAN_INPUT_BODY, pb.PLAN_INPUT_METADATA] == list(plan.needs)
    assert (0, LONG, False) == (
        len(plan.steps), plan.lifetime.reuse_for.ToSeconds(), plan.HasField("decision")
    )  # fmt: skip


async def test_another_router_goes_on_with_a_continuation() -> None:
    """What is needed to go on is in the continuation: the router that began may be gone."""
    case = next(each for each in CASES if "after a failure another condition" in each.name)
    first, second = await Router(case).open(), await Router(case).open()
    began = await first.plan(case)
    plan = await second.plan(case, after=began.continuation)

    assert (["m1"], ["m2"]) == (
        [each.element_id for each in began.steps], [each.element_id for each in plan.steps]
    )  # fmt: skip
    assert ("m1", "fallback", "UPSTREAM_ERROR, status 503") == (
        plan.decision.steps[0].element_id,
        plan.decision.steps[0].output,
        plan.decision.steps[0].reason,
    )


async def test_a_request_goes_on_in_the_version_that_it_began_in() -> None:
    """A version that is deployed meanwhile is for requests that begin after it."""
    case = next(each for each in CASES if "after a failure another condition" in each.name)
    router = await Router(case).open()
    began = await router.plan(case)
    simple = next(each for each in CASES if each.name == "one model: it answers")
    router.routes.put("acme", "default", "r", simple.elements)
    router.hub.advance(2, "acme")
    plan = await router.plan(case, after=began.continuation)

    assert ["m2"] == [each.element_id for each in plan.steps]
    assert ["one"] == [each.element_id for each in (await router.plan(simple)).steps]


async def test_a_route_that_is_deleted_meanwhile_is_a_clear_error() -> None:
    """Its continuation fails, with what happened."""
    case = next(each for each in CASES if "after a failure another condition" in each.name)
    router = await Router(case).open()
    began = await router.plan(case)
    router.routes.forget("acme", "default", "r")
    router.hub.advance(2, "acme")
    with pytest.raises(GatewayError, match="deleted while the request was under way") as caught:
        await router.plan(case, after=began.continuation)

    assert Reason.ALL_STEPS_FAILED == caught.value.reason


@pytest.mark.parametrize(
    "continuation",
    [
        b"x",
        b"[]",
        b"[1]",
        b'[2,"route-0","version-0","m1",[]]',
        b'[1,"route-0","version-0","m1",[1]]',
        b'[1,"route-0","version-0","s",[]]',
        b'[1,"route-0","version-0","nope",[]]',
        b" " * 70_000,
    ],
)
async def test_what_no_plan_gave_is_no_continuation(continuation: bytes) -> None:
    """It is refused as a malformed request, whatever it is."""
    case = next(each for each in CASES if each.name.startswith("a chain"))
    router = await Router(case).open()
    with pytest.raises(GatewayError) as caught:
        await router.plan(case, after=continuation)

    assert (Reason.INVALID_REQUEST, "continuation") == (
        caught.value.reason,
        caught.value.metadata["param"],
    )


async def test_a_continuation_is_for_its_own_gateway() -> None:
    """A route of another gateway is none of this one's."""
    case = next(each for each in CASES if each.name.startswith("a chain"))
    router = await Router(case).open()
    other = router.routes.put("acme", "other", "r", case.elements)
    foreign = f'[1,"{other.id}","{other.version.id}","m1",[]]'.encode()
    with pytest.raises(GatewayError, match="deleted"):
        await router.plan(case, after=foreign)


async def test_a_route_is_read_once_until_something_changes() -> None:
    """A route whose plans are not reused does not cost a read for each request."""
    case = next(each for each in CASES if each.name == "shares by chance: the lowest draw")
    router = await Router(case).open()
    for _ in range(5):
        await router.plan(case)

    assert 1 == router.routes.reads
    router.hub.advance(2, "acme")
    await router.plan(case)
    assert 2 == router.routes.reads


async def test_a_limit_refuses_with_all_that_a_caller_needs() -> None:
    """Which limit, how much, and when to come back."""
    case = next(each for each in CASES if each.name.endswith("no money left"))
    router = await Router(case).open()
    for check in _alone(case).checks:
        node = check.node
        bucket = route_bucket(check.counter, node.unit, node.limit, node.window_s, node.technique)
        take = Take(bucket, case.used.get(node.id, 0))
        await router.counters.reserve(Scope("acme", "default"), node.id, [take], 60_000)
    with pytest.raises(GatewayError) as caught:
        await router.plan(case)

    error = caught.value
    assert "Rate limited: element 'q' of the dynamic route 'r' ($0.5 per 3600s, fixed)" == error.message
    assert ("q", "500000000", "0", "nano_usd") == tuple(
        error.metadata[name] for name in ("rule", "limit", "remaining", "unit")
    )
    assert error.retry_after_s is not None
    assert 1 <= error.retry_after_s <= 3600


async def test_a_provider_that_is_gone_is_passed_over() -> None:
    """A route outlives what it names: its model fails as if it had been tried."""
    case = next(each for each in CASES if each.name == "a chain of fallbacks: the first answers")
    router = await Router(case).open()
    gone = case.elements.replace('"openai"', '"custom-gone"', 1)
    router.routes.put("acme", "default", "r", gone)
    plan = await router.plan(case)

    assert ["m2", "m3"] == [each.element_id for each in plan.steps]
    assert "INVALID_PROVIDER" == plan.decision.steps[1].reason


async def test_an_element_says_how_its_step_is_tried() -> None:
    """Its time-out, its tries, and whether a stream is continued."""
    case = next(each for each in CASES if each.name == "one model: it answers")
    (found,) = (await (await Router(case).open()).plan(case)).steps

    assert ("openai", "a", 2500, 3, True, "one") == (
        found.provider,
        found.model,
        found.timeouts.first_byte.ToMilliseconds(),
        found.retry.max_attempts,
        found.stream_failover,
        found.element_id,
    )
