"""
The services around the edge, as fakes in the same process, and an edge between them and a client.

What the provider does is said by the test: `peers.provider.script` is the list of parts that it sends, or an
error that it raises.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import tempfile
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import prometheus_client
from google.protobuf.message import Message

from headrace.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, token_pb2
from headrace.cache.v1 import cache_service_pb2, cache_service_pb2_grpc
from headrace.common.v1 import decision_pb2, http_pb2, lifetime_pb2, usage_pb2
from headrace.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from headrace.provider.v1 import provider_service_pb2, provider_service_pb2_grpc
from headrace.router.v1 import router_service_pb2, router_service_pb2_grpc
from kit.config import load
from kit.errors import GatewayError, Reason
from kit.rpc.endpoint import endpoints
from kit.rpc.inline import InlineRegistry
from kit.rpc.server import RpcServer
from kit.runtime_config import RuntimeConfig
from kit.service import Binding, Runtime, Service
from kit.telemetry.tracing import Tracing
from kit.tls import TlsSource
from services.edge.app import build
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from headrace.ledger.v1 import log_entry_pb2
    from kit.rpc.endpoint import Endpoint

__all__ = ["TOKEN", "Peers", "chunk", "edge_between", "head", "tail"]

TOKEN = "hr_abcdefghijkl_" + "s" * 43
Part = provider_service_pb2.InvokeResponse


def head(status: int = 200, content_type: str = "application/json", **fields: Any) -> Part:
    """Give the beginning of a provider's answer, in OpenAI's chat dialect unless another is named."""
    fields.setdefault("body_dialect", http_pb2.DIALECT_OPENAI_CHAT)
    headers = [http_pb2.Header(name="content-type", value=content_type.encode())]
    return Part(head=provider_service_pb2.Head(status=status, headers=headers, **fields))


def chunk(data: bytes) -> Part:
    """Give a piece of a provider's answer."""
    return Part(chunk=provider_service_pb2.Chunk(data=data))


def tail(**fields: Any) -> Part:
    """Give the end of a provider's answer."""
    fields.setdefault("usage", usage_pb2.Usage(input_tokens=3, output_tokens=5))
    return Part(tail=provider_service_pb2.Tail(**fields))


_REQUESTS = router_service_pb2.LIMIT_UNIT_REQUESTS


def _lifetime() -> lifetime_pb2.Lifetime:
    lifetime = lifetime_pb2.Lifetime(generation=1, scope="local")
    lifetime.reuse_for.seconds = 60
    lifetime.grace.seconds = 60
    return lifetime


class FakeAuth(auth_service_pb2_grpc.AuthServiceServicer):
    """Knows one token, of the account `local`."""

    def __init__(self) -> None:
        self.permissions = [
            token_pb2.PERMISSION_AI_GATEWAY_RUN,
            token_pb2.PERMISSION_AI_GATEWAY_READ,
        ]
        self.restrictions = token_pb2.Restrictions()
        self.failure: GatewayError | None = None
        self.asked = 0

    async def Authenticate(self, request: Any, context: Any) -> auth_service_pb2.AuthenticateResponse:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if request.token != TOKEN or request.account_id != "local":
            raise GatewayError(Reason.UNAUTHENTICATED, "Unauthorized")
        principal = auth_service_pb2.Principal(
            account_id="local", token_id="t1", permissions=self.permissions, restrictions=self.restrictions
        )
        return auth_service_pb2.AuthenticateResponse(principal=principal, lifetime=_lifetime())

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[auth_service_pb2.WatchResponse]:
        yield auth_service_pb2.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=1))
        await asyncio.Event().wait()


