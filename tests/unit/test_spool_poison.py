"""Entries on which the ledger fails, as if by a bug: they hold up nobody; an ill ledger costs no entry."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from services.edge.spool.config import SpoolConfig
from services.edge.spool.record import scan
from services.edge.spool.shipper import REJECTED
from tests.fakes.ledger_sink import LedgerSink
from tests.fakes.spools import MANUAL_S, entry, intent, open_spool

if TYPE_CHECKING:
    from pathlib import Path

    from services.edge.spool.spool import Spool


def _run(spool: Spool, log_id: str, *, response: bytes = b"") -> None:
    spool.begin(log_id, intent(log_id))
    spool.finish(log_id, entry(log_id, response=response))


def _rejected(root: Path) -> list[str]:
    path = root / "edge-0" / REJECTED
    records = scan(path.read_bytes(), salt=0).records if path.exists() else ()
    return [log_entry_pb2.LogEntry.FromString(record.payload).id for record in records]


async def _ship(spool: Spool) -> Reason | None:
    try:
        await spool._shipper.ship()
    except GatewayError as error:
        return error.reason
    return None


@pytest.mark.parametrize("bad", [{"id-0"}, {"id-5"}, {"id-8"}, {"id-2", "id-3", "id-7"}])
async def test_an_entry_that_breaks_the_ledger_is_set_aside(tmp_path: Path, bad: set[str]) -> None:
    """After some patience the entry is found in its batch and kept aside; the others arrive."""
    sink = LedgerSink()
    sink.breaks = bad
    registry = CollectorRegistry()
    spool = await open_spool(tmp_path, sink, registry=registry)
    for number in range(9):
        _run(spool, f"id-{number}", response=b"r")
    told = [await _ship(spool) for _ in range(5)]

    assert [Reason.INTERNAL] * 4 + [None] == told
    assert {f"id-{number}" for number in range(9)} - bad == set(sink.entries)
    assert sorted(bad) == _rejected(tmp_path)
    assert len(bad) == registry.get_sample_value("headrace_spool_rejected_entries_total")
    await spool.close(1)


async def test_a_payload_that_breaks_the_ledger_is_left_out(tmp_path: Path) -> None:
    """When an entry does no harm without its bodies, it is recorded without them."""
    sink = LedgerSink()

    async def send(entries: list[bytes]) -> None:
        if any(b"harm" in each for each in entries):
            raise GatewayError(Reason.INTERNAL, "The ledger service failed.")
        await sink(entries)

    registry = CollectorRegistry()
    spool = await open_spool(tmp_path, send, registry=registry)  # type: ignore[arg-type]  # given lists
    _run(spool, "id-1", response=b"harm")
    _run(spool, "id-2", response=b"good")
    told = [await _ship(spool) for _ in range(5)]

    assert told[-1] is None
    assert {"id-1": False, "id-2": True} == {
        log_id: found.HasField("payload") for log_id, found in sorted(sink.entries.items())
    }
    assert [] == _rejected(tmp_path)
    await spool.close(1)


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
async def test_a_bad_entry_alone_does_not_hold_up_what_comes_later(tmp_path: Path, batch_bytes: int) -> None:
    """An entry that fails alone is judged by whether the ledger takes what came after it."""
    sink = LedgerSink()
    sink.breaks = {"bad-1", "bad-2"}
    config = SpoolConfig(interval_s=MANUAL_S, batch_bytes=batch_bytes)
    spool = await open_spool(tmp_path, sink, config=config)
    _run(spool, "bad-1")
    for _ in range(12):
        assert Reason.INTERNAL == await _ship(spool)
    assert [] == _rejected(tmp_path)  # there is nothing that says that not the ledger is ill

    _run(spool, "bad-2")
    for _ in range(12):
        assert Reason.INTERNAL == await _ship(spool)
    _run(spool, "good")
    for _ in range(12):
        if await _ship(spool) is None:
            break

    assert ["good"] == list(sink.entries)
    assert ["bad-1", "bad-2"] == sorted(_rejected(tmp_path))
    await spool.close(1)
    assert 0 == spool._journal.pending_bytes


async def test_an_ill_ledger_costs_no_entry(tmp_path: Path) -> None:
    """A ledger that fails on everything gets everything once it is well, and nothing was set aside."""
    sink = LedgerSink()
    sink.broken = True
    config = SpoolConfig(interval_s=MANUAL_S, segment_bytes=600, batch_bytes=300)
    spool = await open_spool(tmp_path, sink, config=config)
    for number in range(200):
        _run(spool, f"id-{number:03}", response=b"r" * 100)
        if number % 4 == 0:
            assert Reason.INTERNAL == await _ship(spool)
    assert {} == sink.entries
    sink.broken = False
    async with asyncio.timeout(5):
        while await _ship(spool) is not None:
            pass

    assert {f"id-{number:03}" for number in range(200)} == set(sink.entries)
    assert [] == _rejected(tmp_path)
    assert {True} == {found.HasField("payload") for found in sink.entries.values()}
    await spool.close(1)


async def test_an_outage_does_not_use_up_patience(tmp_path: Path) -> None:
    """A ledger that is merely away is waited for, however long, with the batches as they are."""
    sink = LedgerSink()
    sink.down = True
    spool = await open_spool(tmp_path, sink)
    for number in range(4):
        _run(spool, f"id-{number}")
    for _ in range(12):
        assert Reason.SERVICE_UNAVAILABLE == await _ship(spool)
    sink.down = False

    assert await _ship(spool) is None
    assert [4] == sink.batches
    await spool.close(1)
