"""What the recorder keeps of requests that still run."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import log_entry_pb2
from kit.pricing.pricer import Pricer
from kit.pricing.table import PriceTable
from services.edge.pipeline import record
from services.edge.pipeline.exchange import Paid, Progress
from services.edge.pipeline.record import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

# Listed for gpt-4o, in billionths of a dollar a token.
IN_NANO, OUT_NANO = 2_500, 10_000
MOST = (1 << 63) - 1


class SpoolOfTest:
    """Keeps the last that is known of each request."""

    def __init__(self) -> None:
        self.amended: dict[str, list[log_entry_pb2.LogEntry]] = {}

    def begin(self, log_id: str, entry: bytes) -> None:
        self.amended[log_id] = []

    def amend(self, log_id: str, entry: bytes) -> None:
        self.amended[log_id].append(log_entry_pb2.LogEntry.FromString(entry))

    def finish(self, log_id: str, entry: bytes) -> None:
        self.amended.pop(log_id)


@pytest.fixture
def spool() -> SpoolOfTest:
    return SpoolOfTest()


@pytest.fixture
def recorder(spool: SpoolOfTest, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(record, "_AMEND_EVERY_S", 0.001)
    return Recorder(spool, Pricer(PriceTable(), log=structlog.get_logger()))


def _exchange(custom_cost: dict[str, float] | None = None) -> Any:
    headers = SimpleNamespace(user_agent="", content_type="")
    return SimpleNamespace(
        account_id="local",
        gateway_id="default",
        requested_model="openai/gpt-4o",
        endpoint="compat/chat/completions",
        streamed=True,
        headers=headers,
        body=b"{}",
        upload=None,
        options=SimpleNamespace(custom_cost=custom_cost),
    )


def _progress(log_id: str) -> Progress:
    progress = Progress(log_id=log_id, event_id=log_id, logged=True)
    progress.provider, progress.target_model = "openai", "gpt-4o"
    progress.attempts.append(log_entry_pb2.Attempt())
    return progress


def _used(tokens_in: int, tokens_out: int) -> usage_pb2.Usage:
    return usage_pb2.Usage(input_tokens=tokens_in, output_tokens=tokens_out, estimated=True)


def _settlement(progress: Progress, spent: Sequence[Paid]) -> bytes:
    return f"{progress.log_id} {sum(paid.usage.output_tokens for paid in spent)}".encode()


async def _until(spool: SpoolOfTest, log_id: str, count: int) -> log_entry_pb2.LogEntry:
    async with asyncio.timeout(10):
        while len(spool.amended[log_id]) < count:  # noqa: ASYNC110 - the spool is a plain fake
            await asyncio.sleep(0.001)
    return spool.amended[log_id][-1]


async def test_what_runs_is_kept_as_often_as_it_changes(recorder: Recorder, spool: SpoolOfTest) -> None:
    """Each use that was told is kept once, with its price; what told nothing is not written again."""
    exchange, progress, silent = _exchange(), _progress("one"), _progress("silent")
    async with recorder.amending(_settlement, structlog.get_logger()):
        recorder.begin(exchange, progress)
        recorder.begin(exchange, silent)
        progress.usage = _used(100, 1)
        first = await _until(spool, "one", 1)
        progress.usage = _used(100, 20)
        second = await _until(spool, "one", 2)
        await asyncio.sleep(0.01)

    assert [1, 20] == [each.usage.output_tokens for each in (first, second)]
    assert 100 * IN_NANO + 20 * OUT_NANO == second.cost.nano_usd
    assert second.usage.estimated
    assert b"one 20" == second.settlement
    assert 2 == len(spool.amended["one"])
    assert [] == spool.amended["silent"]


async def test_attempts_that_were_paid_for_are_part_of_it(recorder: Recorder, spool: SpoolOfTest) -> None:
    """What runs is the sum of all attempts; keeping it leaves the request itself as it was."""
    exchange, progress = _exchange(), _progress("one")
    async with recorder.amending(_settlement, structlog.get_logger()):
        recorder.begin(exchange, progress)
        progress.usage = _used(100, 10)
        recorder.charge(exchange, progress)
        progress.attempts.append(log_entry_pb2.Attempt())
        progress.usage = _used(7, 3)
        kept = await _until(spool, "one", 1)
        while kept.usage.output_tokens < 13:
            kept = await _until(spool, "one", 2)
    recorder.finish(exchange, progress)

    assert (107, 13) == (kept.usage.input_tokens, kept.usage.output_tokens)
    assert b"one 13" == kept.settlement
    assert 107 * IN_NANO + 13 * OUT_NANO == kept.cost.nano_usd
    assert progress.usage is not None
    assert 13 == progress.usage.output_tokens
    assert {} == spool.amended


async def test_a_step_of_its_own_prices_is_kept_at_them(recorder: Recorder, spool: SpoolOfTest) -> None:
    """What goes on with another element of an array pays what that one names."""
    progress = _progress("one")
    async with recorder.amending(_settlement, structlog.get_logger()):
        recorder.begin(_exchange(), progress)
        recorder.goes_on(_exchange({"total_cost": 0.5}), progress)
        progress.usage = _used(100, 10)
        kept = await _until(spool, "one", 1)

    assert 500_000_000 == kept.cost.nano_usd


async def test_what_another_attempt_had_used_is_kept_without_a_word_of_the_next(
    recorder: Recorder, spool: SpoolOfTest
) -> None:
    """The next one may be silent for long, and what the one before it cost is known."""
    exchange, progress = _exchange(), _progress("one")
    async with recorder.amending(_settlement, structlog.get_logger()):
        recorder.begin(exchange, progress)
        progress.usage = _used(100, 10)
        recorder.charge(exchange, progress)
        kept = await _until(spool, "one", 1)
        progress.attempts.append(log_entry_pb2.Attempt(provider="openai"))
        again = await _until(spool, "one", 2)

    assert [10, 10] == [each.usage.output_tokens for each in (kept, again)]
    assert [1, 2] == [len(each.attempts) for each in (kept, again)]


async def test_one_that_cannot_be_kept_takes_no_other_with_it(recorder: Recorder, spool: SpoolOfTest) -> None:
    """Whatever goes wrong with it; it is told."""
    exchange, bad, good = _exchange(), _progress("bad"), _progress("good")

    def settlement(progress: Progress, spent: Sequence[Paid]) -> bytes:
        if progress is bad:
            raise ValueError("no")
        return _settlement(progress, spent)

    with structlog.testing.capture_logs() as told:
        async with recorder.amending(settlement, structlog.get_logger()):
            recorder.begin(exchange, bad)
            recorder.begin(exchange, good)
            for count in (1, 2):
                bad.usage = good.usage = _used(100, count)
                await _until(spool, "good", count)

    assert [] == spool.amended["bad"]
    assert {"error"} == {line["log_level"] for line in told}


async def test_counts_that_no_field_holds_are_bounded(recorder: Recorder, spool: SpoolOfTest) -> None:
    """A provider may tell anything, and its answer is recorded all the same."""
    exchange, progress = _exchange(), _progress("one")
    recorder.begin(exchange, progress)
    for _ in range(2):
        progress.usage = _used(MOST, MOST)
        recorder.charge(exchange, progress)
    progress.usage = _used(MOST, MOST)
    recorder.finish(exchange, progress)

    assert progress.usage is not None
    assert progress.cost is not None
    assert (MOST, MOST) == (progress.usage.input_tokens, progress.cost.nano_usd)
    assert {} == spool.amended
