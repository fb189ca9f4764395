"""What a stack of the end-to-end tests talks to: stand-in providers, and a collector of traces."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fakes.aimock import Aimock, running_aimock
from tests.fakes.background import Background
from tests.fakes.front import Front
from tests.fakes.otlp_collector import OtlpCollector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.upstream import Received

# The operator's keys, by provider, and one that a client brings. They look like nothing else, so that they
# are found wherever they should not be.
OPENAI_KEY = "sk-canary-operator-openai-5b1f0e"
ANTHROPIC_KEY = "sk-ant-canary-operator-anthropic-77c2d9"
CLIENT_KEY = "sk-canary-client-31aa84"
KEYS = (OPENAI_KEY, ANTHROPIC_KEY, CLIENT_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """The running stand-ins."""

    background: Background
    aimock: Aimock
    front: Front
    collector: OtlpCollector

    def environment(self) -> dict[str, str]:
        """Give the settings that point a stack here."""
        return {
            "HEADRACE_PROVIDER_OPENAI_BASE_URL": f"{self.front.url}/v1",
            "HEADRACE_PROVIDER_OPENAI_API_KEY": OPENAI_KEY,
            "HEADRACE_PROVIDER_ANTHROPIC_BASE_URL": self.front.url,
            "HEADRACE_PROVIDER_ANTHROPIC_API_KEY": ANTHROPIC_KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def received(self, marker: str, *, count: int | None = None, timeout_s: float = 5) -> list[Received]:
        """
        Give the requests whose body has a marker; with `count`, wait until there are so many.

        Times in them are on this process's monotonic clock.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = [one for one in list(self.front.journal) if marker.encode() in one.body]
            if count is None or len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} requests after {timeout_s} s"
            time.sleep(0.005)


@contextlib.contextmanager
def running_upstreams(directory: Path) -> Iterator[Upstreams]:
    """Run them all."""
    with contextlib.ExitStack() as running:
        background = running.enter_context(Background())
        collector = running.enter_context(OtlpCollector())
        aimock = running.enter_context(running_aimock(*KEYS, log_path=directory / "aimock.log"))
        front = running.enter_context(background.entered(Front(aimock.url)))
        yield Upstreams(background=background, aimock=aimock, front=front, collector=collector)
