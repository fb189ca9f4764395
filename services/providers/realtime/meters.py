"""
What a session used, by the frames that tell it. Frames are looked at and never changed.

Only frames that hold the word that usage comes with are parsed: nearly all others are sound.

Sources: OpenAI's reference of server events (`response.done`), Google's of the Live API (`usageMetadata`).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, Protocol

import orjson

from services.providers.dialects.usage import UsageCounts, read_gemini_usage, read_openai_usage

__all__ = ["Meter", "meter_of"]

# Where a type stands that is worth looking for: events begin with it, or with their id.
_HEAD_BYTES: Final = 256
_RESPONSE_DONE: Final = b'"response.done"'
_USAGE_METADATA: Final = b'"usageMetadata"'
_SETUP: Final = b'"setup"'
_TURN_COMPLETE: Final = b'"turnComplete"'
_LONGEST_MODEL: Final = 128
# Frames of a session's beginning, one of which names the model.
_FIRST_FRAMES: Final = 4


class Meter(Protocol):
    """
    Counts what a session uses.

    Attributes:
        usage: So far; None: not known.
        model: As the protocol told it; empty: not told.
    """

    usage: UsageCounts | None
    model: str

    def received(self, data: bytes) -> bool:
        """Look at a frame of the provider's; True when `usage` changed."""

    def sent(self, data: bytes) -> bool:
        """Look at a frame of the client's; True when `model` changed."""


class _NoMeter:
    """For protocols that tell nothing in tokens."""

    usage: UsageCounts | None = None
    model = ""

    def received(self, data: bytes) -> bool:
        """Nothing is told."""
        del data
        return False

    def sent(self, data: bytes) -> bool:
        """Nothing is told."""
        del data
        return False


class OpenAIMeter(_NoMeter):
    """Adds up the responses of a session, each of which tells its own usage once it is done."""

    def received(self, data: bytes) -> bool:
        """Look at a frame of the provider's."""
        if _RESPONSE_DONE not in data[:_HEAD_BYTES]:
            return False
        event = _object(data)
        response = event.get("response") if event.get("type") == "response.done" else None
        told = response.get("usage") if isinstance(response, dict) else None
        if not isinstance(told, dict):
            return False
        # Details have a name here that differs from that of all other calls by one letter.
        self.usage = _sum(
            self.usage,
            read_openai_usage(
                {
                    **told,
                    "input_tokens_details": told.get("input_token_details"),
                    "output_tokens_details": told.get("output_token_details"),
                }
            ),
        )
        return True


class GeminiMeter(_NoMeter):
    """Adds up the turns of a session; within a turn, a later count replaces an earlier one."""

    def __init__(self) -> None:
        self._before: UsageCounts | None = None
        self._turn: UsageCounts | None = None
        self._over = False
        self._looked_at = 0

    def received(self, data: bytes) -> bool:
        """Look at a frame of the provider's."""
        metered = _USAGE_METADATA in data
        completes = _TURN_COMPLETE in data
        if not (metered or completes):
            return False
        event = _object(data)
        told = event.get("usageMetadata")
        if isinstance(told, dict):
            self._take(told)
        content = event.get("serverContent")
        if completes and isinstance(content, dict) and content.get("turnComplete"):
            self._over = True
        return isinstance(told, dict)

    def sent(self, data: bytes) -> bool:
        """Look for the model in the first frames of the client's."""
        if self._looked_at >= _FIRST_FRAMES:
            return False
        self._looked_at += 1
        setup = _object(data).get("setup") if _SETUP in data[:_HEAD_BYTES] else None
        named = setup.get("model") if isinstance(setup, dict) else None
        if not isinstance(named, str):
            return False
        self._looked_at = _FIRST_FRAMES
        self.model = named.removeprefix("models/")[:_LONGEST_MODEL]
        return True

    def _take(self, told: dict[str, Any]) -> None:
        renamed = {
            **told,
            "candidatesTokenCount": told.get("responseTokenCount"),
            "candidatesTokensDetails": told.get("responseTokensDetails"),
        }
        counts = read_gemini_usage(renamed)
        # A first count that comes after the end of its turn, and not with it, is still that turn's.
        if self._over and self._turn is not None:
            self._before, self._turn, self._over = _sum(self._before, self._turn), None, False
        self._turn = counts
        self.usage = _sum(self._before, counts)


def meter_of(path: str) -> Meter:
    """Choose a meter by the path that is called, whichever provider's it is."""
    path = path.rstrip("/")
    if path.endswith("realtime"):
        return OpenAIMeter()
    return GeminiMeter() if "BidiGenerateContent" in path else _NoMeter()


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _sum(earlier: UsageCounts | None, later: UsageCounts) -> UsageCounts:
    """Add counts; one that only some of them have is known as far as it was told."""
    if earlier is None:
        return later
    total: dict[str, Any] = {}
    for each in fields(UsageCounts):
        one, other = getattr(earlier, each.name), getattr(later, each.name)
        if isinstance(one, bool):
            total[each.name] = one or other
        else:
            total[each.name] = None if one is None and other is None else (one or 0) + (other or 0)
    return UsageCounts(**total)
