"""The command line: durations, help, and the commands that call a running installation."""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.durations import parse_duration
from headrace.auth.v1 import token_pb2 as auth_pb
from headrace.auth.v1 import token_pb2_grpc as auth_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "hr_abcdefghijkl_" + "s" * 43


class FakeTokens(auth_grpc.TokenServiceServicer):
    """Makes tokens, and remembers who asked for which."""

    def __init__(self) -> None:
        self.callers: list[Any] = []
        self.requests: list[auth_pb.CreateTokenRequest] = []

    async def CreateToken(
        self, request: auth_pb.CreateTokenRequest, context: Any
    ) -> auth_pb.CreateTokenResponse:
        """Make one."""
        self.callers.append(dict(context.invocation_metadata())["headrace-caller"])
        self.requests.append(request)
        token = auth_pb.Token(id="abcdefghijkl", name=request.spec.name)
        return auth_pb.CreateTokenResponse(token=token, secret=SECRET)


@contextmanager
def served(address: str, register: Callable[[grpc.aio.Server], None]) -> Iterator[None]:
    """Serve in a thread with a loop of its own: the command line runs its own loop."""
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        server = grpc.aio.server()
        register(server)
        server.add_insecure_port(address)
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(0)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    started.wait(10)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture
def run_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run directory that the command line looks in."""
    with tempfile.TemporaryDirectory(prefix="hr-") as directory:
        monkeypatch.setenv("HEADRACE_RUN_DIR", directory)
        monkeypatch.setenv("HEADRACE_DATA_DIR", f"{directory}/data")
        yield Path(directory)


@pytest.fixture
def tokens(run_dir: Path) -> Iterator[FakeTokens]:
    """A token service where auth would be."""
    servicer = FakeTokens()  # type: ignore[abstract]  # the other RPCs are UNIMPLEMENTED

    def register(server: grpc.aio.Server) -> None:
        auth_grpc.add_TokenServiceServicer_to_server(servicer, server)

    with served(f"unix:{run_dir}/auth.sock", register):
        yield servicer


def headrace(*arguments: str) -> Any:
    """Run the command."""
    return CliRunner().invoke(app, list(arguments))


class TestDurations:
    """Durations as people write them."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("30d", timedelta(days=30)),
            ("1h30m", timedelta(minutes=90)),
            (" 2W ", timedelta(weeks=2)),
            ("45s", timedelta(seconds=45)),
        ],
    )
    def test_good(self, text: str, expected: timedelta) -> None:
        """Numbers with units are added up."""
        assert parse_duration(text) == expected

    @pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5h", "1y", "999999999w", "1d x"])
    def test_bad(self, text: str) -> None:
        """Anything else is refused."""
        with pytest.raises(ValueError, match="is not"):
            parse_duration(text)


class TestTokenRecover:
    """`headrace token recover`, which needs no token."""

    def test_makes_an_operators_token(self, tokens: FakeTokens) -> None:
        """It asks auth itself, for the installation's own account and everything; the secret stands alone."""
        result = headrace("token", "recover")

        assert (result.exit_code, result.stdout) == (0, f"{SECRET}\n")
        assert tokens.callers == ["cli"]
        [request] = tokens.requests
        assert (request.owner.account_id, request.actor.interface) == ("local", "cli")
        assert auth_pb.PERMISSION_OPERATOR in request.spec.grants[0].permissions
        assert len(request.spec.grants[0].permissions) == 5

    def test_only_on_the_operators_machine(self, tokens: FakeTokens, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where auth is across a network there is no such way in."""
        monkeypatch.setenv("HEADRACE_AUTH_ADDRESS", "dns:auth:9000")
        result = headrace("token", "recover")

        assert (result.exit_code, tokens.requests) == (1, [])
        assert "on the machine that auth runs on" in result.stderr

    def test_not_running(self, run_dir: Path) -> None:
        """Without an installation the answer says how to start one."""
        result = headrace("token", "recover")

        assert result.exit_code == 1
        assert "headrace up" in result.stderr


class TestHelp:
    """What the command says about itself."""

    @pytest.mark.parametrize(
        "words",
        [
            ["--help"],
            ["up", "--help"],
            ["serve", "--help"],
            ["token", "--help"],
            ["token", "create", "--help"],
            ["token", "update", "--help"],
            ["gateway", "create", "--help"],
            ["gateway", "update", "--help"],
            ["key", "add", "--help"],
            ["route", "deploy", "--help"],
            ["provider", "update", "--help"],
            ["account", "--help"],
            ["audit", "list", "--help"],
            ["apply", "--help"],
            ["export", "--help"],
            ["logs", "tail", "--help"],
            ["doctor", "--help"],
        ],
    )
    def test_help(self, words: list[str]) -> None:
        """Every command explains itself."""
        result = headrace(*words)

        assert result.exit_code == 0
        assert "Usage: headrace" in result.stdout.replace("root", "headrace")

    def test_alone(self) -> None:
        """Alone it shows what there is."""
        assert "up" in headrace().output

    def test_version(self) -> None:
        """The version is the package's."""
        assert re.fullmatch(r"headrace \d+\.\d+\.\d+\n", headrace("version").stdout)
