"""
Whether this installation works, for load balancers and people.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.errors import GatewayError
from services.edge import headers as names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grpc.aio import Channel

    from kit.service import Runtime
    from services.edge.headers import RequestHeaders
    from services.edge.pipeline.access import Access
    from services.edge.routes import Route

__all__ = ["Operations"]

_TIMEOUT_S = 1.0
_SERVICES = ("auth", "router", "cache", "ledger", "providers")


class Operations:
    """
    Answers `/healthz` and `/readyz`.

    Args:
        runtime: What the process gives.
        access: Tells when the edge can first admit a request.
        processes: Channels to the providers processes that are not the shared one, by name.
        refusal: Tells why requests should go to another edge, in a sentence; None: they may come here.
    """

    def __init__(
        self,
        runtime: Runtime,
        access: Access,
        *,
        processes: Mapping[str, Channel],
        refusal: Callable[[], str | None],
    ) -> None:
        self._runtime = runtime
        self._access = access
        self._refusal = refusal
        # A service of this same process is looked after by the process.
        channels = {name: runtime.channel(name) for name in _SERVICES if not runtime.inline.offers(name)}
        channels |= {name: each for name, each in processes.items() if not runtime.inline.offers(name)}
        self._stubs = {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}

    async def healthz(self, _: web.BaseRequest, __: Route, ___: RequestHeaders) -> web.Response:
        """
        Say whether this edge takes requests.

        It does not before auth and router were heard of once, nor while it could not record them. Later the
        absence of services does not count: with what it knows, an edge goes on without them.
        """
        if self._runtime.stopping():
            return web.Response(status=503, text="stopping\n")
        if not self._access.heard:
            return web.Response(status=503, text="starting\n")
        if (refusal := self._refusal()) is not None:
            return web.Response(status=503, text=f"{refusal}\n", headers={names.GOES_ELSEWHERE: "true"})
        return web.Response(text="ok\n")

    async def readyz(self, _: web.BaseRequest, __: Route, ___: RequestHeaders) -> web.Response:
        """Say whether every service answers, and this edge takes requests."""
        names = list(self._stubs)
        states = await asyncio.gather(*(self._serves(name) for name in names))
        found = dict(zip(names, states, strict=True))
        refusal = self._refusal()
        ready = all(found.values()) and refusal is None and not self._runtime.stopping()
        body = {"ready": ready, "services": {name: "up" if up else "down" for name, up in found.items()}}
        if refusal is not None:
            body["failures"] = {"edge": refusal}
        return web.Response(
            status=200 if ready else 503, body=orjson.dumps(body), content_type="application/json"
        )

    async def _serves(self, name: str) -> bool:
        try:
            answer = await self._stubs[name].Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except GatewayError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
