"""
Health over gRPC: what a process and its services say of themselves, and a server for probes alone.

Probes of a platform show no certificate, so their server has no TLS, and a port of its own on which there is
nothing else. It says two things: `live`, as long as the process can answer at all, also while it starts,
waits or drains; and `ready`, when requests may be sent to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["LIVE", "READY", "HealthServer", "HealthServicer"]

LIVE: Final = "live"
READY: Final = "ready"
_UP: Final = health_pb2.HealthCheckResponse.SERVING
_DOWN: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer:
    """
    Answers `grpc.health.v1.Health`.

    Other than the one that comes with gRPC it ends its watches when it is closed: clients keep one open on
    every connection, and a server that stops would wait for them until its grace is over.
    """

    def __init__(self) -> None:
        self._states: dict[str, health_pb2.HealthCheckResponse.ServingStatus] = {}
        self._news = asyncio.Event()
        self._closed = False

    def set(self, name: str, *, serving: bool) -> None:
        """Say how a service is."""
        self._states[name] = _UP if serving else _DOWN
        self._tell()

    def close(self) -> None:
        """Say that nothing is served any more, and end all watches."""
        self._states = dict.fromkeys(self._states, _DOWN)
        self._closed = True
        self._tell()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        """Tell how a service is now."""
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        return health_pb2.HealthCheckResponse(status=state)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: ARG002 - gRPC passes them
        """Tell how every service is now."""
        answers = {name: health_pb2.HealthCheckResponse(status=state) for name, state in self._states.items()}
        return health_pb2.HealthListResponse(statuses=answers)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002 - gRPC passes it
        """Tell how a service is, now and at each change."""
        told: int | None = None
        while True:
            news, state = self._news, self._states.get(request.service, _UNKNOWN)
            if state != told:
                told = state
                yield health_pb2.HealthCheckResponse(status=state)
            if self._closed:
                return
            if news is self._news:
                await news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class HealthServer:
    """Answers probes; the empty name means the same as `ready`."""

    def __init__(self) -> None:
        self._health = HealthServicer()
        # Probes are few and open a connection for each question.
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4096)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, address: str) -> None:
        """
        Begin to answer: live, and not ready.

        Args:
            address: Such as `0.0.0.0:9101`.

        Raises:
            OSError: It cannot be listened on.
        """
        self._health.set(LIVE, serving=True)
        self.set_ready(ready=False)
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        await self._server.start()

    def set_ready(self, *, ready: bool) -> None:
        """Say whether requests may be sent to this process."""
        for name in ("", READY):
            self._health.set(name, serving=ready)

    async def stop(self) -> None:
        """Stop answering."""
        self._health.close()
        await self._server.stop(0)
