"""The life of a process: start, readiness, signals and exit codes, with a scripted service."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.cache.v1 import cache_service_pb2, cache_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "fakes" / "whole_process.py"
START_S = 20.0


class Running:
    """A scripted process and what it says."""

    def __init__(self, home: Path, words: tuple[str, ...], env: dict[str, str]) -> None:
        self.home = home
        self.run_dir = home / "run"
        self._out = home / f"out-{time.monotonic_ns()}"
        with self._out.open("wb") as out:
            self.popen = subprocess.Popen(
                [sys.executable, str(PROGRAM), *words],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
                    "HEADRACE_DATA_DIR": str(home),
                    "HEADRACE_PROCESS": "cache",
                    **env,
                },
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self._out.read_text()

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until the process logs an event; fails with everything it said when it ends before."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            ended = self.popen.poll() is not None
            for found in self.events():
                if found["event"] == event:
                    return found
            if ended:
                break
            time.sleep(0.02)
        pytest.fail(f"no {event!r} in:\n{self.text}")

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def exit_code(self, within_s: float = 6.0) -> int:
        return self.popen.wait(timeout=within_s)

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the admin socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.run_dir / "cache-admin.sock"))
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def sockets(self) -> list[str]:
        return sorted(path.name for path in self.run_dir.glob("*")) if self.run_dir.exists() else []

    @contextlib.asynccontextmanager
    async def channel(self) -> Any:
        async with grpc.aio.insecure_channel(f"unix:{self.run_dir / 'cache.sock'}") as channel:
            yield channel


class Launcher:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.launched: list[Running] = []

    def __call__(self, *words: str, **env: str) -> Running:
        self.launched.append(Running(self.home, words, env))
        return self.launched[-1]


@pytest.fixture
def launch() -> Iterator[Launcher]:
    """Launch scripted processes; none outlives its test."""
    home = Path(tempfile.mkdtemp(prefix="hr-"))  # a test's own directory may be too long for sockets
    launcher = Launcher(home)
    yield launcher
    for running in launcher.launched:
        if running.popen.poll() is None:
            running.popen.kill()
            running.popen.wait()
    shutil.rmtree(home)


async def test_serves_until_asked_to_stop(launch: Launcher) -> None:
    """A process serves gRPC, health and admin; SIGTERM ends it with 0 and leaves no socket."""
    process = launch()
    process.wait_for("ready")
    async with process.channel() as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    readyz, metrics = process.get("/readyz"), process.get("/metrics")
    found = process.sockets()
    process.signal(signal.SIGTERM)

    assert 0 == process.exit_code()
    assert health_pb2.HealthCheckResponse.SERVING == health.status
    assert (200, "ready") == (readyz[0], orjson.loads(readyz[1])["status"])
    assert b"headrace_event_loop_stall_seconds_bucket" in metrics[1]
    assert b'headrace_service_ready{service="cache"} 1.0' in metrics[1]
    assert ["cache-admin.sock", "cache.sock"] == found
    assert [] == process.sockets()
    events = [event["event"] for event in process.events()]
    assert ["starting", "started", "serving", "ready", "stopping", "undone", "stopped"] == events


def test_services_learn_of_the_stop(launch: Launcher) -> None:
    """A service can tell whether its process was asked to stop."""
    process = launch()
    process.wait_for("ready")
    process.signal(signal.SIGTERM)
    process.exit_code()

    assert (False, True) == tuple(process.wait_for(event)["stopping"] for event in ("started", "undone"))


def test_interrupt_ends_it_as_well(launch: Launcher) -> None:
    """Ctrl-C is a wish to stop like any other."""
    process = launch()
    process.wait_for("ready")
    process.signal(signal.SIGINT)

    assert 0 == process.exit_code()


def test_logs_no_secret(launch: Launcher) -> None:
    """The start line names the settings that were changed, secrets as a mask."""
    process = launch(HEADRACE_FAKE_KEY="tr0ub4dor", HEADRACE_FAKE_COUNT="5")
    settings = process.wait_for("starting")["settings"]

    assert "5" == settings["HEADRACE_FAKE_COUNT"]
    assert "***" == settings["HEADRACE_FAKE_KEY"]
    assert "tr0ub4dor" not in process.text


def test_bad_settings_are_refused_at_once(launch: Launcher) -> None:
    """Every unusable or unknown setting is one readable line, and the exit code is 2."""
    process = launch(HEADRACE_FAKE_COUNT="many", HEADRACE_GRACE_S="-1", HEADRACE_FAKE_COUNTS="1")
    code = process.exit_code(START_S)

    assert 2 == code
    assert [
        "headrace: HEADRACE_FAKE_COUNTS is not a setting of Headrace. Did you mean HEADRACE_FAKE_COUNT?",
        "headrace: HEADRACE_GRACE_S must be a number of at least 0, but is '-1'",
        "headrace: HEADRACE_FAKE_COUNT must be a whole number of at least 0, but is 'many'",
    ] == process.text.splitlines()
    assert [] == process.sockets()


def test_tracing_set_up_wrongly_is_refused(launch: Launcher) -> None:
    """An exporter that does not exist is a settings problem, not a silent lack of traces."""
    process = launch(OTEL_TRACES_EXPORTER="zipkin")

    assert 2 == process.exit_code(START_S)
    assert "OTEL_TRACES_EXPORTER must be one of otlp, console, none, but is 'zipkin'" in process.text


def test_killed_process_is_replaced(launch: Launcher) -> None:
    """After `kill -9` its sockets are left behind, and the next process takes them over."""
    killed = launch()
    killed.wait_for("ready")
    killed.popen.kill()
    killed.popen.wait()
    left = killed.sockets()
    process = launch()
    process.wait_for("ready")

    assert ["cache-admin.sock", "cache.sock"] == left
    assert 200 == process.get("/readyz")[0]


def test_second_process_does_not_steal(launch: Launcher) -> None:
    """A process whose sockets are in use gives up with a reason, and the first one is left alone."""
    first = launch()
    first.wait_for("ready")
    second = launch()

    assert 1 == second.exit_code(START_S)
    assert "another process answers on this socket" in second.wait_for("cannot serve")["reason"]
    assert 200 == first.get("/healthz")[0]
    assert ["cache-admin.sock", "cache.sock"] == first.sockets()


async def test_not_ready_says_why(launch: Launcher) -> None:
    """A service that cannot work makes the process not ready, on both ways to ask, while it lives."""
    process = launch("not-ready")
    process.wait_for("waiting to be ready")
    readyz = process.get("/readyz")
    async with process.channel() as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    assert 503 == readyz[0]
    assert {"cache": "the well is dry"} == orjson.loads(readyz[1])["failures"]
    assert health_pb2.HealthCheckResponse.NOT_SERVING == health.status
    assert 200 == process.get("/healthz")[0]


async def test_running_call_is_finished(launch: Launcher) -> None:
    """A call that runs when the signal comes gets its answer."""
    process = launch()
    process.wait_for("ready")
    async with process.channel() as channel:
        call = cache_service_pb2_grpc.CacheServiceStub(channel).Lookup(
            cache_service_pb2.LookupRequest(custom_key="0.5"), metadata=(("headrace-caller", "test"),)
        )
        await _until_received(channel)
        process.signal(signal.SIGTERM)
        answer = await call

    assert cache_service_pb2.LookupResponse() == answer
    assert 0 == process.exit_code()


async def _until_received(channel: grpc.aio.Channel) -> None:
    # Calls on one connection arrive in order: once this one is answered, the one before has arrived.
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


def test_stop_during_the_start(launch: Launcher) -> None:
    """A signal while a service is still being built ends the process at once, undoing what was built."""
    process = launch("slow-build")
    process.wait_for("building")
    process.signal(signal.SIGTERM)

    assert 0 == process.exit_code(2.0)
    assert "undone" in [event["event"] for event in process.events()]


def test_failed_build_is_logged(launch: Launcher) -> None:
    """An unexpected exception is logged with its trace, secrets masked, and the exit code is 1."""
    process = launch("fail-build")

    assert 1 == process.exit_code(START_S)
    assert "RuntimeError: no such luck, sk-***" in process.wait_for("failed")["exception"]


def test_second_signal_stops_hard(launch: Launcher) -> None:
    """Whoever does not want to wait for the grace asks twice."""
    process = launch("hang-drain", HEADRACE_GRACE_S="20")
    process.wait_for("ready")
    process.signal(signal.SIGINT)
    process.wait_for("stopping")
    time.sleep(0.6)
    process.signal(signal.SIGINT)

    assert 130 == process.exit_code(2.0)
    assert [] == process.sockets()


def test_signal_that_is_passed_on_counts_once(launch: Launcher) -> None:
    """A terminal and a supervisor that both signal the same stop do not cut it short."""
    process = launch()
    process.wait_for("ready")
    process.signal(signal.SIGINT)
    process.signal(signal.SIGTERM)

    assert 0 == process.exit_code()


@pytest.mark.parametrize("words", ["hang-drain", "hang-undo"])
def test_stop_ends_whatever_hangs(launch: Launcher, words: str) -> None:
    """Neither a drain nor a clean-up that hangs keeps the process: it goes shortly after the grace."""
    process = launch(words, HEADRACE_GRACE_S="0.3")
    process.wait_for("ready")
    process.signal(signal.SIGTERM)
    code = process.exit_code(3.0)

    assert {"hang-drain": 0, "hang-undo": 1}[words] == code
    assert [] == process.sockets()


def test_services_of_one_process_call_each_other(launch: Launcher) -> None:
    """A service reaches one of its own process under any of its names, without a socket for it."""
    process = launch("two")
    process.wait_for("ready")
    process.signal(signal.SIGTERM)

    assert 0 == process.exit_code()
    assert "called" in [event["event"] for event in process.events()]


def test_address_wins_over_the_own_process(launch: Launcher) -> None:
    """A further name of a service means another process once an address is set for it."""
    process = launch("two", HEADRACE_PROVIDERS_LOCAL_ADDRESS="unix:/nonexistent/x.sock")

    assert 1 == process.exit_code(START_S)
    assert "called" not in [event["event"] for event in process.events()]
