"""
The spool in ordinary life and on bad days: batches, outages, full disks, limits, other edges' leftovers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError, Reason
from services.edge.spool import claim
from services.edge.spool import spool as spool_module
from services.edge.spool.config import SpoolConfig
from services.edge.spool.record import scan
from services.edge.spool.shipper import REJECTED
from tests.fakes.ledger_sink import LedgerSink
from tests.fakes.spools import MANUAL_S, Disk, entry, intent, kill, open_spool

if TYPE_CHECKING:
    from pathlib import Path

    from services.edge.spool.spool import Spool


def _run(spool: Spool, log_id: str, *, response: bytes = b"") -> None:
    spool.begin(log_id, intent(log_id))
    spool.finish(log_id, entry(log_id, response=response))


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


async def _until(sink: LedgerSink, count: int) -> None:
    async with asyncio.timeout(10):
        while len(sink.entries) < count:  # noqa: ASYNC110 - the sink is a plain fake
            await asyncio.sleep(0.005)


async def test_finished_entries_arrive_by_themselves(tmp_path: Path) -> None:
    """What is finished is sent soon, in one batch, and then gone from the disk."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink, config=SpoolConfig(interval_s=0.01))
    for number in range(10):
        _run(spool, f"id-{number}", response=b"hello")
    await _until(sink, 10)

    assert [10] == sink.batches
    assert b"hello" == sink.entries["id-3"].payload.response
    await spool.close(1)
    assert [] == _files(tmp_path)


async def test_nothing_is_written_or_sent_when_idle(tmp_path: Path) -> None:
    """An edge without requests makes no file and no call."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink, config=SpoolConfig(interval_s=0.001))
    await asyncio.sleep(0.05)

    assert ([], 0) == (_files(tmp_path), sink.calls)
    await spool.close(1)


async def test_a_running_request_stays_on_disk(tmp_path: Path) -> None:
    """The intent of a long request survives the deletion of the file it was first written to."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    spool.begin("long", intent("long"))
    for number in range(3):
        _run(spool, f"id-{number}")
        assert await spool.flush(1)
    kill(spool)

    await (await open_spool(tmp_path, sink)).close(1)

    assert {"long", "id-0", "id-1", "id-2"} == set(sink.entries)
    assert log_entry_pb2.OUTCOME_INTERRUPTED == sink.entries["long"].outcome


async def test_the_last_that_is_known_of_a_running_request_counts(tmp_path: Path) -> None:
    """What an amended intent says stands in the interrupted entry, wherever it was written."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    for log_id in ("moved", "in place", "over", "unheard of"):
        if log_id != "unheard of":
            spool.begin(log_id, intent(log_id))
        for size in (1, 2):
            spool.amend(log_id, entry(log_id, response=b"r" * size))
        if log_id == "moved":
            _run(spool, "id-1")
            assert await spool.flush(1)
    spool.finish("over", entry("over"))
    spool.amend("over", entry("over", response=b"too late"))
    kill(spool)

    await (await open_spool(tmp_path, sink)).close(1)

    assert {"moved": b"rr", "in place": b"rr", "over": b"", "id-1": b""} == {
        log_id: each.payload.response for log_id, each in sink.entries.items()
    }
    assert {"moved", "in place"} == {
        log_id for log_id, each in sink.entries.items() if each.outcome == log_entry_pb2.OUTCOME_INTERRUPTED
    }


async def test_what_dies_is_settled_in_the_next_life(tmp_path: Path) -> None:
    """What settles a request is not for the ledger, and is known to whoever opens the spool next, once."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    for log_id in ("dead", "over", "free"):
        spool.begin(log_id, intent(log_id))
        made = log_entry_pb2.LogEntry(id=log_id, settlement=b"" if log_id == "free" else b"owed")
        spool.amend(log_id, made.SerializeToString())
    spool.finish("over", entry("over"))
    kill(spool)

    again = await open_spool(tmp_path, sink)
    assert (b"owed",) == again.unsettled
    kill(again)
    last = await open_spool(tmp_path, sink)
    assert () == last.unsettled
    await last.close(1)
    assert {"dead": b"", "over": b"", "free": b""} == {
        log_id: each.settlement for log_id, each in sink.entries.items()
    }


