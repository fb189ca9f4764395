"""
Parameters that stand by themselves: length, sampling, stop sequences, user and tier.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.anthropic.models import ModelProfile
    from services.providers.dialects.anthropic.thinking import Thinking
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["note_unknown", "output_limit", "write_options"]

_MAX_USER_ID_CHARS: Final = 256
_MIN_TOP_P_WITH_THINKING: Final = 0.95
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE: Final = re.compile(r"\+?[\d\s().-]{7,24}")
# OpenAI's names of tiers, and Anthropic's own.
_SERVICE_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# Where both names of the user are given, readers leave the newer one here.
_NEWER_USER: Final = "safety_identifier"
_NOWHERE: Final = (
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "metadata",
    "verbosity",
)


def note_unknown(conversation: Conversation, notes: Notes) -> None:
    """
    Report what Anthropic has no word for.

    Raises:
        GatewayError: UNSUPPORTED for more than one answer: the client would get something else than it asked
            for. INVALID_REQUEST for none.
    """
    if conversation.n is not None and conversation.n < 1:
        invalid(notes.name("n"), "must be at least 1")
    if conversation.n is not None and conversation.n > 1:
        notes.refuse("n", "must be 1 for this provider")
    for name in _NOWHERE:
        # A seed of 0 is a seed; any other value that is falsy asks for nothing.
        value = getattr(conversation, name)
        if value or (name == "seed" and value is not None):
            notes.dropped(name)


def output_limit(conversation: Conversation, profile: ModelProfile, default: int, notes: Notes) -> int:
    """
    Return the longest answer, which Anthropic demands: the client's, else the model's own, else the default.

    Raises:
        GatewayError: INVALID_REQUEST when the client's is none.
    """
    if conversation.max_tokens is None:
        return profile.max_output_tokens or default
    if conversation.max_tokens < 1:
        invalid(notes.name("max_tokens"), "must be at least 1")
    return conversation.max_tokens


def write_options(
    conversation: Conversation, profile: ModelProfile, thinking: Thinking, notes: Notes
) -> dict[str, Any]:
    """Write sampling, stop sequences, user and tier; returns the members to send."""
    options = _sampling(conversation, profile, thinking, notes)
    stop = [entry for entry in conversation.stop if entry.strip()]
    if len(stop) < len(conversation.stop):
        notes.dropped("stop")
    if stop:
        options["stop_sequences"] = stop
    user = _user_id(conversation, notes)
    if user:
        options["metadata"] = {"user_id": user}
    tier = conversation.service_tier
    if tier in _SERVICE_TIERS:
        options["service_tier"] = _SERVICE_TIERS[tier]
    elif tier:
        notes.dropped("service_tier")
    return options


def _sampling(
    conversation: Conversation, profile: ModelProfile, thinking: Thinking, notes: Notes
) -> dict[str, Any]:
    """Write temperature and its like. Both default to 1, so leaving a 1 out loses nothing."""
    temperature, top_p = conversation.temperature, conversation.top_p
    top_k: float | None = conversation.top_k
    if temperature is not None and temperature > 1:
        notes.clamped("temperature", 1)
        temperature = 1
    if profile.sampling != "both" and temperature == 1:
        temperature = None
    if profile.sampling != "both" and top_p == 1:
        top_p = None
    if top_k is not None and top_k <= 0:
        # Elsewhere this stands for all tokens, which is what Anthropic's models choose among by themselves.
        top_k = None
    if profile.sampling == "none" or thinking.on:
        temperature = _without(temperature, "temperature", notes, allowed=temperature == 1)
        near_one = profile.sampling != "none" and (top_p or 0) >= _MIN_TOP_P_WITH_THINKING
        top_p = _without(top_p, "top_p", notes, allowed=near_one)
        top_k = _without(top_k, "top_k", notes, allowed=False)
    elif profile.sampling == "one" and temperature is not None:
        top_p = _without(top_p, "top_p", notes, allowed=False)
    chosen = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    return {name: value for name, value in chosen.items() if value is not None}


def _without(value: float | None, name: str, notes: Notes, *, allowed: bool) -> float | None:
    if value is None or allowed:
        return value
    notes.dropped(name)
    return None


def _user_id(conversation: Conversation, notes: Notes) -> str:
    """Find an id of the end user that Anthropic takes: opaque, not an address or a number."""
    newer = conversation.extra.get(_NEWER_USER)
    candidates = [("user", conversation.user)]
    if isinstance(newer, str):
        del conversation.extra[_NEWER_USER]
        candidates.append((_NEWER_USER, newer))
    for name, value in candidates:
        if not value:
            continue
        if len(value) > _MAX_USER_ID_CHARS or _EMAIL.search(value) or _PHONE.fullmatch(value):
            notes.dropped(name)
            continue
        return value
    return ""
