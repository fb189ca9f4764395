"""The ledger as its own process runs it, over gRPC, and the edge's spool in front of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
import structlog
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

from headrace.common.v1 import usage_pb2
from headrace.ledger.v1 import ledger_service_pb2 as pb
from headrace.ledger.v1 import log_entry_pb2
from headrace.ledger.v1.ledger_service_pb2_grpc import LedgerServiceStub
from kit.database import sqlite_file
from kit.errors import GatewayError, Reason
from kit.ids import uuid7
from kit.pricing.pricer import Pricer
from kit.pricing.table import PriceTable
from services.edge.spool.config import SpoolConfig
from services.edge.spool.sender import LedgerSender
from services.ledger.app import build
from services.ledger.metrics import LedgerMetrics
from services.ledger.server import LedgerServicer
from services.ledger.store_sql import open_store
from tests.fakes.one_service import OneService, serve
from tests.fakes.spools import intent, kill, open_spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence

    from headrace.ledger.v1.ledger_service_pb2_grpc import LedgerServiceAsyncStub
    from kit.pricing.cost import PriceList

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OneService]:
    async with serve(build, {"HEADRACE_DATA_DIR": str(tmp_path)}) as one:
        yield one


@pytest.fixture
def ledger(service: OneService) -> LedgerServiceAsyncStub:
    stub: LedgerServiceAsyncStub = LedgerServiceStub(service.channel("edge"))
    return stub


def _entry(entry_id: str | None = None, **fields: object) -> log_entry_pb2.LogEntry:
    entry = log_entry_pb2.LogEntry(
        id=entry_id or uuid7(),
        create_time=timestamp_pb2.Timestamp(seconds=1_800_000_000, nanos=1_000),
        duration=duration_pb2.Duration(nanos=12_000_000),
        provider="openai",
        requested_model="openai/gpt-4o",
        target_model="gpt-4o",
        status=200,
        outcome=log_entry_pb2.OUTCOME_SUCCESS,
        usage=usage_pb2.Usage(input_tokens=100, output_tokens=10),
    )
    entry.caller.account_id, entry.caller.gateway_id = "acme", "default"
    entry.MergeFrom(log_entry_pb2.LogEntry(**fields))  # type: ignore[arg-type]  # by name
    return entry


async def _record(
    ledger: LedgerServiceAsyncStub, *batches: Iterable[log_entry_pb2.LogEntry]
) -> tuple[int, int]:
    async def requests() -> AsyncIterator[pb.RecordRequest]:
        for batch in batches:
            yield pb.RecordRequest(entries=batch)

    answer = await ledger.Record(requests())
    return answer.recorded_count, answer.duplicate_count


async def test_an_entry_comes_back_with_its_cost(ledger: LedgerServiceAsyncStub) -> None:
    """What was recorded is found whole, priced, and without its bodies; those are had apart."""
    entry = _entry()
    entry.attempts.add(provider="openai", status=200)
    entry.caller.metadata["team"] = "a"
    bodies = log_entry_pb2.Payload(request=b"{}", request_complete=True, response=b"\xff")
    sent = log_entry_pb2.LogEntry()
    sent.CopyFrom(entry)
    sent.payload.CopyFrom(bodies)

    assert (1, 0) == await _record(ledger, [sent])
    found = await ledger.Get(pb.GetRequest(account_id="acme", gateway_id="default", id=entry.id))
    cost = found.entry.cost
    assert (350_000, usage_pb2.COST_SOURCE_PRICE_TABLE) == (cost.nano_usd, cost.source)
    found.entry.ClearField("cost")
    assert entry == found.entry
    payload = await ledger.GetPayload(pb.GetPayloadRequest(account_id="acme", id=entry.id))
    assert bodies == payload.payload


async def test_people_say_something_of_an_entry(ledger: LedgerServiceAsyncStub) -> None:
    """What is named in the mask is set, or cleared where it is absent; everything else stays."""
    await _record(ledger, [_entry("id-1")])
    here: dict[str, Any] = {"account_id": "acme", "gateway_id": "default", "id": "id-1"}
    everything = field_mask_pb2.FieldMask(paths=["feedback", "score", "metadata"])
    score = field_mask_pb2.FieldMask(paths=["score"])
    said = await ledger.UpdateEntry(
        pb.UpdateEntryRequest(**here, update_mask=everything, feedback=-1, score=70, metadata={"by": "eva"})
    )
    entry = said.entry
    assert (-1, 70, {"by": "eva"}) == (entry.feedback, entry.score, dict(entry.caller.metadata))
    cleared = (await ledger.UpdateEntry(pb.UpdateEntryRequest(**here, update_mask=score))).entry
    assert (True, False) == (cleared.HasField("feedback"), cleared.HasField("score"))
    assert cleared == (await ledger.Get(pb.GetRequest(account_id="acme", id="id-1"))).entry
    with pytest.raises(GatewayError) as raised:
        await ledger.UpdateEntry(pb.UpdateEntryRequest(**{**here, "account_id": "x"}, update_mask=score))
    assert Reason.NOT_FOUND is raised.value.reason


async def test_entries_are_deleted_by_filter(ledger: LedgerServiceAsyncStub) -> None:
    """Those that satisfy all filters go, those of others and the rest stay."""
    await _record(ledger, [_entry("id-1"), _entry("id-2", provider="anthropic"), _entry("id-3")])
    openai = pb.Filter(key="provider", operator=pb.OPERATOR_EQ, values=["openai"])
    stranger = pb.DeleteEntriesRequest(account_id="other", gateway_id="default")
    assert 0 == (await ledger.DeleteEntries(stranger)).deleted_count
    request = pb.DeleteEntriesRequest(account_id="acme", gateway_id="default", filters=[openai])
    assert 2 == (await ledger.DeleteEntries(request)).deleted_count
    left = await ledger.List(pb.ListRequest(account_id="acme"))
    assert ["id-2"] == [entry.id for entry in left.entries]


async def test_an_unknown_cost_is_absent(ledger: LedgerServiceAsyncStub) -> None:
    """An unknown model has no cost at all, unless whoever recorded it knew one."""
    await _record(ledger, [_entry("id-1", provider="mine")])
    await _record(ledger, [_entry("id-2", provider="mine", cost=usage_pb2.Cost(nano_usd=5))])

    unknown = await ledger.Get(pb.GetRequest(account_id="acme", id="id-1"))
    known = await ledger.Get(pb.GetRequest(account_id="acme", id="id-2"))
    assert (False, 5) == (unknown.entry.HasField("cost"), known.entry.cost.nano_usd)


async def test_a_batch_can_be_sent_again(ledger: LedgerServiceAsyncStub) -> None:
    """The second time all entries are known, and none is there twice."""
    batches = [[_entry() for _ in range(30)] for _ in range(3)]

    assert (90, 0) == await _record(ledger, *batches)
    assert (0, 90) == await _record(ledger, *batches)
    assert 90 == (await ledger.List(pb.ListRequest(account_id="acme"))).total_count


async def test_lists_are_filtered_and_paged(ledger: LedgerServiceAsyncStub) -> None:
    """Account, gateway, filters and pages work together."""
    entries = [_entry(f"id-{number}", status=200 + number) for number in range(5)]
    for number, entry in enumerate(entries):
        entry.create_time.seconds += number
        entry.create_time.nanos = 0
    await _record(ledger, entries)
    request = pb.ListRequest(account_id="acme", gateway_id="default", page_size=2, offset=1)
    request.filters.add(key="status_code", operator=pb.OPERATOR_GT, values=["200"])
    request.filters.add(key="model", operator=pb.OPERATOR_EQ, values=["other", "gpt-4o"])
    request.end_time.seconds = entries[3].create_time.seconds

    answer = await ledger.List(request)

    assert (["id-2", "id-1"], 3) == ([entry.id for entry in answer.entries], answer.total_count)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (pb.ListRequest(), "account_id"),
        (pb.ListRequest(account_id="acme", page_size=1001), "page_size"),
        (pb.ListRequest(account_id="acme", page_size=-1), "page_size"),
        (pb.ListRequest(account_id="acme", offset=-1), "offset"),
        (pb.ListRequest(account_id="acme", filters=[pb.Filter(key="model", values=["x"])]), "filters"),
        (pb.ListRequest(account_id="acme", filters=[pb.Filter()] * 51), "filters"),
    ],
    ids=["account", "large", "negative", "offset", "operator", "many"],
)
async def test_what_cannot_be_listed_is_refused(
    ledger: LedgerServiceAsyncStub, request_: pb.ListRequest, param: str
) -> None:
    """A list request that makes no sense names what is wrong."""
    with pytest.raises(GatewayError) as caught:
        await ledger.List(request_)

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


async def test_extreme_numbers_are_fine(ledger: LedgerServiceAsyncStub) -> None:
    """The largest numbers that messages can hold are recorded and asked for without harm."""
    entry = _entry("id-1")
    entry.create_time.seconds, entry.duration.seconds = 2**62, -(2**62)
    entry.usage.input_tokens = 2**63 - 1
    await _record(ledger, [entry])
    request = pb.ListRequest(account_id="acme", offset=2**63 - 1)
    request.start_time.seconds, request.end_time.seconds = -(2**62), 2**62
    request.filters.add(key="tokens_in", operator=pb.OPERATOR_GT, values=["-1e99"])

    assert 1 == (await ledger.List(request)).total_count


async def test_absurd_prices_do_not_harm_a_batch(ledger: LedgerServiceAsyncStub) -> None:
    """An entry whose cost is beyond all bounds is recorded, and so are those beside it."""
    absurd = _entry("id-1", usage=usage_pb2.Usage(input_tokens=2**63 - 1, output_tokens=2**63 - 1))
    absurd.custom_cost.input_token_nano_usd = absurd.custom_cost.output_token_nano_usd = 2**63 - 1

    assert (2, 0) == await _record(ledger, [absurd, _entry("id-2")])
    found = await ledger.Get(pb.GetRequest(account_id="acme", id="id-1"))
    assert 2**63 - 1 == found.entry.cost.nano_usd


class _BadTable(PriceTable):
    """Cannot price one model."""

    def find(self, provider: str, models: tuple[str, ...], at_us: int) -> PriceList | None:
        if "bad" in models:
            raise ArithmeticError("absurd")
        return super().find(provider, models, at_us)


async def test_an_entry_that_cannot_be_priced_has_no_cost(tmp_path: Path) -> None:
    """It is recorded with the rest of its batch, counted as unpriced and told in the log."""
    registry = prometheus_client.CollectorRegistry()
    with structlog.testing.capture_logs() as lines:
        log = structlog.get_logger()
        async with open_store(sqlite_file(tmp_path / "x.db"), log=log) as store:
            pricer = Pricer(_BadTable(), log=log)
            servicer = LedgerServicer(store=store, pricer=pricer, metrics=LedgerMetrics(registry))
            bad = _entry("id-1", target_model="bad")
            half = _entry("id-2", target_model="bad")
            half.usage.ClearField("input_tokens")

            async def requests() -> AsyncIterator[pb.RecordRequest]:
                yield pb.RecordRequest(entries=[bad, half, _entry("id-3")])

            answer = await servicer.Record(requests(), None)
            get = pb.GetRequest(account_id="acme", id="id-1")
            priced = (await servicer.Get(get, None)).entry.HasField("cost")

    assert (3, False) == (answer.recorded_count, priced)
    assert 2 == registry.get_sample_value("headrace_ledger_unpriced_entries_total")
    assert ["openai"] * 2 == [line["provider"] for line in lines if line["log_level"] == "error"]


async def test_what_is_not_there_is_not_found(ledger: LedgerServiceAsyncStub) -> None:
    """An unknown entry, somebody else's, and bodies that were not collected."""
    await _record(ledger, [_entry("id-1")])
    calls: list[Awaitable[object]] = [
        ledger.Get(pb.GetRequest(account_id="acme", id="id-2")),
        ledger.Get(pb.GetRequest(account_id="other", id="id-1")),
        ledger.Get(pb.GetRequest(account_id="acme", gateway_id="other", id="id-1")),
        ledger.GetPayload(pb.GetPayloadRequest(account_id="acme", id="id-1")),
    ]
    for call in calls:
        with pytest.raises(GatewayError) as caught:
            await call

        assert Reason.NOT_FOUND is caught.value.reason


