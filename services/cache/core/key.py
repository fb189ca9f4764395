"""What makes two requests the same, and what a key tells of them."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.cache.core.stream_members import kept_parts

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NO_MARK", "Key", "Question", "derive", "mark_of", "scope_of", "unpack"]

# A change of what goes into a key changes this, so that answers stored under the old rule are not found.
_VERSION = b"headrace cache key 2"
_BY_CONTENT = b"content"
_BY_NAME = b"custom"
_BY_CLIENT = b"idempotency"

NO_MARK: Final = bytes(8)
"""Mark of a key that no name was chosen for."""

_LAYOUT: Final = struct.Struct(">8s8s8s32sQ")
_REQUEST_BYTES: Final = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    A request as the cache sees it.

    Attributes:
        account_id: Whose it is; answers never cross accounts.
        gateway_id: Where it came in; answers never cross gateways.
        custom_key: The name that the client chose; then nothing below counts. What follows a line feed in it
            tells apart those who may not share answers under one name.
        idempotency_key: What makes the request known again; then that alone is the key, and everything else
            is compared.
        provider: Provider of the first step.
        model: Model of the first step.
        endpoint: Dialect and path.
        credential_digest: Which provider credential the client sent; empty when none.
        body: The whole body.
        streamed: Whether a stream was asked for.
    """

    account_id: str
    gateway_id: str
    custom_key: str | None = None
    idempotency_key: str | None = None
    provider: str
    model: str
    endpoint: str
    credential_digest: bytes
    body: bytes
    streamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """
    Where an answer is kept. Callers hold it packed, and do not look inside.

    Attributes:
        account: Stands for the account, in all that is forgotten with it.
        gateway: Stands for the gateway.
        mark: Stands for the name that the client chose, whoever may share it; `NO_MARK` when none.
        digest: Tells the question from all others.
        request: Digest of the request where the key is an idempotency key; else empty.
        born: The count of purges when it was asked for: an answer older than a purge is not kept after it.
            Zero when that is not known; then nothing is kept.
    """

    account: bytes
    gateway: bytes
    mark: bytes
    digest: bytes
    request: bytes
    born: int = 0

    def pack(self, born: int) -> bytes:
        """Write it, as of a count of purges."""
        return _LAYOUT.pack(self.account, self.gateway, self.mark, self.digest, born) + self.request


def unpack(packed: bytes) -> Key | None:
    """Read a key; None for what is none."""
    if len(packed) - _LAYOUT.size not in (0, _REQUEST_BYTES):
        return None
    account, gateway, mark, digest, born = _LAYOUT.unpack_from(packed)
    request = packed[_LAYOUT.size :]
    return Key(account=account, gateway=gateway, mark=mark, digest=digest, request=request, born=born)


def derive(question: Question) -> Key:
    """
    Return the key of a question: SHA-256 over its parts.

    Each part is preceded by its length, so that no two different questions read alike.
    """
    whose = (_VERSION, question.account_id.encode(), question.gateway_id.encode())
    mark, request = NO_MARK, b""
    if question.idempotency_key is not None:
        digest = _digest((*whose, _BY_CLIENT, question.idempotency_key.encode()))
        request = _content(question, whose)
    elif question.custom_key is not None:
        digest = _digest((*whose, _BY_NAME, question.custom_key.encode()))
        mark = mark_of(question.gateway_id, question.custom_key)
    else:
        digest = _content(question, whose)
    return Key(
        account=scope_of(question.account_id),
        gateway=scope_of(question.gateway_id),
        mark=mark,
        digest=digest,
        request=request,
    )


def scope_of(name: str) -> bytes:
    """Return what stands for an account, a gateway or a provider where the name itself has no place."""
    return hashlib.sha256(name.encode()).digest()[:8]


def mark_of(gateway_id: str, custom_key: str) -> bytes:
    """Return what the answers under a chosen name have in common, whoever may share them."""
    name = custom_key.partition("\n")[0]
    return _digest((_BY_NAME, gateway_id.encode(), name.encode()))[:8]


def _content(question: Question, whose: tuple[bytes, ...]) -> bytes:
    parts = (
        *whose,
        _BY_CONTENT,
        question.provider.encode(),
        question.endpoint.encode(),
        question.model.encode(),
        question.credential_digest,
    )
    return _digest(parts, kept_parts(question.body, streamed=question.streamed))


def _digest(parts: Iterable[bytes], body: tuple[bytes | memoryview, ...] = ()) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    if body:
        digest.update(sum(map(len, body)).to_bytes(8, "little"))
        for piece in body:
            digest.update(piece)
    return digest.digest()
