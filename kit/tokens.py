"""
What a token of ours looks like, for everyone who must tell one from a provider's key.

`services/auth` makes tokens and decides whose they are; edge and providers only keep them from going on.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CREDENTIAL_HEADERS", "ID_CHARACTERS", "PREFIX", "find", "id_of", "presented"]

PREFIX: Final = "hr_"
ID_CHARACTERS: Final = 12

# Where clients of any provider put a key; a token of ours may stand in the same places.
CREDENTIAL_HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "xi-api-key"}
)

_SHAPE: Final = rf"{PREFIX}([a-z2-7]{{{ID_CHARACTERS}}})_[A-Za-z0-9_-]{{43}}"
_TOKEN: Final = re.compile(_SHAPE, re.ASCII)
# Part of a longer word it is somebody else's: keys of some providers are long enough to contain anything.
_WORD: Final = re.compile(rf"(?<![A-Za-z0-9_-]){_SHAPE}(?![A-Za-z0-9_-])", re.ASCII)
_SCHEME: Final = re.compile(r"\s*(?:[A-Za-z]+\s+)?", re.ASCII)


def find(text: str) -> str:
    """Return the first whole token of ours in a text, empty when there is none."""
    match = _WORD.search(text)
    return match[0] if match else ""


def presented(value: str) -> str:
    """
    Return the token of ours that a credential header presents, empty when the credential is another's.

    What begins like a token of ours is ours even when it is malformed: whoever mistyped a token is to be
    told so, and no provider is to see what is left of it.
    """
    if PREFIX not in value:
        return ""
    rest = _SCHEME.sub("", value, count=1)
    return find(value) or (rest.strip() if rest.startswith(PREFIX) else "")


def id_of(text: str) -> str | None:
    """Return the id in a token's text, or None when it is not the text of a token."""
    match = _TOKEN.fullmatch(text)
    return match[1] if match else None