@pytest.mark.parametrize("field", ["id", "caller"])
async def test_an_entry_without_id_or_owner_is_refused_with_its_batch(
    ledger: LedgerServiceAsyncStub, field: str
) -> None:
    """Such an entry could never be found; nothing of its batch is recorded, so that it can be sent again."""
    wrong = _entry("id-2")
    wrong.ClearField(field)  # type: ignore[arg-type]  # by name
    with pytest.raises(GatewayError) as caught:
        await _record(ledger, [_entry("id-1"), wrong])

    assert (Reason.INVALID_REQUEST, field) == (caught.value.reason, caught.value.metadata["param"])
    assert 0 == (await ledger.List(pb.ListRequest(account_id="acme"))).total_count


@pytest.mark.parametrize(("caller", "allowed"), [("cli", True), ("providers", False), ("external", False)])
async def test_who_may_read(service: OneService, caller: str, allowed: bool) -> None:  # noqa: FBT001
    """The edge and the command line read; only the edge records."""
    ledger: LedgerServiceAsyncStub = LedgerServiceStub(service.channel(caller))
    reasons = []
    for call in (ledger.List(pb.ListRequest(account_id="acme")), _record(ledger, [_entry()])):
        try:
            await call
        except GatewayError as error:
            reasons.append(error.reason)

    assert [Reason.CALLER_NOT_ALLOWED] * (1 if allowed else 2) == reasons


