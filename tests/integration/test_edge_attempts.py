"""Steps that are tried again, passed over, or gone on from; and what limits have to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import decision_pb2, http_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import gateway_pb2, router_service_pb2
from kit.errors import GatewayError, Reason
from tests.fakes.edge_calls import ANSWER, AUTH, BODY, CHAT, failure, post
from tests.fakes.peers import Peers, chunk, edge_between, head, tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UNREACHABLE = [GatewayError(Reason.UPSTREAM_UNREACHABLE, "no")]
AT_ONCE = {"cf-aig-max-attempts": "3", "cf-aig-retry-delay": "0"}


def _refused(status: int, klass: int, **fields: Any) -> list[Any]:
    body = b'{"error":{"message":"from the provider"}}'
    return [head(status, failure=failure(klass, upstream_status=status, **fields)), chunk(body), tail()]


def _step(provider: str, model: str = "m", **fields: Any) -> router_service_pb2.Step:
    return router_service_pb2.Step(provider=provider, model=model, **fields)


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    async with edge_between(tmp_path) as found:
        found.provider.script = [head(), chunk(ANSWER), tail(finish_reason="stop")]
        yield found


@pytest.mark.parametrize(
    "failing",
    [
        UNREACHABLE,
        [GatewayError(Reason.UPSTREAM_TIMEOUT, "silent")],
        [GatewayError(Reason.UPSTREAM_CUT, "cut")],
        [GatewayError(Reason.SERVICE_UNAVAILABLE, "away")],
        _refused(500, pb.FAILURE_CLASS_SERVER),
        _refused(429, pb.FAILURE_CLASS_RATE_LIMIT),
    ],
)
async def test_what_may_pass_is_tried_again(peers: Peers, failing: list[Any]) -> None:
    """Each attempt is in the log with its reason and when it began."""
    peers.provider.earlier = [failing, failing]
    status, _, headers = await post(peers, **AT_ONCE)
    entry = await peers.entry()

    assert (200, "0", 3) == (status, headers["cf-aig-step"], len(peers.provider.requests))
    assert [True, True, False] == [bool(attempt.error_reason) for attempt in entry.attempts]
    begins = [attempt.begin.ToNanoseconds() for attempt in entry.attempts]
    assert sorted(begins) == begins


@pytest.mark.parametrize(
    ("status", "klass"),
    [
        (400, pb.FAILURE_CLASS_INVALID_REQUEST),
        (401, pb.FAILURE_CLASS_AUTHENTICATION),
        (404, pb.FAILURE_CLASS_NOT_FOUND),
        (400, pb.FAILURE_CLASS_CONTEXT_LENGTH),
        (400, pb.FAILURE_CLASS_CONTENT_POLICY),
    ],
)
async def test_what_the_request_is_at_fault_for_is_not(peers: Peers, status: int, klass: int) -> None:
    """The client gets the provider's own words at once."""
    peers.provider.earlier = [_refused(status, klass)]
    found, body, _ = await post(peers, **AT_ONCE)

    assert (status, 1) == (found, len(peers.provider.requests))
    assert {"error": {"message": "from the provider"}} == body


async def test_the_last_word_of_the_provider_is_the_answer(peers: Peers) -> None:
    """When no try helped, the client learns what the provider said last, and the log says error."""
    peers.provider.script = _refused(503, pb.FAILURE_CLASS_SERVER)
    status, body, _ = await post(peers, **AT_ONCE)
    entry = await peers.entry()

    assert (503, {"error": {"message": "from the provider"}}) == (status, body)
    assert ("SERVER", 503, 3) == (entry.error_reason, entry.status, len(entry.attempts))


GARBLED = b'{"choices": [broken'


def _garbled() -> list[Any]:
    told = failure(pb.FAILURE_CLASS_MALFORMED, upstream_status=200, reported=True)
    return [head(), chunk(GARBLED), tail(failure=told)]