async def test_what_died_arrives_by_itself_in_the_next_life(tmp_path: Path) -> None:
    """It waits neither for a request nor for the end of that life."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    spool.begin("dead", intent("dead"))
    kill(spool)
    again = await open_spool(tmp_path, sink, config=SpoolConfig(interval_s=0.01))
    await _until(sink, 1)

    assert log_entry_pb2.OUTCOME_INTERRUPTED == sink.entries["dead"].outcome
    await again.close(1)


async def test_what_cannot_be_amended_stays(tmp_path: Path) -> None:
    """On a full disk, and above half of the soft limit, a running request keeps the intent that it has."""
    sink, disk = LedgerSink(), Disk()
    spool = await open_spool(
        tmp_path, sink, config=SpoolConfig(interval_s=MANUAL_S, soft_limit_bytes=1000), write=disk.write
    )
    spool.begin("full", intent("full"))
    spool.begin("much", intent("much"))
    disk.room = 0
    spool.amend("full", entry("full", response=b"r"))
    disk.room = None
    spool.amend("much", entry("much", response=b"r" * 600))
    spool.amend("much", entry("much", response=b"r"))
    kill(spool)

    await (await open_spool(tmp_path, sink)).close(1)

    assert {"full": 0, "much": 600} == {
        log_id: len(each.payload.response) for log_id, each in sink.entries.items()
    }


async def test_what_runs_takes_no_room_from_what_is_over(tmp_path: Path) -> None:
    """While an entry waits in memory for room on the disk, no intent is written anew."""
    sink, disk = LedgerSink(), Disk()
    spool = await open_spool(tmp_path, sink, write=disk.write)
    spool.begin("over", intent("over"))
    spool.begin("runs", intent("runs"))
    disk.room = 0
    spool.finish("over", entry("over"))
    disk.room, size = None, spool.pending_bytes
    spool.amend("runs", entry("runs"))

    assert size == spool.pending_bytes
    assert (await spool.flush(1), await spool.flush(1)) == (True, True)
    assert ["over"] == list(sink.entries)
    kill(spool)


async def test_what_only_runs_leaves_no_files_behind(tmp_path: Path) -> None:
    """However often it is written anew, and though nothing is ever over."""
    sink = LedgerSink()
    config = SpoolConfig(interval_s=0.001, segment_bytes=1000)
    spool = await open_spool(tmp_path, sink, config=config)
    spool.begin("one", intent("one"))
    for size in range(100):
        spool.amend("one", entry("one", response=b"r" * size))
        await asyncio.sleep(0)
    assert await spool.flush(5)

    assert spool.pending_bytes < 3000
    kill(spool)
    await (await open_spool(tmp_path, sink)).close(1)
    assert 99 == len(sink.entries["one"].payload.response)


async def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    """Entries of an outage arrive when the ledger is back, each once, without being asked for."""
    sink = LedgerSink()
    sink.down = True
    config = SpoolConfig(interval_s=0.005, backoff_max_s=0.02, segment_bytes=2000)
    spool = await open_spool(tmp_path, sink, config=config)
    for number in range(100):
        _run(spool, f"id-{number:03}", response=b"r" * 100)
    await asyncio.sleep(0.1)
    calls = sink.calls
    sink.down = False
    await _until(sink, 100)

    assert 2 <= calls <= 15  # 0.1 s with pauses that grow to 0.02 s
    assert sorted(sink.entries) == list(sink.entries)
    await spool.close(1)
    assert [] == _files(tmp_path)


async def test_a_lost_acknowledgement_is_repeated(tmp_path: Path) -> None:
    """When the ledger recorded a batch and its answer was lost, the batch is sent again."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    _run(spool, "id-1")
    sink.fail_after = 1
    with pytest.raises(GatewayError):
        await spool._shipper.ship()

    assert await spool.flush(1)
    assert ["id-1"] == list(sink.entries)
    assert 2 == sink.calls
    await spool.close(1)


async def test_a_hanging_ledger_is_given_up_on(tmp_path: Path) -> None:
    """A ledger that does not answer within the time-out counts as away, and close does not wait for it."""

    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    config = SpoolConfig(interval_s=MANUAL_S, send_timeout_s=0.02)
    spool = await open_spool(tmp_path, hang, config=config)
    _run(spool, "id-1")
    with pytest.raises(TimeoutError):
        await spool._shipper.ship()
    await spool.close(0.05)

    assert 1 == len(_files(tmp_path))


async def test_batches_are_bounded(tmp_path: Path) -> None:
    """No message to the ledger is larger than allowed unless a single entry is."""
    sink = LedgerSink()
    config = SpoolConfig(interval_s=MANUAL_S, batch_bytes=1000)
    spool = await open_spool(tmp_path, sink, config=config)
    for number in range(6):
        _run(spool, f"id-{number}", response=b"r" * (350 if number < 5 else 5000))
    assert await spool.flush(1)

    assert [2, 2, 1, 1] == sink.batches
    await spool.close(1)


