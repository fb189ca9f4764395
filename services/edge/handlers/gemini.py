"""
What Gemini's calls say outside of their bodies: the model in the path, the key and the form of a stream in
the query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from kit import tokens
from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from services.edge.headers import RequestHeaders

__all__ = ["check", "operation", "take_key"]

_STREAM: Final = "streamGenerateContent"
# A stream that was not asked for as events is one JSON array, sent piece by piece.
_ARRAY: Final = "streamGenerateContent:array"
_KEY_HEADER: Final = "x-goog-api-key"


def take_key(query: str, headers: RequestHeaders) -> None:
    """
    Put a key in the query where those in headers stand.

    A token of ours, or what begins like one, becomes the caller's; any other key is the provider's.

    Raises:
        GatewayError: INVALID_REQUEST; it cannot stand in a header.
    """
    for name, value in parse_qsl(query):
        if name != "key":
            continue
        token = tokens.presented(value)
        if token and not tokens.find(headers.own_token):
            headers.own_token = token
        elif not token and not any(given in tokens.CREDENTIAL_HEADERS for given, _ in headers.forwarded):
            if not (value.isascii() and value.isprintable()):
                raise GatewayError(Reason.INVALID_REQUEST, "`key` is no key of anybody's.", param="key")
            headers.forwarded.append((_KEY_HEADER, value.encode()))


def operation(asked: str, query: str) -> tuple[str, bool]:
    """Give what a call is named between services, and whether it is a stream."""
    if asked != _STREAM:
        return asked, False
    events = any(name in ("alt", "$alt") and value == "sse" for name, value in parse_qsl(query))
    return "" if events else _ARRAY, True


def check(parsed: dict[str, Any], max_messages: int) -> None:
    """
    Refuse a conversation that is longer than allowed.

    Raises:
        GatewayError: TOO_LARGE.
    """
    for name in ("contents", "requests"):
        entries = parsed.get(name)
        if isinstance(entries, list) and len(entries) > max_messages:
            raise GatewayError(
                Reason.TOO_LARGE,
                f"`{name}` has {len(entries)} entries; at most {max_messages} are taken.",
                param=name,
                limit=str(max_messages),
            )
