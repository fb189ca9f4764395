"""What would settle the limits of a request whose edge dies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from headrace.common.v1 import caller_pb2, usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from headrace.router.v1 import router_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.config import EdgeConfig
from services.edge.pipeline.exchange import Paid, Progress
from services.edge.pipeline.reservations import Reservation, Reservations

CALLER = caller_pb2.Caller(account_id="local", gateway_id="default")
MOST = (1 << 63) - 1


@pytest.fixture
def reservations() -> Reservations:
    call: Any = lambda *_, **__: None  # noqa: E731 - what no test here calls
    channel = SimpleNamespace(unary_unary=call, unary_stream=call)
    runtime: Any = SimpleNamespace(channel=lambda _: channel, log=lambda _: None)
    pricer: Any = None
    return Reservations(runtime, EdgeConfig(), pricer)


def _paid(tokens: int) -> Paid:
    return Paid(usage_pb2.Usage(output_tokens=tokens), usage_pb2.Cost(nano_usd=min(tokens * 10, MOST)))


def _progress(*attempts: int | None, running: int | None = None, since: int = 0) -> Progress:
    """Give a request with attempts that told of so many tokens, or of none yet; the last may run."""
    progress = Progress(log_id="one", event_id="one")
    for tokens in attempts:
        note = log_entry_pb2.Attempt()
        if tokens is not None:
            paid = _paid(tokens)
            note.usage.CopyFrom(paid.usage)
            progress.spent.append(paid)
        progress.attempts.append(note)
    if running is not None:
        progress.usage = usage_pb2.Usage(output_tokens=running)
    progress.reservation = Reservation(f"one.{since}", CALLER, since, None)
    return progress


def _settled(reservations: Reservations, progress: Progress) -> tuple[int, int] | None:
    spent = progress.spent
    if progress.usage is not None:
        spent = [*spent, _paid(progress.usage.output_tokens)]
    found = reservations.settlement(progress, spent)
    if not found:
        return None
    settlement = router_service_pb2.Settlement.FromString(found)
    assert progress.reservation is not None
    assert progress.reservation.id == settlement.id
    return settlement.tokens, settlement.nano_usd


@pytest.mark.parametrize(
    ("progress", "settled"),
    [
        pytest.param(_progress(None, running=5), (5, 50), id="the only attempt"),
        pytest.param(_progress(3, None, running=5), (8, 80), id="two attempts of a step"),
        pytest.param(_progress(3), (3, 30), id="between two attempts of a step"),
        pytest.param(_progress(3, None), None, id="one of them is silent"),
        pytest.param(_progress(3, since=1), None, id="a step that has not begun"),
        pytest.param(_progress(3, None, since=1), None, id="a step that is silent"),
        pytest.param(_progress(3, None, running=5, since=1), (5, 50), id="a step of its own"),
        pytest.param(_progress(MOST, None, running=MOST), (MOST, MOST), id="more than a field holds"),
    ],
)
def test_what_is_not_known_counts_as_it_was_reserved(
    reservations: Reservations, progress: Progress, settled: tuple[int, int] | None
) -> None:
    """As it does for a request that ends in life; what was known of earlier steps was settled with them."""
    assert settled == _settled(reservations, progress)


def test_what_was_settled_is_not_settled_again(reservations: Reservations) -> None:
    """Nothing is reserved any more."""
    progress = _progress(3)
    progress.reservation = None

    assert b"" == reservations.settlement(progress, progress.spent)


async def test_one_that_is_never_taken_holds_nobody_up(
    reservations: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of its batch are settled, each once, and later ones go together again."""
    sent: list[list[str]] = []

    async def settle(request: router_service_pb2.SettleRequest, timeout: float) -> None:  # noqa: ASYNC109 - gRPC's
        ids = [each.id for each in request.settlements]
        if "bad" in ids:
            raise GatewayError(Reason.INVALID_REQUEST, "This is no settlement.")
        sent.append(ids)

    monkeypatch.setattr(reservations, "_stub", SimpleNamespace(Settle=settle))
    monkeypatch.setattr(reservations, "_log", structlog.get_logger())
    for name in ("a", "bad", "b", "c"):
        reservations.settle_left([router_service_pb2.Settlement(id=name).SerializeToString()])
    await reservations.close()

    assert [["a"], ["b", "c"]] == sent
