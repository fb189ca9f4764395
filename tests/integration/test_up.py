"""`headrace up` as a program, with tiny processes in the place of the services and the real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from kit import rundir
from kit.probe import ask
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "tests" / "fakes" / "tiny_up.py"


@dataclass(slots=True)
class Running:
    """A `headrace up` and where it is."""

    process: asyncio.subprocess.Process
    data_dir: Path
    port: int
    log: Path

    def children(self) -> dict[str, psutil.Process]:
        """Return its processes by name."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                found[child.environ().get("HEADRACE_PROCESS", "?")] = child
        return found

    async def until(self, condition: Callable[[str], bool]) -> None:
        """Wait until the output is so."""
        async with asyncio.timeout(30):
            while not condition(self.log.read_text()):  # another process writes it
                if self.process.returncode is not None:
                    pytest.fail(self.log.read_text())
                await asyncio.sleep(0.02)

    async def is_whole(self, name: str) -> bool:
        """Tell whether a process runs and the port answers."""
        return name in self.children() and (await ask(("127.0.0.1", self.port), "/readyz")).status == 200

    async def until_ready(self) -> None:
        """Wait for the ready line."""
        await self.until(lambda text: "is ready" in text)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit status and how long it took."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        status = await asyncio.wait_for(self.process.wait(), 15)
        return status, time.monotonic() - began_s

    def sockets(self) -> list[Path]:
        """Return the sockets that are there."""
        places = (self.data_dir, rundir.resolve(self.data_dir))
        return sorted({path for place in places for path in place.rglob("*") if path.is_socket()})


@asynccontextmanager
async def running(tmp_path: Path, *options: str, **env: str) -> AsyncIterator[Running]:
    """Start it; kill whatever is left in the end."""
    data_dir, port = tmp_path / "d", free_port()
    log = tmp_path / f"up-{port}.log"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "OTEL_"))}
    environment = {
        **clean,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
        "HEADRACE_DATA_DIR": str(data_dir),
        "HEADRACE_PORT": str(port),
        "HEADRACE_GRPC_PORT": str(free_port()),
        **env,
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *options, env=environment, stdout=output, stderr=output
        )
    up = Running(process, Path(environment["HEADRACE_DATA_DIR"]), int(environment["HEADRACE_PORT"]), log)
    try:
        yield up
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


SPLIT = {"auth", "router", "cache", "ledger", "providers", "providers-local"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), SPLIT | {"edge-0", "envoy"}),
        (("--workers=2", "--no-local-model"), (SPLIT - {"providers-local"}) | {"edge-0", "edge-1", "envoy"}),
        (("--no-envoy",), SPLIT | {"edge-0"}),
        (("--inline",), {"headrace", "providers-local", "envoy"}),
        (("--inline", "--no-envoy", "--no-local-model"), {"headrace"}),
    ],
)
async def test_starts_and_stops(tmp_path: Path, options: tuple[str, ...], names: set[str]) -> None:
    """Each topology runs its processes, answers on the port, and stops without leaving anything."""
    async with running(tmp_path, *options) as up:
        await up.until_ready()
        answer = await ask(("127.0.0.1", up.port), "/v1/models")
        children = up.children()
        status, took_s = await up.stop(signal.SIGINT)

        assert set(children) == names
        assert answer.body.decode() in names
        assert (status, up.sockets()) == (0, [])
        assert took_s < 5
        assert not any(child.is_running() for child in children.values())
        assert (await ask(("127.0.0.1", up.port), "/")).status == 0


async def test_restart_envoy(tmp_path: Path) -> None:
    """`headrace restart-envoy` puts a new Envoy in the place of the old one, and both stop with the rest."""
    async with running(tmp_path) as up:
        await up.until_ready()
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "restart-envoy"),
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "HEADRACE_DATA_DIR": str(up.data_dir)},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await command.communicate()
        envoys = [child for child in up.children().values() if child.name() == "envoy"]
        answer = await ask(("127.0.0.1", up.port), "/v1/models")
        status, took_s = await up.stop()

        assert (command.returncode, answer.status, status) == (0, 200, 0)
        assert said.decode().startswith("A new Envoy takes requests")
        assert took_s < 5
        assert not any(envoy.is_running() for envoy in envoys)
        assert up.sockets() == []


async def test_stop_order(tmp_path: Path) -> None:
    """The edge stops before the services behind it, and the ledger last."""
    async with running(tmp_path, "--workers=2") as up:
        await up.until_ready()
        await up.stop()
        ended = [
            line.split('"')[3]
            for line in up.log.read_text().splitlines()
            if "stopped" in line and '"' in line and "front-door" not in line
        ]

    assert {"edge-0", "edge-1"} == set(ended[:2])
    assert ended[-1] == "ledger"
    assert len(ended) == 8


