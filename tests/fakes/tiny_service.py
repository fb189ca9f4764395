"""
A stand-in for a service process: listens where one would, says that it is ready, and stops when told.

Run as a program, with the environment that `headrace up` gives. Standard library alone, so that it starts at
once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer any request with the process's name, and close."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        body = os.environ["HEADRACE_PROCESS"].encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Listen until SIGTERM."""
    name, run_dir = os.environ["HEADRACE_PROCESS"], Path(os.environ["HEADRACE_RUN_DIR"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    places = [f"unix:{run_dir}/{name}-admin.sock"]
    places += [place for place in os.environ.get("HEADRACE_EDGE_LISTEN_HTTP", "").split(",") if place]
    for place in places:
        if place.startswith("unix:"):
            path = Path(place.removeprefix("unix:"))
            path.unlink(missing_ok=True)  # noqa: ASYNC240  # nothing else runs yet
            await asyncio.start_unix_server(answer, path)
        else:
            host, _, port = place.rpartition(":")
            await asyncio.start_server(answer, host, int(port))
    sys.stdout.write(f'{{"process": "{name}", "event": "serving"}}\n')
    sys.stdout.flush()
    await stop.wait()
    sys.stdout.write(f'{{"process": "{name}", "event": "stopped"}}\n')
    sys.stdout.flush()
    for place in places:
        if place.startswith("unix:"):
            Path(place.removeprefix("unix:")).unlink(missing_ok=True)  # noqa: ASYNC240  # the end of it


if __name__ == "__main__":
    asyncio.run(main())
