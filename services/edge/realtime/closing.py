"""
How the end of one connection is told on the other.

Codes of RFC 6455 section 7.4. Those that only say what a connection saw (1005, 1006, 1015) may not be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kit.errors import Reason

if TYPE_CHECKING:
    from kit.errors import GatewayError

__all__ = ["AWAY", "BROKEN", "NO_CODE", "code_of", "for_client", "for_provider", "is_normal", "reason_text"]

NORMAL: Final = 1000
AWAY: Final = 1001
NO_CODE: Final = 1005
BROKEN: Final = 1006
_TOO_LARGE: Final = 1009
_INTERNAL: Final = 1011
_RESTART: Final = 1012
_TLS: Final = 1015
_UNSENDABLE: Final = frozenset({1004, NO_CODE, BROKEN, _TLS})
_NORMAL_CODES: Final = frozenset({NORMAL, AWAY, NO_CODE})
_CODES: Final = {Reason.SERVICE_UNAVAILABLE: _RESTART, Reason.TOO_LARGE: _TOO_LARGE}
# All that a close frame holds besides its code.
_REASON_BYTES: Final = 123


def for_client(code: int) -> int:
    """Give the code that tells a client how the provider's connection ended."""
    if code == NO_CODE:
        return NORMAL
    return _INTERNAL if code in _UNSENDABLE or not _is_code(code) else code


def for_provider(code: int) -> int:
    """Give the code that tells a provider how the client's connection ended."""
    if code == NO_CODE:
        return NORMAL
    return AWAY if code in _UNSENDABLE or not _is_code(code) else code


def is_normal(code: int) -> bool:
    """Say whether a session that a provider ended so had nothing wrong with it."""
    return code in _NORMAL_CODES


def code_of(error: GatewayError) -> int:
    """Give the code that tells a client of an error of ours."""
    return _CODES.get(error.reason, _INTERNAL)


def reason_text(text: str) -> bytes:
    """Cut a reason to what a frame holds, at a whole character."""
    return text.encode()[:_REASON_BYTES].decode("utf-8", "ignore").encode()


def _is_code(code: int) -> bool:
    return NORMAL <= code < 5000