async def test_killed_processes_come_back(tmp_path: Path) -> None:
    """Every process that is killed, Envoy included, is back and ready within two seconds."""
    async with running(tmp_path) as up:
        await up.until_ready()
        for name, child in up.children().items():
            child.kill()
            began_s = time.monotonic()
            while not await up.is_whole(name):  # noqa: ASYNC110  # other processes make it so
                await asyncio.sleep(0.02)
            assert time.monotonic() - began_s < 2
        status, _ = await up.stop()

    assert status == 0


async def test_curl_works_as_pasted(tmp_path: Path) -> None:
    """The command that is shown, run by a shell from elsewhere, sends a request with the token."""
    async with running(tmp_path, HEADRACE_DATA_DIR=str(tmp_path / "a b's")) as up:
        await up.until_ready()
        (up.data_dir / "token").write_text("hr_x\n")
        text = up.log.read_text()
        command = text[text.index("curl ") : text.index("For OpenAI")].strip()
        echo = await asyncio.create_subprocess_shell(
            f"curl() {{ printf '%s\\n' \"$@\"; }}; cd / && {command}", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await echo.communicate()

    words = output.decode().splitlines()
    assert words[0] == f"http://127.0.0.1:{up.port}/v1/chat/completions"
    assert "Authorization: Bearer hr_x" in words
    assert '"model": "local/smollm2-135m-instruct"' in words[-1]


async def test_second_start_on_the_same_data(tmp_path: Path) -> None:
    """A second start on the same data directory says who has it, and disturbs nothing."""
    async with running(tmp_path) as up:
        await up.until_ready()
        async with running(tmp_path) as second:
            status = await asyncio.wait_for(second.process.wait(), 15)

            assert status == 1
            assert f"already runs on {up.data_dir} (process {up.process.pid})" in second.log.read_text()
        assert (await ask(("127.0.0.1", up.port), "/readyz")).status == 200


async def test_port_in_use(tmp_path: Path) -> None:
    """A port that another program has is named, with the setting to change."""
    async with running(tmp_path) as up:
        await up.until_ready()
        other = {"HEADRACE_DATA_DIR": str(tmp_path / "e"), "HEADRACE_PORT": str(up.port)}
        async with running(tmp_path / "..", **other) as second:
            status = await asyncio.wait_for(second.process.wait(), 15)

            assert status == 1
            assert f"Port {up.port} on 127.0.0.1 is taken" in second.log.read_text()
            assert "HEADRACE_PORT" in second.log.read_text()


@pytest.mark.parametrize(
    ("options", "env", "complaint"),
    [
        (
            (),
            {"HEADRACE_PROT": "1"},
            "HEADRACE_PROT is not a setting of Headrace. Did you mean HEADRACE_PORT?",
        ),
        ((), {"HEADRACE_WORKERS": "many"}, "HEADRACE_WORKERS must be"),
        ((), {"HEADRACE_LISTEN": "unix:/x"}, "HEADRACE_LISTEN is for a single process"),
        (("--no-envoy", "--workers=2"), {}, "--no-envoy goes with one worker only"),
        (("--inline", "--workers=2"), {}, "--inline goes with one worker only"),
        ((), {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER must be one of"),
    ],
)
async def test_unusable_settings(
    tmp_path: Path, options: tuple[str, ...], env: dict[str, str], complaint: str
) -> None:
    """What cannot work is said before anything starts, with status 2."""
    async with running(tmp_path, *options, **env) as up:
        status = await asyncio.wait_for(up.process.wait(), 15)

        assert status == 2
        assert complaint in up.log.read_text()
        assert not up.data_dir.exists()


async def test_process_that_refuses_its_settings(tmp_path: Path) -> None:
    """When a process finds its settings unusable, everything stops with status 2 and its words are shown."""
    async with running(tmp_path, REFUSING="router") as up:
        status = await asyncio.wait_for(up.process.wait(), 15)

        assert status == 2
        assert "HEADRACE_X is wrong" in up.log.read_text()
        assert up.sockets() == []


async def test_stale_run_directory(tmp_path: Path) -> None:
    """After `kill -9` of everything, sockets of the dead are in nobody's way."""
    async with running(tmp_path) as up:
        await up.until_ready()
        children = list(up.children().values())
        up.process.kill()
        await up.process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.wait(timeout=5)
        stale = up.sockets()
    async with running(tmp_path) as again:
        await again.until_ready()
        status, _ = await again.stop()

    assert len(stale) > 5
    assert not any(child.is_running() for child in children)
    assert status == 0


async def test_stop_while_starting(tmp_path: Path) -> None:
    """A stop in the middle of the start is clean as well."""
    async with running(tmp_path) as up:
        await up.until(lambda text: "serving" in text)
        status, took_s = await up.stop()

        assert (status, up.sockets()) == (0, [])
        assert took_s < 5
