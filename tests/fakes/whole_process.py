"""
A process of services that do what the test tells them, run as a program by the lifecycle tests.

    python whole_process.py <behaviour> …

Each behaviour is a word; see `_Scripted`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headrace.cache.v1 import cache_service_pb2, cache_service_pb2_grpc
from kit.config import Secret, load, setting, unknown
from kit.lifecycle import run
from kit.runtime_config import RuntimeConfig
from kit.service import Binding, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from kit.service import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeConfig:
    """Settings of the scripted service."""

    PREFIX: ClassVar[str] = "HEADRACE_FAKE_"

    count: int = setting(1, "A number.", at_least=0)
    key: Secret | None = setting(None, "A secret.", secret=True)


class _Cache(cache_service_pb2_grpc.CacheServiceServicer):
    """Answers each lookup after the seconds named in its key."""

    async def Lookup(
        self, request: cache_service_pb2.LookupRequest, context: Any
    ) -> cache_service_pb2.LookupResponse:
        """Sleep, then answer."""
        await asyncio.sleep(float(request.custom_key))
        return cache_service_pb2.LookupResponse()

    async def Store(
        self, request: cache_service_pb2.StoreRequest, context: Any
    ) -> cache_service_pb2.StoreResponse:
        """Forget it."""
        return cache_service_pb2.StoreResponse()

    async def Release(
        self, request: cache_service_pb2.ReleaseRequest, context: Any
    ) -> cache_service_pb2.ReleaseResponse:
        """Nothing was claimed."""
        return cache_service_pb2.ReleaseResponse()

    async def Renew(
        self, request: cache_service_pb2.RenewRequest, context: Any
    ) -> cache_service_pb2.RenewResponse:
        """Nothing was claimed."""
        return cache_service_pb2.RenewResponse(kept=[False] * len(request.claims))

    async def Purge(
        self, request: cache_service_pb2.PurgeRequest, context: Any
    ) -> cache_service_pb2.PurgeResponse:
        """Nothing was kept."""
        return cache_service_pb2.PurgeResponse()


class _Scripted:
    """Does what the words say."""

    def __init__(self, words: frozenset[str]) -> None:
        self._words = words

    @asynccontextmanager
    async def build(self, runtime: Runtime) -> AsyncIterator[Service]:
        """Build the service."""
        load(FakeConfig, runtime.env)
        log = runtime.log("fake")
        if "fail-build" in self._words:
            raise RuntimeError("no such luck, sk-abcdefghijklmnopqrstuvwxyz")
        try:
            if "slow-build" in self._words:
                log.info("building")
                await asyncio.sleep(30)
            yield Service(
                name=runtime.name,
                bindings=(self._binding(),),
                check=self._check,
                start=self._starting(runtime, log),
                drain=self._drain,
            )
        finally:
            log.info("undone", stopping=runtime.stopping())
            if "hang-undo" in self._words:
                time.sleep(30)  # noqa: ASYNC251 - the loop stands still: only a thread can end this

    def _binding(self) -> Binding:
        return Binding(
            service="headrace.cache.v1.CacheService",
            add=cache_service_pb2_grpc.add_CacheServiceServicer_to_server,
            servicer=_Cache(),
            callers=frozenset({"test", "edge"}),
        )

    async def _check(self) -> None:
        if "not-ready" in self._words:
            raise RuntimeError("the well is dry")

    def _starting(self, runtime: Runtime, log: Any) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            log.info("started", stopping=runtime.stopping())
            if runtime.name == "edge":
                stub = cache_service_pb2_grpc.CacheServiceStub(runtime.channel("providers-local"))
                await stub.Lookup(cache_service_pb2.LookupRequest(custom_key="0"))
                log.info("called")

        return call

    async def _drain(self, grace_s: float) -> None:
        if "hang-drain" in self._words:
            await asyncio.sleep(30)


def main(words: frozenset[str]) -> int:
    """Run a scripted service, or two that call each other, until a signal."""
    names = ("providers", "edge") if "two" in words else ("cache",)
    return run(
        [(name, _Scripted(words).build) for name in names],
        os.environ,
        configs=[FakeConfig],
        unknown=lambda env: unknown(env, [RuntimeConfig, FakeConfig]),
        aliases={"providers-local": "providers"},
    )


if __name__ == "__main__":
    sys.exit(main(frozenset(sys.argv[1:])))
