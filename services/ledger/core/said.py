"""
What people say of an entry afterwards: feedback, a score, metadata. Its bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Said", "said"]

_FIELDS: Final = ("feedback", "score", "metadata")
_MOST_METADATA: Final = 5
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    A change of what is said.

    Attributes:
        fields: What changes. One that is named here and has no value below is cleared.
    """

    fields: frozenset[str]
    feedback: float | None = None
    score: float | None = None
    metadata: Mapping[str, str]


def said(
    fields: Sequence[str], *, feedback: float | None, score: float | None, metadata: Mapping[str, str]
) -> Said:
    """
    Check a change.

    Raises:
        GatewayError: INVALID_REQUEST; a value is out of its bounds, or nothing that can be changed is named.
    """
    if not fields:
        raise _invalid("update_mask", f"At least one of {', '.join(_FIELDS)} must be given.")
    for name in fields:
        if name not in _FIELDS:
            raise _invalid("update_mask", f"Of an entry, {', '.join(_FIELDS)} can be changed.")
    # Written so that no bound lets NaN through.
    if feedback is not None and not -1 <= feedback <= 1:
        raise _invalid("feedback", "Feedback is a number from -1 to 1.")
    if score is not None and not 0 <= score <= 100:
        raise _invalid("score", "A score is a number from 0 to 100.")
    if len(metadata) > _MOST_METADATA:
        raise _invalid("metadata", f"Metadata has at most {_MOST_METADATA} entries.")
    for key, value in metadata.items():
        if not 1 <= len(key) <= _LONGEST or len(value) > _LONGEST:
            raise _invalid(
                "metadata", f"Keys and values have at most {_LONGEST} characters, keys at least 1."
            )
    return Said(fields=frozenset(fields), feedback=feedback, score=score, metadata=metadata)


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, message, param=param)
