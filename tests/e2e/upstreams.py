"""What a stack of the end-to-end tests talks to: stand-in providers, and a collector of traces."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.keys import (
    ANTHROPIC_KEY,
    AWS_ACCESS_KEY,
    AWS_SECRET_KEY,
    CLIENT_AWS_KEY,
    CLIENT_KEY,
    KEYS,
    OPENAI_KEY,
    VERTEX_TOKEN,
    operator_keys,
    service_account_key,
)
from tests.fakes.aimock import Aimock, running_aimock
from tests.fakes.aimock_gaps import MISTRAL
from tests.fakes.aws_door import AwsDoor
from tests.fakes.background import Background
from tests.fakes.front import Front
from tests.fakes.google_door import GoogleDoor
from tests.fakes.otlp_collector import OtlpCollector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.upstream import Received

__all__ = ["ANTHROPIC_KEY", "CLIENT_KEY", "KEYS", "OPENAI_KEY", "Upstreams", "running_upstreams"]

# What is to be known of some providers beside their addresses and keys.
_SETTINGS = {
    "HEADRACE_PROVIDER_GOOGLE_VERTEX_AI_REGION": "us-central1",
    "HEADRACE_PROVIDER_GOOGLE_VERTEX_AI_PROJECT": "some-project",
    "HEADRACE_PROVIDER_WORKERS_AI_ACCOUNT": "some-account",
    "HEADRACE_PROVIDER_AWS_BEDROCK_REGION": "us-east-1",
}
# For which a client signs that speaks to AWS through a gateway.
_AWS_HOST = "bedrock-runtime.us-east-1.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """The running stand-ins."""

    background: Background
    aimock: Aimock
    front: Front
    collector: OtlpCollector

    def environment(self) -> dict[str, str]:
        """Give the settings that point a stack here, every provider of the registry."""
        keys = operator_keys()
        return {
            **{f"{_variable(slug)}_BASE_URL": self.front.url for slug in keys},
            **{f"{_variable(slug)}_API_KEY": key for slug, key in keys.items()},
            "HEADRACE_PROVIDER_MISTRAL_BASE_URL": f"{self.front.url}{MISTRAL}/v1",
            **_SETTINGS,
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
        aws = AwsDoor({AWS_ACCESS_KEY: AWS_SECRET_KEY, CLIENT_AWS_KEY: CLIENT_KEY}, [_AWS_HOST])
        google = GoogleDoor(service_account_key(), VERTEX_TOKEN)
        front = running.enter_context(
            background.entered(Front(aimock.url, aws=aws, google=google, relay_key=CLIENT_KEY))
        )
        yield Upstreams(background=background, aimock=aimock, front=front, collector=collector)


def _variable(slug: str) -> str:
    return f"HEADRACE_PROVIDER_{slug.upper().replace('-', '_')}"
