"""
Thought signatures: what may be sent back to the model, and how another provider's travel through a client.

A client of Gemini's dialect gives back what stands in `thoughtSignature`, to the letter. What another
provider wants back is put there, marked, so that the next request can be told from one that Gemini signed.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode, urlsafe_b64decode
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.neutral.conversation import ReasoningPart

if TYPE_CHECKING:
    from services.providers.dialects.neutral.events import ReasoningClosed

__all__ = ["ORIGIN", "SKIP", "carried", "decode_base64", "is_signature", "restored"]

ORIGIN: Final = "gemini"
# Google's own stand-in for a call that another model made, and whose signature there is not.
SKIP: Final = "skip_thought_signature_validator"

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_MARK: Final = b"headrace:1:"


def decode_base64(text: str) -> bytes | None:
    """Decode base64 in either alphabet, padded or not; None when it is none."""
    bare = text.rstrip("=").replace("+", "-").replace("/", "_")
    if not _BASE64.fullmatch(text) or len(bare) % 4 == 1:
        return None
    try:
        return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return None


def is_signature(text: str) -> bool:
    """Tell whether a signature can be sent to Google, which refuses the whole request otherwise."""
    decoded = decode_base64(text)
    return decoded is not None and not decoded.startswith(_MARK)


def carried(part: ReasoningPart | ReasoningClosed) -> str:
    """Write a signature or seal as a `thoughtSignature`; empty: there is neither."""
    if not part.signature and not part.sealed:
        return ""
    if part.origin == ORIGIN:
        return part.signature
    members = {"o": part.origin, "s": part.signature, "x": part.sealed, "i": part.item_id}
    try:
        text = orjson.dumps({name: value for name, value in members.items() if value})
    except orjson.JSONEncodeError:  # half a surrogate pair
        return ""
    return b64encode(_MARK + text).decode("ascii")


def restored(signature: str) -> ReasoningPart:
    """Read a `thoughtSignature` that a client gave back."""
    decoded = decode_base64(signature)
    if decoded is None or not decoded.startswith(_MARK):
        return ReasoningPart(signature=signature, origin=ORIGIN)
    try:
        members: Any = orjson.loads(decoded.removeprefix(_MARK))
    except orjson.JSONDecodeError:
        members = None
    if not isinstance(members, dict):
        return ReasoningPart()
    found = {name: value for name, value in members.items() if isinstance(value, str)}
    return ReasoningPart(
        origin=found.get("o", ""),
        signature=found.get("s", ""),
        sealed=found.get("x", ""),
        item_id=found.get("i", ""),
    )
