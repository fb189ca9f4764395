"""
What other dialects want back and Anthropic's has no place for, carried within what it has.

Clients of this dialect give back, to the letter, the signatures of thoughts and the ids of calls. So both are
where seals of other providers travel:

- A signature that is not Anthropic's is `{origin}:{item id}:{seal}:{signature}`, each percent-encoded.
  Anthropic's own are base64 and hold no colon.
- The id of a call with a signature is `{id}__sig_{signature in base64url}`. An id that does not keep to
  Anthropic's alphabet, or that would be taken apart by mistake, is `id64_{id in base64url}`.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import quote, unquote

from services.providers.dialects.neutral.conversation import ReasoningPart

__all__ = ["carry_call", "carry_seal", "read_call", "read_seal"]

_OWN = "anthropic"
_ORIGINS = frozenset({"gemini", "openai", "converse"})
_PLAIN = "/+="  # characters of base64 that need no encoding here
_SEAL_FIELDS = 4
_SIGNED = "__sig_"
_ENCODED = "id64_"
_ALPHABET = re.compile(r"[a-zA-Z0-9_-]+")


def carry_seal(part: ReasoningPart) -> str:
    """Write signature and seal of thoughts as one text; Anthropic's own as they are."""
    if part.origin not in _ORIGINS:
        return part.signature or part.sealed
    fields = (part.item_id, part.sealed, part.signature)
    return ":".join((part.origin, *(quote(field, _PLAIN, errors="surrogatepass") for field in fields)))


def read_seal(value: str, *, text: str = "", redacted: bool = False) -> ReasoningPart:
    """
    Read what `carry_seal` wrote.

    Args:
        value: A signature, or the data of a redacted block.
        text: Thoughts beside it.
        redacted: It is the data of a redacted block.
    """
    fields = value.split(":")
    if len(fields) == _SEAL_FIELDS and fields[0] in _ORIGINS:
        item_id, sealed, signature = (unquote(field) for field in fields[1:])
        return ReasoningPart(text=text, origin=fields[0], item_id=item_id, sealed=sealed, signature=signature)
    if redacted:
        return ReasoningPart(text=text, sealed=value, origin=_OWN if value else "")
    return ReasoningPart(text=text, signature=value, origin=_OWN if value else "")


def carry_call(call_id: str, signature: str) -> str:
    """Write the id of a call and its signature as one id within Anthropic's alphabet."""
    if _ALPHABET.fullmatch(call_id) is None or call_id.startswith(_ENCODED) or _SIGNED in call_id:
        call_id = _ENCODED + _encode(call_id)
    return f"{call_id}{_SIGNED}{_encode(signature)}" if signature else call_id


def read_call(value: str) -> tuple[str, str]:
    """Read what `carry_call` wrote: id and signature. Any other id is itself, without a signature."""
    call_id, mark, encoded = value.partition(_SIGNED)
    signature = _decode(encoded) if mark else ""
    if mark and not signature:
        return value, ""
    if call_id.startswith(_ENCODED):
        call_id = _decode(call_id[len(_ENCODED) :]) or call_id
    return call_id, signature


def _encode(value: str) -> str:
    data = base64.urlsafe_b64encode(value.encode("utf-8", "surrogatepass"))
    # The alphabet of ids is base64url's own; padding can be told from the length. An underscore could begin
    # the mark between id and signature, but the first mark is always the right one.
    return data.rstrip(b"=").decode()


def _decode(value: str) -> str:
    try:
        data = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        return data.decode("utf-8", "surrogatepass")
    except (binascii.Error, UnicodeDecodeError):
        return ""
