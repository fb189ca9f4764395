"""
Signatures and seals of other providers, carried through a client that speaks OpenAI responses.

Such a client gives reasoning items back as it got them, `encrypted_content` included. OpenAI's own stands
there as it is; another's goes into a text that names its origin. A signature that belongs to a tool call has
nowhere to stand on the call's item, so it goes into a reasoning item of its own, before the call.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from services.providers.dialects.answer import text

__all__ = ["Seal", "carried", "opened"]

OPENAI = "openai"
# No encrypted content of OpenAI's has a dot in it.
_PREFIX = "headrace.seal.1."


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """
    What a provider wants back to the letter; see `ReasoningPart` for the members.

    Attributes:
        call_id: Tool call that `signature` belongs to; empty: it belongs to the thoughts.
    """

    signature: str = ""
    sealed: str = ""
    origin: str = ""
    call_id: str = ""


def carried(seal: Seal) -> str:
    """Return what stands for a seal in `encrypted_content`; empty: nothing has to."""
    if not seal.signature and not seal.sealed:
        return ""
    if seal.origin == OPENAI and seal.sealed and not seal.signature:
        return seal.sealed
    members = [seal.origin, seal.signature, seal.sealed, seal.call_id]
    return _PREFIX + base64.urlsafe_b64encode(orjson.dumps(members)).decode()


def opened(content: str) -> Seal:
    """Read what `carried` wrote. Anything else is OpenAI's own."""
    if not content.startswith(_PREFIX):
        return Seal(sealed=content, origin=OPENAI) if content else Seal()
    try:
        members = orjson.loads(base64.urlsafe_b64decode(content.removeprefix(_PREFIX)))
    except (binascii.Error, ValueError):
        return Seal()  # worth nothing to anyone; the text beside it remains
    if not isinstance(members, list) or len(members) != 4:
        return Seal()
    origin, signature, sealed, call_id = map(text, members)
    return Seal(origin=origin, signature=signature, sealed=sealed, call_id=call_id)
