"""What the edge tells router of attempts, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict

from headrace.provider.v1 import provider_service_pb2 as provider_pb
from kit.errors import GatewayError, Reason
from services.edge.health_reports import HealthReports, Outcome, outcome_of
from tests.fakes.stopped_clock import StoppedClock

if TYPE_CHECKING:
    from headrace.router.v1 import router_service_pb2

NONE = provider_pb.FAILURE_CLASS_UNSPECIFIED
CLASSES = {
    "INVALID_REQUEST": Outcome.CLIENT_ERROR,
    "AUTHENTICATION": Outcome.CLIENT_ERROR,
    "NOT_FOUND": Outcome.NOTHING,
    "CONTEXT_LENGTH": Outcome.CLIENT_ERROR,
    "CONTENT_POLICY": Outcome.CLIENT_ERROR,
    "RATE_LIMIT": Outcome.REFUSED,
    "SERVER": Outcome.FAILURE,
    "CUT": Outcome.FAILURE,
    "TIMEOUT": Outcome.FAILURE,
    "MALFORMED": Outcome.FAILURE,
}
REASONS = {
    Reason.UPSTREAM_UNREACHABLE: Outcome.FAILURE,
    Reason.UPSTREAM_TIMEOUT: Outcome.FAILURE,
    Reason.UPSTREAM_MALFORMED: Outcome.FAILURE,
    Reason.UPSTREAM_CUT: Outcome.FAILURE,
    Reason.UPSTREAM_ERROR: Outcome.FAILURE,
}


class Router:
    """Hears reports, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.heard: list[list[dict[str, Any]]] = []
        self.clock = StoppedClock()
        self.reports = HealthReports(self.hear, self.clock)
        self.told = asyncio.Event()

    async def hear(self, request: router_service_pb2.ReportHealthRequest) -> None:
        if self.away:
            raise GatewayError(Reason.SERVICE_UNAVAILABLE, "away")
        counts = MessageToDict(request, preserving_proto_field_name=True).get("counts", [])
        self.heard.append([{name: value for name, value in row.items() if value} for row in counts])
        self.told.set()

    def note(self, outcome: Outcome, model: str = "m", **more: Any) -> None:
        """Note an attempt with the operator's key."""
        self.reports.note("openai", model, "operator", "acme", outcome, **more)


@pytest.mark.parametrize(("name", "expected"), CLASSES.items())
def test_every_class_of_failure_says_something(name: str, expected: Outcome) -> None:
    """Client's errors are not the provider's failures."""
    status = {"SERVER": 503, "RATE_LIMIT": 429}.get(name, 400)

    assert expected is outcome_of(status, provider_pb.FailureClass.Value(f"FAILURE_CLASS_{name}"), None)


def test_no_class_is_left_out() -> None:
    """A class that is added has to be decided on."""
    assert {f"FAILURE_CLASS_{name}" for name in (*CLASSES, "UNSPECIFIED")} == set(
        provider_pb.FailureClass.keys()
    )


@pytest.mark.parametrize("reason", Reason)
def test_only_the_provider_is_blamed_for_what_is_its_doing(reason: Reason) -> None:
    """What we, an operator or a client did wrong says nothing about the provider."""
    assert REASONS.get(reason, Outcome.NOTHING) is outcome_of(0, NONE, reason)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, Outcome.NOTHING), (200, Outcome.SUCCESS), (204, Outcome.SUCCESS), (302, Outcome.SUCCESS),
        (400, Outcome.CLIENT_ERROR), (401, Outcome.CLIENT_ERROR), (404, Outcome.NOTHING),
        (408, Outcome.FAILURE), (409, Outcome.CLIENT_ERROR), (422, Outcome.CLIENT_ERROR),
        (425, Outcome.FAILURE), (429, Outcome.REFUSED), (500, Outcome.FAILURE), (501, Outcome.CLIENT_ERROR),
        (503, Outcome.FAILURE), (529, Outcome.FAILURE),
    ],
)  # fmt: skip
def test_a_status_says_something_by_itself(status: int, expected: Outcome) -> None:
    """Where no class is known."""
    assert expected is outcome_of(status, NONE, None)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome.FAILURE),
        (409, Outcome.CLIENT_ERROR),
        (501, Outcome.CLIENT_ERROR),
        (502, Outcome.FAILURE),
    ],
)
def test_a_provider_that_does_not_offer_something_does_not_fail(status: int, expected: Outcome) -> None:
    """Although its status is one of the server's errors."""
    assert expected is outcome_of(status, provider_pb.FAILURE_CLASS_SERVER, "")


