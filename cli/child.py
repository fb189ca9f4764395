"""
One child process: started so that it cannot outlive its parent, and read line by line.

Children run in sessions of their own. Ctrl-C in a terminal signals the whole foreground group, and in which
order processes stop is the supervisor's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.dying import die_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["Spawned", "kill_group", "lines", "spawn"]

_READ_BYTES: Final = 64 << 10
# A line longer than this is shown in pieces, so that no child can make us hold all that it writes.
_LINE_MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Spawned:
    """
    A child that was started.

    Attributes:
        process: The child.
        output: What it writes.
        pipe: Where that comes from; to be closed.
    """

    process: asyncio.subprocess.Process
    output: asyncio.StreamReader
    pipe: asyncio.ReadTransport


async def spawn(argv: Sequence[str], env: Mapping[str, str]) -> Spawned:
    """
    Start a program; standard error goes where standard output goes, to a pipe.

    A real pipe, made here: event loops hand out socket pairs, and `/dev/stdout`, which Envoy opens for its
    access log, cannot be opened when it is a socket.

    Must be called in the thread that lives as long as the children should: the kernel ties the parent's death
    to that thread's.

    Raises:
        OSError: It cannot be started.
    """
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    output = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(output), os.fdopen(reading, "rb", buffering=0)
    )
    return Spawned(process, output, pipe)


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a child and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Give what a child writes, line by line, without line ends."""
    rest = b""
    while chunk := await reader.read(_READ_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r").decode(errors="replace")
        if len(rest) > _LINE_MAX_BYTES:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace")
