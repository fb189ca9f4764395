"""
What is measured: Headrace in both topologies, and what it is compared with.

Each subject is a context manager that gives where to send requests and whose CPU to count.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench import envoy_alone
from deploy.envoy.binary import envoy_path
from tests.fakes.stack import Setup, Stack, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Subject", "direct", "envoy", "headrace", "plain_proxy", "translated", "upstream"]

ROOT = Path(__file__).resolve().parent.parent
_MODEL = "gpt-4o-mini"
_TRANSLATED_MODEL = "anthropic/claude-sonnet-4-5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """
    Something that answers requests.

    Attributes:
        name: Name in the report.
        url: Where chat requests go.
        model: Model that is asked for.
        caches: It has a cache, and what comes from there is measured as well.
        headers: Headers that requests need.
        processes: Gives the processes whose cost is counted, by name.
    """

    name: str
    url: str
    model: str
    caches: bool = False
    headers: tuple[tuple[str, str], ...]
    processes: Callable[[], Mapping[str, psutil.Process]]

    def cpu_s(self) -> dict[str, float]:
        """Give the CPU seconds that each process has used."""
        used = {}
        for name, process in self.processes().items():
            times = process.cpu_times()
            used[name] = times.user + times.system
        return used

    def rss_mb(self) -> dict[str, float]:
        """Give the resident memory of each process, in MB."""
        return {name: process.memory_info().rss / 1e6 for name, process in self.processes().items()}


@contextmanager
def upstream(port: int) -> Iterator[str]:
    """Run the provider; gives its base URL."""
    with _program([sys.executable, "-m", "bench.upstream", str(port)]):
        _wait_open(port)
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def direct(base: str) -> Iterator[Subject]:
    """Measure the provider itself."""
    yield Subject(name="direct", url=f"{base}/chat/completions", model=_MODEL, headers=(), processes=dict)


@contextmanager
def plain_proxy(base: str, port: int) -> Iterator[Subject]:
    """Run a minimal proxy in Python."""
    with _program([sys.executable, "-m", "bench.plain_proxy", str(port), base]) as process:
        _wait_open(port)
        yield Subject(
            name="plain proxy",
            url=f"http://127.0.0.1:{port}/v1/chat/completions",
            model=_MODEL,
            headers=(),
            processes=lambda: {"proxy": process},
        )


@contextmanager
def envoy(upstream_port: int, port: int, directory: Path) -> Iterator[Subject]:
    """Run Envoy alone."""
    path = directory / "envoy.json"
    path.write_bytes(envoy_alone.config(port, upstream_port))
    command = [
        str(envoy_path()),
        "-c",
        str(path),
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "-l",
        "error",
    ]
    with _program(command) as process:
        _wait_open(port)
        yield Subject(
            name="envoy alone",
            url=f"http://127.0.0.1:{port}/v1/chat/completions",
            model=_MODEL,
            headers=(),
            processes=lambda: {"envoy": process},
        )


@contextmanager
def headrace(topology: Topology, base: str, directory: Path) -> Iterator[Subject]:
    """Run Headrace as a user does, with everything on that is on by default."""
    env = {
        "HEADRACE_PROVIDER_OPENAI_BASE_URL": base,
        "HEADRACE_PROVIDER_OPENAI_API_KEY": "sk-bench",
        "HEADRACE_PROVIDER_ANTHROPIC_BASE_URL": base.removesuffix("/v1"),
        "HEADRACE_PROVIDER_ANTHROPIC_API_KEY": "sk-ant-bench",
    }
    stack = Stack(Setup(topology=topology, env=env), directory / topology)
    with ExitStack() as undo:
        undo.callback(stack.stop)
        stack.start()
        processes = stack.processes()
        yield Subject(
            name=topology,
            url=f"{stack.openai_base_url}/chat/completions",
            model=f"openai/{_MODEL}",
            caches=True,
            headers=(("authorization", f"Bearer {stack.token}"),),
            processes=lambda: processes,
        )


def translated(subject: Subject) -> Subject:
    """Ask the same Headrace for a model whose provider speaks another dialect."""
    return replace(subject, name=f"{subject.name}, translated", model=_TRANSLATED_MODEL, caches=False)


@contextmanager
def _program(command: list[str]) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _wait_open(port: int) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except (ConnectionRefusedError, urllib.error.URLError) as error:
            if "refused" not in str(error).lower():
                return
        except OSError:
            return
        else:
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")
