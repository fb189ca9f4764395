"""
A whole Headrace in the rehearsal, from the rendered overlay, with what is outside of it: provider, stores,
clients.

`running` starts it; a `System` is what scenarios use. What they measure they print: it is shown at the end
of a run.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from deploy.rehearsal import Cluster, HostSpec, Images
from deploy.rehearsal.images import ROOT, program
from tests.rehearsal.bookkeeping import Books
from tests.rehearsal.collector import SPANS_URL, read_spans
from tests.rehearsal.manifests import FRONT_DOOR_NAME, TOKEN, Manifests
from tests.rehearsal.outcome import Outcome, read_outcomes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from deploy.rehearsal import Host, Pod, Process
    from tests.fakes.otlp_collector import CollectedSpan

__all__ = ["EVERYTHING", "POSTGRES", "PROVIDER", "VALKEY", "RunningLoad", "System", "running"]

PROVIDER: Final = "203.0.113.20:8000"
POSTGRES: Final = HostSpec(
    name="postgres", address="192.168.77.10", names=("postgres.rehearsal",), image="postgres:18",
    env=(("POSTGRES_USER", "headrace"), ("POSTGRES_PASSWORD", "rehearsal"), ("POSTGRES_DB", "headrace")),
)  # fmt: skip
# What limits have counted outlives a restart only where it is written down; the kernel keeps what was
# written.
VALKEY: Final = HostSpec(
    name="valkey", address="192.168.77.11", names=("valkey.rehearsal",), image="valkey/valkey:9",
    args=("valkey-server", "--appendonly", "yes", "--appendfsync", "everysec"),
)  # fmt: skip
OUTSIDE: Final = HostSpec(name="outside", address="203.0.113.10")
PROVIDER_HOST: Final = HostSpec(name="provider", address="203.0.113.20")
VALKEY_URL: Final = "valkey://valkey.rehearsal:6379/0"

EVERYTHING: Final = ("https:stream:3", "h2:stream:1", "https:plain:2", "grpcs:stream:2", "grpcs:plain:2")
"""Clients of every kind."""


@dataclass(slots=True, kw_only=True)
class RunningLoad:
    """A load that runs."""

    process: Process
    records: Path
    gateways: tuple[str, ...]
    run: str

    async def stop(self) -> list[Outcome]:
        """Let the clients finish what they asked, and return what became of everything."""
        await self.process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(self.process.wait(), 120)
        assert status == 0, self.process.output()[-3000:]
        return self.outcomes()

    def outcomes(self) -> list[Outcome]:
        """Return what became of what is over."""
        return read_outcomes(self.records)

    def failed(self) -> list[Outcome]:
        """Return what was not answered whole so far."""
        return [one for one in self.outcomes() if one.kind != "whole"]

    async def goes_on(self, *, count: int = 20, timeout_s: float = 60.0) -> float:
        """
        Wait until so many requests that began from now on were answered whole.

        Returns:
            How long it took until the first of them was over, in seconds: the recovery.
        """
        began_s = time.time()
        end_s = began_s + timeout_s
        while True:
            later = [one for one in self.outcomes() if one.begin_s >= began_s and one.kind == "whole"]
            if len(later) >= count:
                return min(one.end_s for one in later) - began_s
            assert time.time() < end_s, (
                f"only {len(later)} whole answers in {timeout_s} s: {self.failed()[-3:]}"
            )
            await asyncio.sleep(0.1)


@dataclass(slots=True, kw_only=True)
class System:
    """
    The rehearsal, and what is outside of the cluster.

    Attributes:
        cluster: The engine.
        manifests: What was applied, and who signs its certificates.
        work: Where files of the scenarios are.
        address: What clients connect to.
        figures: What was measured, by name.
    """

    cluster: Cluster
    manifests: Manifests
    work: Path
    address: str = ""
    provider: Process | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    _loads: list[RunningLoad] = field(default_factory=list)

    @property
    def token_file(self) -> Path:
        """The file with the first token."""
        return self.work / "token"

    @property
    def ca_file(self) -> Path:
        """The file with what clients trust."""
        return self.work / "public-ca.crt"

    def figure(self, name: str, value: object) -> None:
        """Keep and print something that was measured."""
        self.figures[name] = value
        print(f"{name}: {value}", flush=True)  # noqa: T201

    async def run(self, where: Host | Pod, *arguments: str, patience_s: float = 120.0) -> str:
        """Run a Python program in some network, and return what it printed."""
        process = await where.run([sys.executable, "-m", *arguments])
        status = await asyncio.wait_for(process.wait(), patience_s)
        assert status == 0, process.output()[-4000:]
        return process.output()

    async def probe(self, where: Host | Pod, *arguments: str) -> dict[str, Any]:
        """Take one look from some network; see `probe`."""
        printed = await self.run(where, "tests.rehearsal.probe", *arguments)
        found: dict[str, Any] = orjson.loads(printed.strip().splitlines()[-1])
        return found

    async def call(
        self, path: str, *, method: str = "GET", body: Any = None, **headers: str
    ) -> dict[str, Any]:
        """Make a call of the public port as a client outside, with the first token."""
        lines = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", **headers}
        return await self.probe(
            self.cluster.outside, "http", f"https://{self.address}{path}", "--method", method,
            "--body", "" if body is None else orjson.dumps(body).decode(),
            "--ca", str(self.ca_file), "--server-name", FRONT_DOOR_NAME, "--timeout-s", "20",
            *(part for name, value in lines.items() for part in ("--header", f"{name}: {value}")),
        )  # fmt: skip

    async def make_gateway(self, name: str, *, mode: str = "hard") -> None:
        """Make a gateway that counts money against a limit that is never reached."""
        await self.run(
            self.cluster.outside,
            "tests.rehearsal.bookkeeping",
            "--make",
            mode,
            *self._access(),
            "--gateway",
            name,
        )

    async def load(
        self, *clients: str, gateways: Sequence[str] | None = None, words: int = 30, pace_ms: int = 100,
        every_s: float = 0.5, silence_s: float = 20.0,
    ) -> RunningLoad:  # fmt: skip
        """Begin a load by these clients through a new gateway, or these."""
        run = f"r{len(self._loads)}{secrets.token_hex(3)}"
        if gateways is None:
            await self.make_gateway(gateway := f"steady-{run}")
            gateways = (gateway,)
        records = self.work / f"{run}.jsonl"
        process = await self.cluster.outside.run(
            [
                sys.executable, "-m", "tests.rehearsal.load",
                *(part for each in clients for part in ("--clients", each)),
                "--https", f"https://{self.address}", "--h2", f"https://{self.address}",
                "--grpcs", f"{self.address}:9443", "--ca", str(self.ca_file), "--server-name",
                FRONT_DOOR_NAME, "--token-file", str(self.token_file), "--records", str(records), "--run",
                run, *(part for each in gateways for part in ("--gateway", each)), "--words", str(words),
                "--pace-ms", str(pace_ms), "--every-s", str(every_s), "--silence-s", str(silence_s),
            ]
        )  # fmt: skip
        load = RunningLoad(process=process, records=records, gateways=tuple(gateways), run=run)
        self._loads.append(load)
        await load.goes_on(count=len(clients), timeout_s=60)
        return load

    async def books(self, load: RunningLoad, *, patience_s: float = 90.0) -> list[Books]:
        """Compare log, money and limits after a load with what was asked and served."""
        report = self.work / f"{load.run}.books.json"
        await self.run(
            self.cluster.outside, "tests.rehearsal.bookkeeping", *self._access(),
            *(part for each in load.gateways for part in ("--gateway", each)), "--records", str(load.records),
            "--journal", f"http://{PROVIDER}/journal", "--valkey", VALKEY_URL, "--report", str(report),
            "--patience-s", str(patience_s), patience_s=patience_s * len(load.gateways) + 60,
        )  # fmt: skip
        return [Books(**row) for row in orjson.loads(report.read_bytes())]

    async def spans(self, trace_id: str) -> list[CollectedSpan]:
        """Return the spans of a trace that the collector has so far."""
        found = [
            await self.probe(pod, "http", f"{SPANS_URL}?trace={trace_id}")
            for pod in self.cluster.pods("otel-collector")
        ]
        # One that did not answer this time is asked again by whoever waits.
        return [span for one in found if "body" in one for span in read_spans(one["body"])]

    def _access(self) -> tuple[str, ...]:
        return (
            "--url", f"https://{self.address}", "--ca", str(self.ca_file), "--server-name", FRONT_DOOR_NAME,
            "--token-file", str(self.token_file),
        )  # fmt: skip


def images() -> Images:
    """Return what stands for which image: this tree, the real stores, and a stand-in for the collector."""
    return Images.usual() | {
        "*opentelemetry-collector*": program(
            "/app/.venv/bin/python",
            "-m",
            "tests.rehearsal.collector",
            directories={"/app/tests": ROOT / "tests"},
        )
    }


def lay_out(work: Path, manifests: Manifests) -> None:
    """Write what clients need."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "token").write_text(TOKEN)
    (work / "public-ca.crt").write_bytes(manifests.public.pem)


@asynccontextmanager
async def running(
    work: Path, manifests: Manifests, images_here: Images | None = None
) -> AsyncIterator[System]:
    """
    Start everything and wait until it is rolled out.

    Args:
        work: A directory for files and logs.
        manifests: What is applied.
        images_here: What stands for which image, instead of `images`.
    """
    await asyncio.to_thread(lay_out, work, manifests)
    began = time.monotonic()
    async with Cluster(
        manifests.documents,
        images=images_here or images(),
        outside=OUTSIDE,
        hosts=(PROVIDER_HOST, POSTGRES, VALKEY),
        work_dir=work / "cluster",
    ) as cluster:
        system = System(cluster=cluster, manifests=manifests, work=work)
        host, _, port = PROVIDER.partition(":")
        system.provider = await cluster.host("provider").run(
            [sys.executable, "-m", "tests.rehearsal.upstream", "--host", host, "--port", port]
        )
        # Few and busy cores start one process after the other.
        await cluster.rolled_out(timeout_s=900)
        system.address = await cluster.address("front-door")
        system.figure("everything rolled out after s", round(time.monotonic() - began, 1))
        yield system
