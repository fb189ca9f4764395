"""
Whose key a provider sees, and in which header.

The request's own credential first, then the operator's. A token of ours is never one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit import tokens
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.secret import Secret
    from services.providers.call import Call
    from services.providers.headers import HeaderList

__all__ = ["AuthScheme", "credential_headers"]

_BEARER: Final = "bearer "
_DEFAULT_ALIAS: Final = frozenset({"", "default"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthScheme:
    """
    Where a provider reads its key.

    Attributes:
        header: Name of the header.
        prefix: What stands before the key, such as `Bearer `.
        bearer_prefixes: Keys that begin so are not API keys but OAuth tokens, which go into `Authorization`
            whatever `header` says.
        query: Name of the parameter in which it takes a key too, natively.
        required: False when the provider answers without a key too.
    """

    header: str
    prefix: str = ""
    bearer_prefixes: tuple[str, ...] = ()
    query: str = ""
    required: bool = True

    def headers(self, key: str) -> HeaderList:
        """Return the header that carries a key."""
        if self.bearer_prefixes and key.startswith(self.bearer_prefixes):
            return [("authorization", f"Bearer {key}")]
        return [(self.header, self.prefix + key)]


def credential_headers(
    call: Call, scheme: AuthScheme, *, operator_key: Secret | None, provider: str
) -> HeaderList:
    """
    Return the headers that carry the credential of a call.

    On native calls the client's own headers are forwarded as they are, so that there is nothing to add when
    they hold a credential.

    Raises:
        GatewayError: CREDENTIAL_MISSING; there is none.
    """
    key = _key_of_request(call.headers, scheme)
    if key or (call.native is not None and _in_query(call.native.query, scheme.query)):
        return [] if call.native is not None else scheme.headers(key)
    if not call.request_only and operator_key is not None and call.alias in _DEFAULT_ALIAS:
        return scheme.headers(operator_key.reveal())
    if not scheme.required:
        return []
    missing = GatewayError(
        Reason.CREDENTIAL_MISSING,
        f"The provider {provider} wants a key: send one in the request, or let the operator set one.",
        provider=provider,
    )
    if call.alias:
        missing.metadata["alias"] = call.alias
    raise missing


def _in_query(query: str, name: str) -> bool:
    """Tell whether a query holds a key, which goes along as it is."""
    return bool(name) and any(
        part.startswith(f"{name}=") and len(part) > len(name) + 1 for part in query.split("&")
    )


def _key_of_request(headers: Sequence[tuple[str, bytes]], scheme: AuthScheme) -> str:
    """Return the provider's key among the headers, the one in the provider's own header first."""
    found = ""
    for name, value in headers:
        if name in tokens.CREDENTIAL_HEADERS:
            key = _key(name, value, scheme)
            if key and name == scheme.header:
                return key
            found = found or key
    return found


def _key(name: str, value: bytes, scheme: AuthScheme) -> str:
    text = value.decode("latin-1").strip()
    if tokens.presented(text):
        return ""
    if name != "authorization":
        return text
    # Without a word before it the value is taken as it is: some clients send the bare key.
    for word in (_BEARER, scheme.prefix.lower()):
        if word and text[: len(word)].lower() == word:
            return text[len(word) :].strip()
        if word and text.lower() == word.strip():
            return ""
    return text
