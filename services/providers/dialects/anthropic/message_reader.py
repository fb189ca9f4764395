"""
Reads messages and the system prompt of a request.

Results of tools stand among the user's blocks here; they become messages of their own, before the rest of
what the user says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.anthropic.carried import read_call, read_seal
from services.providers.dialects.anthropic.content_reader import (
    cache_mark,
    drop_members,
    read_block,
    read_content,
)
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    Message,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.fields import get_bool, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid, unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import CacheMark, Part, Role
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["mark_last", "read_messages", "read_system"]

# A line for Anthropic's accounting that Claude Code puts before its prompt. It says nothing to a model, and
# another number in each request would keep every provider's prompt cache from ever being hit.
_BILLING: Final = re.compile(r"x-anthropic-billing-header:[^\n]*\n*", re.IGNORECASE)
# Blocks about tools that Anthropic runs, and about its own handling of long conversations.
_SERVER: Final = re.compile(
    r"(?:server|mcp|browser|computer)_tool_use|[a-z0-9_]+_tool_result|compaction|fallback", re.IGNORECASE
)
_MEMBERS: Final = ("caller", "toolset_name")


def read_system(document: dict[str, Any], notes: Notes) -> list[Message]:
    """
    Read the system prompt: one message, or none.

    Raises:
        GatewayError: INVALID_REQUEST, naming the block at fault.
    """
    parts = _system(document.get("system"), "system", notes)
    return [Message(role="system", parts=parts, path="system")] if parts else []


def read_messages(document: dict[str, Any], notes: Notes) -> list[Message]:
    """
    Read the messages of a request.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the message at fault.
    """
    entries = document.get("messages")
    if not isinstance(entries, list) or not entries:
        invalid("messages", "must be a non-empty list")
    messages: list[Message] = []
    for index, entry in enumerate(entries):
        path = f"messages.{index}"
        message = need_dict(entry, path)
        role = need_str(message, "role", path + ".")
        content = message.get("content")
        if not isinstance(content, str | list):
            invalid(f"{path}.content", "must be a string or a list of blocks")
        match role:
            case "system":
                _add(messages, "system", _system(content, f"{path}.content", notes), path)
            case "user":
                results, parts = _user(content, f"{path}.content", notes)
                _add(messages, "tool", results, path)
                _add(messages, "user", parts, path)
            case "assistant":
                _add(messages, "assistant", _assistant(content, f"{path}.content", notes), path)
            case _:
                invalid(f"{path}.role", "must be user, assistant or system")
    return messages


def mark_last(messages: list[Message], mark: CacheMark) -> None:
    """Put a mark on the last part that can have one, as `cache_control` of the whole request asks."""
    for message in reversed(messages):
        for part in reversed(message.parts):
            if isinstance(part, TextPart | MediaPart | ToolCallPart | ToolResultPart):
                part.cache = part.cache or mark
                return


def _add(messages: list[Message], role: Role, parts: list[Part], path: str) -> None:
    if parts:
        messages.append(Message(role=role, parts=parts, path=path))


def _system(content: Any, path: str, notes: Notes) -> list[Part]:
    parts: list[Part] = []
    for part in read_content(content, path, notes):
        if not isinstance(part, TextPart):
            unsupported(path, "may hold nothing but text")
        line = _BILLING.match(part.text)
        if line is not None:
            part.text = part.text[line.end() :]
        if part.text:
            parts.append(part)
    return parts


def _user(content: str | list[Any], path: str, notes: Notes) -> tuple[list[Part], list[Part]]:
    """Read a user's message: the results of tools, and the rest."""
    if isinstance(content, str):
        return [], [TextPart(text=content)] if content else []
    results: list[Part] = []
    rest: list[Part] = []
    for index, entry in enumerate(content):
        where = f"{path}.{index}"
        block = need_dict(entry, where)
        if block.get("type") == "tool_result":
            results.append(_tool_result(block, where, notes))
            continue
        found = read_block(block, where, notes)
        if found is None:
            _drop_server_block(block, where, notes)
        rest += found or []
    return results, rest


def _tool_result(block: dict[str, Any], path: str, notes: Notes) -> ToolResultPart:
    call_id, _ = read_call(need_str(block, "tool_use_id", path + "."))
    drop_members(block, _MEMBERS, "messages.content", notes)
    return ToolResultPart(
        call_id=call_id,
        content=read_content(block.get("content"), f"{path}.content", notes),
        is_error=get_bool(block, "is_error", path + "."),
        cache=cache_mark(block, path + "."),
    )


def _assistant(content: str | list[Any], path: str, notes: Notes) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    parts: list[Part] = []
    chars = 0
    for index, entry in enumerate(content):
        where = f"{path}.{index}"
        block = need_dict(entry, where)
        match block.get("type"):
            case "thinking":
                text = get_str(block, "thinking", where + ".") or ""
                signature = get_str(block, "signature", where + ".") or ""
                if text or signature:
                    parts.append(read_seal(signature, text=text))
            case "redacted_thinking":
                parts.append(read_seal(need_str(block, "data", where + "."), redacted=True))
            case "tool_use":
                parts.append(_tool_call(block, where, notes))
            case _:
                found = read_block(block, where, notes, start=chars)
                if found is None:
                    _drop_server_block(block, where, notes)
                parts += found or []
                chars += sum(len(part.text) for part in found or () if isinstance(part, TextPart))
    return parts


def _tool_call(block: dict[str, Any], path: str, notes: Notes) -> ToolCallPart:
    call_id, signature = read_call(need_str(block, "id", path + "."))
    drop_members(block, _MEMBERS[1:], "messages.content", notes)
    arguments = block.get("input")
    if arguments is None:
        arguments = {}
    need_dict(arguments, f"{path}.input")
    try:
        written = orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        invalid(f"{path}.input", "nests too deeply")
    return ToolCallPart(
        id=call_id,
        name=need_str(block, "name", path + "."),
        arguments=written,
        signature=signature,
        cache=cache_mark(block, path + "."),
    )


def _drop_server_block(block: dict[str, Any], path: str, notes: Notes) -> None:
    """Drop what Anthropic's own tools left in the history; anything else is the client's, and not dropped."""
    kind = need_str(block, "type", path + ".")
    if _SERVER.fullmatch(kind) is None:
        unsupported(f"{path}.type", "is not a block that this provider takes")
    notes.dropped(f"messages.content.{kind}")
