"""
Calls of the provider service in tests: the real servicer with real adapters, in front of a fake upstream.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry
from yarl import URL

from headrace.common.v1 import caller_pb2, http_pb2, usage_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from headrace.router.v1 import gateway_pb2
from kit.clock import SystemClock
from kit.errors import GatewayError
from kit.pricing.table import PriceTable
from kit.secret import Secret
from kit.telemetry.tracing import Tracing
from services.providers.app import make_adapter
from services.providers.config import ProvidersConfig, ProviderSettings
from services.providers.custom import CustomAdapters
from services.providers.fetch import MediaFetcher
from services.providers.key_pool import KeyPools
from services.providers.models import ModelLists
from services.providers.payer import Payer
from services.providers.realtime.dial import Dialer
from services.providers.realtime.opening import Opener
from services.providers.registry import PROVIDERS
from services.providers.sending import Sender
from services.providers.server import ProviderServicer
from services.providers.telemetry import AttemptTelemetry
from services.providers.upstream import Timeouts, Upstream
from tests.fakes.provider_sides import FIELDS, SIDES, Side

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from services.providers.registry import Provider

Json = dict[str, Any]
CALLER = caller_pb2.Caller(account_id="local", gateway_id="default")
MESSAGES = [{"role": "user", "content": "Hello?"}]
# Of calls that are answered: a limit is there to end a hang.
QUICK = Timeouts(connect_s=20.0, first_byte_s=30.0, idle_s=30.0, total_s=50.0)


@dataclass(slots=True)
class Invoked:
    """What came of one `Invoke`."""

    head: pb.Head | None = None
    chunks: list[bytes] = field(default_factory=list)
    usages: list[usage_pb2.Usage] = field(default_factory=list)
    tail: pb.Tail | None = None

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        """The whole body, parsed."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The `data:` of each event, parsed; `[DONE]` as it is."""
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else orjson.loads(line) for line in lines]

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        assert self.head is not None
        return [header.value.decode() for header in self.head.headers if header.name == name]

    @property
    def started(self) -> pb.Head:
        """The head, which must be there."""
        assert self.head is not None
        return self.head

    @property
    def ended(self) -> pb.Tail:
        """The tail, which must be there."""
        assert self.tail is not None
        return self.tail


def text_of(invoked: Invoked) -> str:
    """Return the text of a streamed chat answer."""
    choices = [event["choices"] for event in invoked.events if event != "[DONE]" and "choices" in event]
    return "".join(choice["delta"].get("content") or "" for rows in choices for choice in rows)


def failure_class(failure: pb.Failure) -> str:
    """Return the class of a failure without its prefix."""
    return pb.FailureClass.Name(getattr(failure, "class")).removeprefix("FAILURE_CLASS_")


def timeouts_message(**seconds: float) -> gateway_pb2.Timeouts:
    """Write time-outs: connect, first_byte, idle, total."""
    made = gateway_pb2.Timeouts()
    for name, value in seconds.items():
        getattr(made, name).CopyFrom(Duration(seconds=int(value), nanos=round(value % 1 * 1e9)))
    return made


def chat_request(provider: str, model: str, *, stream: bool = False, **given: Any) -> pb.InvokeRequest:
    """
    Write a call in the OpenAI chat dialect.

    Args:
        provider: Slug.
        model: As the tests name it, whatever the provider's naming; what follows a `+` steers the upstream.
        stream: A stream is asked for.
        given: `body` adds members, `headers` replaces the credential, `raw` replaces the body.
    """
    model, _, steer = model.partition("+")
    side = SIDES.get(provider, Side())
    model = side.model.format(model)
    if stream and not side.usage_asked:
        steer = f"{steer}+usage-always" if steer else "usage-always"
    headers: dict[str, str] = dict(given.get("headers", {"authorization": "Bearer sk-test"}))
    if steer:
        headers["x-fake"] = steer.replace("+", ";")
    body: Json = {"model": f"{provider}/{model}", "messages": MESSAGES} | given.get("body", {})
    if stream:
        body["stream"] = True
    return pb.InvokeRequest(
        caller=CALLER,
        provider=provider,
        model=model,
        client_dialect=given.get("dialect", http_pb2.DIALECT_OPENAI_CHAT),
        body=given["raw"] if "raw" in given else orjson.dumps(body),
        stream=stream,
        headers=[http_pb2.Header(name=name, value=value.encode()) for name, value in headers.items()],
        credential=pb.CredentialSource(
            request_only=given.get("request_only", False),
            alias=given.get("alias", ""),
            no_operator=given.get("no_operator", False),
        ),
        timeouts=given.get("timeouts"),
        strict_translation=given.get("strict", False),
        operation=given.get("operation", ""),
    )


