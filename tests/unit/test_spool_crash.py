"""
The promise of the spool: every request that was begun ends as exactly one entry, whenever the process dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from headrace.ledger.v1 import log_entry_pb2
from kit.errors import GatewayError
from services.edge.spool.config import SpoolConfig
from tests.fakes.ledger_sink import LedgerSink
from tests.fakes.spools import MANUAL_S, Disk, Killed, entry, intent, kill, open_spool

if TYPE_CHECKING:
    from services.edge.spool.spool import Spool

_CONFIG = SpoolConfig(interval_s=MANUAL_S, segment_bytes=400, batch_bytes=150)

_small = st.integers(0, 5)
_step = st.one_of(
    st.tuples(st.just("begin"), _small),
    st.tuples(st.just("begin"), _small),
    st.tuples(st.just("finish"), _small),
    st.tuples(st.just("finish"), _small),
    st.tuples(st.just("amend"), _small),
    st.tuples(st.just("discard"), _small),
    st.tuples(st.just("ship"), st.none()),
    st.tuples(st.just("ship"), _small),
    st.tuples(st.just("die_in"), st.integers(0, 1000)),
    st.tuples(st.just("die"), st.none() | st.integers(0, 200)),
)


class _Story:
    """One edge through its lives, and what was promised to its clients."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sink = LedgerSink()
        self.disk = Disk()
        self.lives = 0
        self.running: list[str] = []
        self.begun: set[str] = set()
        self.finished: set[str] = set()
        self.discarded: set[str] = set()
        self.amended: dict[str, int] = {}  # how often
        self.unsure: set[str] = set()  # the process died in the middle of writing about it
        self.spool: Spool | None = None

    async def live(self) -> Spool:
        while self.spool is None:
            self.lives += 1
            try:
                self.spool = await open_spool(self.root, self.sink, config=_CONFIG, write=self._write)
            except Killed:  # in the middle of recovery
                self.disk.die_in = None
        return self.spool

    def _write(self, fd: int, data: bytes) -> int:
        return self.disk.write(fd, data)

    def die(self, next_life: int | None = None) -> None:
        self.disk = Disk()
        self.disk.die_in = next_life
        if self.spool is not None:
            kill(self.spool)
            self.spool = None
            self.running.clear()

    async def step(self, what: str, argument: int | None) -> None:
        spool = await self.live()
        log_id = ""
        try:
            if what == "ship":
                self.sink.fail_after = argument
                await spool._shipper.ship()
            elif what == "die_in":
                self.disk.die_in = argument
            elif what == "die":
                self.die(argument)
            elif what == "begin":
                log_id = f"{self.lives}-{len(self.begun) + len(self.unsure)}"
                spool.begin(log_id, intent(log_id))
                self.begun.add(log_id)
                self.running.append(log_id)
            elif what == "amend" and self.running:
                amended = self.running[(argument or 0) % len(self.running)]
                spool.amend(amended, entry(amended, status=self.amended.get(amended, 0) + 1))
                self.amended[amended] = self.amended.get(amended, 0) + 1
            elif self.running:
                log_id = self.running.pop((argument or 0) % len(self.running))
                self._end(spool, what, log_id)
        except GatewayError:
            pass
        except Killed:
            self.unsure |= {log_id} - {""}
            self.die()

    def _end(self, spool: Spool, what: str, log_id: str) -> None:
        if what == "finish":
            spool.finish(log_id, entry(log_id, response=b"r" * 40))
            self.finished.add(log_id)
        else:
            spool.discard(log_id)
            self.discarded.add(log_id)

    def check(self) -> None:
        recorded = set(self.sink.entries)
        sure = self.begun - self.unsure
        assert self.finished - self.unsure <= recorded
        assert not recorded & (self.discarded - self.unsure)
        assert sure - self.discarded == recorded & sure
        assert recorded <= self.begun | self.unsure
        for log_id, found in self.sink.entries.items():
            if log_id in self.finished:
                assert log_entry_pb2.OUTCOME_SUCCESS == found.outcome
            elif log_id not in self.unsure:
                assert log_entry_pb2.OUTCOME_INTERRUPTED == found.outcome
                assert self.amended.get(log_id, 0) == found.status


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_step, min_size=5, max_size=60))
async def test_every_request_ends_as_one_entry(steps: list[tuple[str, int | None]]) -> None:
    """Whatever the process dies in and whatever the ledger fails at, each id is recorded once and rightly."""
    with tempfile.TemporaryDirectory() as directory:
        story = _Story(Path(directory))
        for what, argument in steps:
            await story.step(what, argument)
        story.die()
        story.sink.fail_after = None
        spool = await story.live()
        await spool.close(5)

        story.check()
        assert [] == _files(Path(directory))


