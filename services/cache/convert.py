"""Messages to questions and back, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from headrace.cache.v1 import cache_service_pb2 as pb
from kit.errors import GatewayError, Reason
from services.cache.core.epochs import Scope
from services.cache.core.key import Question, mark_of, scope_of, unpack
from services.cache.core.lifetime import checked_stale_s, checked_ttl_s
from services.cache.store import Answer, Claim, Wanted

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from kit.clock import Clock
    from services.cache.core.key import Key

__all__ = [
    "MOST_CLAIMS",
    "answer",
    "claims",
    "entry",
    "key",
    "question",
    "response",
    "scope",
    "seconds",
    "wanted",
]

MOST_CLAIMS: Final = 1000
"""Claims that are renewed at once, at most."""

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
        idempotency_key=request.idempotency_key if request.HasField("idempotency_key") else None,
        provider=request.provider,
        model=request.model,
        endpoint=request.endpoint,
        credential_digest=request.credential_digest,
        body=request.body,
        streamed=request.stream,
    )


def wanted(request: pb.LookupRequest) -> Wanted:
    """
    Read what a lookup is for.

    Raises:
        GatewayError: INVALID_REQUEST; a time makes no sense.
    """
    stale_s = checked_stale_s(seconds(request.stale)) if request.HasField("stale") else 0.0
    return Wanted(read=request.read, stale_s=stale_s, claims=request.claim)


def response(
    packed_key: bytes,
    value: bytes | None,
    *,
    stale: bool = False,
    claimed: bool = False,
    claim_id: int = 0,
    claim_s: float = 0.0,
) -> pb.LookupResponse:
    """
    Write what was found.

    Args:
        packed_key: The key that the caller is to bring back.
        value: The answer.
        stale: Whether it is past its time.
        claimed: Whether the caller is the one to fetch it.
        claim_id: Names the claim; zero for none.
        claim_s: How long that lasts.

    Raises:
        ValueError: It is nothing that was kept.
    """
    found = pb.LookupResponse(key=packed_key, claimed=claimed, claim_id=claim_id)
    if claim_id:
        found.claim_lifetime.FromMicroseconds(int(claim_s * 1_000_000))
    if value is not None:
        try:
            found.entry.ParseFromString(value)
        except DecodeError:
            raise ValueError("not an answer") from None
        found.entry.SetInParent()  # present even when every field of it is empty
        found.stale = stale
    return found


def key(packed: bytes) -> Key:
    """
    Read a key that a caller brings back.

    Raises:
        GatewayError: INVALID_REQUEST; it is not one of ours.
    """
    found = unpack(packed)
    if found is None:
        raise _invalid("key", "The key must be one that Lookup gave.")
    return found


def entry(request: pb.StoreRequest, clock: Clock) -> bytes:
    """
    Read what to store, and stamp it.

    Raises:
        GatewayError: INVALID_REQUEST; there is nothing.
    """
    if not request.HasField("entry"):
        raise _invalid("entry", "The answer must be given.")
    # A copy: when both services share a process, the request is the caller's own object.
    kept = pb.Entry()
    kept.CopyFrom(request.entry)
    whole, nanos = divmod(clock.now_ns(), _NANOS)
    kept.store_time.seconds, kept.store_time.nanos = whole, nanos
    return kept.SerializeToString()


def answer(request: pb.StoreRequest, packed: bytes) -> Answer:
    """
    Read how to keep it.

    Raises:
        GatewayError: INVALID_REQUEST; a time is out of bounds.
    """
    return Answer(
        value=packed,
        provider=scope_of(request.entry.provider),
        ttl_s=checked_ttl_s(seconds(request.ttl)),
        stale_s=checked_stale_s(seconds(request.stale)),
    )


def claims(request: pb.RenewRequest) -> list[Claim]:
    """
    Read which claims to renew.

    Raises:
        GatewayError: INVALID_REQUEST; there are too many, or what is none among them.
    """
    if len(request.claims) > MOST_CLAIMS:
        raise _invalid("claims", f"At most {MOST_CLAIMS} claims can be renewed at once.")
    return [Claim(key=key(each.key), id=each.id) for each in request.claims]


def scope(request: pb.PurgeRequest) -> Scope:
    """
    Read what to forget.

    Raises:
        GatewayError: INVALID_REQUEST; it is not said whose, or in which gateway a chosen key is.
    """
    if not request.account_id:
        raise _invalid("account_id", "The account must be given.")
    mark = b""
    if request.HasField("custom_key"):
        if not request.gateway_id:
            raise _invalid("gateway_id", "A chosen key is one of a gateway, which must be given.")
        if request.provider:
            raise _invalid("provider", "Give a provider or a chosen key.")
        mark = mark_of(request.gateway_id, request.custom_key)
    return Scope(
        account=scope_of(request.account_id),
        gateway=scope_of(request.gateway_id) if request.gateway_id else b"",
        provider=scope_of(request.provider) if request.provider else b"",
        mark=mark,
    )


def seconds(duration: Duration) -> float:
    """Read a duration; zero when it is not said."""
    return duration.seconds + duration.nanos / _NANOS


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
