"""
Reads a chat request. Messages and tools are read in modules of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.neutral.conversation import Conversation, ReasoningOptions
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_int,
    get_number,
    get_str,
    load_body,
    need_str,
)
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.openai_chat.message_reader import read_messages
from services.providers.dialects.openai_chat.tool_reader import (
    read_response_format,
    read_tool_choice,
    read_tools,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.dialects.neutral.notes import Notes

__all__ = ["EFFORTS", "read_request"]

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_THINKING_TYPES: Final = ("enabled", "disabled", "adaptive", "between_tools")
_MIN_BUDGET_TOKENS: Final = 1024
# The widest whole number that JSON writers here put out.
_MOST: Final = (1 << 63) - 1
_MOST_CHOICES: Final = 128
# Members that are read here; every other one goes into `extra`, unless its value asks for nothing.
_READ: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
# What writers may report of messages: member → as this dialect calls it.
_NAMES: Final = {
    "messages.citations": "messages.annotations",
    "messages.detail": "messages.content.image_url.detail",
    "messages.media": "messages.images",
    "messages.reasoning": "messages.reasoning_content",
    "messages.tool_calls.signature": "messages.tool_calls.extra_content",
    "response_format.schema": "response_format.json_schema",
    "tool_choice.allowed": "tool_choice.allowed_tools",
    "tools.strict": "tools.function.strict",
}
_ASKS_FOR_NOTHING: Final[dict[str, tuple[Any, ...]]] = {
    "function_call": ("auto", "none"),
    "functions": ([],),
    "modalities": (["text"], []),
    "safety_identifier": ("",),
    "store": (False,),
}


def read_request(body: bytes, notes: Notes) -> Conversation:
    """
    Read a chat request.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    document = load_body(body)
    _refuse_sound(document)
    names = dict(_NAMES)
    messages = read_messages(document, notes)
    tools = read_tools(document)
    conversation = Conversation(
        messages=messages,
        tools=tools,
        tool_choice=read_tool_choice(document, tools),
        parallel_tool_calls=get_bool(document, "parallel_tool_calls"),
        response_format=read_response_format(document),
        reasoning=_reasoning(document, names),
        max_tokens=_max_tokens(document, names),
        service_tier=get_str(document, "service_tier") or "",
        verbosity=get_str(document, "verbosity") or "",
        metadata=get_dict(document, "metadata") or {},
    )
    _read_sampling(document, conversation)
    conversation.extra = {
        name: value
        for name, value in document.items()
        if name not in _READ and value is not None and value not in _ASKS_FOR_NOTHING.get(name, ())
    }
    _read_user(document, conversation, names)
    _read_stream_options(document, conversation)
    notes.call(names)
    return conversation


def _refuse_sound(document: dict[str, Any]) -> None:
    """Refuse what no dropping can make right: the client would get something else than it asked for."""
    modalities = document.get("modalities")
    if modalities is not None and (not isinstance(modalities, list) or "audio" in modalities):
        unsupported("modalities", "must be without audio for this provider")
    if document.get("audio") is not None:
        unsupported("audio", "is not supported by this provider")


def _whole(source: Mapping[str, Any], name: str, low: int, path: str = "") -> int | None:
    """Read a whole number that is not below a bound."""
    value = get_int(source, name, path)
    if value is None:
        return None
    if value < low:
        invalid(path + name, f"must be at least {low}")
    if value > _MOST:
        invalid(path + name, "is too large")
    return value


