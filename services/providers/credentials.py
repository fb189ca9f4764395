"""
Whose key a provider sees, and in which header.

The request's own credential first, then the stored key that was found for it, then the operator's. A token of
ours is never one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit import tokens
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.secret import Secret
    from services.providers.call import Call
    from services.providers.headers import HeaderList

__all__ = [
    "DEFAULT_ALIAS",
    "AuthScheme",
    "brings_key",
    "check_stored",
    "credential_headers",
    "credential_text",
    "names_alias",
    "operator_may_pay",
    "unusable_key",
]

DEFAULT_ALIAS: Final = "default"

_BEARER: Final = "bearer "
# What a header can carry as a key, and can be told back as.
_KEY: Final = re.compile(r"[!-~]+")


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


def brings_key(call: Call, scheme: AuthScheme) -> bool:
    """Tell whether a request holds a credential of its own, so that nobody else's is looked for."""
    return bool(_key_of_request(call.headers, scheme)) or _in_native_query(call, scheme)


def names_alias(call: Call) -> bool:
    """Tell whether a call names a stored key other than the one that is taken anyway."""
    return call.alias not in {"", DEFAULT_ALIAS}


def credential_headers(
    call: Call, scheme: AuthScheme, *, operator_key: Secret | None, provider: str
) -> HeaderList:
    """
    Return the headers that carry the credential of a call.

    On native calls the client's own headers are forwarded as they are, so that there is nothing to add when
    they hold a credential.

    Raises:
        GatewayError: CREDENTIAL_MISSING; there is none, or the stored one is none.
    """
    key = _key_of_request(call.headers, scheme)
    if key or _in_native_query(call, scheme):
        return [] if call.native is not None else scheme.headers(key)
    if call.stored is not None:
        return scheme.headers(check_stored(call.stored.reveal().strip(), call, provider))
    if operator_key is not None and operator_may_pay(call):
        return scheme.headers(operator_key.reveal())
    if not scheme.required:
        return []
    raise _missing(call, provider)


def credential_text(call: Call, scheme: AuthScheme, *, operator_key: Secret | None, provider: str) -> str:
    """
    Return the credential of a call as it was given or kept, for keys that are not sent as they are.

    Raises:
        GatewayError: CREDENTIAL_MISSING; there is none.
    """
    if key := _key_of_request(call.headers, scheme):
        return key
    if call.stored is not None:
        return call.stored.reveal()
    if operator_key is not None and operator_may_pay(call):
        return operator_key.reveal()
    raise _missing(call, provider)


def check_stored(key: str, call: Call, provider: str) -> str:
    """
    Return the credential of a call, which no header can hold if it is a stored key with odd characters.

    Raises:
        GatewayError: CREDENTIAL_MISSING, without the key.
    """
    if call.stored is not None and not _KEY.fullmatch(key):
        raise unusable_key(call, provider, "holds characters that a key cannot have")
    return key


def unusable_key(call: Call, provider: str, why: str) -> GatewayError:
    """Say that a stored key makes no sense for its provider; `why` goes on after "The stored key …"."""
    alias = call.alias or DEFAULT_ALIAS
    return GatewayError(
        Reason.CREDENTIAL_MISSING,
        f"The stored key {alias!r} of the provider {provider} {why}.",
        provider=provider,
        alias=alias,
    )


def operator_may_pay(call: Call) -> bool:
    """Tell whether a call without a key of its own may be made with the operator's."""
    return call.unified and not call.request_only and not call.no_operator and not names_alias(call)


def _missing(call: Call, provider: str) -> GatewayError:
    """Say that there is no key, and what to do about it."""
    if call.request_only:
        how = (
            "send one in the request, or a token of this gateway in cf-aig-authorization, so that a stored "
            "key or the operator's can be used"
        )
    elif call.no_operator:
        how = (
            "send one in the request or store one for this gateway; the operator's may not be used here, "
            "because of byok_only or cf-aig-no-wholesale"
        )
    elif not call.unified:
        how = "send one in the request or store one for this gateway; this account may not use the operator's"
    else:
        how = "send one in the request, store one for this gateway, or let the operator set one"
    missing = GatewayError(
        Reason.CREDENTIAL_MISSING, f"The provider {provider} wants a key: {how}.", provider=provider
    )
    if call.alias:
        missing.metadata["alias"] = call.alias
    return missing


def _in_native_query(call: Call, scheme: AuthScheme) -> bool:
    """Tell whether the query of a native call holds a key, which goes along as it is."""
    if call.native is None or not scheme.query:
        return False
    start = f"{scheme.query}="
    return any(part.startswith(start) and len(part) > len(start) for part in call.native.query.split("&"))


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
