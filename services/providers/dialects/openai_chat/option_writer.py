"""
Writes how to sample, how long the answer may be and how much to think.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.efforts import nearest_effort

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, ReasoningOptions
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.openai_chat.models import ModelFamily
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["effort_of", "write_options"]

Json = dict[str, Any]
# What models that think refuse, unless it asks for what they do anyway.
_SAMPLING: Final = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": None,
}
_PLAIN: Final = (
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "metadata",
    "verbosity",
    "user",
)
# Tokens to think with, up to which an effort is meant.
_LOW_TOKENS: Final = 2048
_MEDIUM_TOKENS: Final = 8192
# Anthropic's word for what OpenAI calls its usual tier.
_TIERS: Final = {"standard_only": "default"}


def effort_of(wanted: ReasoningOptions | None) -> str:
    """Say in one word how much thinking is asked for; empty: nothing is."""
    if wanted is None:
        return ""
    if wanted.effort:
        return wanted.effort
    budget = wanted.budget_tokens
    if budget is None or budget < 0:
        return "high" if wanted.adaptive or budget is not None else ""
    if budget == 0:
        return "none"
    if budget <= _LOW_TOKENS:
        return "low"
    return "medium" if budget <= _MEDIUM_TOKENS else "high"


def write_options(
    conversation: Conversation, body: Json, quirks: ChatQuirks, family: ModelFamily | None, notes: Notes
) -> None:
    """
    Write options into a request that has its tools already.

    Raises:
        GatewayError: UNSUPPORTED; several answers are asked for and the host gives one.
    """
    given = {name: value for name in _PLAIN if (value := getattr(conversation, name)) not in (None, "", {})}
    if conversation.temperature is not None:
        given["temperature"] = conversation.temperature
    effort = _reasoning(conversation, body, quirks, family, notes)
    for name, value in given.items():
        if name not in quirks.lacks:
            body[name] = value
        elif name not in _SAMPLING or value != _SAMPLING[name]:
            notes.dropped(name)
    if body.get("temperature", 0) > quirks.hottest:
        body["temperature"] = quirks.hottest
        notes.clamped("temperature", f"{quirks.hottest:g}")
    _bounds(conversation, body, quirks, notes)
    if family is not None:
        _fit(body, family, effort, notes)


def _bounds(conversation: Conversation, body: Json, quirks: ChatQuirks, notes: Notes) -> None:
    if conversation.max_tokens is not None and "max_tokens" in quirks.lacks:
        notes.dropped("max_tokens")
    elif conversation.max_tokens is not None:
        body[quirks.limit] = conversation.max_tokens
    if conversation.n is not None and conversation.n > 1:
        if "n" in quirks.lacks:
            notes.refuse("n", "may only be 1 for this provider, which gives one answer")
        body["n"] = conversation.n
    if conversation.seed is not None:
        if quirks.seed:
            body[quirks.seed] = conversation.seed
        else:
            notes.dropped("seed")
    _stop(conversation.stop, body, quirks, notes)
    if conversation.service_tier:
        if "service_tier" in quirks.lacks:
            notes.dropped("service_tier")
        else:
            body["service_tier"] = _TIERS.get(conversation.service_tier, conversation.service_tier)


def _stop(stop: list[str], body: Json, quirks: ChatQuirks, notes: Notes) -> None:
    if stop and "stop" in quirks.lacks:
        notes.dropped("stop")
    elif stop:
        if quirks.most_stops and len(stop) > quirks.most_stops:
            notes.clamped("stop", quirks.most_stops)
            stop = stop[: quirks.most_stops]
        body["stop"] = stop


def _reasoning(
    conversation: Conversation, body: Json, quirks: ChatQuirks, family: ModelFamily | None, notes: Notes
) -> str:
    """Write how much to think, and return the effort that the model will make; empty: not known."""
    wanted = conversation.reasoning
    effort = effort_of(wanted)
    if quirks.reasoning == "openrouter":
        if wanted is not None:
            _openrouter(wanted, effort, body, quirks, notes)
        return effort
    efforts = quirks.efforts if family is None else family.efforts
    if family is not None and not family.thinks_beside_tools and "tools" in body:
        # Refused also when nothing was asked for, where the model thinks by itself.
        if effort not in {"", "none"}:
            notes.dropped("reasoning")
        if effort or family.default != "none":
            body["reasoning_effort"] = "none"
        return "none"
    if not effort:
        return family.default if family else ""
    if not quirks.reasoning or not efforts:
        if effort != "none":
            notes.dropped("reasoning")
        return ""
    if quirks.reasoning == "thinking":
        body["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
        if effort == "none" or not (wanted and wanted.effort):
            return effort
    body["reasoning_effort"] = nearest_effort(effort, efforts, notes)
    return str(body["reasoning_effort"])


def _openrouter(wanted: ReasoningOptions, effort: str, body: Json, quirks: ChatQuirks, notes: Notes) -> None:
    written: Json = {}
    if wanted.budget_tokens is not None and wanted.budget_tokens > 0:
        written["max_tokens"] = wanted.budget_tokens
    elif wanted.effort or effort == "none":
        written["effort"] = nearest_effort(effort, quirks.efforts, notes)
    elif effort:
        written["enabled"] = True
    if wanted.show is False:
        written["exclude"] = True
    if wanted.summary:
        written["summary"] = wanted.summary
    if written:
        body["reasoning"] = written


def _fit(body: Json, family: ModelFamily, effort: str, notes: Notes) -> None:
    """Take out what a family of OpenAI's refuses."""
    if family.sampling == "never" or (family.sampling == "unthinking" and effort not in {"", "none"}):
        for name, usual in _SAMPLING.items():
            if name in body and body.pop(name) != usual:
                notes.dropped(name)
    if not family.stop and body.pop("stop", None):
        notes.dropped("stop")
    if not family.parallel and body.pop("parallel_tool_calls", None) is False:
        notes.dropped("parallel_tool_calls")
    if not family.verbosity and body.pop("verbosity", None):
        notes.dropped("verbosity")
