"""The supervisor, with tiny processes in the place of services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from cli.processes import ProcessSpec
from cli.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cli.backoff import Restart

ROOT = Path(__file__).resolve().parent.parent.parent

WAITS = "import signal; print('up', flush=True); signal.pause()"
DEAF = """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('up', flush=True)
    while True:
        signal.pause()
"""
FAILS = "import sys; print('no such file', flush=True); sys.exit(3)"
REFUSES = "import sys; print('HEADRACE_PORT must be a number', flush=True); sys.exit(2)"
NOTES_ITS_END = """
    import pathlib, signal, sys, time
    def end(*_):
        time.sleep({lasts_s})
        with open({journal!r}, 'a') as journal:
            journal.write('{name}\\n')
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    print('up', flush=True)
    while True:
        signal.pause()
"""


@dataclass
class Journal:
    """A watcher that remembers."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    ends: list[tuple[str, int, Restart]] = field(default_factory=list)
    loops: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)

    def line(self, name: str, text: str) -> None:
        """Remember a line."""
        self.lines.append((name, text))

    def ended(self, name: str, status: int, uptime_s: float, restart: Restart) -> None:
        """Remember an end."""
        self.ends.append((name, status, restart))

    def crash_loop(self, name: str, restart: Restart, last_lines: Sequence[str]) -> None:
        """Remember a crash loop."""
        self.loops.append((name, tuple(last_lines)))

    def killed(self, name: str) -> None:
        """Remember a kill."""
        self.kills.append(name)


def spec(name: str, program: str, *, stage: int = 0) -> ProcessSpec:
    """Describe a process that runs a Python program."""
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-S", "-c", textwrap.dedent(program)),
        env={"PATH": os.environ["PATH"]},
        stop_stage=stage,
        admin_socket=Path("/nonexistent"),
    )


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], bool], *, timeout_s: float = 15) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # what is waited for happens in other processes
            await asyncio.sleep(0.01)


async def test_lines_are_passed_on() -> None:
    """Every line of standard output and error is told with the name of its process."""
    journal = Journal()
    # A stop that comes between the two waits for the second.
    writes = "os.write(1, b'one\\ntwo\\xff\\r\\n'); os.write(2, b'three')"
    mask = "signal.pthread_sigmask(signal.SIG_{}, [signal.SIGTERM])"
    program = f"import os, signal; {mask.format('BLOCK')}; {writes}; {mask.format('UNBLOCK')}; " + WAITS
    supervisor = Supervisor([spec("a", program.replace("print('up', flush=True); ", ""))], journal)
    supervisor.start()
    await until(lambda: len(journal.lines) == 2)
    await supervisor.stop(2)

    assert journal.lines == [("a", "one"), ("a", "two\N{REPLACEMENT CHARACTER}"), ("a", "three")]


async def test_endless_line_is_cut() -> None:
    """A process that never ends its line cannot fill our memory."""
    journal = Journal()
    supervisor = Supervisor([spec("a", "import os\nfor _ in range(64): os.write(1, b'x' * 65536)")], journal)
    supervisor.start()
    await until(lambda: sum(len(text) for _, text in journal.lines) >= 64 * 65536)
    await supervisor.stop(2)

    assert max(len(text) for _, text in journal.lines) <= 2 * 65536


async def test_killed_process_is_back_at_once() -> None:
    """The first restart waits for nothing."""
    journal = Journal()
    supervisor = Supervisor([spec("a", WAITS)], journal)
    supervisor.start()
    await until(lambda: journal.lines == [("a", "up")])
    pid = supervisor.pid("a")
    assert pid is not None
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: len(journal.lines) == 2)
    took_s = time.monotonic() - killed_s
    await supervisor.stop(2)

    assert took_s < 1
    assert [(name, status, restart.delay_s) for name, status, restart in journal.ends] == [
        ("a", -signal.SIGKILL, 0.0)
    ]


async def test_crash_loop_is_said_loudly() -> None:
    """A process that keeps failing is tried later and later; after five times its last words are shown."""
    journal = Journal()
    supervisor = Supervisor([spec("a", FAILS), spec("b", WAITS)], journal)
    supervisor.start()
    await until(lambda: bool(journal.loops))
    other = supervisor.pid("b")
    await supervisor.stop(2)

    delays = [restart.delay_s for name, _, restart in journal.ends if name == "a"][:5]
    assert delays == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert journal.loops[0][0] == "a"
    assert journal.loops[0][1][-1] == "no such file"
    assert other is not None


async def test_refusal_is_final() -> None:
    """A process that finds its settings unusable at its first start is not started again."""
    journal = Journal()
    supervisor = Supervisor([spec("a", REFUSES), spec("b", WAITS)], journal)
    supervisor.start()
    await asyncio.wait_for(supervisor.refused.wait(), 10)
    await supervisor.stop(2)

    assert supervisor.starts("a") == 1
    assert journal.ends == []


