"""What makes two requests the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["KEY_BYTES", "Question", "derive"]

KEY_BYTES = hashlib.sha256().digest_size

# A change of what goes into a key changes this, so that answers stored under the old rule are not found.
_VERSION = b"headrace cache key 1"
_BY_CONTENT = b"content"
_BY_NAME = b"custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    A request as the cache sees it.

    Attributes:
        account_id: Whose it is; answers never cross accounts.
        gateway_id: Where it came in; answers never cross gateways.
        custom_key: The name that the client chose; then nothing below counts.
        provider: Provider of the first step.
        model: Model of the first step.
        endpoint: Dialect and path.
        credential_digest: Which provider credential the client sent; empty when none.
        body: The whole body.
    """

    account_id: str
    gateway_id: str
    custom_key: str | None
    provider: str
    model: str
    endpoint: str
    credential_digest: bytes
    body: bytes


def derive(question: Question) -> bytes:
    """
    Return the key of a question: SHA-256 over its parts.

    Each part is preceded by its length, so that no two different questions read alike.
    """
    scope = (_VERSION, question.account_id.encode(), question.gateway_id.encode())
    if question.custom_key is not None:
        return _digest((*scope, _BY_NAME, question.custom_key.encode()))
    return _digest(
        (
            *scope,
            _BY_CONTENT,
            question.provider.encode(),
            question.endpoint.encode(),
            question.model.encode(),
            question.credential_digest,
            question.body,
        )
    )


def _digest(parts: tuple[bytes, ...]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
