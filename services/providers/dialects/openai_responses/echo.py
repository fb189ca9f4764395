"""
What an answer repeats of its request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.neutral.conversation import FunctionTool
from services.providers.dialects.neutral.fields import get_int, get_list, get_str
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.dialects.neutral.conversation import Conversation

__all__ = ["LOGPROBS", "SEALS", "TIERS", "custom_tools", "read_echo", "seals_wanted", "shown_echo"]

# Values of `include` that mean something here.
LOGPROBS: Final = "message.output_text.logprobs"
SEALS: Final = "reasoning.encrypted_content"
TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_DEFAULTS: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_TOOL_DEFAULTS: Final[dict[str, Any]] = {"description": None, "parameters": None, "strict": None}
_SECRETS: Final = ("authorization", "headers")
# Members that no answer shows, for what writes it.
_ENCRYPTED, _CUSTOM = "_encrypted", "_custom_tools"
# The echo stands this deep in an event, and JSON deeper than 254 levels is not written.
_DEPTH: Final = 4


def read_echo(document: dict[str, Any], conversation: Conversation) -> dict[str, Any]:
    """
    Keep what the answer repeats, and what it is written by.

    Raises:
        GatewayError: INVALID_REQUEST; it is nested too deeply to be repeated, or of the wrong type.
    """
    get_str(document, "truncation")
    get_str(document, "prompt_cache_key")
    get_int(document, "max_tool_calls")
    echo = {name: document[name] for name in _DEFAULTS if document.get(name) is not None}
    if echo.get("service_tier") not in TIERS:
        echo.pop("service_tier", None)
    if "tools" in echo:
        echo["tools"] = [_shown_tool(tool) for tool in echo["tools"]]
    nested: Any = echo
    for _ in range(_DEPTH):
        nested = [nested]
    try:
        orjson.dumps(nested)
    except orjson.JSONEncodeError:
        invalid("body", "is nested too deeply")
    echo[_ENCRYPTED] = SEALS in get_list(document, "include")
    echo[_CUSTOM] = frozenset(
        tool.name for tool in conversation.tools if isinstance(tool, FunctionTool) and tool.custom
    )
    return echo


def shown_echo(echo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a response that repeat the request."""
    shown = {name: echo.get(name, missing) for name, missing in _DEFAULTS.items()}
    for name in ("reasoning", "text"):
        shown[name] = {**_DEFAULTS[name], **shown[name]}
    return shown


def seals_wanted(echo: Mapping[str, Any]) -> bool:
    """Tell whether the client asked for what reasoning is sealed with."""
    return bool(echo.get(_ENCRYPTED))


def custom_tools(echo: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the client's tools that take free text."""
    names: frozenset[str] = echo.get(_CUSTOM, frozenset())
    return names


def _shown_tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") == "function":
        return {**_TOOL_DEFAULTS, **tool}
    return {name: value for name, value in tool.items() if name not in _SECRETS}
