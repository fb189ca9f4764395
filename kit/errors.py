"""
The one error type that crosses processes, and the one list of reasons.

Pure: imports the standard library alone, so that any core may raise it. How a reason travels over gRPC
is in `kit.rpc.status`; how it looks over HTTP is in `services.edge.wire.errors`.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["GatewayError", "Reason"]


class Reason(StrEnum):
    """Why a call failed; mirrors `headrace.common.v1.ErrorReason`, which documents each value."""

    INTERNAL = "INTERNAL"
    INVALID_REQUEST = "INVALID_REQUEST"
    BAD_CHAT_FORMAT = "BAD_CHAT_FORMAT"
    TOO_LARGE = "TOO_LARGE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    GATEWAY_NOT_FOUND = "GATEWAY_NOT_FOUND"
    INVALID_PROVIDER = "INVALID_PROVIDER"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    UNSUPPORTED = "UNSUPPORTED"
    CREDENTIAL_MISSING = "CREDENTIAL_MISSING"
    RATE_LIMITED = "RATE_LIMITED"
    SPEND_LIMITED = "SPEND_LIMITED"
    ALL_STEPS_FAILED = "ALL_STEPS_FAILED"
    UPSTREAM_UNREACHABLE = "UPSTREAM_UNREACHABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    UPSTREAM_MALFORMED = "UPSTREAM_MALFORMED"
    UPSTREAM_CUT = "UPSTREAM_CUT"
    UPSTREAM_ERROR = "UPSTREAM_ERROR"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    OVERLOADED = "OVERLOADED"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CALLER_NOT_ALLOWED = "CALLER_NOT_ALLOWED"
    ALIAS_NOT_FOUND = "ALIAS_NOT_FOUND"


class GatewayError(Exception):
    """
    A failure with a reason, a sentence for the caller, and whatever varies in that sentence.

    The message is shown to callers, so it holds no secret and no internals.

    Args:
        reason: Why.
        message: One sentence for the caller.
        retry_after_s: Seconds after which a new try makes sense, when that is known.
        **metadata: What varies in the message, by name, such as `param="model"`.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry_after_s: float | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.metadata = metadata

    def __repr__(self) -> str:
        return f"GatewayError({self.reason.value}, {self.message!r})"
