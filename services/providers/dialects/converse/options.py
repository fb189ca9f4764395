"""Parameters that stand by themselves, in Converse's terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.models import profile_for
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.anthropic.models import Sampling
    from services.providers.dialects.converse.families import Family
    from services.providers.dialects.converse.reasoning import Thinking
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["inference_config", "note_unknown", "own_fields", "request_members"]

_MIN_TOP_P_WITH_THINKING: Final = 0.95
_MOST_TOKENS: Final = (1 << 31) - 1
# What OpenAI's clients call Bedrock's tiers.
_SERVICE_TIERS: Final = {
    "default": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
    "reserved": "reserved",
}
_LABEL_KEY: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{1,256}")
_LABEL_VALUE: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}")
_MOST_LABELS: Final = 16
# Converse's own members, for clients that know whom they talk to; the SDKs send them beside the dialect's.
_OWN_MEMBERS: Final = ("guardrailConfig", "performanceConfig", "promptVariables")
_OWN_FIELDS: Final = "additionalModelRequestFields"
_OWN_PATHS: Final = "additionalModelResponseFieldPaths"
_NOWHERE: Final = (
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "verbosity",
)


def inference_config(
    conversation: Conversation, model: str, family: Family, thinking: Thinking, notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write length, sampling and stop sequences; returns `inferenceConfig` and fields of the model's own."""
    config: dict[str, Any] = {}
    if conversation.max_tokens is not None:
        if conversation.max_tokens < 1:
            invalid(notes.name("max_tokens"), "must be at least 1")
        if thinking.bare:
            notes.dropped("max_tokens")
        else:
            config["maxTokens"] = _at_most(conversation.max_tokens, notes)
    sampling = _Sampling(conversation, notes)
    sampling.fit(model, family, thinking)
    if sampling.temperature is not None:
        config["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        config["topP"] = sampling.top_p
    stop = [
        sequence for sequence in conversation.stop if sequence.strip() or (sequence and not family.claude)
    ]
    if len(stop) < len(conversation.stop):
        notes.dropped("stop")
    if stop:
        config["stopSequences"] = stop
    if sampling.top_k is None:
        return config, {}
    nested = family.top_k == "nested"
    return config, {"inferenceConfig": {"topK": sampling.top_k}} if nested else {"top_k": sampling.top_k}


def _at_most(tokens: int, notes: Notes) -> int:
    if tokens > _MOST_TOKENS:
        notes.clamped("max_tokens", _MOST_TOKENS)
    return min(tokens, _MOST_TOKENS)


class _Sampling:
    """Temperature, `top_p` and `top_k`, and which of them a model takes beside the rest of the request."""

    def __init__(self, conversation: Conversation, notes: Notes) -> None:
        self.temperature = conversation.temperature
        self.top_p = conversation.top_p
        self.top_k = conversation.top_k
        self._notes = notes

    def fit(self, model: str, family: Family, thinking: Thinking) -> None:
        """Take away what the model refuses."""
        if self.temperature is not None and self.temperature > 1:
            self._notes.clamped("temperature", 1)
            self.temperature = 1
        if family.top_k == "none":
            self._drop("top_k")
        if thinking.bare:
            self._drop("temperature", "top_p", "top_k")
        elif family.claude:
            self._fit_claude(profile_for(model).sampling, thinking)

    def _fit_claude(self, allowed: Sampling, thinking: Thinking) -> None:
        # Both default to 1, so leaving a 1 out loses nothing.
        if allowed != "both" and self.temperature == 1:
            self.temperature = None
        if allowed != "both" and self.top_p == 1:
            self.top_p = None
        if allowed == "none":
            self._drop("temperature", "top_p", "top_k")
        elif thinking.on:
            self._drop("top_k")
            if self.temperature != 1:
                self._drop("temperature")
            if self.top_p is not None and self.top_p < _MIN_TOP_P_WITH_THINKING:
                self._drop("top_p")
        if allowed == "one" and self.temperature is not None:
            self._drop("top_p")

    def _drop(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                self._notes.dropped(name)
                setattr(self, name, None)


def request_members(conversation: Conversation, family: Family, notes: Notes) -> dict[str, Any]:
    """Write labels, tier, and what the client sent of Converse's own members."""
    members: dict[str, Any] = {}
    labels = _labels(conversation, notes)
    if labels:
        members["requestMetadata"] = labels
    tier = conversation.service_tier
    if tier in _SERVICE_TIERS:
        members["serviceTier"] = {"type": _SERVICE_TIERS[tier]}
    elif tier not in {"", "auto"}:
        notes.dropped("service_tier")
    for name in _OWN_MEMBERS:
        if isinstance(conversation.extra.get(name), dict):
            members[name] = conversation.extra.pop(name)
    if isinstance(conversation.extra.get(_OWN_PATHS), list):
        members[_OWN_PATHS] = conversation.extra.pop(_OWN_PATHS)
    elif family.claude and conversation.stop:
        # Converse says only that some sequence was met; which one is the model's own member.
        members[_OWN_PATHS] = ["/stop_sequence"]
    return members


def own_fields(conversation: Conversation, written: dict[str, Any]) -> dict[str, Any]:
    """Lay fields of the model's own that the client sent over those that were written for it."""
    given = conversation.extra.get(_OWN_FIELDS)
    if not isinstance(given, dict):
        return written
    del conversation.extra[_OWN_FIELDS]
    return {**written, **given}


def note_unknown(conversation: Conversation, notes: Notes) -> None:
    """
    Report what Converse has no word for.

    Raises:
        GatewayError: UNSUPPORTED for more than one answer, INVALID_REQUEST for none.
    """
    if conversation.n is not None and conversation.n < 1:
        invalid(notes.name("n"), "must be at least 1")
    if conversation.n is not None and conversation.n > 1:
        notes.refuse("n", "must be 1 for this provider")
    if conversation.seed is not None:
        notes.dropped("seed")
    for name in _NOWHERE:
        value = getattr(conversation, name)
        if value not in (None, "", 0, False) and value != {}:
            notes.dropped(name)


def _labels(conversation: Conversation, notes: Notes) -> dict[str, str]:
    fitting = {
        name: value
        for name, value in conversation.metadata.items()
        if isinstance(value, str) and _LABEL_KEY.fullmatch(name) and _LABEL_VALUE.fullmatch(value)
    }
    kept = dict(list(fitting.items())[:_MOST_LABELS])
    if len(kept) < len(conversation.metadata):
        notes.dropped("metadata")
    return kept