async def test_a_discarded_request_is_not_recorded(tmp_path: Path) -> None:
    """A request that is not to be logged leaves no entry, even when the process dies after it."""
    sink = LedgerSink()
    sink.down = True
    spool = await open_spool(tmp_path, sink)
    spool.begin("id-1", intent("id-1"))
    _run(spool, "id-2")
    with pytest.raises(GatewayError):
        await spool._shipper.ship()  # the intent's file is sealed; the next record goes to another
    spool.discard("id-1")
    await spool.close(0.01)
    sink.down = False

    await (await open_spool(tmp_path, sink)).close(1)

    assert ["id-2"] == list(sink.entries)


async def test_above_the_soft_limit_payloads_are_left_out(tmp_path: Path) -> None:
    """With much on disk the entry is kept and its payload is not, and that is counted."""
    sink = LedgerSink()
    registry = CollectorRegistry()
    config = SpoolConfig(interval_s=MANUAL_S, soft_limit_bytes=1000)
    spool = await open_spool(tmp_path, sink, config=config, registry=registry)
    _run(spool, "id-1", response=b"r" * 1000)
    _run(spool, "id-2", response=b"r" * 1000)
    assert await spool.flush(1)

    assert [True, False] == [found.HasField("payload") for found in sink.entries.values()]
    assert 1 == registry.get_sample_value("headrace_spool_dropped_payloads_total")
    await spool.close(1)


async def test_an_entry_too_large_for_a_message_loses_its_payload(tmp_path: Path) -> None:
    """An entry that gRPC would not take is recorded without its payload."""
    sink = LedgerSink()
    config = SpoolConfig(interval_s=MANUAL_S, max_entry_bytes=1000)
    spool = await open_spool(tmp_path, sink, config=config)
    _run(spool, "id-1", response=b"r" * 1000)
    assert await spool.flush(1)

    assert not sink.entries["id-1"].HasField("payload")
    await spool.close(1)


async def test_above_the_hard_limit_requests_are_refused(tmp_path: Path) -> None:
    """With too much on disk no request is begun, those that run still end; with room made all is well."""
    sink = LedgerSink()
    registry = CollectorRegistry()
    config = SpoolConfig(interval_s=MANUAL_S, hard_limit_bytes=500)
    spool = await open_spool(tmp_path, sink, config=config, registry=registry)
    spool.begin("id-1", intent("id-1"))
    _run(spool, "id-2", response=b"r" * 600)
    with pytest.raises(GatewayError) as caught:
        spool.begin("id-3", intent("id-3"))
    spool.finish("id-1", entry("id-1"))

    assert (Reason.OVERLOADED, "spool") == (caught.value.reason, caught.value.metadata["resource"])
    assert 1 == registry.get_sample_value("headrace_spool_refused_requests_total")
    assert 500 < (registry.get_sample_value("headrace_spool_pending_bytes") or 0)
    assert await spool.flush(1)
    _run(spool, "id-3")
    await spool.close(1)
    assert {"id-1", "id-2", "id-3"} == set(sink.entries)


@pytest.mark.parametrize("room", [0, 1, 60, 130])
async def test_a_full_disk_loses_no_entry(tmp_path: Path, room: int) -> None:
    """On a full disk new requests are refused; entries of running ones wait in memory and still arrive."""
    sink = LedgerSink()
    sink.down = True
    disk = Disk()
    spool = await open_spool(tmp_path, sink, write=disk.write)
    for number in range(4):
        spool.begin(f"id-{number}", intent(f"id-{number}"))
    disk.room = room
    for number in range(4):
        spool.finish(f"id-{number}", entry(f"id-{number}", response=b"r" * 100))
    with pytest.raises(GatewayError) as caught:
        spool.begin("refused", intent("refused"))
    with pytest.raises(GatewayError):
        await spool._shipper.ship()
    sink.down = False
    assert await spool.flush(1)

    assert Reason.OVERLOADED is caught.value.reason
    assert {f"id-{number}" for number in range(4)} == set(sink.entries)
    assert {log_entry_pb2.OUTCOME_SUCCESS} == {found.outcome for found in sink.entries.values()}
    disk.room = None
    await spool.flush(1)
    await spool.close(1)
    assert [] == _files(tmp_path)


async def test_a_full_disk_and_a_death_lose_no_row(tmp_path: Path) -> None:
    """An entry that waited in memory when the process died is recorded as interrupted."""
    sink = LedgerSink()
    disk = Disk()
    spool = await open_spool(tmp_path, sink, write=disk.write)
    spool.begin("id-1", intent("id-1"))
    _run(spool, "id-2")
    disk.room = 0
    spool.finish("id-1", entry("id-1"))
    sink.fail_after = 1
    with pytest.raises(GatewayError):  # the file of both intents is shipped, and must not be deleted now
        await spool._shipper.ship()
    sink.down = True
    with pytest.raises(GatewayError):
        await spool._shipper.ship()
    kill(spool)
    sink.down = False

    await (await open_spool(tmp_path, sink)).close(1)

    assert log_entry_pb2.OUTCOME_INTERRUPTED == sink.entries["id-1"].outcome
    assert {"id-1", "id-2"} == set(sink.entries)