async def test_an_answer_that_is_garbled_gives_way(peers: Peers) -> None:
    """Of a native answer it is known at its end what it is; nothing of it was sent by then."""
    peers.router.steps = [_step("openai"), _step("groq")]
    peers.provider.earlier = [_garbled()]
    status, _, headers = await post(peers)
    entry = await peers.entry()

    assert (200, "1", "groq") == (status, headers["cf-aig-step"], headers["cf-aig-provider"])
    assert ["MALFORMED", ""] == [attempt.error_reason for attempt in entry.attempts]


async def test_a_garbled_answer_is_handed_on_when_nothing_helps(peers: Peers) -> None:
    """It is as the provider sent it; the log tells that it is none, and the cache does not keep it."""
    peers.provider.script = _garbled()

    async def ask() -> tuple[int, bytes, str]:
        async with peers.client.post(CHAT, json=BODY, headers={**AUTH, "cf-aig-cache-ttl": "60"}) as answer:
            return answer.status, await answer.read(), answer.headers["cf-aig-cache-status"]

    assert (200, GARBLED, "MISS") == await ask()
    entry = await peers.entry()
    assert (200, GARBLED, "MISS") == await ask()
    assert (log_entry_pb2.OUTCOME_ERROR, "MALFORMED") == (entry.outcome, entry.error_reason)


async def test_an_error_that_breaks_off_is_no_answer(peers: Peers) -> None:
    """What the client gets in its place is ours."""
    cut = failure(pb.FAILURE_CLASS_CUT, upstream_status=200)
    peers.provider.script = [
        head(failure=failure(pb.FAILURE_CLASS_SERVER, upstream_status=200)),
        chunk(b"data: {"),
        tail(failure=cut),
    ]

    assert 502 == (await post(peers))[0]


async def test_a_provider_that_asks_for_long_is_not_waited_for(peers: Peers) -> None:
    """It is not asked in vain: its error is the answer."""
    peers.provider.earlier = [_refused(429, pb.FAILURE_CLASS_RATE_LIMIT, retry_after=Duration(seconds=3600))]
    status, _, _ = await post(peers, **AT_ONCE)

    assert (429, 1) == (status, len(peers.provider.requests))


async def test_the_gateway_says_how_often(peers: Peers) -> None:
    """Without a header the gateway's setting counts."""
    peers.router.settings["retry"] = gateway_pb2.Retry(max_attempts=2, delay=Duration())
    peers.provider.earlier = [UNREACHABLE]

    assert 200 == (await post(peers))[0]


async def test_a_step_says_its_own_time_outs(peers: Peers) -> None:
    """The step's word comes before the header's, timer by timer."""
    timeouts = gateway_pb2.Timeouts(first_byte=Duration(seconds=3))
    peers.router.settings["timeouts"] = gateway_pb2.Timeouts(idle=Duration(seconds=9))
    peers.router.steps = [_step("openai", timeouts=timeouts)]
    await post(peers, **{"cf-aig-request-timeout": "1000"})
    (request,) = peers.provider.requests

    assert (3, 9) == (request.timeouts.first_byte.seconds, request.timeouts.idle.seconds)


@pytest.mark.parametrize("klass", [pb.FAILURE_CLASS_CONTEXT_LENGTH, pb.FAILURE_CLASS_CONTENT_POLICY])
async def test_the_same_model_is_not_asked_what_it_refused(peers: Peers, klass: int) -> None:
    """Another model is, which may take more."""
    peers.router.steps = [_step("openai", "small"), _step("openai", "small"), _step("openai", "large")]
    peers.provider.earlier = [_refused(400, klass)]
    status, _, headers = await post(peers)

    assert (200, ["small", "large"]) == (status, [request.model for request in peers.provider.requests])
    assert "large" == headers["cf-aig-model"]


