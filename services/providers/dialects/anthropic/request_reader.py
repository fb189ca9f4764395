"""
Reads a request of Anthropic messages. Messages and tools are read in modules of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.anthropic.content_reader import cache_mark
from services.providers.dialects.anthropic.message_reader import mark_last, read_messages, read_system
from services.providers.dialects.anthropic.tool_reader import read_tool_choice, read_tools
from services.providers.dialects.neutral.conversation import Conversation, ReasoningOptions, ResponseFormat
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_int,
    get_list,
    get_number,
    get_str,
    load_body,
    need_str,
)
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_request"]

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_DISPLAYS: Final = ("summarized", "omitted")
_MIN_BUDGET_TOKENS: Final = 1024
_DEFAULT_EFFORT: Final = "high"
# The widest whole number that JSON writers here put out.
_MOST: Final = (1 << 63) - 1
# Members that are read here, or that say nothing to anybody but Anthropic's own front door.
_READ: Final = frozenset(
    {
        "anthropic_version",
        "cache_control",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_ASKS_FOR_NOTHING: Final[dict[str, tuple[Any, ...]]] = {"speed": ("standard",)}
# Anthropic's name of the tier without priority → the one that everybody else has for it.
_TIERS: Final = {"standard_only": "default"}
_NAMES: Final = {
    "messages.citations": "messages.content.citations",
    "messages.is_error": "messages.content.is_error",
    "messages.reasoning": "messages.content.thinking",
    "messages.tool_calls.signature": "messages.content.id",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning": "thinking",
    "reasoning.budget_tokens": "thinking.budget_tokens",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
}


def read_request(body: bytes, notes: Notes) -> Conversation:
    """
    Read a request.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the parameter.
    """
    document = load_body(body)
    names = dict(_NAMES)
    messages = [*read_system(document, notes), *read_messages(document, notes)]
    mark = cache_mark(document, "")
    if mark is not None:
        mark_last(messages, mark)
    tools = read_tools(document, notes)
    choice, parallel = read_tool_choice(document, tools)
    tier = get_str(document, "service_tier") or ""
    conversation = Conversation(
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(document, names, notes),
        reasoning=_reasoning(document, names),
        max_tokens=_whole(document, "max_tokens", 1),
        temperature=get_number(document, "temperature", 0, 2),
        top_p=get_number(document, "top_p", 0, 1),
        top_k=_whole(document, "top_k", 0),
        stop=_stop(document),
        service_tier=_TIERS.get(tier, tier),
        include_usage=True,  # every stream of this dialect tells it
        extra=_extra(document),
    )
    _read_metadata(document, conversation)
    get_bool(document, "stream")
    notes.call(names)
    return conversation


def _whole(source: dict[str, Any], name: str, low: int, path: str = "") -> int | None:
    value = get_int(source, name, path)
    if value is not None and not low <= value <= _MOST:
        invalid(path + name, f"must be at least {low}" if value < low else "is too large")
    return value


def _stop(document: dict[str, Any]) -> list[str]:
    entries = get_list(document, "stop_sequences")
    if not all(isinstance(entry, str) for entry in entries):
        invalid("stop_sequences", "must be a list of strings")
    return [entry for entry in entries if entry]


def _extra(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in document.items()
        if name not in _READ and value not in (None, [], {}, *_ASKS_FOR_NOTHING.get(name, ()))
    }


def _read_metadata(document: dict[str, Any], conversation: Conversation) -> None:
    """Take the end user; other members are nobody's, and are reported."""
    metadata = get_dict(document, "metadata") or {}
    conversation.user = get_str(metadata, "user_id", "metadata.") or ""
    for name, value in metadata.items():
        if name != "user_id" and value is not None:
            conversation.extra[f"metadata.{name}"] = value


def _response_format(document: dict[str, Any], names: dict[str, str], notes: Notes) -> ResponseFormat | None:
    """Read `output_config.format`, or `output_format`, which came before it."""
    config = get_dict(document, "output_config") or {}
    path = "output_config.format"
    wanted = get_dict(config, "format", "output_config.")
    if wanted is None:
        path = "output_format"
        wanted = get_dict(document, "output_format")
        names["response_format"] = path
    for name, value in config.items():
        if name not in {"effort", "format"} and value is not None:
            notes.dropped(f"output_config.{name}")
    if wanted is None:
        return None
    if need_str(wanted, "type", path + ".") != "json_schema":
        notes.dropped(path)
        return None
    schema = get_dict(wanted, "schema", path + ".")
    if schema is None:
        invalid(f"{path}.schema", "must be an object")
    return ResponseFormat(
        kind="json_schema", name=get_str(wanted, "name", path + ".") or "", schema=schema or None
    )


def _reasoning(document: dict[str, Any], names: dict[str, str]) -> ReasoningOptions | None:
    config = get_dict(document, "output_config") or {}
    effort = get_str(config, "effort", "output_config.")
    if effort is not None and effort not in _EFFORTS:
        invalid("output_config.effort", f"must be one of {', '.join(_EFFORTS)}")
    thinking = get_dict(document, "thinking")
    options = ReasoningOptions(effort=effort or "")
    if thinking is None:
        if effort:
            names["reasoning"] = "output_config.effort"
        return options if effort else None
    path = "thinking."
    display = get_str(thinking, "display", path)
    if display is not None:
        if display not in _DISPLAYS:
            invalid("thinking.display", f"must be {' or '.join(_DISPLAYS)}")
        options.show = display != "omitted"
    match need_str(thinking, "type", path):
        case "adaptive":
            options.adaptive = True
            # What Anthropic takes when nothing is said; other providers take less.
            options.effort = options.effort or _DEFAULT_EFFORT
        case "enabled":
            budget = _whole(thinking, "budget_tokens", _MIN_BUDGET_TOKENS, path)
            if budget is None:
                invalid("thinking.budget_tokens", "must be an integer")
            options.budget_tokens = budget
        case "disabled" | "between_tools":
            # Thinking between tool calls is what some models do when they are told not to think.
            options.budget_tokens = 0
        case _:
            invalid("thinking.type", "must be adaptive, enabled, disabled or between_tools")
    return options
