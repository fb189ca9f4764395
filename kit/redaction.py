"""
Masks secrets in what is about to be logged.

By name (a field called `api_key`) and by shape (`sk-…` anywhere in any string). Shapes err on the side of
masking: a log line that hides a harmless word is better than one that shows a key. The cost is bounded by
cutting what is long, deep or wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kit.secret import MASK, Secret

__all__ = ["mask_text", "mask_value"]

TEXT_MAX_CHARS: Final = 8192
_END_CHARS = 2048
DEPTH_MAX: Final = 6
ITEMS_MAX: Final = 100
# Looked at beyond the cut, so that a key that lies across it is seen whole.
_OVERLAP_CHARS = 512

_NAMES = re.compile(
    r"(?:^|[_\-.])(?:authorization|api[_-]?key|token|secret|password|passwd|passphrase|credentials?|cookie"
    r"|(?:master|private|access|signing|goog-api)[_-]?key)$",
    re.IGNORECASE,
)

_LABELS = (
    r"[?&](?:key|sig|signature|code|x-amz-[a-z-]+)"
    r"|api[_-]?key|authorization|password|passwd|secret|token|cookie"
)
_PATTERNS = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    # Authorization values, whatever the credential looks like.
    r"(?P<scheme>(?:bearer|basic)\s+)[A-Za-z0-9+/=._~\-]{8,}",
    # Keys of ours and of providers, told by how they begin.
    r"hr_[A-Za-z0-9]{8,}(?:_[A-Za-z0-9_\-]*)?",
    r"(?:sk|pk|rk)-[A-Za-z0-9_\-]{16,}",
    r"(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}",
    r"AIza[A-Za-z0-9_\-]{16,}",
    r"ya29\.[A-Za-z0-9_\-]{8,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"(?:xai|nvapi|csk|pplx|xox[abprs]|glpat|voyage|jina)-[A-Za-z0-9_\-]{16,}",
    r"(?:gsk|hf|r8|fw|tgp|gh[opsur]|github_pat|fal|cog)_[A-Za-z0-9_]{16,}",
    # JSON Web Tokens.
    r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?",
    # The user and password of a URL.
    r"(?<=://)[^\s/:@]{0,128}:[^\s/@]{1,256}(?=@)",
    # Query parameters and headers, by their name.
    rf"(?P<name>(?:{_LABELS})[\"']?\s{{0,4}}[=:]\s{{0,4}}[\"']?)[^\s\"',;&]{{8,}}",
)
_SHAPES = re.compile("|".join(_PATTERNS), re.IGNORECASE | re.DOTALL)


def mask_text(text: str) -> str:
    """Return a text with everything that looks like a secret masked, cut to a bounded length."""
    rest = len(text) - TEXT_MAX_CHARS
    if rest <= 0:
        return _SHAPES.sub(_mask_match, text)
    # The end stays too: it is where a traceback says what happened.
    start = _SHAPES.sub(_mask_match, text[: TEXT_MAX_CHARS - _END_CHARS + _OVERLAP_CHARS])
    end = _SHAPES.sub(_mask_match, text[-_END_CHARS - _OVERLAP_CHARS :])
    return f"{start[: TEXT_MAX_CHARS - _END_CHARS]}… ({rest} characters) …{end[-_END_CHARS:]}"


def _mask_match(match: re.Match[str]) -> str:
    # What is kept says what kind of key it was, which is what one looks for in a log.
    return (match["scheme"] or match["name"] or match[0][:3]) + MASK


def mask_value(name: str, value: object, depth: int = 0) -> object:
    """
    Return a log field's value, fit to be shown.

    Args:
        name: The field's name: some names make any value a secret.
        value: Anything. What is not a plain value or a container is turned to text.
        depth: How deep inside the event this is.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret) or _NAMES.search(name):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # bodies are bytes, and no log line is the place for one
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _mask_container(name, value, depth)
    return mask_text(str(value))


def _mask_container(
    name: str,
    value: Mapping[object, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object],
    depth: int,
) -> object:
    if depth >= DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:ITEMS_MAX]
        masked = {mask_text(str(key)): mask_value(str(key), item, depth + 1) for key, item in pairs}
        return masked | {"…": len(value) - ITEMS_MAX} if len(value) > ITEMS_MAX else masked
    items = [mask_value(name, item, depth + 1) for item in list(value)[:ITEMS_MAX]]
    return [*items, f"… ({len(value) - ITEMS_MAX} more)"] if len(value) > ITEMS_MAX else items
