"""
Reads `generationConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.gemini.option_writer import CONFIG_PREFIX
from services.providers.dialects.gemini.schema_reader import from_openapi
from services.providers.dialects.gemini.wire_names import camel, many
from services.providers.dialects.neutral.conversation import ReasoningOptions, ResponseFormat
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_int,
    get_list,
    get_number,
    get_str,
)
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation

__all__ = ["read_config"]

Json = dict[str, Any]

_MOST: Final = (1 << 63) - 1
_MOST_CHOICES: Final = 128
_JSON: Final = "application/json"
_LEVELS: Final = ("minimal", "low", "medium", "high", "xhigh")
# Member of `Conversation` → of the configuration.
_NAMES: Final = {
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "max_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "presence_penalty": "presencePenalty",
    "reasoning": "thinkingConfig",
    "reasoning.budget_tokens": "thinkingConfig.thinkingBudget",
    "seed": "seed",
    "stop": "stopSequences",
    "temperature": "temperature",
    "top_k": "topK",
    "top_logprobs": "logprobs",
    "top_p": "topP",
}
_SHAPE: Final = frozenset({"responseFormat", "responseJsonSchema", "responseMimeType", "responseSchema"})
_ASKS_FOR_NOTHING: Final[dict[str, tuple[Any, ...]]] = {
    "mediaResolution": ("MEDIA_RESOLUTION_UNSPECIFIED",),
    "responseModalities": (["TEXT"], ["text"]),
}


def read_config(document: Json, conversation: Conversation) -> dict[str, str]:
    """
    Read the settings into a conversation; return what the client calls them.

    Raises:
        GatewayError: INVALID_REQUEST, naming the parameter.
    """
    config = camel(get_dict(document, "generationConfig") or {})
    path = CONFIG_PREFIX
    conversation.max_tokens = _whole(config, "maxOutputTokens", 1)
    conversation.temperature = get_number(config, "temperature", 0, 2, path)
    conversation.top_p = get_number(config, "topP", 0, 1, path)
    conversation.top_k = _whole(config, "topK", 0)
    conversation.seed = _whole(config, "seed", -_MOST)
    conversation.presence_penalty = get_number(config, "presencePenalty", -2, 2, path) or None
    conversation.frequency_penalty = get_number(config, "frequencyPenalty", -2, 2, path) or None
    conversation.logprobs = get_bool(config, "responseLogprobs", path) or None
    conversation.top_logprobs = _whole(config, "logprobs", 0) or None
    conversation.stop = _stop(config)
    choices = _whole(config, "candidateCount", 1)
    if choices is not None and choices > _MOST_CHOICES:
        invalid(f"{path}candidateCount", f"must be at most {_MOST_CHOICES}")
    conversation.n = None if choices == 1 else choices
    conversation.reasoning = _reasoning(config)
    names = {member: path + name for member, name in _NAMES.items()}
    read = set(_NAMES.values()) | _read_shape(config, conversation, names)
    for name, value in config.items():
        if name not in read and value not in (None, [], {}, *_ASKS_FOR_NOTHING.get(name, ())):
            conversation.extra[path + name] = value
    return names


def _whole(config: Json, name: str, low: int) -> int | None:
    value = get_int(config, name, CONFIG_PREFIX)
    if value is not None and not low <= value <= _MOST:
        invalid(CONFIG_PREFIX + name, f"must be at least {low}" if value < low else "is too large")
    return value


def _stop(config: Json) -> list[str]:
    entries = get_list(config, "stopSequences", CONFIG_PREFIX)
    if not all(isinstance(entry, str) for entry in entries):
        invalid(f"{CONFIG_PREFIX}stopSequences", "must be a list of strings")
    return [entry for entry in entries if entry]


def _reasoning(config: Json) -> ReasoningOptions | None:
    thinking = get_dict(config, "thinkingConfig", CONFIG_PREFIX)
    if not thinking:
        return None
    path = f"{CONFIG_PREFIX}thinkingConfig."
    thinking = camel(thinking)
    budget = get_int(thinking, "thinkingBudget", path)
    if budget is not None and not -1 <= budget <= _MOST:
        invalid(f"{path}thinkingBudget", "must be -1, 0 or a number of tokens")
    level = (get_str(thinking, "thinkingLevel", path) or "").lower()
    if level == "thinking_level_unspecified":
        level = ""
    if level and level not in _LEVELS:
        invalid(f"{path}thinkingLevel", f"must be one of {', '.join(_LEVELS)}")
    # Who says nothing of them gets no thoughts from Google.
    show = bool(get_bool(thinking, "includeThoughts", path))
    return ReasoningOptions(effort=level, budget_tokens=budget, adaptive=budget == -1, show=show)


def _read_shape(config: Json, conversation: Conversation, names: dict[str, str]) -> set[str]:
    """Read the shape of the answer, wherever it stands; return the members that are done with."""
    form = _text_format(config)
    if form is not None:
        names["response_format"] = f"{CONFIG_PREFIX}responseFormat"
        conversation.response_format = form
        return {"responseFormat"}
    mime = (get_str(config, "responseMimeType", CONFIG_PREFIX) or "").strip().lower()
    name = "responseJsonSchema" if config.get("responseJsonSchema") is not None else "responseSchema"
    schema = get_dict(config, name, CONFIG_PREFIX)
    if mime not in {"", "text/plain", _JSON}:
        # Such as `text/x.enum`, which nobody else has: reported, or handed on, as it is.
        return set()
    if schema:
        if name == "responseSchema":
            schema = from_openapi(schema, CONFIG_PREFIX + name)
        names["response_format"] = CONFIG_PREFIX + name
        conversation.response_format = ResponseFormat(kind="json_schema", schema=schema)
    elif mime == _JSON:
        names["response_format"] = f"{CONFIG_PREFIX}responseMimeType"
        conversation.response_format = ResponseFormat(kind="json_object")
    return set(_SHAPE - {"responseFormat"})


def _text_format(config: Json) -> ResponseFormat | None:
    """Read `responseFormat` where all that it asks for is JSON; anything else is reported as it is."""
    entries = many(config, "responseFormat", CONFIG_PREFIX)
    if len(entries) != 1 or not isinstance(entries[0], dict) or set(entries[0]) != {"text"}:
        return None
    text = entries[0]["text"]
    text = camel(text) if isinstance(text, dict) else {}
    mime = text.get("mimeType")
    if not isinstance(mime, str) or mime.lower().replace("_", "/") != _JSON:
        return None
    schema = text.get("schema") or text.get("jsonSchema")
    if not isinstance(schema, dict):
        return ResponseFormat(kind="json_object")
    return ResponseFormat(kind="json_schema", schema=from_openapi(schema, f"{CONFIG_PREFIX}responseFormat"))