async def test_attempts_are_counted_up() -> None:
    """What was noted since the last time is sent in one message."""
    router = Router()
    router.note(Outcome.SUCCESS, first_byte_s=0.25)
    router.note(Outcome.SUCCESS, first_byte_s=0.5)
    router.note(Outcome.SUCCESS)
    router.note(Outcome.CLIENT_ERROR, first_byte_s=0.01)
    router.note(Outcome.FAILURE, first_byte_s=9.0)
    router.note(Outcome.REFUSED, retry_after_s=3.0)
    router.note(Outcome.REFUSED, retry_after_s=2.0)
    router.note(Outcome.NOTHING)
    router.note(Outcome.SUCCESS, "n")
    await router.reports.flush()
    await router.reports.flush()

    both = {"provider": "openai", "key": "operator"}
    all_of_m = {
        "successes": "4", "failures": "1", "refusals": "2", "timed": "2", "first_byte": "0.750s",
        "retry_after": "3s",
    }  # fmt: skip
    expected = [{**both, "model": "m", **all_of_m}, {**both, "model": "n", "successes": "1"}]
    assert [expected] == [
        [{name: value for name, value in row.items() if value != "0s"} for row in rows]
        for rows in router.heard
    ]


@pytest.mark.parametrize(
    ("provider", "key", "own", "expected"),
    [
        pytest.param("openai", "operator", False, "", id="the operator's key"),
        pytest.param("openai", "operator", True, "acme", id="the operator's key, with time-outs of its own"),
        pytest.param("openai", "request", False, "acme", id="the request's key"),
        pytest.param("openai", "0192-…", False, "acme", id="a stored key"),
        pytest.param("local", "", False, "", id="no key"),
        pytest.param("custom-x", "", False, "acme", id="no key, at a provider of its own"),
        pytest.param("custom-x", "operator", False, "", id="a provider that the operator added"),
    ],
)
async def test_what_an_account_has_a_hand_in_concerns_it_alone(
    provider: str, key: str, *, own: bool, expected: str
) -> None:
    """No account can make a provider look bad for another."""
    router = Router()
    router.reports.note(provider, "m", key, "acme", Outcome.FAILURE, own=own)
    await router.reports.flush()

    assert [expected] == [row.get("account_id", "") for row in router.heard[0]]


async def test_a_router_that_is_away_is_told_later() -> None:
    """What could not be sent is merged with what came since."""
    router = Router()
    router.away = True
    router.note(Outcome.REFUSED, retry_after_s=9.0)
    await router.reports.flush()
    router.note(Outcome.REFUSED, retry_after_s=4.0)
    router.away = False
    await router.reports.flush()

    assert [("2", "9s")] == [(row["refusals"], row["retry_after"]) for row in router.heard[0]]


async def test_a_router_that_is_away_for_long_is_told_no_old_news() -> None:
    """What happened a minute ago says nothing of now."""
    router = Router()
    router.away = True
    router.note(Outcome.FAILURE)
    await router.reports.flush()
    router.clock.advance(31)
    await router.reports.flush()
    router.away = False
    router.note(Outcome.SUCCESS)
    await router.reports.flush()

    assert [{"provider", "model", "key", "successes", "first_byte"}] == [set(row) for row in router.heard[0]]


@pytest.mark.parametrize("away", [False, True])
async def test_names_that_clients_make_up_take_little_memory(*, away: bool) -> None:
    """Beyond a bound, new ones are not counted, and old ones are."""
    router = Router()
    router.away = away
    for _ in range(2):
        for number in range(3_000):
            router.note(Outcome.SUCCESS, f"m{number}")
        if away:
            await router.reports.flush()
    router.away = False
    await router.reports.flush()

    assert (2_000, {"2"}) == (len(router.heard[0]), {row["successes"] for row in router.heard[0]})


async def test_what_is_left_is_sent_at_the_end() -> None:
    """A stop loses nothing that was counted."""
    router = Router()
    async with router.reports.sending(3600.0):
        router.note(Outcome.SUCCESS)

    assert 1 == len(router.heard)


async def test_counts_are_sent_now_and_then() -> None:
    """Without anybody asking."""
    router = Router()
    async with router.reports.sending(0.001):
        router.note(Outcome.SUCCESS)
        await router.told.wait()
        assert 1 == len(router.heard)
