"""Tools of an OpenAI chat request as tools of Anthropic messages, with names that fit and a way back."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from services.providers.dialects.chat_request import (
    Notes,
    get_bool,
    get_dict,
    get_list,
    get_str,
    invalid,
    need_dict,
    need_str,
    unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Tool = dict[str, Any]

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ILLEGAL_CHARACTER = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_CHARS = 64
_HASH_CHARS = 8
# Tools that Anthropic runs or defines itself carry the date of their version.
_BUILT_IN = re.compile(r"[a-z0-9_]+_20\d{6}")
_MODES = {"auto": "auto", "required": "any", "none": "none"}


class ToolNames:
    """
    Fits tool names to Anthropic's alphabet and length, one to one.

    A name that fits stays as it is. Another gets a hash of itself, so that it is the same in every request
    (prompt caches hold) and no two become one.

    Args:
        names: Every name in the request. Those that fit are never given to another.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = set(names)
        self._sent = {name: name for name in names if _LEGAL_NAME.fullmatch(name)}
        taken = set(self._sent)
        for name in sorted(names - taken):
            self._sent[name] = self._fit(name, taken)
            taken.add(self._sent[name])

    @staticmethod
    def _fit(name: str, taken: set[str]) -> str:
        stem = _ILLEGAL_CHARACTER.sub("_", name)[: _MAX_NAME_CHARS - _HASH_CHARS - 1]
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        for start in range(0, len(digest) - _HASH_CHARS, _HASH_CHARS):
            candidate = f"{stem}_{digest[start : start + _HASH_CHARS]}"
            if candidate not in taken:
                return candidate
        return digest

    def sent(self, name: str) -> str:
        """Return the name under which a tool is sent."""
        return self._sent.get(name) or self._fit(name, set(self._sent.values()))

    def fresh(self, name: str) -> str:
        """Return a name that no tool of the request has."""
        taken = set(self._sent.values())
        return name if name not in taken else self._fit(name, taken)

    def changed(self) -> dict[str, str]:
        """Return the names that were changed: as sent → as the client has them."""
        return {sent: name for name, sent in self._sent.items() if sent != name}


def tool_names(document: dict[str, Any]) -> set[str]:
    """Collect every tool name in a request; what is malformed is reported where it is translated."""
    names: set[str] = set()
    _collect(document.get("tools"), names)
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            _collect(message.get("tool_calls"), names)
    choice = document.get("tool_choice")
    _collect([choice], names)
    return names


def _collect(entries: Any, names: set[str]) -> None:
    for entry in entries if isinstance(entries, list) else ():
        function = entry.get("function") if isinstance(entry, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name:
            names.add(name)


def translate_tools(
    document: dict[str, Any], names: ToolNames, notes: Notes, *, strict_tools: bool
) -> list[Tool]:
    """
    Translate tool definitions.

    Args:
        document: The request.
        names: Names as they are sent.
        notes: Where changes are recorded.
        strict_tools: The model takes `strict` on a tool.
    """
    tools = []
    for index, entry in enumerate(get_list(document, "tools")):
        path = f"tools[{index}]"
        definition = need_dict(entry, path)
        kind = need_str(definition, "type", path + ".")
        if kind == "function":
            tools.append(_function(definition, path, names, notes, strict_tools=strict_tools))
        elif _BUILT_IN.fullmatch(kind):
            tools.append(definition)
        else:
            notes.dropped(f"{path}.{kind}")
    return tools


def _function(entry: Tool, path: str, names: ToolNames, notes: Notes, *, strict_tools: bool) -> Tool:
    function = need_dict(entry.get("function"), f"{path}.function")
    path = f"{path}.function."
    tool: Tool = {"name": names.sent(need_str(function, "name", path))}
    description = get_str(function, "description", path)
    if description:
        tool["description"] = description
    schema = get_dict(function, "parameters", path)
    if not schema:
        schema = {"type": "object", "properties": {}}
    elif "type" not in schema:
        schema = {"type": "object", **schema}
    tool["input_schema"] = schema
    if get_bool(function, "strict", path):
        if strict_tools:
            tool["strict"] = True
        else:
            notes.dropped("tools.function.strict")
    cache_control = entry.get("cache_control") or function.get("cache_control")
    if isinstance(cache_control, dict):
        tool["cache_control"] = cache_control
    return tool


def translate_tool_choice(
    document: dict[str, Any], tools: list[Tool], names: ToolNames, notes: Notes
) -> tuple[list[Tool], dict[str, Any] | None]:
    """Translate `tool_choice` and `parallel_tool_calls`; returns the tools that remain, and the choice."""
    choice = document.get("tool_choice")
    parallel = get_bool(document, "parallel_tool_calls")
    if not tools:
        if choice is not None and choice not in ("auto", "none"):
            notes.dropped("tool_choice")
        return tools, None
    translated: dict[str, Any] | None = None
    if isinstance(choice, str):
        if choice not in _MODES:
            invalid("tool_choice", "must be 'auto', 'none', 'required' or name a tool")
        translated = {"type": _MODES[choice]}
    elif choice is not None:
        tools, translated = _object_choice(need_dict(choice, "tool_choice"), tools, names, notes)
    if parallel is False and (translated is None or translated["type"] != "none"):
        translated = {**(translated or {"type": "auto"}), "disable_parallel_tool_use": True}
    return tools, translated


def _object_choice(
    choice: dict[str, Any], tools: list[Tool], names: ToolNames, notes: Notes
) -> tuple[list[Tool], dict[str, Any]]:
    kind = need_str(choice, "type", "tool_choice.")
    if kind == "function":
        function = need_dict(choice.get("function"), "tool_choice.function")
        name = names.sent(need_str(function, "name", "tool_choice.function."))
        if all(tool.get("name") != name for tool in tools):
            invalid("tool_choice.function.name", "names no tool of this request")
        return tools, {"type": "tool", "name": name}
    if kind != "allowed_tools":
        unsupported("tool_choice.type", "is not supported by this provider")
    allowed = need_dict(choice.get("allowed_tools"), "tool_choice.allowed_tools")
    wanted: set[str] = set()
    _collect(get_list(allowed, "tools", "tool_choice.allowed_tools."), wanted)
    sent = {names.sent(name) for name in wanted}
    kept = [tool for tool in tools if tool.get("name") in sent]
    if not kept:
        invalid("tool_choice.allowed_tools.tools", "names no tool of this request")
    notes.emulated("tool_choice.allowed_tools")
    mode = get_str(allowed, "mode", "tool_choice.allowed_tools.") or "auto"
    if mode not in {"auto", "required"}:
        invalid("tool_choice.allowed_tools.mode", "must be 'auto' or 'required'")
    return kept, {"type": _MODES[mode]}