class FakeRouter(router_service_pb2_grpc.RouterServiceServicer):
    """
    Plans one step for `{provider}/{model}`; the gateway `default` alone exists.

    Attributes:
        steps: The steps of every plan.
        settings: Settings of the gateway.
        further: Answers to plans that are gone on with, in order; until they are used up, there is a
            continuation.
        refused: What is answered to every plan instead.
        decision: How a route came to the steps; None for no route.
        counted: What limits in that route counted.
        failures: What those were asked with.
        limited: Whether limits apply.
        limits: How they stand.
        refusals: What is answered to reservations instead, in order; None for a reservation.
        reserved: The reservations.
        reserving: Reservations are answered once it is set, as it is unless a test clears it.
        settled: The settlements, by id.
        settling: Told of each settlement.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.steps: list[router_service_pb2.Step] | None = None
        self.settings: dict[str, Any] = {
            "authentication": True, "collect_logs": True, "collect_payloads": True,
        }  # fmt: skip
        self.further: list[router_service_pb2.PlanResponse | GatewayError] = []
        self.refused: GatewayError | None = None
        self.decision: decision_pb2.Decision | None = None
        self.counted = b""
        self.failures: list[router_service_pb2.StepFailure] = []
        self.limited = False
        self.limits: list[router_service_pb2.LimitState] = []
        self.refusals: list[GatewayError | None] = []
        self.reserved: list[router_service_pb2.ReserveRequest] = []
        self.reserving = asyncio.Event()
        self.reserving.set()
        self.settled: dict[str, router_service_pb2.Settlement] = {}
        self.settling = asyncio.Condition()

    async def Reserve(self, request: Any, context: Any) -> router_service_pb2.ReserveResponse:
        self.reserved.append(request)
        await self.reserving.wait()
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            raise refusal
        # Limits of requests count one once, with whichever step is let pass first.
        told = [each for each in self.limits if not (request.counted and each.unit == _REQUESTS)]
        return router_service_pb2.ReserveResponse(limits=told, reserved=True)

    async def Settle(self, request: Any, context: Any) -> router_service_pb2.SettleResponse:
        async with self.settling:
            self.settled.update({each.id: each for each in request.settlements})
            self.settling.notify_all()
        return router_service_pb2.SettleResponse()

    async def ReportHealth(self, request: Any, context: Any) -> router_service_pb2.ReportHealthResponse:
        return router_service_pb2.ReportHealthResponse()

    async def GetHealth(self, request: Any, context: Any) -> router_service_pb2.GetHealthResponse:
        return router_service_pb2.GetHealthResponse()

    async def Plan(self, request: Any, context: Any) -> router_service_pb2.PlanResponse:
        self.asked += 1
        if self.refused is not None:
            raise self.refused
        if request.continuation:
            self.failures.append(request.failure)
            found = self.further.pop(0)
            if isinstance(found, GatewayError):
                raise found
            found.continuation = b"more" if self.further else b""
            return found
        if request.caller.gateway_id != "default":
            raise GatewayError(Reason.GATEWAY_NOT_FOUND, "Please configure the gateway.", gateway_id="x")
        provider, _, model = request.requested_model.partition("/")
        if request.requested_model and not model:
            raise GatewayError(Reason.BAD_CHAT_FORMAT, "The model has no provider prefix.", param="model")
        provider = request.provider or provider
        if provider == "nope":
            raise GatewayError(Reason.INVALID_PROVIDER, "Invalid provider", provider=provider)
        answer = router_service_pb2.PlanResponse(
            steps=self.steps or [router_service_pb2.Step(provider=provider, model=model)],
            lifetime=_lifetime(),
            limited=self.limited,
            decision=self.decision,
            counted=self.counted,
            continuation=b"more" if self.further else b"",
        )
        for name, value in self.settings.items():
            if isinstance(value, Message):
                getattr(answer.settings, name).CopyFrom(value)
            else:
                setattr(answer.settings, name, value)
        return answer

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[router_service_pb2.WatchResponse]:
        yield router_service_pb2.WatchResponse(invalidation=lifetime_pb2.Invalidation(generation=1))
        await asyncio.Event().wait()


class FakeCache(cache_service_pb2_grpc.CacheServiceServicer):
    """
    Keeps everything for ever.

    Attributes:
        claims: Keys whose answer somebody is fetching.
        answering: Lookups are answered once it is set, as it is unless a test clears it.
        refuses: What is said to whatever is to be kept. None: it is kept.
        stale: Whether all that is kept is past its time.
    """

    def __init__(self) -> None:
        self.claims: set[bytes] = set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.refuses: GatewayError | None = None
        self.stale = False
        self._changed = asyncio.Condition()
        self.entries: dict[bytes, cache_service_pb2.Entry] = {}
        self.ttls: list[int] = []
        self.failure: GatewayError | None = None
        self.looked_up: list[cache_service_pb2.LookupRequest] = []

    async def Lookup(self, request: Any, context: Any) -> cache_service_pb2.LookupResponse:
        self.looked_up.append(request)
        if self.failure is not None:
            raise self.failure
        body = re.sub(rb',? ?"stream": ?(true|false)', b"", request.body)
        key = hashlib.sha256(body + request.custom_key.encode() + request.credential_digest).digest()
        key += request.idempotency_key.encode()
        async with asyncio.timeout(5), self._changed:
            while request.wait.seconds and key in self.claims and key not in self.entries:
                await self._changed.wait()
        entry = self.entries.get(key) if request.read else None
        claimed = request.claim and key not in self.claims and (entry is None or self.stale)
        if claimed:
            self.claims.add(key)
        await self.answering.wait()
        return cache_service_pb2.LookupResponse(
            key=key, entry=entry, claimed=claimed, stale=self.stale and entry is not None
        )

    async def Release(self, request: Any, context: Any) -> cache_service_pb2.ReleaseResponse:
        await self._let_go(request.key)
        return cache_service_pb2.ReleaseResponse()

    async def Renew(self, request: Any, context: Any) -> cache_service_pb2.RenewResponse:
        return cache_service_pb2.RenewResponse(kept=[each.key in self.claims for each in request.claims])

    async def Purge(self, request: Any, context: Any) -> cache_service_pb2.PurgeResponse:
        self.entries.clear()
        return cache_service_pb2.PurgeResponse()

    async def keep(self, key: bytes, entry: cache_service_pb2.Entry) -> None:
        """Keep an answer that somebody else fetched."""
        self.entries[key] = entry
        await self._let_go(key)

    async def age(self, *, seconds: int) -> None:
        """Wait for what is being stored, and let it all be older and past its time."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: bool(self.entries))
        for entry in self.entries.values():
            entry.store_time.seconds -= seconds
        self.stale = True

    async def _let_go(self, key: bytes) -> None:
        self.claims.discard(key)
        async with self._changed:
            self._changed.notify_all()

    async def Store(self, request: Any, context: Any) -> cache_service_pb2.StoreResponse:
        if self.refuses is not None:
            raise self.refuses
        request.entry.store_time.GetCurrentTime()
        self.entries[request.key] = request.entry
        self.ttls.append(request.ttl.seconds)
        await self._let_go(request.key)
        return cache_service_pb2.StoreResponse(stored=True)


