"""
Tells what looks like a secret in settings that are kept in clear.

Router has no key to seal with, so it takes no secrets: settings that need one name it, and it is kept where
secrets are. Errs on the side of refusing.
"""

from __future__ import annotations

import re
from typing import Final

from kit import tokens

__all__ = ["is_credential_header", "is_reference", "looks_like_credential"]

_HEADER: Final = re.compile(
    r"authorization|cookie"
    r"|(?:^|[-_])(?:key|apikey|token|secret|password|passwd|credentials?|signature|auth)(?:[-_]|$)"
    r"|^x-honeycomb-team$",
    re.IGNORECASE,
)
_SHAPES: Final = (
    r"-----BEGIN",
    r"\b(?:bearer|basic|token|apikey)\s+\S",
    # Keys of ours and of others, told by how they begin.
    rf"\b(?:{tokens.PREFIX}|whsec_|(?:sk|pk|rk)[-_])[A-Za-z0-9_-]{{8,}}",
    r"\b(?:AIza|ya29\.|AKIA|ASIA|eyJ)[A-Za-z0-9_.-]{12,}",
    r"\b(?:xai|nvapi|csk|pplx|xox[abprs]|glpat|voyage|jina|glc|glsa|dt0c01)[-_.][A-Za-z0-9_.-]{12,}",
    r"\b(?:gsk|hf|r8|fw|tgp|gh[opsur]|github_pat|hcaik|hcxik|dop_v1)_[A-Za-z0-9_-]{12,}",
)
_SHAPE: Final = re.compile("|".join(_SHAPES), re.IGNORECASE)
# A long run with both letters and digits is hardly a word.
_RANDOM: Final = re.compile(
    r"(?<![A-Za-z0-9+/])(?=[A-Za-z+/]*[0-9])(?=[0-9+/]*[A-Za-z])[A-Za-z0-9+/]{24,}={0,2}", re.ASCII
)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,255}", re.ASCII)


def is_credential_header(name: str) -> bool:
    """Tell whether a header of this name usually holds a secret."""
    return name.lower() in tokens.CREDENTIAL_HEADERS or _HEADER.search(name) is not None


def looks_like_credential(text: str) -> bool:
    """Tell whether a text holds what looks like a secret."""
    return _SHAPE.search(text) is not None or _RANDOM.search(text) is not None


def is_reference(text: str) -> bool:
    """Tell whether a text could be the name or the id of a secret, rather than one."""
    return _REFERENCE.fullmatch(text) is not None and _SHAPE.search(text) is None
