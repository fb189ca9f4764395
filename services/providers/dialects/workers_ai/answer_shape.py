"""
What whole and streamed answers of `run` have in common: a shape of its own, and OpenAI's for newer models.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from services.providers.dialects.answer import text
from services.providers.dialects.neutral.completion import Finish
from services.providers.dialects.usage import UsageCounts, read_openai_usage

__all__ = ["FINISHES", "ReadCall", "first_choice", "found_usage", "plain", "read_call", "thoughts"]

FINISHES: Final = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}

# Id, name and arguments; empty where they are not told.
ReadCall = tuple[str, str, str]


def plain(value: Any) -> str:
    """Take an answer as text: some models answer with numbers, and with objects where JSON was asked for."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""  # nests deeper than can be written


def first_choice(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first answer of OpenAI's shape; None where the document is not in it."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        return None
    return choices[0] if choices and isinstance(choices[0], dict) else {}


def thoughts(message: dict[str, Any]) -> str:
    """Return the thoughts of a message in OpenAI's shape, under the one or the other name."""
    return text(message.get("reasoning_content")) or text(message.get("reasoning"))


def read_call(call: Any) -> ReadCall:
    """Read a tool call, in OpenAI's shape or flat."""
    if not isinstance(call, dict):
        return "", "", ""
    function = call.get("function")
    held = function if isinstance(function, dict) else call
    arguments = held.get("arguments")
    return text(call.get("id")), text(held.get("name")), plain(arguments)


def found_usage(document: dict[str, Any]) -> UsageCounts | None:
    """Read what was used, where it is told."""
    usage = document.get("usage")
    found = read_openai_usage(usage) if isinstance(usage, dict) else None
    return None if found is None or found == UsageCounts() else found
