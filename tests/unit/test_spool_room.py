"""Whether the spool takes requests: why it refuses, and how it finds out that there is room again."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError
from services.edge.spool import room
from services.edge.spool.config import SpoolConfig
from services.edge.spool.record import Kind, encode, scan
from services.edge.spool.segment import ActiveSegment
from tests.fakes.ledger_sink import LedgerSink
from tests.fakes.spools import MANUAL_S, Disk, Killed, entry, intent, kill, open_spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.edge.spool.spool import Spool

_NO_SPACE = "The spool cannot be written: No space left on device."


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOOK_S", 0.002)


async def _until(told: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not told():  # noqa: ASYNC110 - the spool tells whoever asks
            await asyncio.sleep(0.001)


async def _takes_requests(spool: Spool) -> None:
    await _until(lambda: spool.refusal is None)


def _refused(spool: Spool, log_id: str) -> None:
    with pytest.raises(GatewayError):
        spool.begin(log_id, intent(log_id))


async def test_a_spool_that_nobody_asks_finds_room_by_itself(tmp_path: Path) -> None:
    """From a refusal on it says why, until the disk takes records again, without another request."""
    disk, registry = Disk(), CollectorRegistry()
    spool = await open_spool(tmp_path, LedgerSink(), write=disk.write, registry=registry)
    at_first = spool.refusal
    disk.room = 0
    _refused(spool, "id-1")

    assert (None, _NO_SPACE) == (at_first, spool.refusal)
    assert _NO_SPACE == spool.disk_failure
    assert 1 == registry.get_sample_value("headrace_spool_refusing")
    before = registry.get_sample_value("headrace_spool_failed_writes_total") or 0
    await _until(lambda: (registry.get_sample_value("headrace_spool_failed_writes_total") or 0) > before + 2)
    assert _NO_SPACE == spool.refusal

    disk.room = None
    await _takes_requests(spool)
    assert 0 == registry.get_sample_value("headrace_spool_refusing")
    assert 0 == spool.pending_bytes
    spool.begin("id-2", intent("id-2"))
    spool.discard("id-2")
    await spool.close(1)


async def test_room_for_one_request_is_no_room(tmp_path: Path) -> None:
    """A disk that takes a record here and there does not bring back an edge that would refuse at once."""
    disk, registry = Disk(), CollectorRegistry()
    spool = await open_spool(tmp_path, LedgerSink(), write=disk.write, registry=registry)
    disk.room = 0
    _refused(spool, "id-1")
    tried = registry.get_sample_value("headrace_spool_failed_writes_total") or 0
    for _ in range(5):
        disk.room = 10_000
        tried += 1
        await _until(lambda: (registry.get_sample_value("headrace_spool_failed_writes_total") or 0) >= tried)  # noqa: B023
        assert _NO_SPACE == spool.refusal

    kill(spool)


async def test_one_look_that_finds_room_is_not_enough(tmp_path: Path) -> None:
    """A disk that works now and then keeps the edge out, until it works every time."""
    looks = 0

    def every_second_time(fd: int, data: bytes) -> int:
        nonlocal looks
        looks += 1
        if looks % 2 and looks < 20:
            raise OSError(5, "Input/output error")
        return os.write(fd, data)

    spool = await open_spool(tmp_path, LedgerSink(), write=every_second_time)
    _refused(spool, "id-1")
    await _takes_requests(spool)

    assert looks >= 20
    await spool.close(1)


async def test_a_write_that_fails_once_loses_nothing(tmp_path: Path) -> None:
    """What failed between writes that worked is written again, without the ledger and before a death."""
    sink, disk = LedgerSink(), Disk()
    sink.down = True
    spool = await open_spool(tmp_path, sink, write=disk.write)
    for log_id in ("before", "failed", "amended", "after"):
        spool.begin(log_id, intent(log_id))
    spool.finish("before", entry("before"))
    disk.room = 30
    spool.finish("failed", entry("failed"))
    disk.room = 0
    spool.amend("amended", entry("amended", response=b"r"))
    disk.room = None
    spool.finish("after", entry("after"))
    refused_with = spool.refusal
    await _takes_requests(spool)
    spool.begin("next", intent("next"))
    spool.finish("next", entry("next"))
    kill(spool)
    sink.down = False
    await (await open_spool(tmp_path, sink)).close(1)

    assert _NO_SPACE == refused_with
    assert {"before", "failed", "after", "next"} == {
        log_id for log_id, each in sink.entries.items() if each.outcome == log_entry_pb2.OUTCOME_SUCCESS
    }
    assert {"amended"} == {
        log_id for log_id, each in sink.entries.items() if each.outcome == log_entry_pb2.OUTCOME_INTERRUPTED
    }


async def test_above_the_hard_limit_it_refuses_until_there_is_ample_room(tmp_path: Path) -> None:
    """The ledger brings an edge back that was full, once it has taken more than the last bit."""
    sink = LedgerSink()
    config = SpoolConfig(interval_s=MANUAL_S, hard_limit_bytes=1000, segment_bytes=900)
    spool = await open_spool(tmp_path, sink, config=config)
    for log_id, size in (("large", 900), ("small", 60)):
        spool.begin(log_id, intent(log_id))
        spool.finish(log_id, entry(log_id, response=b"r" * size))
    _refused(spool, "id-3")
    why = spool.refusal
    await asyncio.sleep(0.02)  # looks that find nothing new

    assert "The spool holds all that it may: the ledger has not taken it yet." == why == spool.refusal
    assert spool.disk_failure is None, "it is no fault of this edge's"
    assert await spool.flush(1)
    await _takes_requests(spool)
    await spool.close(1)
    assert {"large", "small"} == set(sink.entries)


async def test_a_disk_that_is_full_at_the_start_is_told(tmp_path: Path) -> None:
    """An edge whose disk does not take what an earlier life left is out of rotation from the first moment."""
    sink, disk = LedgerSink(), Disk()
    spool = await open_spool(tmp_path, sink)
    spool.begin("id-1", intent("id-1"))
    kill(spool)
    disk.room = 0
    again = await open_spool(tmp_path, sink, write=disk.write)

    assert _NO_SPACE == again.refusal
    disk.room = None
    await _takes_requests(again)
    await again.close(1)
    assert {"id-1"} == set(sink.entries)


def test_what_is_tried_leaves_no_trace(tmp_path: Path) -> None:
    """A trial is taken back, and what is written after it is read like anything else."""
    active = ActiveSegment(tmp_path, 1, now_s=0)
    salt = active.segment.salt
    active.append(encode(Kind.FINAL, "a", b"1", salt=salt))
    active.try_out(encode(Kind.DISCARD, "", bytes(1000), salt=salt))
    active.append(encode(Kind.FINAL, "b", b"2", salt=salt))
    segment = active.seal(sync=False)
    read = scan(segment.path.read_bytes(), salt=salt)

    assert (["a", "b"], 0, 0) == ([each.log_id for each in read.records], read.corrupt_count, read.torn_bytes)
    assert segment.path.stat().st_size == segment.size


def test_a_torn_record_that_cannot_be_taken_back_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When even taking back fails, what is taken back later is only what was written later."""
    disk = Disk()
    active = ActiveSegment(tmp_path, 1, now_s=0, write=disk.write)
    salt = active.segment.salt
    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        disk.room = 10
        with pytest.raises(OSError, match="No space"):
            active.append(encode(Kind.FINAL, "torn", b"1", salt=salt))
    disk.room = None
    active.append(encode(Kind.FINAL, "whole", b"2", salt=salt))
    active.try_out(encode(Kind.DISCARD, "", b"", salt=salt))
    segment = active.seal(sync=False)

    assert ["whole"] == [each.log_id for each in scan(segment.path.read_bytes(), salt=salt).records]
    assert segment.path.stat().st_size == segment.size


async def test_a_death_in_the_middle_of_a_trial_is_no_damage(tmp_path: Path) -> None:
    """What was tried and not taken back is passed over in the next life, and is no entry."""
    sink, disk, registry = LedgerSink(), Disk(), CollectorRegistry()
    spool = await open_spool(tmp_path, sink, write=disk.write)
    spool.begin("id-1", intent("id-1"))
    active = spool._journal._active
    assert active is not None
    active.append(encode(Kind.DISCARD, "", bytes(1000), salt=active.segment.salt))
    disk.die_in = 700
    with pytest.raises(Killed):
        spool._journal.find_room()
    kill(spool)
    await (await open_spool(tmp_path, sink, registry=registry)).close(1)

    assert ["id-1"] == list(sink.entries)
    assert 0 == registry.get_sample_value("headrace_spool_corrupt_records_total")
