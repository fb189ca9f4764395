"""
The border between the provider protos and the types of this service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.duration_pb2 import Duration

from headrace.common.v1 import http_pb2, usage_pb2
from headrace.provider.v1 import provider_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.providers.call import Call, ClientDialect, NativeTarget
from services.providers.dialects.failures import FailureClass
from services.providers.upstream import Timeouts

if TYPE_CHECKING:
    from headrace.router.v1 import gateway_pb2
    from services.providers.call import Exchange
    from services.providers.dialects.usage import UsageCounts
    from services.providers.headers import AnswerHeaders
    from services.providers.model_row import ModelRow

__all__ = [
    "body_dialect",
    "call_of",
    "chunk",
    "duration",
    "failure",
    "head",
    "model",
    "seconds",
    "tail",
    "timeouts_of",
    "usage",
]

_DIALECTS: Final = {http_pb2.Dialect.Value(f"DIALECT_{dialect.value}"): dialect for dialect in ClientDialect}
_VALUES: Final = {dialect: value for value, dialect in _DIALECTS.items()}
_CLASSES: Final = {
    failure_class: pb.FailureClass.Value(f"FAILURE_CLASS_{failure_class.value}")
    for failure_class in FailureClass
}
_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
)


def call_of(request: pb.InvokeRequest) -> Call:
    """
    Read a request.

    Raises:
        GatewayError: INVALID_REQUEST; it is not a call that can be made.
    """
    dialect = _DIALECTS.get(request.client_dialect)
    if dialect is None:
        raise GatewayError(Reason.INVALID_REQUEST, "The call names no dialect.", param="client_dialect")
    native = None
    if dialect is ClientDialect.NATIVE:
        if not request.HasField("native"):
            raise GatewayError(Reason.INVALID_REQUEST, "A native call needs a target.", param="native")
        target = request.native
        native = NativeTarget(method=target.method, path=target.path, query=target.query)
    return Call(
        model=request.model,
        dialect=dialect,
        body=request.body,
        # Embeddings know no streams, whatever a body says.
        stream=request.stream and dialect is not ClientDialect.OPENAI_EMBEDDINGS,
        headers=[(header.name.lower(), header.value) for header in request.headers],
        native=native,
        request_only=request.credential.request_only,
        alias=request.credential.alias,
        no_operator=request.credential.no_operator,
        # Until auth has said otherwise.
        unified=False,
        strict=request.strict_translation,
        operation=request.operation,
    )


def timeouts_of(given: gateway_pb2.Timeouts, defaults: Timeouts) -> Timeouts:
    """Lay a request's time-outs over the service's own."""
    if not given.ByteSize():
        return defaults
    return Timeouts(
        connect_s=seconds(given.connect) or defaults.connect_s,
        first_byte_s=seconds(given.first_byte) or defaults.first_byte_s,
        idle_s=seconds(given.idle) or defaults.idle_s,
        total_s=seconds(given.total) or defaults.total_s,
    )


def body_dialect(call: Call, exchange: Exchange) -> http_pb2.Dialect.ValueType:
    """Say what the answer's bytes speak: what the client asked for, or what a native path is known to."""
    dialect = exchange.dialect if call.dialect is ClientDialect.NATIVE else call.dialect
    if dialect is None:
        return http_pb2.DIALECT_UNSPECIFIED
    return _VALUES[dialect]


def seconds(given: Duration) -> float:
    """Read a duration."""
    return given.seconds + given.nanos / 1e9


def duration(seconds: float) -> Duration:
    """Write seconds as a duration."""
    written = Duration()
    _fill_duration(written, seconds)
    return written


def usage(counts: UsageCounts) -> usage_pb2.Usage:
    """Write token counts; what is not known stays absent."""
    message = usage_pb2.Usage()
    _fill_usage(message, counts)
    return message


def failure(
    failure_class: FailureClass,
    message: str,
    *,
    upstream_status: int = 0,
    retry_after_s: float | None = None,
    reported: bool,
    key: str = "",
) -> pb.Failure:
    """Write why an answer is an error, or not whole."""
    written = pb.Failure(
        key=key,
        upstream_status=upstream_status,
        retry_after=None if retry_after_s is None else duration(retry_after_s),
        message=message,
        reported=reported,
    )
    # `class` is a keyword of Python's.
    setattr(written, "class", _CLASSES[failure_class])
    return written


def head(
    status: int,
    headers: AnswerHeaders,
    *,
    served_model: str = "",
    failed: pb.Failure | None = None,
    notes: tuple[str, ...] = (),
) -> pb.InvokeResponse:
    """Write how an answer begins."""
    response = pb.InvokeResponse()
    # Filled in place, as everything on this path: building from keywords takes twice the time.
    written = response.head
    written.status = status
    for name, value in headers:
        header = written.headers.add()
        header.name, header.value = name, value
    written.served_model = served_model
    if failed is not None:
        written.failure.CopyFrom(failed)
    if notes:
        written.translation_notes.extend(notes)
    return response


def chunk(data: bytes, used: UsageCounts | None = None, output_tokens: int = 0) -> pb.InvokeResponse:
    """Write more of an answer."""
    response = pb.InvokeResponse()
    more = response.chunk
    more.data = data
    if used is not None:
        more.usage.CopyFrom(usage(used))
    if output_tokens:
        more.output_tokens = output_tokens
    return response


def model(slug: str, row: ModelRow) -> pb.Model:
    """Write what is known of a model."""
    return pb.Model(
        provider=slug,
        model=row.name,
        context_tokens=row.context_tokens,
        output_tokens=row.output_tokens,
        input_token_nano_usd=row.input_nano_usd,
        output_token_nano_usd=row.output_nano_usd,
        capabilities=row.capabilities,
    )


def tail(
    *,
    used: UsageCounts | None,
    finish_reason: str,
    served_model: str,
    failed: pb.Failure | None,
    connect_s: float,
    first_byte_s: float,
    total_s: float,
    key: str = "",
) -> pb.InvokeResponse:
    """Write how an answer ended."""
    response = pb.InvokeResponse()
    written = response.tail
    written.key = key
    if used is not None:
        _fill_usage(written.usage, used)
    written.finish_reason = finish_reason
    written.served_model = served_model
    if failed is not None:
        written.failure.CopyFrom(failed)
    timings = written.timings
    _fill_duration(timings.connect, connect_s)
    _fill_duration(timings.first_byte, first_byte_s)
    _fill_duration(timings.total, total_s)
    return response


def _fill_usage(message: usage_pb2.Usage, counts: UsageCounts) -> None:
    for name in _COUNTS:
        value = getattr(counts, name)
        if value is not None:
            setattr(message, name, value)
    message.estimated = counts.estimated


def _fill_duration(message: Duration, seconds: float) -> None:
    message.seconds, message.nanos = divmod(round(seconds * 1e9), 1_000_000_000)
