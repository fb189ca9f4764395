"""
Writes how to sample, how long the answer may be, how much to think and what else the answer is to hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import ReasoningPart
from services.providers.dialects.neutral.efforts import nearest_effort
from services.providers.dialects.openai_chat.option_writer import effort_of
from services.providers.dialects.openai_responses.echo import LOGPROBS, SEALS, TIERS
from services.providers.dialects.openai_responses.seals import OPENAI

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.openai_chat.models import ModelFamily

__all__ = ["takes_marks", "write_options"]

Json = dict[str, Any]
# Responses have no place for them.
_LACKS: Final = (
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
)
# What models that think refuse, unless it asks for what they do anyway.
_SAMPLING: Final = {"temperature": 1, "top_p": 1, "top_logprobs": 0}
_VERBOSITIES: Final = ("low", "medium", "high")
_FEWEST_TOKENS: Final = 16
_SUMMARIES: Final = ("auto", "concise", "detailed")
# Anthropic's word for what OpenAI calls its usual tier.
_TIERS: Final = {"standard_only": "default"}
# Members that conversations do not have, and that responses understand.
_TAKES: Final = (
    "access_programs",
    "context_management",
    "image",
    "max_tool_calls",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "truncation",
)
_MARKS: Final = re.compile(r"gpt-(?:5\.(?:[6-9]|\d\d)|[6-9]|\d\d)")


def takes_marks(model: str) -> bool:
    """Tell whether a model takes marks of what its provider is to cache."""
    return _MARKS.search(model) is not None


def write_options(conversation: Conversation, body: Json, family: ModelFamily, notes: Notes) -> None:
    """
    Write options into a request that has its tools already.

    Raises:
        GatewayError: UNSUPPORTED; several answers are asked for.
    """
    if conversation.n is not None and conversation.n > 1:
        notes.refuse("n", "may only be 1 for OpenAI's responses, which give one answer")
    for name in _LACKS:
        if getattr(conversation, name) not in (None, [], {}):
            notes.dropped(name)
    include: list[str] = []
    effort = _reasoning(conversation, body, include, family, notes)
    for name in ("temperature", "top_p"):
        if (value := getattr(conversation, name)) is not None:
            body[name] = value
    if conversation.logprobs:
        include.append(LOGPROBS)
        body["top_logprobs"] = conversation.top_logprobs or 0
    _limit(conversation, body, notes)
    _labels(conversation, body, notes)
    for name in _TAKES:
        if name in conversation.extra:
            body[name] = conversation.extra.pop(name)
    _fit(body, include, family, effort, notes)
    if include:
        body["include"] = include


def _reasoning(
    conversation: Conversation, body: Json, include: list[str], family: ModelFamily, notes: Notes
) -> str:
    """Write how much to think, and return the effort that the model will make; empty: not known."""
    wanted = conversation.reasoning
    effort = effort_of(wanted)
    if not family.efforts:
        if effort not in {"", "none"}:
            notes.dropped("reasoning")
        return "none"
    written: Json = {}
    if effort:
        written["effort"] = effort = nearest_effort(effort, family.efforts, notes)
    # A summary is asked for only where thoughts are: some accounts may not.
    if wanted is not None and effort != "none" and (wanted.show or wanted.summary):
        written["summary"] = wanted.summary if wanted.summary in _SUMMARIES else "auto"
    if written:
        body["reasoning"] = written
    effort = effort or (family.default if family.prefix else "")
    if _replays(conversation) or (effort != "none" and (written or effort)):
        include.append(SEALS)
    return effort


def _replays(conversation: Conversation) -> bool:
    return any(
        isinstance(part, ReasoningPart) and part.sealed and part.origin == OPENAI
        for message in conversation.messages
        for part in message.parts
    )


def _limit(conversation: Conversation, body: Json, notes: Notes) -> None:
    limit = conversation.max_tokens
    if limit is None:
        return
    body["max_output_tokens"] = max(limit, _FEWEST_TOKENS)
    if limit < _FEWEST_TOKENS:
        notes.clamped("max_tokens", _FEWEST_TOKENS)


def _labels(conversation: Conversation, body: Json, notes: Notes) -> None:
    if conversation.verbosity in _VERBOSITIES:
        body.setdefault("text", {})["verbosity"] = conversation.verbosity
    elif conversation.verbosity:
        notes.dropped("verbosity")
    if conversation.user:
        body["user"] = conversation.user
    labels = {name: value for name, value in conversation.metadata.items() if isinstance(value, str)}
    if labels:
        body["metadata"] = labels
    if len(labels) < len(conversation.metadata):
        notes.dropped("metadata")
    tier = _TIERS.get(conversation.service_tier, conversation.service_tier)
    if tier in TIERS:
        body["service_tier"] = tier
    elif tier:
        notes.dropped("service_tier")


def _fit(body: Json, include: list[str], family: ModelFamily, effort: str, notes: Notes) -> None:
    """Take out what a family of OpenAI's refuses."""
    if family.sampling == "never" or (family.sampling == "unthinking" and effort not in {"", "none"}):
        for name, usual in _SAMPLING.items():
            if name in body and body.pop(name) != usual:
                notes.dropped(name)
        if LOGPROBS in include:
            include.remove(LOGPROBS)
            notes.dropped("logprobs")
    if not family.parallel and body.pop("parallel_tool_calls", None) is False:
        notes.dropped("parallel_tool_calls")
    if not family.verbosity and "verbosity" in body.get("text", {}):
        if body["text"].pop("verbosity") != "medium":
            notes.dropped("verbosity")
        if not body["text"]:
            del body["text"]
