"""Times, spans of time and enums, as messages have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["choice", "duration", "invalid", "milliseconds", "seconds", "timestamp"]

_T = TypeVar("_T")


def invalid(param: str, message: str) -> GatewayError:
    """Return the error about a malformed request."""
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)


def milliseconds(message: Any, field: str) -> int | None:
    """Return a span of time, rounded up; None when it is absent."""
    if not message.HasField(field):
        return None
    found: duration_pb2.Duration = getattr(message, field)
    return found.seconds * 1000 - (-found.nanos // 1_000_000)


def seconds(message: Any, field: str, *, param: str) -> int:
    """
    Return a span of time of whole seconds; zero when it is absent.

    Raises:
        GatewayError: INVALID_REQUEST; it has a fraction.
    """
    found: duration_pb2.Duration = getattr(message, field)
    if found.nanos:
        raise invalid(param, "Whole seconds are expected.")
    return found.seconds


def choice(choices: Mapping[Any, _T], number: int, *, param: str) -> _T:
    """
    Return what a number of an enum stands for.

    Raises:
        GatewayError: INVALID_REQUEST; nothing that is known.
    """
    if number not in choices:
        raise invalid(param, "There is no such choice.")
    return choices[number]


def duration(duration_ms: int | None) -> duration_pb2.Duration | None:
    """Return a span of time as a message."""
    if duration_ms is None:
        return None
    message = duration_pb2.Duration()
    message.FromMilliseconds(duration_ms)
    return message


def timestamp(when: datetime) -> timestamp_pb2.Timestamp:
    """Return a point in time as a message."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(when)
    return message
