"""A whole process between hosts: it serves with TLS, takes up new files by itself, and says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from deploy.certificates import CERTIFICATE, Authority, lay
from headrace.cache.v1 import cache_service_pb2, cache_service_pb2_grpc
from kit.rpc.client import connect
from kit.telemetry.tracing import Tracing
from kit.tls import TlsSource
from tests.fakes.ports import free_ports
from tests.fakes.tls_world import SERVER, spiffe

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "fakes" / "whole_process.py"
START_S = 30.0


class Cache:
    """A process that serves `CacheService` on a port with TLS, and metrics on one without."""

    def __init__(self, home: Path, authority: Authority) -> None:
        port, admin = free_ports(2)
        self.target = f"{SERVER}:{port}"
        self.admin = f"http://{SERVER}:{admin}"
        self.tls_dir = home / "tls"
        self.out = home / "out"
        lay(self.tls_dir, authority.issue(dns=[SERVER], uri=spiffe("cache")))
        self._env = {
            "PATH": os.environ["PATH"],
            "TMPDIR": tempfile.gettempdir(),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "HEADRACE_DATA_DIR": str(home),
            "HEADRACE_PROCESS": "cache",
            "HEADRACE_LISTEN": self.target,
            "HEADRACE_ADMIN_LISTEN": f"{SERVER}:{admin}",
            "HEADRACE_TLS_DIR": str(self.tls_dir),
        }
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Run it."""
        with self.out.open("wb") as out:
            command = [sys.executable, str(PROGRAM)]
            self.popen = subprocess.Popen(command, env=self._env, stdout=out, stderr=subprocess.STDOUT)
        return self.popen

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until it logs an event."""
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            for line in self.out.read_text().splitlines():
                if line.startswith("{") and (found := orjson.loads(line))["event"] == event:
                    return dict(found)
            time.sleep(0.02)
        pytest.fail(f"no {event!r} in:\n{self.out.read_text()}")


@pytest.fixture
def authority() -> Authority:
    """Make an authority."""
    return Authority.new()


@pytest.fixture
def cache(tmp_path: Path, authority: Authority) -> Iterator[Cache]:
    """Prepare a process, and end it."""
    prepared = Cache(tmp_path, authority)
    yield prepared
    if prepared.popen is not None:
        prepared.popen.kill()
        prepared.popen.wait()


async def test_process_serves_with_tls(cache: Cache, authority: Authority, tmp_path: Path) -> None:
    """It is called with TLS, finds new certificates, and shows in the clear how long they are good."""
    import aiohttp

    cache.start()
    said = cache.wait_for("certificate in use")
    cache.wait_for("ready")
    lay(tmp_path / "edge", authority.issue(uri=spiffe("edge")))
    channel = connect(
        cache.target,
        service="cache",
        caller="edge",
        tracing=Tracing("edge"),
        max_message_bytes=1 << 20,
        tls=TlsSource(tmp_path / "edge"),
    )
    stub: Any = cache_service_pb2_grpc.CacheServiceStub(channel)
    answer = await stub.Lookup(cache_service_pb2.LookupRequest(custom_key="0"), timeout=10)
    lay(cache.tls_dir, authority.issue(dns=[SERVER], uri=spiffe("cache")))
    cache.wait_for("certificate changed")
    async with aiohttp.ClientSession() as session, session.get(f"{cache.admin}/metrics") as response:
        metrics = await response.text()
    await channel.close()

    assert spiffe("cache") == said["identity"]
    assert answer == cache_service_pb2.LookupResponse()
    assert 'headrace_tls_reloads_total{result="used"} 1.0' in metrics
    assert 'headrace_tls_reloads_total{result="refused"} 0.0' in metrics
    left = next(line for line in metrics.splitlines() if line.startswith("headrace_tls_certificate_expiry_s"))
    assert 89 * 86400 < float(left.split()[1]) <= 90 * 86400


def test_process_without_its_certificate_does_not_start(cache: Cache) -> None:
    """It ends with the code for wrong settings, and names the file."""
    (cache.tls_dir / CERTIFICATE).unlink()
    code = cache.start().wait(START_S)

    missing = cache.tls_dir / CERTIFICATE
    assert (2, True) == (
        code,
        f"HEADRACE_TLS_DIR: {missing} cannot be read: No such file or directory." in cache.out.read_text(),
    )
