"""
A steady load, as a process: clients that ask one question after the other until they are told to stop.

    python -m tests.rehearsal.load --clients http:stream:4 --clients grpc:plain:2 --http
    http://127.0.0.1:8080 \
        --grpc 127.0.0.1:9090 --token-file token --gateway steady --records records.jsonl

Each request leaves one line of JSON in the records (`outcome.Outcome`). Once a second the counts so far are
printed. It ends by itself after a time or a number of requests; SIGTERM lets every client finish what it
asked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from tests.rehearsal.asking import Question
from tests.rehearsal.callers import Access, GrpcCaller, Http2Caller, HttpCaller
from tests.rehearsal.outcome import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.rehearsal.callers import Caller
    from tests.rehearsal.outcome import Outcome

__all__ = ["TRANSPORTS", "Clients", "Load", "run_load"]

TRANSPORTS: Final[dict[str, Callable[[Access], Caller]]] = {
    "http": HttpCaller,
    "https": HttpCaller,
    "h2": Http2Caller,
    "grpc": GrpcCaller,
    "grpcs": GrpcCaller,
}
"""Ways to ask, by name. `h2` is HTTP/2 over TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Some clients of one kind: how they ask, whether for streams, and how many they are."""

    transport: str
    streamed: bool
    count: int

    @classmethod
    def parse(cls, text: str) -> Clients:
        """Read `https:stream:4` or `grpc:plain:1`."""
        transport, what, count = text.split(":")
        if transport not in TRANSPORTS or what not in {"stream", "plain"}:
            raise ValueError(text)
        return cls(transport=transport, streamed=what == "stream", count=int(count))


@dataclass(slots=True, kw_only=True)
class Load:
    """
    The clients and what became of what they asked.

    Attributes:
        run: Beginning of every marker.
        gateways: Through which gateways, taken in turn by the clients.
        words: Words of a stream's answer; a plain one has a tenth.
        pace_ms: Pause after each word of a stream.
        every_s: Shortest time from one question of a client to its next.
        records: File that the lines go to.
        most: Requests after which it ends.
    """

    run: str
    gateways: Sequence[str]
    words: int = 30
    pace_ms: int = 100
    every_s: float = 0.5
    records: BinaryIO
    most: int = 1_000_000
    counts: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    asked: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Let each client finish what it asked, and ask no more."""
        self._stop.set()

    async def client(self, name: str, number: int, caller: Caller, *, streamed: bool) -> None:
        """Ask one question after the other until told to stop."""
        gateway = self.gateways[number % len(self.gateways)]
        # Not all at the same moment.
        await self._pause(self.every_s * (number % 7) / 7)
        try:
            while not self._stop.is_set() and self.asked < self.most:
                self.asked += 1
                question = Question(
                    marker=f"{self.run}-{name}-{self.asked}",
                    words=self.words if streamed else max(1, self.words // 10),
                    pace_ms=self.pace_ms,
                )
                began = time.monotonic()
                self._keep(await self._ask(caller, question, name, gateway, streamed=streamed))
                await self._pause(self.every_s - (time.monotonic() - began))
        finally:
            await caller.close()

    async def _ask(
        self, caller: Caller, question: Question, name: str, gateway: str, *, streamed: bool
    ) -> Outcome:
        begin_s = time.time()
        self.under_way += 1
        got = await caller.ask(question, gateway, streamed=streamed)
        self.under_way -= 1
        return judge(question, got, client=name, gateway=gateway, begin_s=begin_s, end_s=time.time())

    def _keep(self, outcome: Outcome) -> None:
        self.records.write(outcome.line())
        self.records.flush()
        self.counts[outcome.kind] += 1

    async def _pause(self, for_s: float) -> None:
        if for_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), for_s)

    async def report(self) -> None:
        """Print the counts once a second until all clients are done."""
        began = time.monotonic()
        while True:
            counts = " ".join(f"{kind}={self.counts[kind]}" for kind in sorted(self.counts))
            # Flushed: a scenario reads along.
            print(f"t={time.monotonic() - began:.0f} under_way={self.under_way} {counts}", flush=True)  # noqa: T201
            await asyncio.sleep(1)


async def run_load(
    load: Load, clients: Sequence[Clients], addresses: dict[str, Access], time_s: float
) -> None:
    """Run clients until they are told to stop, for at most so long."""
    loop = asyncio.get_running_loop()
    for sent in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sent, load.stop)
    timer = loop.call_later(time_s, load.stop)
    report = asyncio.create_task(load.report())
    async with asyncio.TaskGroup() as group:
        index = 0
        for kind in clients:
            for number in range(kind.count):
                caller = TRANSPORTS[kind.transport](addresses[kind.transport])
                name = f"{kind.transport}-{'stream' if kind.streamed else 'plain'}-{number}"
                group.create_task(load.client(name, index, caller, streamed=kind.streamed))
                index += 1
    timer.cancel()
    report.cancel()
    counts = " ".join(f"{kind}={load.counts[kind]}" for kind in sorted(load.counts))
    print(f"done asked={load.asked} {counts}", flush=True)  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A steady load of streams, plain requests and gRPC calls.")
    parser.add_argument("--clients", action="append", type=Clients.parse, required=True, metavar="HOW:KIND:N")
    for transport in TRANSPORTS:
        parser.add_argument(f"--{transport}", default="", metavar="ADDRESS")
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--server-name")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--account", default="local")
    parser.add_argument("--gateway", action="append", required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--run", default="load")
    parser.add_argument("--words", type=int, default=30)
    parser.add_argument("--pace-ms", type=int, default=100)
    parser.add_argument("--every-s", type=float, default=0.5)
    parser.add_argument("--silence-s", type=float, default=20.0)
    parser.add_argument("--time-s", type=float, default=3600.0)
    parser.add_argument("--most", type=int, default=1_000_000)
    return parser.parse_args()


def _access(options: argparse.Namespace, transport: str) -> Access:
    secure = transport in {"https", "h2", "grpcs"}
    return Access(
        address=getattr(options, transport),
        token=options.token_file.read_text().strip(),
        account=options.account,
        ca=options.ca if secure else None,
        server_name=options.server_name if secure else None,
        silence_s=options.silence_s,
    )


async def _main() -> None:
    options = _options()
    with options.records.open("ab") as records:
        load = Load(
            run=options.run,
            gateways=options.gateway,
            words=options.words,
            pace_ms=options.pace_ms,
            every_s=options.every_s,
            records=records,
            most=options.most,
        )
        addresses = {name: _access(options, name) for name in TRANSPORTS if getattr(options, name)}
        await run_load(load, options.clients, addresses, options.time_s)


if __name__ == "__main__":
    asyncio.run(_main())