def native_request(provider: str, path: str, **given: Any) -> pb.InvokeRequest:
    """
    Write a native call.

    Args:
        provider: Slug.
        path: As clients send it; what follows a `?` is the query.
        given: `method`, `query`, `body` (bytes, or what becomes JSON), `headers`, `timeouts`, `alias`;
            `steer` goes to the upstream as directives.
    """
    headers: dict[str, str] = dict(given.get("headers", {"authorization": "Bearer sk-test"}))
    if steer := given.get("steer"):
        headers["x-fake"] = steer.replace("+", ";")
    body = given.get("body", b"")
    path, _, query = path.partition("?")
    return pb.InvokeRequest(
        caller=CALLER,
        provider=provider,
        client_dialect=http_pb2.DIALECT_NATIVE,
        body=body if isinstance(body, bytes) else orjson.dumps(body),
        headers=[http_pb2.Header(name=name, value=value.encode()) for name, value in headers.items()],
        native=pb.NativeTarget(
            method=given.get("method", "POST"), path=path, query=given.get("query", query)
        ),
        credential=pb.CredentialSource(alias=given.get("alias", "")),
        timeouts=given.get("timeouts"),
    )


@dataclass(slots=True)
class ProviderHarness:
    """The provider service without gRPC around it."""

    servicer: ProviderServicer
    registry: CollectorRegistry

    async def invoke(self, request: pb.InvokeRequest) -> Invoked:
        """Run a call to its end; what is wrong before the head is raised."""
        return await invoked_over(self.servicer.Invoke(request, None))

    async def upload(self, request: pb.InvokeRequest, pieces: Sequence[bytes]) -> Invoked:
        """Run a call whose body comes in pieces, to its end."""

        async def messages() -> AsyncIterator[pb.UploadRequest]:
            yield pb.UploadRequest(invoke=request)
            for piece in pieces:
                yield pb.UploadRequest(data=piece)
            yield pb.UploadRequest(last=True)

        return await invoked_over(self.servicer.Upload(messages(), None))

    async def failing(self, request: pb.InvokeRequest) -> GatewayError:
        """Run a call that must fail before its head, and return its error."""
        try:
            await self.invoke(request)
        except GatewayError as error:
            return error
        raise AssertionError("the call did not fail")


async def invoked_over(responses: AsyncIterator[pb.InvokeResponse]) -> Invoked:
    """Read an answer to its end."""
    invoked = Invoked()
    async for response in responses:
        assert invoked.tail is None
        if response.HasField("head"):
            assert invoked.head is None
            invoked.head = response.head
        assert invoked.head is not None
        if response.HasField("chunk"):
            invoked.chunks.append(response.chunk.data)
            if response.chunk.HasField("usage"):
                invoked.usages.append(response.chunk.usage)
        if response.HasField("tail"):
            invoked.tail = response.tail
    return invoked


@asynccontextmanager
async def provider_harness(
    base_url: str,
    *,
    timeouts: Timeouts = QUICK,
    operator_key: str | None = None,
    tracing: Tracing | None = None,
    rows: Mapping[str, Provider] = PROVIDERS,
    fetching: bool = False,
    payer: Payer | None = None,
    **config: Any,
) -> AsyncIterator[ProviderHarness]:
    """Run every provider of the registry, or of other rows, before one upstream; `fetching`: media too."""
    settings = replace(ProvidersConfig(), **config)
    registry = CollectorRegistry()
    key = Secret(operator_key) if operator_key else None
    telemetry = AttemptTelemetry(tracing or Tracing("providers"), registry)
    upstream = Upstream(settings)
    adapters = {
        slug: make_adapter(
            row,
            ProviderSettings(
                slug=slug,
                base_url=URL(base_url),
                api_key=key,
                **{name: FIELDS[name] for name in row.settings & FIELDS.keys()},
            ),
            settings,
            MediaFetcher(upstream) if fetching else None,
            upstream,
        )
        for slug, row in rows.items()
    }
    payer = payer or Payer(None, KeyPools(SystemClock()), lambda _, __: None)
    dialer = Dialer(upstream, settings)
    try:
        yield ProviderHarness(
            servicer=ProviderServicer(
                adapters=adapters,
                custom=CustomAdapters(settings),
                sender=Sender(payer, upstream, telemetry),
                opener=Opener(payer, dialer, telemetry),
                timeouts=timeouts,
                models=ModelLists(upstream, timeouts, reuse_s=60.0, clock=SystemClock()),
                prices=PriceTable(),
                clock=SystemClock(),
                telemetry=telemetry,
                session_idle_s=settings.realtime_idle_timeout_s,
                log=structlog.get_logger(),
            ),
            registry=registry,
        )
    finally:
        await dialer.close()
        await upstream.close()