async def test_a_plan_is_gone_on_with(peers: Peers) -> None:
    """When its steps failed, router is told how and says what else to try; the log keeps the way."""
    peers.router.steps = [_step("openai", "a")]
    peers.router.further = [
        router_service_pb2.PlanResponse(
            steps=[_step("groq", "b", element_id="m2")],
            decision=decision_pb2.Decision(route="r", steps=[decision_pb2.DecisionStep(element_id="m2")]),
        )
    ]
    peers.provider.earlier = [_refused(500, pb.FAILURE_CLASS_SERVER)]
    status, _, headers = await post(peers)
    entry = await peers.entry()

    assert (200, "1", "groq") == (status, headers["cf-aig-step"], headers["cf-aig-provider"])
    (told,) = peers.router.failures
    assert (0, "SERVER", 500) == (told.step, told.reason, told.status)
    assert ["m2"] == [step.element_id for step in entry.decision.steps]


async def test_a_plan_may_have_nothing_further(peers: Peers) -> None:
    """Then the failure that there was is the answer."""
    peers.router.steps = [_step("openai", "a")]
    peers.router.further = [router_service_pb2.PlanResponse()]
    peers.provider.script = UNREACHABLE
    status, body, _ = await post(peers)

    assert (502, "upstream_unreachable") == (status, body["error"]["code"])


async def test_a_key_goes_to_nobody_in_a_route(peers: Peers) -> None:
    """Whose key it is nobody can tell there."""
    peers.router.steps = [_step("openai", "a")]
    peers.router.decision = decision_pb2.Decision(route="r")
    await peers.client.post(
        CHAT, json=BODY, headers={"cf-aig-authorization": AUTH["authorization"][7:], "x-api-key": "sk-x"}
    )
    (request,) = peers.provider.requests

    assert "x-api-key" not in {header.name for header in request.headers}


