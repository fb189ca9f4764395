"""
The settings of a request as `generationConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.gemini.schema import to_openapi
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.gemini.models import ModelProfile
    from services.providers.dialects.neutral.conversation import Conversation, ReasoningOptions
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["CONFIG_PREFIX", "write_config"]

# Members of `generationConfig` that a client of this dialect gave and that have no place in a conversation.
CONFIG_PREFIX: Final = "generationConfig."

_MAX_STOPS: Final = 5
_MAX_CHOICES: Final = 8
_MAX_TOP_LOGPROBS: Final = 20
_INT32: Final = 0x7FFF_FFFF
_MAX_TEMPERATURE: Final = 2.0
_JSON: Final = "application/json"

# What Google's own compatible API makes of the words.
_BUDGETS: Final = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 32_768,
}
_ORDER: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

Config = dict[str, Any]


def write_config(conversation: Conversation, profile: ModelProfile, notes: Notes, *, tools: bool) -> Config:
    """
    Write the settings, empty when there are none.

    Args:
        conversation: The request.
        profile: What the model takes.
        notes: What was dropped or clamped.
        tools: There are tools in the request.

    Raises:
        GatewayError: UNSUPPORTED; the model cannot do it. INVALID_REQUEST; nobody can.
    """
    config: Config = {}
    _limits(conversation, config, notes)
    _sampling(conversation, profile, config, notes)
    _choices(conversation, profile, config, notes)
    _shape(conversation, profile, config, notes, tools=tools)
    if conversation.reasoning is not None:
        thinking = _thinking(conversation.reasoning, profile, notes)
        if thinking:
            config["thinkingConfig"] = thinking
    _modalities(conversation, config)
    for name in [name for name in conversation.extra if name.startswith(CONFIG_PREFIX)]:
        config.setdefault(name.removeprefix(CONFIG_PREFIX), conversation.extra.pop(name))
    return config


def _limits(conversation: Conversation, config: Config, notes: Notes) -> None:
    if conversation.max_tokens is not None:
        config["maxOutputTokens"] = min(conversation.max_tokens, _INT32)
    stops = [stop for stop in conversation.stop if stop]
    if len(stops) > _MAX_STOPS:
        notes.clamped("stop", _MAX_STOPS)
    if stops:
        config["stopSequences"] = stops[:_MAX_STOPS]
    if conversation.seed is not None:
        seed = conversation.seed
        if not -_INT32 - 1 <= seed <= _INT32:
            # Folded and not cut off, so that different seeds stay different.
            seed &= _INT32
            notes.clamped("seed", seed)
        config["seed"] = seed


def _sampling(conversation: Conversation, profile: ModelProfile, config: Config, notes: Notes) -> None:
    for member, name in (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK")):
        value = getattr(conversation, member)
        if value is None:
            continue
        if not profile.sampling:
            notes.dropped(member)
            continue
        if member == "temperature" and value > _MAX_TEMPERATURE:
            notes.clamped(member, 2)
            value = _MAX_TEMPERATURE
        config[name] = value
    for member, name in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        value = getattr(conversation, member)
        if not value:
            continue
        if profile.penalties:
            config[name] = value
        else:
            notes.dropped(member)


def _choices(conversation: Conversation, profile: ModelProfile, config: Config, notes: Notes) -> None:
    if conversation.n is not None and conversation.n > 1:
        if not profile.choices:
            notes.refuse("n", "must be 1 for this model")
        if conversation.n > _MAX_CHOICES:
            notes.refuse("n", f"may be at most {_MAX_CHOICES} for this provider")
        config["candidateCount"] = conversation.n
    if conversation.logprobs:
        config["responseLogprobs"] = True
        if conversation.top_logprobs:
            config["logprobs"] = min(conversation.top_logprobs, _MAX_TOP_LOGPROBS)
    elif conversation.top_logprobs:
        notes.dropped("top_logprobs")


def _shape(
    conversation: Conversation, profile: ModelProfile, config: Config, notes: Notes, *, tools: bool
) -> None:
    form = conversation.response_format
    if form is None or form.kind == "text":
        return
    if tools and not profile.json_with_tools:
        notes.dropped("response_format")
        return
    config["responseMimeType"] = _JSON
    if form.schema is None:
        return
    if profile.json_schema:
        config["responseJsonSchema"] = form.schema
    else:
        config["responseSchema"] = to_openapi(form.schema, notes.name("response_format"))


def _thinking(options: ReasoningOptions, profile: ModelProfile, notes: Notes) -> Config:
    wanted = bool(options.effort) or options.budget_tokens is not None or options.adaptive
    if profile.thinking == "none":
        # Not to think is what such a model does anyway.
        if (wanted or options.show) and not _asks_for_none(options):
            notes.dropped("reasoning")
        return {}
    if options.effort and options.effort not in _BUDGETS:
        invalid(notes.name("reasoning"), f"must be one of {', '.join(_ORDER)}")
    config: Config = {}
    if profile.thinking == "level":
        level = _level(options, profile, notes)
        if level:
            config["thinkingLevel"] = level
    else:
        budget = _budget(options, profile, notes)
        if budget is not None:
            config["thinkingBudget"] = budget
    asked = options.show if options.show is not None else wanted or bool(options.summary)
    if asked and not _asks_for_none(options):
        config["includeThoughts"] = True
    return config


def _asks_for_none(options: ReasoningOptions) -> bool:
    if options.budget_tokens is not None:
        return options.budget_tokens == 0
    return options.effort == "none"


def _level(options: ReasoningOptions, profile: ModelProfile, notes: Notes) -> str:
    effort = options.effort
    if not effort and options.budget_tokens is not None and options.budget_tokens >= 0:
        effort = next(word for word in _ORDER if _BUDGETS[word] >= min(options.budget_tokens, 32_768))
    if not effort:
        return ""
    asked = _ORDER.index(effort)
    fitting = [level for level in profile.levels if _ORDER.index(level) >= asked]
    level = fitting[0] if fitting else profile.levels[-1]
    # The highest level stands for all that is higher, as with every provider.
    if level != effort and asked < _ORDER.index("high"):
        notes.clamped("reasoning", level)
    return level


def _budget(options: ReasoningOptions, profile: ModelProfile, notes: Notes) -> int | None:
    low, high = profile.budgets
    given = options.budget_tokens
    if given is None:
        given = _BUDGETS[options.effort] if options.effort else -1 if options.adaptive else None
    if given is None or given < 0:
        return given if given is None else -1
    if given == 0 and profile.can_stop:
        return 0
    budget = max(low, min(given, high))
    if budget != given and (options.budget_tokens is not None or given == 0):
        notes.clamped("reasoning", budget)
    return budget


def _modalities(conversation: Conversation, config: Config) -> None:
    """Take OpenAI's `modalities`, where they ask for more than text."""
    given = conversation.extra.get("modalities")
    if not isinstance(given, list) or not all(item in ("text", "image", "audio") for item in given):
        return
    conversation.extra.pop("modalities")
    if given not in ([], ["text"]):
        config["responseModalities"] = [item.upper() for item in given]