async def test_too_many_entries_are_trimmed_in_the_background(tmp_path: Path) -> None:
    """With a limit, the oldest entries go by themselves."""
    env = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_LEDGER_MAX_ENTRIES": "10",
        "HEADRACE_LEDGER_TRIM_INTERVAL_S": "0.02",
    }
    async with serve(build, env) as one:
        ledger: LedgerServiceAsyncStub = LedgerServiceStub(one.channel("edge"))
        await _record(ledger, [_entry(f"id-{number:02}") for number in range(25)])
        async with asyncio.timeout(10):
            request = pb.ListRequest(account_id="acme")
            while (found := await ledger.List(request)).total_count > 10:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    assert {f"id-{number}" for number in range(15, 25)} == {entry.id for entry in found.entries}


async def test_entries_survive_a_restart(tmp_path: Path) -> None:
    """What one life recorded the next one has."""
    env = {"HEADRACE_DATA_DIR": str(tmp_path)}
    async with serve(build, env) as one:
        await _record(LedgerServiceStub(one.channel("edge")), [_entry("id-1")])
    async with serve(build, env) as one:
        ledger: LedgerServiceAsyncStub = LedgerServiceStub(one.channel("edge"))

        assert "id-1" == (await ledger.Get(pb.GetRequest(account_id="acme", id="id-1"))).entry.id


