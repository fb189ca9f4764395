"""
How providers are reached: certificates, proxy, and the trace that goes along.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.common.v1 import http_pb2
from kit.config import ConfigError
from kit.errors import Reason
from kit.secret import Secret
from kit.telemetry.tracing import Tracing, accept_context
from services.providers.config import ProvidersConfig
from services.providers.upstream import Upstream
from tests.fakes import tls
from tests.fakes.provider_calls import chat_request, native_request, provider_harness
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

CERTIFICATE = Path(next(iter(tls.__path__))) / "loopback.pem"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    return context


async def test_certificate_of_the_bundle() -> None:
    """A provider whose certificate the operator's bundle vouches for is called."""
    async with (
        FakeUpstream(tls=_server_context()) as upstream,
        provider_harness(upstream.url, ca_bundle=CERTIFICATE) as providers,
    ):
        invoked = await providers.invoke(chat_request("openai", "m"))

    assert 200 == invoked.started.status
    assert upstream.url.startswith("https:")


async def test_certificate_that_nobody_vouches_for() -> None:
    """A provider whose certificate is not trusted gets no request."""
    async with FakeUpstream(tls=_server_context()) as upstream, provider_harness(upstream.url) as providers:
        error = await providers.failing(chat_request("openai", "m"))

    assert Reason.UPSTREAM_UNREACHABLE is error.reason
    assert "certificate" in error.message
    assert [] == upstream.journal


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_bundle_that_is_none(content: str | None, tmp_path: Path) -> None:
    """A bundle that cannot be read is a problem of the settings, told at the start."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ConfigError, match="HEADRACE_PROVIDERS_CA_BUNDLE"):
        Upstream(ProvidersConfig(ca_bundle=file))


@pytest.mark.parametrize(
    "answer", [b"220 smtp.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"]
)
async def test_answer_that_is_not_http(answer: bytes) -> None:
    """Something that does not speak HTTP is UPSTREAM_MALFORMED."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with provider_harness(f"http://127.0.0.1:{port}") as providers:
            error = await providers.failing(chat_request("openai", "m"))

    assert Reason.UPSTREAM_MALFORMED is error.reason
    assert {"provider": "openai", "key": "request"} == error.metadata


async def test_proxy(upstream: FakeUpstream) -> None:
    """With a proxy set, it gets the requests, with its credentials, and names are left to it."""
    proxy = Secret(upstream.url.replace("//", "//user:pass@"))
    async with provider_harness("http://provider.invalid", proxy_url=proxy) as providers:
        invoked = await providers.invoke(chat_request("openai", "m"))

    (received,) = upstream.journal
    assert "provider.invalid" == received.header("host")
    assert (received.header("proxy-authorization") or "").startswith("Basic ")
    assert invoked.started.status < 500


async def test_hosts_without_proxy(upstream: FakeUpstream) -> None:
    """Hosts that are to be called directly are."""
    async with provider_harness(upstream.url, proxy_url=Secret("http://127.0.0.1:1")) as providers:
        invoked = await providers.invoke(chat_request("openai", "m"))

    assert 200 == invoked.started.status


async def test_trace_context_without_tracing(upstream: FakeUpstream) -> None:
    """With tracing off, the trace context that came in goes out as it is."""
    accept_context({"traceparent": PARENT})
    async with provider_harness(upstream.url) as providers:
        await providers.invoke(chat_request("openai", "m"))
    accept_context({})

    assert PARENT == upstream.journal[0].header("traceparent")


class _Spans:
    """Tracing whose spans are kept."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing("providers", provider.get_tracer("test"))

    def one(self) -> ReadableSpan:
        (span,) = self._exporter.get_finished_spans()
        return span

    def attributes(self) -> Mapping[str, Any]:
        return self.one().attributes or {}


@pytest.mark.parametrize("slug", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_span(slug: str, stream: object, upstream: FakeUpstream) -> None:
    """An attempt is a client span in the words of the GenAI conventions, without a word of the prompt."""
    spans = _Spans()
    async with provider_harness(upstream.url, tracing=spans.tracing) as providers:
        await providers.invoke(chat_request(slug, "m-1", stream=bool(stream)))

    attributes = dict(spans.attributes())
    first_chunk_s = attributes.pop("gen_ai.response.time_to_first_chunk")
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": slug,
        "gen_ai.request.model": "m-1",
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "headrace.provider": slug,
        "headrace.dialect": "openai_chat",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
    } | ({"gen_ai.request.stream": True} if stream else {})
    assert expected.items() <= attributes.items()
    assert first_chunk_s > 0
    assert "chat m-1" == spans.one().name
    assert "CLIENT" == spans.one().kind.name
    assert "Hello" not in str(attributes)
    assert "sk-test" not in str(attributes)


@pytest.mark.parametrize(
    ("slug", "dialect", "operation", "expected"),
    [
        ("openai", http_pb2.DIALECT_OPENAI_OTHER, "completions", "text_completion m"),
        ("openai", http_pb2.DIALECT_OPENAI_OTHER, "moderations", "openai moderations"),
        ("anthropic", http_pb2.DIALECT_ANTHROPIC_MESSAGES, "count_tokens", "anthropic count_tokens"),
    ],
)
async def test_span_of_another_call(
    slug: str, dialect: http_pb2.Dialect.ValueType, operation: str, expected: str, upstream: FakeUpstream
) -> None:
    """A call that is no chat is not told as one."""
    spans = _Spans()
    async with provider_harness(upstream.url, tracing=spans.tracing) as providers:
        await providers.invoke(chat_request(slug, "m", dialect=dialect, operation=operation))

    assert expected == spans.one().name
    assert "chat" != spans.attributes().get("gen_ai.operation.name")


async def test_trace_goes_upstream(upstream: FakeUpstream) -> None:
    """The provider sees the attempt's span as its parent, whatever trace context the client sent along."""
    spans = _Spans()
    headers = {"authorization": "Bearer k", "traceparent": PARENT, "tracestate": "a=b"}
    async with provider_harness(upstream.url, tracing=spans.tracing) as providers:
        await providers.invoke(chat_request("openai", "m", headers=headers))

    context = spans.one().get_span_context()
    assert context is not None
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-"
    assert (upstream.journal[0].header("traceparent") or "").startswith(expected)
    assert upstream.journal[0].header("tracestate") is None


@pytest.mark.parametrize(
    ("steer", "error_type"), [("status=429", "RATE_LIMIT"), ("reset", "UPSTREAM_UNREACHABLE")]
)
async def test_span_of_a_failure(steer: str, error_type: str, upstream: FakeUpstream) -> None:
    """A failed attempt's span is an error, and says of which kind."""
    spans = _Spans()
    async with provider_harness(upstream.url, tracing=spans.tracing) as providers:
        request = chat_request("openai", f"m+{steer}")
        await (providers.failing(request) if steer == "reset" else providers.invoke(request))

    assert error_type == spans.attributes()["error.type"]
    assert "ERROR" == spans.one().status.status_code.name


async def test_span_of_a_native_call(upstream: FakeUpstream) -> None:
    """A native call of an unknown kind has a span without a GenAI operation."""
    spans = _Spans()
    async with provider_harness(upstream.url, tracing=spans.tracing) as providers:
        await providers.invoke(native_request("openai", "files", method="GET"))

    assert "openai native" == spans.one().name
    assert "gen_ai.operation.name" not in spans.attributes()
    assert "openai" == spans.attributes()["gen_ai.provider.name"]
