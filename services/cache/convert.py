"""Messages to questions and back, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.cache.v1 import cache_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.cache.core.key import KEY_BYTES, Question

if TYPE_CHECKING:
    from kit.clock import Clock

__all__ = ["answer", "key", "question", "ttl_s", "value"]

_NANOS = 1_000_000_000


def question(request: pb.LookupRequest) -> Question:
    """
    Read what is asked.

    Raises:
        GatewayError: INVALID_REQUEST; it is not said who asks.
    """
    caller = request.caller
    if not caller.account_id or not caller.gateway_id:
        raise _invalid("caller", "The caller's account and gateway must be given.")
    return Question(
        account_id=caller.account_id,
        gateway_id=caller.gateway_id,
        custom_key=request.custom_key if request.HasField("custom_key") else None,
        provider=request.provider,
        model=request.model,
        endpoint=request.endpoint,
        credential_digest=request.credential_digest,
        body=request.body,
    )


def answer(found_key: bytes, found: bytes | None) -> pb.LookupResponse:
    """Write what was found."""
    response = pb.LookupResponse(key=found_key)
    if found is not None:
        response.entry.ParseFromString(found)
        response.entry.SetInParent()  # present even when every field of it is empty
    return response


def key(request: pb.StoreRequest) -> bytes:
    """
    Read the key to store under.

    Raises:
        GatewayError: INVALID_REQUEST; it is not one of ours.
    """
    if len(request.key) != KEY_BYTES:
        raise _invalid("key", "The key must be one that Lookup gave.")
    return request.key


def value(request: pb.StoreRequest, clock: Clock) -> bytes:
    """
    Read what to store, and stamp it.

    Raises:
        GatewayError: INVALID_REQUEST; there is nothing.
    """
    if not request.HasField("entry"):
        raise _invalid("entry", "The answer must be given.")
    # A copy: when both services share a process, the request is the caller's own object.
    entry = pb.Entry()
    entry.CopyFrom(request.entry)
    seconds, nanos = divmod(clock.now_ns(), _NANOS)
    entry.store_time.seconds, entry.store_time.nanos = seconds, nanos
    return entry.SerializeToString()


def ttl_s(request: pb.StoreRequest) -> float:
    """Read how long to keep it; zero when that is not said."""
    return request.ttl.seconds + request.ttl.nanos / _NANOS


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
