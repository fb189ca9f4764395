"""The health of providers over real gRPC: what edges report, and what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from headrace.router.v1 import router_service_pb2 as pb
from headrace.router.v1.router_service_pb2_grpc import RouterServiceStub
from kit.errors import GatewayError, Reason
from services.router.app import build
from tests.fakes.one_service import OneService, serve
from tests.fakes.valkey_server import shared_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STORED = "0192f7e1-stored"


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[OneService]:
    env = {"HEADRACE_DATA_DIR": str(tmp_path / "data"), "HEADRACE_ROUTER_HEALTH_FAILURES_IN_A_ROW": "3"}
    async with serve(build, env) as one:
        yield one


async def report(one: OneService, *counts: pb.AttemptCount) -> None:
    """Report, as an edge does."""
    request = pb.ReportHealthRequest(counts=counts)
    await RouterServiceStub(one.channel("edge")).ReportHealth(request, timeout=5)


async def told(one: OneService, account_id: str = "acme", **more: Any) -> list[pb.ProviderHealth]:
    """List what is known."""
    request = pb.GetHealthRequest(account_id=account_id, **more)
    answer = await RouterServiceStub(one.channel("edge")).GetHealth(request, timeout=5)
    return [*answer.health]


async def test_a_report_is_told_of_by_model_and_by_key(router: OneService) -> None:
    """A model's numbers are those of all keys, and a key's those of all models."""
    await report(
        router,
        pb.AttemptCount(
            provider="openai", model="gpt", key=STORED, account_id="acme", successes=4, timed=2,
            first_byte=Duration(seconds=1), refusals=1, retry_after=Duration(seconds=60),
        ),
        pb.AttemptCount(provider="openai", model="gpt", key="request", account_id="acme", successes=1),
        pb.AttemptCount(provider="openai", model="gpt", key="operator", failures=3),
    )  # fmt: skip
    rows = await told(router)

    assert [("", STORED, 4, 1), ("", "request", 1, 0), ("gpt", "", 5, 1)] == [
        (row.model, row.key, row.successes, row.refusals) for row in rows
    ]
    model = rows[2]
    assert ("closed", 1.0, 0.5) == (
        model.circuit,
        model.success_rate,
        model.first_byte.ToMilliseconds() / 1e3,
    )
    assert pytest.approx(5 / 6) == model.weight


async def test_the_operators_is_told_when_asked_for(router: OneService) -> None:
    """What is done with the operator's keys is not shown to every account."""
    await report(router, pb.AttemptCount(provider="openai", model="gpt", key="operator", failures=3))

    assert [] == await told(router)
    rows = await told(router, shared=True)
    expected = [("", "operator", True, "open"), ("gpt", "", True, "open")]
    assert expected == [(row.model, row.key, row.shared, row.circuit) for row in rows]
    assert all(0 < row.retry_after.ToMilliseconds() <= 6000 for row in rows)
    assert [] == await told(router, shared=True, provider="anthropic")


async def test_changes_are_counted(router: OneService) -> None:
    """Names that accounts chose are counted as one."""
    await report(
        router,
        pb.AttemptCount(provider="openai", model="gpt", failures=3),
        pb.AttemptCount(provider="custom-x", model="gpt", account_id="acme", failures=3),
    )
    value = router.metrics.get_sample_value

    for provider in ("openai", "custom"):
        labels = {"provider": provider, "to": "open"}
        assert 1 == value("headrace_router_circuit_changes_total", labels)
    assert 2 == value("headrace_router_circuits_open")


@pytest.mark.parametrize(
    "names",
    [
        {"provider": ""},
        {"provider": "p" * 300},
        {"model": "m" * 300},
        {"key": "k" * 300},
        {"account_id": "a" * 300},
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_passed_over(names: dict[str, Any], router: OneService) -> None:
    """The rest of the report counts."""
    wrong: dict[str, Any] = {"provider": "openai", "model": "bad", "successes": 1, **names}
    count = pb.AttemptCount(**wrong)
    await report(router, count, pb.AttemptCount(provider="openai", model="good", successes=-1))

    assert [("good", 0)] == [(row.model, row.successes) for row in await told(router, shared=True)]


@pytest.mark.parametrize("caller", ["cli", "providers", "external"])
async def test_only_the_edge_reports(caller: str, router: OneService) -> None:
    """Nobody else can make a provider look bad."""
    stub = RouterServiceStub(router.channel(caller))
    reasons = []
    for asked in (
        stub.ReportHealth(pb.ReportHealthRequest(), timeout=5),
        stub.GetHealth(pb.GetHealthRequest(account_id="acme"), timeout=5),
    ):
        with pytest.raises(GatewayError) as raised:
            await asked
        reasons.append(raised.value.reason)

    assert [Reason.CALLER_NOT_ALLOWED] * 2 == reasons


async def test_routers_on_one_valkey_know_the_same(tmp_path: Path) -> None:
    """What an edge told one of them, another knows from its start, and what is left is told at the end."""
    env = {"HEADRACE_ROUTER_VALKEY_URL": shared_valkey().new_url().reveal()}
    envs = [env | {"HEADRACE_DATA_DIR": str(tmp_path / name)} for name in ("one", "two")]
    async with serve(build, envs[0]) as one:
        await report(one, pb.AttemptCount(provider="openai", model="gpt", failures=5))
    async with serve(build, envs[1]) as two:
        assert ["open"] == [row.circuit for row in await told(two, shared=True)]