async def test_a_full_disk_at_start_keeps_what_an_earlier_life_left(tmp_path: Path) -> None:
    """Recovery with no room left on the disk ends in the same entries."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    spool.begin("id-1", intent("id-1"))
    _run(spool, "id-2")
    kill(spool)
    disk = Disk()
    disk.room = 0
    again = await open_spool(tmp_path, sink, write=disk.write)

    assert await again.flush(1)
    assert log_entry_pb2.OUTCOME_INTERRUPTED == sink.entries["id-1"].outcome
    assert {"id-1", "id-2"} == set(sink.entries)
    await again.close(1)


async def test_an_entry_the_ledger_does_not_accept_holds_up_nobody(tmp_path: Path) -> None:
    """An entry that spoils its batch is set aside and counted; the others arrive."""
    sink = LedgerSink()
    sink.refuses = {"id-5"}
    registry = CollectorRegistry()
    spool = await open_spool(tmp_path, sink, registry=registry)
    for number in range(9):
        _run(spool, f"id-{number}", response=b"r")
    assert await spool.flush(1)

    assert {f"id-{number}" for number in range(9)} - {"id-5"} == set(sink.entries)
    assert 1 == registry.get_sample_value("headrace_spool_rejected_entries_total")
    (kept,) = scan((tmp_path / "edge-0" / REJECTED).read_bytes(), salt=0).records
    assert "id-5" == log_entry_pb2.LogEntry.FromString(kept.payload).id
    await spool.close(1)


async def test_a_dead_edges_spool_is_taken_over(tmp_path: Path) -> None:
    """An edge that starts sends what an edge that is gone for good left, and leaves a living one alone."""
    sink = LedgerSink()
    dead = await open_spool(tmp_path, sink, name="edge-1")
    dead.begin("unfinished", intent("unfinished"))
    _run(dead, "finished")
    kill(dead)
    living = await open_spool(tmp_path, sink, name="edge-2")  # takes over edge-1
    living.begin("running", intent("running"))
    kill(living)  # and dies before it has sent anything
    other = await open_spool(tmp_path, LedgerSink(), name="edge-3")
    other.begin("not-ours", intent("not-ours"))

    last = await open_spool(tmp_path, sink, name="edge-0")
    await last.close(1)

    assert set() == set(sink.entries)  # edge-3 had taken it all before
    assert "not-ours" not in sink.entries
    other._shipper._delivery._send = sink
    await other.close(1)
    assert {"unfinished", "finished", "running"} == set(sink.entries)
    outcomes = {log_id: found.outcome for log_id, found in sink.entries.items()}
    assert log_entry_pb2.OUTCOME_SUCCESS == outcomes.pop("finished")
    assert {log_entry_pb2.OUTCOME_INTERRUPTED} == set(outcomes.values())


async def test_two_edges_of_one_name_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second edge of a name does not start, and the first one's files are untouched."""
    monkeypatch.setattr(spool_module, "_CLAIM_PATIENCE_S", 0.05)
    spool = await open_spool(tmp_path, LedgerSink())
    with pytest.raises(claim.SpoolInUseError):
        await open_spool(tmp_path, LedgerSink())

    await spool.close(1)
    await (await open_spool(tmp_path, LedgerSink())).close(1)


async def test_fsync_closes_its_files(tmp_path: Path) -> None:
    """With fsync on, files are forced to the medium and delivered as usual."""
    sink = LedgerSink()
    config = SpoolConfig(interval_s=MANUAL_S, fsync=True, segment_bytes=200)
    spool = await open_spool(tmp_path, sink, config=config)
    for number in range(10):
        _run(spool, f"id-{number}", response=b"r" * 50)
    assert await spool.flush(5)

    assert 10 == len(sink.entries)
    assert [] == spool._journal.unsynced()
    await spool.close(1)


async def test_the_age_of_the_oldest_entry_is_shown(tmp_path: Path) -> None:
    """Metrics tell how long the ledger has been waited for, and zero when it has everything."""
    sink = LedgerSink()
    registry = CollectorRegistry()
    spool = await open_spool(tmp_path, sink, registry=registry)
    _run(spool, "id-1")
    await asyncio.sleep(0.02)

    assert 0.02 <= (registry.get_sample_value("headrace_spool_oldest_record_age_seconds") or 0) < 5
    assert await spool.flush(1)
    assert 0 == registry.get_sample_value("headrace_spool_oldest_record_age_seconds")
    assert 1 == registry.get_sample_value("headrace_spool_replayed_entries_total")
    await spool.close(1)