def _max_tokens(document: dict[str, Any], names: dict[str, str]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = _whole(document, name, 1)
        if value is not None:
            names["max_tokens"] = name
            return value
    return None


def _read_sampling(document: dict[str, Any], conversation: Conversation) -> None:
    conversation.temperature = get_number(document, "temperature", 0, 2)
    conversation.top_p = get_number(document, "top_p", 0, 1)
    conversation.top_k = _whole(document, "top_k", -1)
    conversation.stop = _stop(document)
    conversation.seed = _whole(document, "seed", -_MOST)
    # A value that asks for nothing is as good as none, and not worth a note where the target lacks it.
    conversation.presence_penalty = get_number(document, "presence_penalty", -2, 2) or None
    conversation.frequency_penalty = get_number(document, "frequency_penalty", -2, 2) or None
    conversation.logit_bias = get_dict(document, "logit_bias") or None
    conversation.logprobs = get_bool(document, "logprobs") or None
    conversation.top_logprobs = _whole(document, "top_logprobs", 0) or None
    choices = _whole(document, "n", 1)
    if choices is not None and choices > _MOST_CHOICES:
        invalid("n", f"must be at most {_MOST_CHOICES}")
    conversation.n = None if choices == 1 else choices


def _stop(document: dict[str, Any]) -> list[str]:
    stop = document.get("stop")
    if stop is None:
        return []
    entries = [stop] if isinstance(stop, str) else stop
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        invalid("stop", "must be a string or a list of strings")
    return [entry for entry in entries if entry]


def _read_user(document: dict[str, Any], conversation: Conversation, names: dict[str, str]) -> None:
    """Read who the end user is; where both names are given, the newer one stays in `extra`."""
    user = get_str(document, "user")
    newer = get_str(document, "safety_identifier")
    if user:
        conversation.user = user
    elif newer:
        conversation.user = newer
        names["user"] = "safety_identifier"
        del conversation.extra["safety_identifier"]


def _read_stream_options(document: dict[str, Any], conversation: Conversation) -> None:
    options = get_dict(document, "stream_options") or {}
    conversation.include_usage = bool(get_bool(options, "include_usage", "stream_options."))
    get_bool(document, "stream")
    for name, value in options.items():
        # Padding against eavesdroppers that nobody misses where there is none.
        if name not in {"include_usage", "include_obfuscation"} and value:
            conversation.extra[f"stream_options.{name}"] = value


def _reasoning(document: dict[str, Any], names: dict[str, str]) -> ReasoningOptions | None:
    """Read `reasoning_effort`, OpenRouter's `reasoning` and Anthropic's `thinking`; all may be there."""
    options = ReasoningOptions()
    effort = _effort(document, "reasoning_effort")
    openrouter = get_dict(document, "reasoning")
    thinking = get_dict(document, "thinking")
    if effort is None and openrouter is None and thinking is None:
        return None
    if openrouter is not None:
        names.update({"reasoning": "reasoning", "reasoning.budget_tokens": "reasoning.max_tokens"})
        _read_openrouter(openrouter, options)
    if effort is not None:
        names["reasoning"] = "reasoning_effort"
        options.effort = effort
    if thinking is not None:
        names.update({"reasoning": "thinking", "reasoning.budget_tokens": "thinking.budget_tokens"})
        _read_thinking(thinking, options)
    return None if options == ReasoningOptions() else options


def _effort(source: dict[str, Any], name: str, path: str = "") -> str | None:
    effort = get_str(source, name, path)
    if effort is not None and effort not in EFFORTS:
        invalid(path + name, f"must be one of {', '.join(EFFORTS)}")
    return effort


def _read_openrouter(source: dict[str, Any], options: ReasoningOptions) -> None:
    path = "reasoning."
    options.effort = _effort(source, "effort", path) or ""
    options.budget_tokens = _whole(source, "max_tokens", 0, path)
    options.summary = get_str(source, "summary", path) or ""
    exclude = get_bool(source, "exclude", path)
    if exclude is not None:
        options.show = not exclude
    enabled = get_bool(source, "enabled", path)
    if enabled is False:
        options.effort = "none"
    elif enabled and not options.effort and options.budget_tokens is None:
        options.adaptive = True


def _read_thinking(source: dict[str, Any], options: ReasoningOptions) -> None:
    path = "thinking."
    kind = need_str(source, "type", path)
    if kind not in _THINKING_TYPES:
        invalid("thinking.type", f"must be one of {', '.join(_THINKING_TYPES)}")
    display = get_str(source, "display", path)
    if display is not None:
        options.show = display != "omitted"
    if kind == "adaptive":
        options.adaptive = True
    elif kind == "enabled":
        budget = _whole(source, "budget_tokens", 0, path) or 0
        if budget < _MIN_BUDGET_TOKENS:
            invalid("thinking.budget_tokens", f"must be at least {_MIN_BUDGET_TOKENS}")
        options.budget_tokens = budget
    else:
        # Thinking between tool calls is what some models do when they are told not to think.
        options.budget_tokens = 0