async def test_the_spool_delivers_through_a_restart_of_the_ledger(tmp_path: Path) -> None:
    """Requests begun and finished while the ledger is away are recorded once each when it is back."""
    env = {"HEADRACE_DATA_DIR": str(tmp_path / "ledger")}
    ids = [uuid7() for _ in range(60)]
    config = SpoolConfig(interval_s=0.01, backoff_max_s=0.05, send_timeout_s=2)

    async def send(entries: Sequence[bytes]) -> None:
        await sender(entries)

    async with serve(build, env) as one:
        sender = LedgerSender(LedgerServiceStub(one.channel("edge")))
        spool = await open_spool(tmp_path / "spool", send, config=config)
        for log_id in ids[:20]:
            spool.begin(log_id, intent(log_id))
            spool.finish(log_id, _entry(log_id).SerializeToString())
        assert await spool.flush(5)
    for log_id in ids[20:50]:
        spool.begin(log_id, intent(log_id))
        spool.finish(log_id, _entry(log_id).SerializeToString())
    assert not await spool.flush(0.1)
    unfinished = _entry(ids[50], outcome=log_entry_pb2.OUTCOME_UNSPECIFIED).SerializeToString()
    spool.begin(ids[50], unfinished)
    kill(spool)
    async with serve(build, env) as one:
        ledger: LedgerServiceAsyncStub = LedgerServiceStub(one.channel("edge"))
        sender = LedgerSender(ledger)
        spool = await open_spool(tmp_path / "spool", send, config=config)
        await spool.close(10)
        answer = await ledger.List(pb.ListRequest(account_id="acme", page_size=1000))

    found = {entry.id: entry.outcome for entry in answer.entries}
    assert dict.fromkeys(ids[:50], log_entry_pb2.OUTCOME_SUCCESS) == {
        log_id: outcome for log_id, outcome in found.items() if log_id != ids[50]
    }
    assert (51, 51) == (answer.total_count, len(answer.entries))


