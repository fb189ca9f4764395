"""Parameters of an OpenAI chat request that stand by themselves, in Anthropic's terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from services.providers.dialects.chat_request import Notes, get_int, get_number, get_str, invalid

if TYPE_CHECKING:
    from services.providers.dialects.anthropic_models import ModelProfile
    from services.providers.dialects.anthropic_thinking import ThinkingChoice

_MAX_USER_ID_CHARS = 256
_MIN_TOP_P_WITH_THINKING = 0.95
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"\+?[\d\s().-]{7,24}")
_SERVICE_TIERS = {"auto": "auto", "default": "standard_only"}


def translate_options(
    document: dict[str, Any], profile: ModelProfile, thinking: ThinkingChoice, notes: Notes
) -> dict[str, Any]:
    """Translate sampling, stop sequences, user and service tier; returns the members to send."""
    options = _sampling(document, profile, thinking, notes)
    stop = _stop_sequences(document, notes)
    if stop:
        options["stop_sequences"] = stop
    user = _user_id(document, notes)
    if user is not None:
        options["metadata"] = {"user_id": user}
    tier = get_str(document, "service_tier")
    if tier in _SERVICE_TIERS:
        options["service_tier"] = _SERVICE_TIERS[tier]
    elif tier is not None:
        notes.dropped("service_tier")
    return options


def _sampling(
    document: dict[str, Any], profile: ModelProfile, thinking: ThinkingChoice, notes: Notes
) -> dict[str, Any]:
    """Translate temperature and its like. Both default to 1, so leaving a 1 out loses nothing."""
    temperature = get_number(document, "temperature", 0, 2)
    top_p = get_number(document, "top_p", 0, 1)
    top_k: float | None = get_int(document, "top_k")
    if temperature is not None and temperature > 1:
        notes.clamped("temperature", 1)
        temperature = 1
    if profile.sampling != "both" and temperature == 1:
        temperature = None
    if profile.sampling != "both" and top_p == 1:
        top_p = None
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


def _stop_sequences(document: dict[str, Any], notes: Notes) -> list[str]:
    stop = document.get("stop")
    if stop is None:
        return []
    entries = [stop] if isinstance(stop, str) else stop
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        invalid("stop", "must be a string or a list of strings")
    kept = [entry for entry in entries if entry.strip()]
    if len(kept) < len(entries):
        notes.dropped("stop")
    return kept


def _user_id(document: dict[str, Any], notes: Notes) -> str | None:
    """Find an id of the end user that Anthropic takes: opaque, not an address or a number."""
    for name in ("user", "safety_identifier"):
        value = get_str(document, name)
        if not value:
            continue
        if len(value) > _MAX_USER_ID_CHARS or _EMAIL.search(value) or _PHONE.fullmatch(value):
            notes.dropped(name)
            continue
        return value
    return None
