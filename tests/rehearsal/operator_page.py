"""
A page for operators, followed by a machine: its shell blocks are run, with stand-ins for what no test may
touch.

What the page calls (`kubectl`, `docker`, `curl`, …) is found in a directory of shims, each of which asks
the test over a socket: the test runs the real kubectl where that needs no cluster, the rehearsal where it
needs one, and writes down what it leaves out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["Answer", "Asked", "Follower", "blocks_of"]

_BLOCK: Final = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINE_BYTES: Final = 16 * 2**20
_SHIM: Final = """\
#!{python}
import json, os, socket, sys
ask = socket.socket(socket.AF_UNIX)
ask.connect({path!r})
told = {{"argv": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ)}}
told["input"] = "" if sys.stdin.isatty() else sys.stdin.read()
ask.sendall(json.dumps(told).encode() + b"\\n")
answer = json.loads(ask.makefile().readline())
sys.stdout.write(answer["out"])
sys.stderr.write(answer["error"])
sys.exit(answer["status"])
"""


class Answer(NamedTuple):
    """What a command came to."""

    status: int = 0
    out: str = ""
    error: str = ""


class Asked(NamedTuple):
    """A command that the page ran."""

    argv: list[str]
    cwd: Path
    env: dict[str, str]
    input: str


def blocks_of(page: Path) -> list[str]:
    """Return the shell blocks of a page, in order, without the indentation of lists."""
    found = _BLOCK.findall(page.read_text())
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


class Follower:
    """
    Runs blocks in one shell, and answers the shims.

    Args:
        work: The directory that the page is followed in.
        programs: What is stood in for, by name.
    """

    def __init__(self, work: Path, programs: Mapping[str, Callable[[Asked], Awaitable[Answer]]]) -> None:
        self._work = work
        self._programs = programs
        self._shims = work / ".shims"
        self.asked: list[list[str]] = []

    async def follow(self, blocks: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
        """
        Run blocks one after the other until one fails.

        Returns:
            The exit status, and all that was printed; each block is announced by `### block N`.
        """
        socket = self._work / ".socket"
        await asyncio.to_thread(self._lay, socket)
        server = await asyncio.start_unix_server(self._answer, socket, limit=_LINE_BYTES)
        script = "set -eu\n" + "\n".join(f"echo '### block {n}'\n{text}" for n, text in enumerate(blocks, 1))
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        async with server:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", script, cwd=self._work, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                env={**inherited, "PATH": f"{self._shims}{os.pathsep}{os.environ['PATH']}"},
            )  # fmt: skip
            try:
                printed, _ = await asyncio.wait_for(process.communicate(), timeout_s)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        assert process.returncode is not None
        return process.returncode, printed.decode(errors="replace")

    def _lay(self, socket: Path) -> None:
        self._shims.mkdir()
        for name in self._programs:
            for shim in {
                self._shims / Path(name).name,
                self._work / name if "/" in name else self._shims / name,
            }:
                shim.write_text(_SHIM.format(python=sys.executable, path=str(socket)))
                shim.chmod(0o755)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told: dict[str, Any] = orjson.loads(await reader.readline())
        asked = Asked(told["argv"], Path(told["cwd"]), told["env"], told["input"])
        self.asked.append(asked.argv)
        program = next(act for name, act in self._programs.items() if Path(name).name == asked.argv[0])
        try:
            answer = await program(asked)
        except Exception as error:  # noqa: BLE001  # the page's reader is to see it
            answer = Answer(1, "", f"{type(error).__name__}: {error}\n")
        writer.write(orjson.dumps(answer._asdict()) + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