_LEDGER = """
import asyncio, sys
import prometheus_client, structlog
from pathlib import Path
from headrace.ledger.v1 import ledger_service_pb2 as pb, log_entry_pb2
from services.ledger.metrics import LedgerMetrics
from kit.database import sqlite_file
from kit.pricing.table import PriceTable
from kit.pricing.pricer import Pricer
from services.ledger.server import LedgerServicer
from services.ledger.store_sql import open_store

async def batch(number):
    request = pb.RecordRequest()
    for index in range(20):
        entry = request.entries.add(id=f"{sys.argv[2]}-{number}-{index}")
        entry.caller.account_id, entry.caller.gateway_id = "acme", "default"
        entry.payload.response = b"x" * 1000
    yield request

async def main():
    async with open_store(sqlite_file(Path(sys.argv[1])), log=structlog.get_logger()) as store:
        metrics = LedgerMetrics(prometheus_client.CollectorRegistry())
        pricer = Pricer(PriceTable(), log=structlog.get_logger())
        servicer = LedgerServicer(store=store, pricer=pricer, metrics=metrics)
        for number in range(10**9):
            answer = await servicer.Record(batch(number), None)
            print(number, answer.recorded_count, flush=True)

asyncio.run(main())
"""


def _record_until_killed(database: Path, life: int) -> list[str]:
    """Let a ledger record batches, kill it, and return the last batches that it acknowledged."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "gen")))
    with subprocess.Popen(
        [sys.executable, "-c", _LEDGER, str(database), str(life)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        # What is logged is printed as well.
        while sum(line.endswith(" 20\n") for line in lines) < 10 + life * 7:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    return [line.split()[0] for line in lines if line.endswith(" 20\n")]


async def test_sigkill_loses_no_acknowledged_entry(tmp_path: Path) -> None:
    """A real ledger killed while it records, twice over, has every batch that it acknowledged, whole."""
    acknowledged = set()
    for life in range(2):
        batches = await asyncio.to_thread(_record_until_killed, tmp_path / "ledger.db", life)
        acknowledged |= {f"{life}-{batch}-{index}" for batch in batches for index in range(20)}
    found: set[str] = set()
    async with serve(build, {"HEADRACE_DATA_DIR": str(tmp_path)}, name="ledger") as one:
        ledger: LedgerServiceAsyncStub = LedgerServiceStub(one.channel("edge"))
        request = pb.ListRequest(account_id="acme", page_size=1000)
        while page := (await ledger.List(request)).entries:
            found |= {entry.id for entry in page}
            request.offset += len(page)
        last = max(acknowledged)
        payload = await ledger.GetPayload(pb.GetPayloadRequest(account_id="acme", id=last))

    assert len(acknowledged) >= 20 * 27
    assert acknowledged <= found
    assert 0 == len(found) % 20
    assert b"x" * 1000 == payload.payload.response