class FakeProvider(provider_service_pb2_grpc.ProviderServiceServicer):
    """
    Sends what the test wrote: first each of `earlier`, one a call, then `script` for ever.

    Attributes:
        uploaded: What came of the body of each `Upload`, piece by piece.
        received: Set when the first piece of an upload is there.
        reads: How many pieces of an upload are read before the answer begins; None for all.
        models: What is listed for each provider; others list one, called `m`.
        silent: Providers that never list anything.
        reshaped: The other form of every answer; None: there is none.
    """

    def __init__(self) -> None:
        self.reshaped: bytes | None = None
        self.uploaded: list[list[bytes]] = []
        self.reads: int | None = None
        self.received = asyncio.Event()
        self.models: dict[str, list[provider_service_pb2.Model]] = {}
        self.silent: set[str] = set()
        self.script: Sequence[Part | GatewayError | Callable[[], Any]] = ()
        self.earlier: list[Sequence[Part | GatewayError | Callable[[], Any]]] = []
        self.requests: list[provider_service_pb2.InvokeRequest] = []
        self.closed = asyncio.Event()

    async def Upload(self, request_iterator: Any, context: Any) -> AsyncIterator[Part]:
        first = await anext(request_iterator)
        pieces: list[bytes] = []
        self.uploaded.append(pieces)
        while self.reads is None or len(pieces) < self.reads:
            message = await anext(request_iterator, None)
            if message is None:
                raise GatewayError(Reason.INVALID_REQUEST, "The upload broke off.")
            if message.last:
                break
            pieces.append(message.data)
            self.received.set()
        async with aclosing(self.Invoke(first.invoke, context)) as parts:
            async for part in parts:
                yield part
        if self.reads is not None:
            # As the real one does: an answer on its way would be lost with a call that ends under its body.
            await asyncio.sleep(0.25)

    async def Invoke(self, request: Any, context: Any) -> AsyncGenerator[Part, None]:
        self.requests.append(request)
        script = self.earlier.pop(0) if self.earlier else self.script
        try:
            for part in script:
                if isinstance(part, GatewayError):
                    raise part
                if callable(part):
                    await part()
                else:
                    yield part
        finally:
            self.closed.set()

    async def Connect(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[provider_service_pb2.ConnectResponse]:
        raise GatewayError(Reason.UNSUPPORTED, "The fake has no sessions.")
        yield

    async def Reshape(self, request: Any, context: Any) -> provider_service_pb2.ReshapeResponse:
        if self.reshaped is None:
            raise GatewayError(Reason.UNSUPPORTED, "no other form")
        return provider_service_pb2.ReshapeResponse(
            body=self.reshaped, content_type="text/event-stream" if request.stream else "application/json"
        )

    async def ListModels(self, request: Any, context: Any) -> provider_service_pb2.ListModelsResponse:
        if request.provider == "anthropic":
            raise GatewayError(Reason.UPSTREAM_UNREACHABLE, "away")
        if request.provider in self.silent:
            await asyncio.Event().wait()
        listed = self.models.get(request.provider)
        return provider_service_pb2.ListModelsResponse(
            models=[provider_service_pb2.Model(provider=request.provider, model="m")]
            if listed is None
            else listed
        )


class FakeLedger(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Keeps entries in a list."""

    def __init__(self) -> None:
        self.entries: dict[str, log_entry_pb2.LogEntry] = {}
        self.recorded = asyncio.Event()
        self.recording = asyncio.Condition()

    async def Record(self, request_iterator: Any, context: Any) -> ledger_service_pb2.RecordResponse:
        count = 0
        async for request in request_iterator:
            for entry in request.entries:
                count += 1
                self.entries.setdefault(entry.id, entry)
        self.recorded.set()
        async with self.recording:
            self.recording.notify_all()
        return ledger_service_pb2.RecordResponse(recorded_count=count)

    async def List(self, request: Any, context: Any) -> ledger_service_pb2.ListResponse:
        return ledger_service_pb2.ListResponse(entries=self.entries.values(), total_count=len(self.entries))

    async def Get(self, request: Any, context: Any) -> ledger_service_pb2.GetResponse:
        return ledger_service_pb2.GetResponse(entry=self._find(request.id))

    async def GetPayload(self, request: Any, context: Any) -> ledger_service_pb2.GetPayloadResponse:
        return ledger_service_pb2.GetPayloadResponse(payload=self._find(request.id).payload)

    async def UpdateEntry(self, request: Any, context: Any) -> ledger_service_pb2.UpdateEntryResponse:
        entry = self._find(request.id)
        entry.feedback = request.feedback
        return ledger_service_pb2.UpdateEntryResponse(entry=entry)

    async def DeleteEntries(self, request: Any, context: Any) -> ledger_service_pb2.DeleteEntriesResponse:
        count = len(self.entries)
        self.entries.clear()
        return ledger_service_pb2.DeleteEntriesResponse(deleted_count=count)

    def _find(self, log_id: str) -> log_entry_pb2.LogEntry:
        if log_id not in self.entries:
            raise GatewayError(Reason.NOT_FOUND, "There is no such log entry.", resource="log", id=log_id)
        return self.entries[log_id]


class Peers:
    """Everything around the edge, and a client of it."""

    def __init__(self) -> None:
        self.auth = FakeAuth()
        self.router = FakeRouter()
        self.cache = FakeCache()
        self.provider = FakeProvider()
        self.ledger = FakeLedger()
        self.base = ""
        self.client: aiohttp.ClientSession
        self.runtime: Runtime
        self.service: Service
        self.drain: Callable[[float], Awaitable[None]]

    async def entry(self) -> log_entry_pb2.LogEntry:
        """Wait for the one log entry there will be."""
        async with asyncio.timeout(5):
            await self.ledger.recorded.wait()
        await asyncio.sleep(0.15)
        (entry,) = self.ledger.entries.values()
        return entry

    async def entries(self, count: int) -> list[log_entry_pb2.LogEntry]:
        """Wait for so many log entries, and give them in the order in which their requests began."""
        async with asyncio.timeout(5), self.ledger.recording:
            await self.ledger.recording.wait_for(lambda: len(self.ledger.entries) >= count)
        return [entry for _, entry in sorted(self.ledger.entries.items())]

    async def settlements(self, count: int) -> list[router_service_pb2.Settlement]:
        """Wait for so many settlements, and give them in the order of their reservations."""
        async with asyncio.timeout(5), self.router.settling:
            await self.router.settling.wait_for(lambda: len(self.router.settled) >= count)
        return [
            self.router.settled[each.id] for each in self.router.reserved if each.id in self.router.settled
        ]

    def bindings(self) -> dict[str, tuple[str, Any, object]]:
        """Give the fakes with what registers them."""
        registered = {
            "auth": ("auth.v1.AuthService", auth_service_pb2_grpc, self.auth),
            "router": ("router.v1.RouterService", router_service_pb2_grpc, self.router),
            "cache": ("cache.v1.CacheService", cache_service_pb2_grpc, self.cache),
            "providers": ("provider.v1.ProviderService", provider_service_pb2_grpc, self.provider),
            "ledger": ("ledger.v1.LedgerService", ledger_service_pb2_grpc, self.ledger),
        }
        return {
            name: (
                f"headrace.{service}",
                getattr(module, f"add_{service.split('.')[-1]}Servicer_to_server"),
                servicer,
            )
            for name, (service, module, servicer) in registered.items()
        }


@asynccontextmanager
async def edge_between(
    tmp_path: Path, *, over_grpc: bool = False, provider: Any = None, cache: Any = None, **settings: str
) -> AsyncIterator[Peers]:
    """
    Run an edge over HTTP on an ephemeral port, with fakes behind it.

    Args:
        tmp_path: Data directory.
        over_grpc: Whether the providers are reached over gRPC, as in a process of their own.
        provider: The provider service, instead of the fake.
        cache: The cache, instead of the fake.
        **settings: Further settings, without `HEADRACE_` and in lower case.
    """
    peers = Peers()
    peers.provider = provider or peers.provider
    peers.cache = cache or peers.cache
    port = free_port()
    env = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_EDGE_LISTEN_HTTP": f"127.0.0.1:{port}",
        "HEADRACE_SPOOL_INTERVAL_S": "0.01",
        **{f"HEADRACE_{name.upper()}": value for name, value in settings.items()},
    }
    names = {*peers.bindings(), "providers-local", "edge"}
    inline = InlineRegistry(names - {"providers", "providers-local"} if over_grpc else names)
    tracing = Tracing("fakes")
    remote: list[Endpoint] = []
    for name, (full_name, add, servicer) in peers.bindings().items():
        binding = Binding(service=full_name, add=add, servicer=servicer, callers=frozenset({"edge"}))
        found = endpoints(binding, tracing)
        inline.add(name, found)
        if name == "providers":
            inline.add("providers-local", found)
            remote = found
    run_dir = Path(tempfile.mkdtemp(prefix="hr-"))  # a test's own is often too deep for a socket's path
    address = f"unix:{run_dir}/providers.sock"
    runtime = Runtime(
        name="edge",
        env=env,
        settings=load(RuntimeConfig, {**env, "HEADRACE_PROCESS": "edge-0"}),
        tracing=Tracing("edge"),
        metrics=prometheus_client.CollectorRegistry(),
        inline=inline,
        addresses={"providers": address, "providers-local": address},
        tls=TlsSource(Path(settings["tls_dir"])) if "tls_dir" in settings else None,
    )
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
        if over_grpc:
            server = RpcServer(remote, max_message_bytes=runtime.settings.max_message_bytes)
            await server.start([address])
            stack.push_async_callback(server.stop, 0.5)
            stack.push_async_callback(runtime.close)
        service: Service = await stack.enter_async_context(build(runtime))
        inline.add("edge", [each for binding in service.bindings for each in endpoints(binding, tracing)])
        assert service.start is not None
        assert service.drain is not None
        await service.start()
        stack.push_async_callback(service.drain, 1.0)
        peers.base = f"http://127.0.0.1:{port}"
        peers.client = await stack.enter_async_context(
            aiohttp.ClientSession(peers.base, connector=aiohttp.TCPConnector(limit=0))
        )
        peers.runtime = runtime
        peers.service = service
        peers.drain = service.drain
        yield peers
