"""
The settings of a gateway that are objects themselves. Plans do not need them.

Each is checked and written in one form, with its defaults, so that what means the same is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.router.core.export import read_otel, read_stripe
from services.router.core.inspection import read_dlp, read_guardrails
from services.router.core.json_reader import parse
from services.router.core.rate_limits import read_rate_limits
from services.router.core.spend_limits import read_spend_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.router.core.json_reader import Value

__all__ = ["Documents", "checked_documents"]

_MOST_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """JSON texts by setting. Empty: it is not set."""

    dlp: str = ""
    guardrails: str = ""
    otel: str = ""
    rate_limits: str = ""
    spend_limits: str = ""
    stripe: str = ""


_READERS: Final[dict[str, Callable[[Value], Any]]] = {
    "dlp": read_dlp,
    "guardrails": read_guardrails,
    "otel": read_otel,
    "rate_limits": read_rate_limits,
    "spend_limits": read_spend_limits,
    "stripe": read_stripe,
}


def checked_documents(documents: Documents) -> Documents:
    """
    Return documents that may be kept, each in its one form.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is the path to what is wrong.
    """
    return Documents(
        **{field.name: _checked(field.name, getattr(documents, field.name)) for field in fields(Documents)}
    )


def _checked(name: str, text: str) -> str:
    if not text:
        return ""
    value = parse(text, name, most_bytes=_MOST_BYTES)
    if value.raw is None:
        return ""
    return orjson.dumps(_READERS[name](value)).decode()
