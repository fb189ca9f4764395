"""
Keeps a provider from telling a key back: whatever it answers, the credential of the request is masked in it.

Careless providers repeat a key that they refuse, and the key may be the operator's, which no client may see
and no log may keep. A mask is as long as what it hides, so that no length that was announced becomes wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from kit.tokens import CREDENTIAL_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Concealer", "credentials_in"]

_HEADERS: Final = CREDENTIAL_HEADERS | {"x-amz-security-token"}
_PARAMETERS: Final = frozenset({"access_token", "api_key", "api-key", "key", "token"})
# Says who signed, and with what result, but not with which key.
_SIGNATURE: Final = "aws4-hmac-sha256"
# Shorter ones are placeholders, such as `ollama`, which may stand in any text.
_SHORTEST: Final = 12
_MASK: Final = b"*"


def credentials_in(headers: Iterable[tuple[str, str]], query: str) -> tuple[bytes, ...]:
    """Return what a request is authorised by, as it may be told back; what is no secret is left out."""
    found = [
        value.rpartition(" ")[2] for name, value in headers if name in _HEADERS and not _is_signed(value)
    ]
    if query:
        pairs = (part.partition("=") for part in query.split("&"))
        found += [form for name, _, value in pairs if name in _PARAMETERS for form in (value, unquote(value))]
    # JSON may have a backslash before each slash.
    found += [value.replace("/", "\\/") for value in found if "/" in value]
    return tuple(value.encode() for value in dict.fromkeys(found) if len(value) >= _SHORTEST)


class Concealer:
    """
    Masks secrets in what comes in pieces, wherever the pieces are cut.

    Args:
        secrets: What is hidden.
    """

    __slots__ = ("_held", "_inside", "_secrets")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = tuple((secret, _MASK * len(secret)) for secret in secrets)
        # A piece that ends with any other byte ends with no beginning of a secret.
        self._inside = frozenset().union(*(secret[:-1] for secret, _ in self._secrets))
        self._held = b""

    def whole(self, data: bytes) -> bytes:
        """Mask what is there as a whole."""
        for secret, mask in self._secrets:
            if secret in data:
                data = data.replace(secret, mask)
        return data

    def feed(self, data: bytes) -> bytes:
        """Mask a piece; what may be the beginning of a secret waits for the next one."""
        if self._held:
            data, self._held = self._held + data, b""
        for secret, mask in self._secrets:
            if secret in data:
                data = data.replace(secret, mask)
        if data and data[-1] in self._inside and (unsure := self._unsure(data)):
            self._held, data = data[-unsure:], data[:-unsure]
        return data

    def finish(self) -> bytes:
        """Return what waited."""
        held, self._held = self._held, b""
        return held

    def _unsure(self, data: bytes) -> int:
        """Return how long the longest beginning of a secret is that the data ends with."""
        return max(
            next((size for size in range(len(secret) - 1, 0, -1) if data.endswith(secret[:size])), 0)
            for secret, _ in self._secrets
        )


def _is_signed(value: str) -> bool:
    return value[: len(_SIGNATURE)].lower() == _SIGNATURE
