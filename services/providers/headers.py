"""
Which headers go to a provider, and which of its headers come back.

Everything goes that is not known to be ours, the hop's or a secret of ours: providers add headers faster than
any list of allowed ones can follow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kit import tokens
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AnswerHeaders",
    "HeaderList",
    "quota_headers",
    "request_headers",
    "response_headers",
    "without_trace",
]

HeaderList = list[tuple[str, str]]
AnswerHeaders = list[tuple[str, bytes]]

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What describes the connection to us, or is set anew for the one to the provider.
_OURS: Final = _HOP_BY_HOP | {
    "accept-encoding",
    "baggage",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "true-client-ip",
    "via",
    "x-client-trace-id",
    "x-ot-span-context",
    "x-real-ip",
    "x-request-id",
}
_OUR_PREFIXES: Final = ("cf-", "headrace-", "x-forwarded-", "x-envoy-", "x-b3-", "cdn-", "sec-")

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110, in lower case
_TRACE: Final = frozenset({"traceparent", "tracestate"})

# What names the account, the organisation or the key that was used.
_ACCOUNT: Final = frozenset(
    {
        "anthropic-organization-id",
        "openai-organization",
        "openai-project",
        "set-cookie",
        "set-cookie2",
        "x-amz-security-token",
    }
)
# What was true of the provider's connection only.
_CONNECTION: Final = _HOP_BY_HOP | {"alt-svc", "strict-transport-security"}
# By those of Envoy a provider could take edges out of rotation.
_OUR_ANSWER_PREFIXES: Final = ("cf-aig-", "headrace-", "x-envoy-")
# What clients of a compatible API read: request id, quota, retry advice.
_TELLING: Final = frozenset(
    {
        b"openai-processing-ms",
        b"openai-version",
        b"request-id",
        b"retry-after",
        b"retry-after-ms",
        b"x-request-id",
        b"x-should-retry",
    }
)
_TELLING_PREFIXES: Final = (b"x-ratelimit-", b"anthropic-ratelimit-")


def request_headers(received: Iterable[tuple[str, bytes]], *, drop: frozenset[str]) -> HeaderList:
    """
    Return the client's headers that may go to a provider, in their order.

    Args:
        received: Names in lower case, and values.
        drop: Further names to leave out, such as those that the adapter sets itself.

    Raises:
        GatewayError: INVALID_REQUEST; a value holds a character that no header may hold.
    """
    kept: HeaderList = []
    for name, value in received:
        if name in _OURS or name in drop or name.startswith(_OUR_PREFIXES):
            continue
        text = _text(name, value)
        if tokens.PREFIX not in text or not _holds_token(name, text):
            kept.append((name, text))
    return kept


def without_trace(headers: HeaderList) -> HeaderList:
    """Return the headers without a trace context, for a call that has its own."""
    return [(name, value) for name, value in headers if name not in _TRACE]


def response_headers(
    received: Iterable[tuple[bytes, bytes]], *, decoded: bool, with_length: bool
) -> AnswerHeaders:
    """
    Return all of a provider's headers that may go to the client, in their order, names in lower case.

    Args:
        received: As they came.
        decoded: The body was decoded, so that it has neither the coding nor the length that they say.
        with_length: The body goes out as long as it came in.
    """
    kept: AnswerHeaders = []
    for raw, value in received:
        name = raw.decode("latin-1").lower()
        if name in _CONNECTION or name in _ACCOUNT or name.startswith(_OUR_ANSWER_PREFIXES):
            continue
        if (name == "content-encoding" and decoded) or (
            name == "content-length" and (decoded or not with_length)
        ):
            continue
        kept.append((name, value))
    return kept


def quota_headers(received: Iterable[tuple[bytes, bytes]]) -> AnswerHeaders:
    """
    Return those of a provider's headers that mean something beside a body in another dialect or of ours.

    Args:
        received: As they came.
    """
    kept: AnswerHeaders = []
    for raw, value in received:
        name = raw.lower()
        if name in _TELLING or name.startswith(_TELLING_PREFIXES):
            kept.append((name.decode("latin-1"), value))
    return kept


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    if "\r" in text or "\n" in text or "\0" in text or not _NAME.fullmatch(name):
        raise GatewayError(
            Reason.INVALID_REQUEST, f"The header {name!r} holds a forbidden character.", param=name
        )
    return text


def _holds_token(name: str, text: str) -> bool:
    """Tell whether a value holds a token of ours or, where a credential stands, what begins like one."""
    return bool(tokens.presented(text) if name in tokens.CREDENTIAL_HEADERS else tokens.find(text))
