"""
Sets tracing up from the standard `OTEL_*` variables.

Tracing is off unless they ask for it. Several services may share a process, and each is a service of its own
in a trace: each gets a provider with its own resource, and all share one exporter and its queue.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import TYPE_CHECKING

from kit.config import ConfigError
from kit.telemetry import names
from kit.telemetry.tracing import Tracing
from kit.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Telemetry", "exporter_names"]

_EXPORTERS = ("otlp", "console", "none")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def exporter_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """
    Return the span exporters that the environment asks for; empty when tracing is off.

    Raises:
        ConfigError: it asks for one that there is not.
    """
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    asked = env.get("OTEL_TRACES_EXPORTER", "").strip()
    if not asked:
        asked = "otlp" if any(env.get(name, "").strip() for name in _ENDPOINTS) else "none"
    found = tuple(name for part in asked.split(",") if (name := part.strip()))
    if wrong := [name for name in found if name not in _EXPORTERS]:
        raise ConfigError(
            [f"OTEL_TRACES_EXPORTER must be one of {', '.join(_EXPORTERS)}, but is {wrong[0]!r}"]
        )
    if "otlp" in found:
        _check_protocol(env)
    return tuple(name for name in found if name != "none")


def _check_protocol(env: Mapping[str, str]) -> None:
    for name in _PROTOCOLS:
        protocol = env.get(name, "").strip()
        if protocol not in {"", "grpc"}:
            raise ConfigError([f"{name} must be grpc, but is {protocol!r}: no other exporter is installed"])


class Telemetry:
    """
    The tracing of one process.

    Args:
        env: The environment; says whether tracing is on. The OpenTelemetry SDK itself reads everything else
            (endpoint, headers, sampler, batch sizes) from `os.environ`.
        process: Name of the process, for the instance id.
        shared: Whether more than one service runs in the process.
        processor: Takes ended spans instead of the exporters, for tests.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        process: str,
        shared: bool = False,
        processor: SpanProcessor | None = None,
    ) -> None:
        self._env = env
        self._process = process
        self._shared = shared
        exporters = exporter_names(env)
        self._processors = [processor] if processor else [_processor(name) for name in exporters]

    @property
    def enabled(self) -> bool:
        """Whether spans go anywhere."""
        return bool(self._processors)

    def tracing(self, service: str) -> Tracing:
        """Return what makes the spans of one service of this process."""
        if not self._processors:
            return Tracing(service)
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        provider = TracerProvider(
            resource=Resource.create(self._resource(service)),
            shutdown_on_exit=False,  # `shutdown` does it, within a time limit
        )
        for processor in self._processors:
            provider.add_span_processor(processor)
        return Tracing(service, provider.get_tracer("headrace", VERSION))

    def _resource(self, service: str) -> dict[str, str]:
        resource = {
            names.SERVICE_VERSION: VERSION,
            names.SERVICE_INSTANCE_ID: f"{self._process}@{socket.gethostname()}:{os.getpid()}",
        }
        # The SDK itself reads these two variables; what we give would win over them.
        own = self._env.get("OTEL_SERVICE_NAME", "").strip()
        if own and self._shared:
            resource[names.SERVICE_NAME] = f"{own}-{service}"
        elif not own and f"{names.SERVICE_NAME}=" not in self._env.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            resource[names.SERVICE_NAME] = f"headrace-{service}"
        return resource

    async def shutdown(self, timeout_s: float) -> bool:
        """
        Send what is queued, and stop. Returns whether it was all done in time.

        The exporter blocks while it retries, and a collector that is down must not hold up the exit: it runs
        in a thread that dies with the process.
        """
        if not self._processors:
            return True
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def stop() -> None:
            for processor in self._processors:
                processor.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=stop, name="telemetry-shutdown", daemon=True).start()
        try:
            await asyncio.wait_for(done.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


def _processor(exporter: str) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(_exporter(exporter))


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)  # standard output is the log's
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
