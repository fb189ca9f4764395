"""
How a `GatewayError` travels over gRPC.

A status with `google.rpc.ErrorInfo` (and `RetryInfo`) in `grpc-status-details-bin`, as AIP-193 has it.
`CODES` is total: a test compares it with `Reason`.
"""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from kit.errors import GatewayError, Reason

__all__ = ["CODES", "DOMAIN", "decode", "encode", "reason_of"]

DOMAIN = "headrace"
_DETAILS_KEY = "grpc-status-details-bin"

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BAD_CHAT_FORMAT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.GATEWAY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.INVALID_PROVIDER: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Reason.UNSUPPORTED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CREDENTIAL_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ALIAS_NOT_FOUND: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SPEND_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.ALL_STEPS_FAILED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UPSTREAM_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.UPSTREAM_MALFORMED: grpc.StatusCode.UNAVAILABLE,
    Reason.UPSTREAM_CUT: grpc.StatusCode.ABORTED,
    Reason.UPSTREAM_ERROR: grpc.StatusCode.UNKNOWN,
    Reason.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.METHOD_NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.CALLER_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
}


def encode(error: GatewayError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Give the code, the message and the trailing metadata that carry an error."""
    code = CODES[error.reason]
    details = [
        _pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    ]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=error.message, details=details)
    return code, error.message, ((_DETAILS_KEY, status.SerializeToString()),)


def reason_of(error: grpc.aio.AioRpcError) -> Reason | None:
    """Return the reason that a peer gave for a failure; None when it is gRPC's own word."""
    found = _told(error)
    return None if found is None else found.reason


def decode(error: grpc.aio.AioRpcError, *, service: str) -> GatewayError:
    """
    Give the error that a failed call carries.

    A status without our details comes from gRPC itself: the peer is gone, the time is over, the call was
    cancelled. Its text is for logs alone and does not become the message.
    """
    return _told(error) or _from_bare_code(error.code(), service)


def _told(error: grpc.aio.AioRpcError) -> GatewayError | None:
    """Return the error that the peer told; None when it told none."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return _decode_details(value)
    return None


def _pack(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _decode_details(serialised: bytes) -> GatewayError | None:
    status = status_pb2.Status.FromString(serialised)
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    retry_after_s: float | None = None
    known = False
    for detail in status.details:
        if detail.Unpack(info):
            known = info.domain == DOMAIN and info.reason in Reason.__members__
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    if not known:
        return None
    reason = Reason(info.reason)
    return GatewayError(reason, status.message, retry_after_s=retry_after_s, **dict(info.metadata))


def _from_bare_code(code: grpc.StatusCode, service: str) -> GatewayError:
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return GatewayError(
                Reason.DEADLINE_EXCEEDED, f"The {service} service did not answer in time.", service=service
            )
        case grpc.StatusCode.CANCELLED:
            return GatewayError(Reason.CANCELLED, "The call was cancelled.", service=service)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return GatewayError(
                Reason.TOO_LARGE, f"A message to or from the {service} service is too large.", service=service
            )
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.UNIMPLEMENTED:
            return GatewayError(
                Reason.SERVICE_UNAVAILABLE,
                f"The {service} service cannot be reached.",
                retry_after_s=1.0,
                service=service,
            )
        case _:
            return GatewayError(Reason.INTERNAL, f"The {service} service failed.", service=service)