_WRITER = """
import asyncio, sys
from pathlib import Path
import structlog
from tests.fakes.ledger_sink import LedgerSink
from tests.fakes.spools import entry, intent, open_spool
from services.edge.spool.config import SpoolConfig

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    sink = LedgerSink()
    sink.down = True
    config = SpoolConfig(interval_s=0.001, segment_bytes=100_000)
    spool = await open_spool(Path(sys.argv[1]), sink, config=config)
    for number in range(10**9):
        log_id = f"{sys.argv[2]}-{number}"
        spool.begin(log_id, intent(log_id))
        print("b", log_id, flush=True)
        if number % 3:
            spool.finish(log_id, entry(log_id, response=b"x" * 5000))
            print("f", log_id, flush=True)
        if number % 50 == 0:
            await asyncio.sleep(0.002)

asyncio.run(main())
"""


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def _write_until_killed(root: Path, life: int, told: dict[str, set[str]]) -> None:
    """Let a process write and tell what it wrote; kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(root), str(life)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        killer = threading.Timer(0.1 + life * 0.07, process.send_signal, (signal.SIGKILL,))
        killer.start()
        lines += process.stdout.readlines()
        killer.join()
    for line in lines:
        what, _, log_id = line.rstrip("\n").partition(" ")
        if line.endswith("\n"):
            told[what].add(log_id)


async def test_sigkill_loses_nothing(tmp_path: Path) -> None:
    """A real process killed while it writes, three times over, leaves everything it had told of on disk."""
    told: dict[str, set[str]] = {"b": set(), "f": set()}
    for life in range(3):
        await asyncio.to_thread(_write_until_killed, tmp_path, life, told)
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)

    await spool.close(20)

    assert len(told["f"]) > 30
    assert set() == told["b"] - set(sink.entries)
    assert {log_entry_pb2.OUTCOME_SUCCESS} == {sink.entries[log_id].outcome for log_id in told["f"]}
    assert {log_entry_pb2.OUTCOME_INTERRUPTED, log_entry_pb2.OUTCOME_SUCCESS} == {
        found.outcome for found in sink.entries.values()
    }


async def test_damage_in_the_middle_is_counted_and_passed_over(tmp_path: Path) -> None:
    """A changed byte in a file of an earlier life costs the one entry it is in."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    for number in range(5):
        spool.begin(f"id-{number}", intent(f"id-{number}"))
        spool.finish(f"id-{number}", entry(f"id-{number}", response=b"r" * 100))
    kill(spool)
    (file,) = (tmp_path / "edge-0").glob("*.seg")
    content = bytearray(file.read_bytes())
    content[content.index(b"r" * 100, len(content) // 2)] ^= 0xFF
    file.write_bytes(content)
    registry = CollectorRegistry()

    await (await open_spool(tmp_path, sink, registry=registry)).close(5)

    assert 1 == registry.get_sample_value("headrace_spool_corrupt_records_total")
    # The final record is gone, so its intent speaks for the request.
    assert 5 == len(sink.entries)
    assert 1 == sum(e.outcome == log_entry_pb2.OUTCOME_INTERRUPTED for e in sink.entries.values())


@pytest.mark.parametrize("cut", [1, 30, 60])
async def test_a_torn_final_makes_the_request_interrupted(tmp_path: Path, cut: int) -> None:
    """A final record that was not wholly written counts as not written."""
    sink = LedgerSink()
    spool = await open_spool(tmp_path, sink)
    spool.begin("id-1", intent("id-1"))
    spool.finish("id-1", entry("id-1", response=b"r" * 100))
    kill(spool)
    (file,) = (tmp_path / "edge-0").glob("*.seg")
    file.write_bytes(file.read_bytes()[:-cut])

    await (await open_spool(tmp_path, sink)).close(5)

    assert log_entry_pb2.OUTCOME_INTERRUPTED == sink.entries["id-1"].outcome
    assert "compat/chat/completions" == sink.entries["id-1"].path