class TestLimits:
    """Reserving before, settling afterwards."""

    async def test_what_is_reserved_and_settled(self, peers: Peers) -> None:
        """The estimate is on the high side of what was used; what was used takes its place."""
        peers.router.limited = True
        await post(peers, json={**BODY, "max_tokens": 50, "model": "openai/gpt-4o"})
        (settled,) = await peers.settlements(1)
        (reserved,) = peers.router.reserved

        assert ("openai", "gpt-4o", False) == (reserved.provider, reserved.model, reserved.counted)
        assert reserved.tokens > 50
        assert reserved.nano_usd > settled.nano_usd > 0
        assert 8 == settled.tokens

    async def test_what_is_left_is_told(self, peers: Peers) -> None:
        """In OpenAI's words for requests and tokens; money in dollars."""
        peers.router.limited = True
        peers.router.limits = [
            router_service_pb2.LimitState(
                unit=router_service_pb2.LIMIT_UNIT_REQUESTS, limit=10, remaining=9, reset=Duration(seconds=30)
            ),
            router_service_pb2.LimitState(
                unit=router_service_pb2.LIMIT_UNIT_TOKENS,
                limit=1000,
                remaining=-4,
                reset=Duration(seconds=30),
            ),
            router_service_pb2.LimitState(
                unit=router_service_pb2.LIMIT_UNIT_NANO_USD,
                limit=10**9,
                remaining=25 * 10**7,
                reset=Duration(),
            ),
        ]
        _, _, headers = await post(peers)

        assert ("10", "9", "30s") == tuple(
            headers[f"x-ratelimit-{word}-requests"] for word in ("limit", "remaining", "reset")
        )
        assert "0" == headers["x-ratelimit-remaining-tokens"]
        assert ("1.000000000", "0.250000000") == (
            headers["cf-aig-budget-limit"],
            headers["cf-aig-budget-remaining"],
        )

    async def test_what_is_left_is_told_after_a_fallback(self, peers: Peers) -> None:
        """What counted the request with its first step does not count it again, and is told all the same."""
        peers.router.limited = True
        state = router_service_pb2.LimitState(
            unit=router_service_pb2.LIMIT_UNIT_REQUESTS, limit=10, remaining=9, reset=Duration(seconds=30)
        )
        peers.router.steps = [_step("openai"), _step("groq")]
        peers.router.limits = [state]
        theirs = http_pb2.Header(name="x-ratelimit-remaining-requests", value=b"4711")
        opening = head()
        opening.head.headers.append(theirs)
        peers.provider.script = [opening, chunk(ANSWER), tail()]
        peers.provider.earlier = [UNREACHABLE]
        _, _, headers = await post(peers)

        assert ["9"] == headers.getall("x-ratelimit-remaining-requests")

    async def test_a_route_that_refuses_tells_its_limit(self, peers: Peers) -> None:
        """Nothing is planned then: there is no entry, but the client learns as much as of other limits."""
        known = {"rule": "r", "limit": "5", "remaining": "0", "reset_s": "7.000", "unit": "requests"}
        peers.router.refused = GatewayError(Reason.RATE_LIMITED, "Rate limited", retry_after_s=7.0, **known)
        status, _, headers = await post(peers)

        assert (429, "7", "5", "0") == (
            status,
            headers["retry-after"],
            headers["x-ratelimit-limit-requests"],
            headers["x-ratelimit-remaining-requests"],
        )

    async def test_nothing_left(self, peers: Peers) -> None:
        """429 in the client's dialect with the time to come back; the provider is not asked; it is logged."""
        peers.router.limited = True
        peers.router.refusals = [
            GatewayError(Reason.RATE_LIMITED, "Rate limited", retry_after_s=7.0, rule="", limit="5")
        ]
        status, body, headers = await post(peers)
        entry = await peers.entry()

        assert (429, 2003, "7") == (status, body["internalCode"], headers["retry-after"])
        assert "rate_limited" == body["error"]["code"]
        assert ([], "RATE_LIMITED") == (peers.provider.requests, entry.error_reason)

    async def test_a_step_without_room_gives_way(self, peers: Peers) -> None:
        """The next step may be of another model, whose limit has room; the refusal counted nothing."""
        peers.router.limited = True
        peers.router.steps = [_step("openai"), _step("groq")]
        peers.router.refusals = [GatewayError(Reason.SPEND_LIMITED, "Spend limit exceeded"), None]
        status, _, headers = await post(peers)

        assert (200, "groq") == (status, headers["cf-aig-provider"])
        assert [False, False] == [reserved.counted for reserved in peers.router.reserved]

    async def test_what_a_failed_step_reserved_is_given_back(self, peers: Peers) -> None:
        """It used nothing."""
        peers.router.limited = True
        peers.router.steps = [_step("openai"), _step("groq")]
        peers.provider.earlier = [UNREACHABLE]
        await post(peers)
        first, second = await peers.settlements(2)

        assert (0, 0) == (first.tokens, first.nano_usd)
        assert 8 == second.tokens

    async def test_a_hit_asks_no_limit(self, peers: Peers) -> None:
        """An answer from the cache costs nothing."""
        peers.router.limited = True
        for _ in range(3):
            await post(peers, **{"cf-aig-cache-ttl": "60"})

        assert 1 == len(peers.router.reserved)

    @pytest.mark.parametrize(
        ("model", "named", "counts"),
        [
            # Three tokens in and five out of gpt-4o: 57,500 billionths of a dollar.
            ("openai/gpt-4o", 0, 57_500),
            ("openai/gpt-4o", 0.5, 500_000_000),
            ("openai/nobody-knows-it", 0.001, 1_000_000),
        ],
    )
    async def test_a_price_that_a_client_names_takes_nothing_off(
        self, peers: Peers, model: str, named: float, counts: int
    ) -> None:
        """Limits count the listed price at least, when reserving and when settling."""
        peers.router.limited = True
        await post(
            peers, json={**BODY, "model": model}, **{"cf-aig-custom-cost": f'{{"total_cost": {named}}}'}
        )
        (settled,) = await peers.settlements(1)
        (reserved,) = peers.router.reserved

        assert counts == settled.nano_usd
        assert reserved.nano_usd >= counts
