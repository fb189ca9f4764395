"""
Asks the cache before the provider, and tells it afterwards.

A cache that is down or slow is a miss: nothing here fails a request.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from headrace.cache.v1 import cache_service_pb2, cache_service_pb2_grpc
from headrace.common.v1 import http_pb2, usage_pb2
from kit import tokens
from kit.errors import GatewayError
from services.edge import headers as names

if TYPE_CHECKING:
    from headrace.router.v1 import gateway_pb2, router_service_pb2
    from kit.service import Runtime
    from services.edge.config import EdgeConfig
    from services.edge.pipeline.access import Admission
    from services.edge.pipeline.exchange import Exchange, HeaderList, Progress

__all__ = ["Caching"]

# Stores that may wait at once; a cache that does not keep up loses answers rather than memory of ours.
_STORES_AT_ONCE = 256

# Headers by which clients choose between answers to one call: a format, a version, another address.
_CHOOSING = frozenset(
    {
        "accept", "anthropic-beta", "anthropic-version", "cartesia-version", "openai-beta", "prefer",
        "x-fal-target-url",
    }
)  # fmt: skip
_NOBODYS = hashlib.sha256(b"").digest()
_CHOOSING_PREFIX = "x-amzn-bedrock-"
# What SDKs and tools accept that choose nothing.
_ANY_FORMAT = frozenset({b"*/*", b"application/json"})


class Caching:
    """The edge's view of the cache service."""

    def __init__(self, runtime: Runtime, config: EdgeConfig) -> None:
        self._stub = cache_service_pb2_grpc.CacheServiceStub(runtime.channel("cache"))
        self._timeout_s = config.cache_timeout_s
        self._log = runtime.log("caching")
        self._storing: set[asyncio.Task[None]] = set()

    def ttl_s(self, exchange: Exchange, settings: gateway_pb2.GatewaySettings) -> int:
        """Give how long the answer to a request may be kept, in seconds; 0 for not at all."""
        if exchange.streamed or exchange.upload is not None:
            return 0
        if exchange.native is not None and exchange.native.method != "POST":
            return 0
        return exchange.options.effective_cache_ttl_s(settings.cache_ttl.seconds)

    async def lookup(
        self, exchange: Exchange, admission: Admission
    ) -> cache_service_pb2.LookupResponse | None:
        """Look for an answer; None when the cache is away."""
        step = admission.plan.steps[0]
        request = cache_service_pb2.LookupRequest(
            caller=admission.caller,
            custom_key=_custom_key(exchange, admission),
            provider=step.provider,
            model=step.model,
            endpoint=_endpoint(exchange, step, strict=exchange.strict(admission.plan.settings)),
            credential_digest=_credential_digest(exchange, admission),
            body=exchange.body,
            read=not exchange.options.skip_cache,
        )
        try:
            return await self._stub.Lookup(request, timeout=self._timeout_s)
        except GatewayError as error:
            self._log.debug("lookup failed", reason=error.reason)
            return None

    def store(self, key: bytes, ttl_s: int, headers: HeaderList, body: bytes, progress: Progress) -> None:
        """Begin to store an answer; nothing waits for it."""
        if len(self._storing) >= _STORES_AT_ONCE:
            return
        if progress.notes:
            # What was lost in the answer's making was lost for whoever gets it later, too.
            headers = [*headers, (names.TRANSLATION, "; ".join(progress.notes))]
        entry = cache_service_pb2.Entry(
            status=progress.status,
            headers=[
                http_pb2.Header(name=name, value=value.encode("latin-1", "replace"))
                for name, value in headers
            ],
            body=body,
            provider=progress.provider,
            model=progress.served_model or progress.target_model,
            usage=progress.usage or usage_pb2.Usage(),
        )
        request = cache_service_pb2.StoreRequest(key=key, entry=entry)
        request.ttl.seconds = ttl_s
        task = asyncio.create_task(self._store(request))
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def close(self) -> None:
        """Wait for what is being stored."""
        if self._storing:
            await asyncio.wait(self._storing, timeout=self._timeout_s)

    async def _store(self, request: cache_service_pb2.StoreRequest) -> None:
        try:
            await self._stub.Store(request, timeout=self._timeout_s * 4)
        except GatewayError as error:
            self._log.debug("store failed", reason=error.reason)


def _endpoint(exchange: Exchange, step: router_service_pb2.Step, *, strict: bool) -> str:
    """
    Give all that an answer depends on beside model, key and body.

    Lines follow each other, since a path and a header's value hold no line feed. An exchange's own `endpoint`
    is cut for the log.
    """
    lines = [exchange.endpoint]
    if (native := exchange.native) is not None:
        path = f"{exchange.provider}/{native.path}"
        lines = [f"{path}?{native.query}" if native.query else path]
    for name, value in exchange.headers.forwarded:
        if (name in _CHOOSING or name.startswith(_CHOOSING_PREFIX)) and value not in _ANY_FORMAT:
            lines.append(f"{name}: {value.decode('latin-1')}")
    if strict:
        lines.append(names.STRICT)
    if alias := exchange.options.byok_alias:
        # Whose account at the provider it is may change what is answered.
        lines.append(f"{names.BYOK_ALIAS}: {alias}")
    if step.HasField("custom"):
        # The account may have its provider call another address by now.
        lines.append(hashlib.sha256(step.custom.SerializeToString(deterministic=True)).hexdigest())
    return "\n".join(lines)


def _custom_key(exchange: Exchange, admission: Admission) -> str | None:
    """
    Give the name that the client chose for an answer, if it did.

    Under a name alone an answer of any model is found, paid for by anybody. So those who are not known, and
    those whose tokens are for some models only, have names of their own; no header's value holds a line feed.
    """
    name, narrowed = exchange.options.cache_key, admission.restrictions
    if name is None:
        return None
    if not admission.may_spend:
        return f"{name}\n"
    if narrowed is not None and (narrowed.providers or narrowed.models):
        found = repr((sorted(narrowed.providers), sorted(narrowed.models)))
        return f"{name}\n{hashlib.sha256(found.encode()).hexdigest()}"
    return name


def _credential_digest(exchange: Exchange, admission: Admission) -> bytes:
    """Tell apart who pays. Whoever brings no key and may spend no other's sees nothing that was paid for."""
    values = [value for name, value in exchange.headers.forwarded if name in tokens.CREDENTIAL_HEADERS]
    if values:
        return hashlib.sha256(b"\0".join(values)).digest()
    return b"" if admission.may_spend else _NOBODYS