async def test_program_that_is_not_there() -> None:
    """A program that cannot be started is reported like one that fails."""
    journal = Journal()
    missing = ProcessSpec(
        name="a", argv=("/nonexistent/program",), env={}, stop_stage=0, admin_socket=Path("/nonexistent")
    )
    supervisor = Supervisor([missing], journal)
    supervisor.start()
    await until(lambda: len(journal.ends) >= 2)
    await supervisor.stop(2)

    assert journal.ends[0][1] == 127
    assert "cannot be started" in journal.lines[0][1]


async def test_stages_stop_one_after_the_other(tmp_path: Path) -> None:
    """A stage is told to stop when the one before it has ended."""
    record = tmp_path / "journal"

    def note(name: str, lasts_s: float) -> str:
        return NOTES_ITS_END.format(name=name, lasts_s=lasts_s, journal=str(record))

    specs = [
        spec("last", note("last", 0), stage=2),
        spec("middle", note("middle", 0.2), stage=1),
        spec("first", note("first", 0.4), stage=0),
    ]
    journal = Journal()
    supervisor = Supervisor(specs, journal)
    supervisor.start()
    await until(lambda: len(journal.lines) == 3)
    await supervisor.stop(5)

    assert record.read_text().split() == ["first", "middle", "last"]
    assert (journal.ends, journal.kills) == ([], [])


async def test_deaf_process_is_killed() -> None:
    """What does not stop in time is killed, and the stages after it still stop."""
    journal = Journal()
    supervisor = Supervisor([spec("deaf", DEAF), spec("good", WAITS, stage=1)], journal)
    supervisor.start()
    await until(lambda: len(journal.lines) == 2)
    pids = [pid for name in ("deaf", "good") if (pid := supervisor.pid(name)) is not None]
    began_s = time.monotonic()
    await supervisor.stop(0.5)

    assert time.monotonic() - began_s < 2
    assert journal.kills == ["deaf"]
    assert [psutil.pid_exists(pid) for pid in pids] == [False, False]


async def test_stop_during_backoff() -> None:
    """A stop does not wait for a restart that is due later."""
    journal = Journal()
    supervisor = Supervisor([spec("a", FAILS)], journal)
    supervisor.start()
    await until(lambda: len(journal.ends) >= 4)
    began_s = time.monotonic()
    await supervisor.stop(5)

    assert time.monotonic() - began_s < 0.5


async def test_grandchildren_go_with_their_parent() -> None:
    """What a killed process had started is gone before its successor starts anything."""
    program = f"""
        import subprocess, sys, signal
        child = subprocess.Popen([sys.executable, "-S", "-c", {textwrap.dedent(DEAF)!r}])
        print(child.pid, flush=True)
        signal.pause()
    """
    journal = Journal()
    supervisor = Supervisor([spec("a", program)], journal)

    def pids() -> list[int]:
        return [int(text) for _, text in journal.lines if text.isdecimal()]

    supervisor.start()
    await until(lambda: sum(text == "up" for _, text in journal.lines) == 1)
    pid = supervisor.pid("a")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: sum(text == "up" for _, text in journal.lines) == 2)
    await supervisor.stop(2)
    await until(lambda: not any(is_running(pid) for pid in pids()), timeout_s=2)

    assert len(pids()) == 2


async def test_stop_right_after_start() -> None:
    """Processes that are just being started stop as well."""
    supervisor = Supervisor([spec(f"p{index}", WAITS) for index in range(4)], Journal())
    supervisor.start()
    await asyncio.sleep(0)
    await supervisor.stop(3)

    assert [supervisor.pid(f"p{index}") for index in range(4)] == [None] * 4


async def test_kill_at_once() -> None:
    """`kill` ends everything without asking."""
    journal = Journal()
    supervisor = Supervisor([spec("deaf", DEAF)], journal)
    supervisor.start()
    await until(lambda: bool(journal.lines))
    supervisor.kill()
    await supervisor.stop(1)

    assert supervisor.pid("deaf") is None
    assert journal.ends == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_children_die_with_their_supervisor(tmp_path: Path) -> None:
    """After `kill -9` of the supervisor, no child is left."""
    program = f"""
        import asyncio, sys
        from pathlib import Path
        import uvloop
        from cli.processes import ProcessSpec
        from cli.supervisor import Supervisor

        class Quiet:
            def line(self, name, text): print(name, text, flush=True)
            def ended(self, *_): pass
            def crash_loop(self, *_): pass
            def killed(self, *_): pass

        async def main():
            spec = ProcessSpec(
                name="child", argv=(sys.executable, "-S", "-c", {textwrap.dedent(DEAF)!r}), env={{}},
                stop_stage=0, admin_socket=Path("/nonexistent"),
            )
            supervisor = Supervisor([spec], Quiet())
            supervisor.start()
            while supervisor.pid("child") is None:
                await asyncio.sleep(0.01)
            print("pid", supervisor.pid("child"), flush=True)
            await asyncio.sleep(60)

        uvloop.run(main())
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")])}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        words = [parent.stdout.readline().split() for _ in range(2)]
        child = psutil.Process(int(next(word[1] for word in words if word[0] == "pid")))
        parent.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait(timeout=5)

    assert not child.is_running()
