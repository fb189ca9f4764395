"""
Reads chat messages of every role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from services.providers.dialects.neutral.conversation import (
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.fields import (
    get_bool,
    get_dict,
    get_list,
    get_str,
    need_dict,
    need_str,
)
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.openai_chat.part_reader import cache_mark, media_from, read_content

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Role
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_messages"]

_THINKING: Final = ("thinking", "redacted_thinking")
# Members that are read, and those of our own answers that say nothing to a model when they come back.
_READ: Final = frozenset(
    {
        "annotations",
        "audio",
        "cache_control",
        "content",
        "function_call",
        "id",
        "images",
        "index",
        "is_error",
        "name",
        "prompt_cache_breakpoint",
        "reasoning",
        "reasoning_content",
        "refusal",
        "role",
        "thinking_blocks",
        "tool_call_id",
        "tool_calls",
    }
)


def read_messages(document: dict[str, Any], notes: Notes) -> list[Message]:
    """
    Read the messages of a request.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the message at fault.
    """
    entries = document.get("messages")
    if not isinstance(entries, list) or not entries:
        invalid("messages", "must be a non-empty list")
    messages = []
    custom_calls: set[str] = set()
    for index, entry in enumerate(entries):
        path = f"messages[{index}]"
        message = _message(need_dict(entry, path), path, custom_calls)
        _note_unread(entry, notes)
        messages.append(message)
        custom_calls.update(
            part.id for part in message.parts if isinstance(part, ToolCallPart) and part.custom
        )
    return messages


def _note_unread(entry: dict[str, Any], notes: Notes) -> None:
    for name, value in entry.items():
        if name not in _READ and value not in (None, "", [], {}):
            notes.dropped(f"messages.{name}")


def _message(entry: dict[str, Any], path: str, custom_calls: set[str]) -> Message:
    role = need_str(entry, "role", path + ".")
    parts: list[Part]
    if role in {"system", "developer"}:
        parts = list(read_content(entry.get("content"), f"{path}.content", media=False))
    elif role == "user":
        if entry.get("content") is None:
            invalid(f"{path}.content", "must be a string or a list of parts")
        parts = list(read_content(entry["content"], f"{path}.content"))
    elif role == "assistant":
        parts = _assistant(entry, path)
    elif role == "tool":
        parts = [_tool_result(entry, path, custom_calls)]
    elif role == "function":
        unsupported(f"{path}.role", "'function' is not supported by this provider; use 'tool'")
    else:
        invalid(f"{path}.role", "must be system, developer, user, assistant or tool")
    _mark(parts, entry, path)
    name = get_str(entry, "name", path + ".") or ""
    return Message(role=cast("Role", role), parts=parts, name="" if role == "tool" else name, path=path)


def _mark(parts: list[Part], entry: dict[str, Any], path: str) -> None:
    """Carry a cache mark on a message over to its last part that can have one."""
    mark = cache_mark(entry, path)
    if mark is None:
        return
    for part in reversed(parts):
        if isinstance(part, TextPart | MediaPart | ToolCallPart | ToolResultPart):
            part.cache = mark
            return


def _tool_result(entry: dict[str, Any], path: str, custom_calls: set[str]) -> ToolResultPart:
    call_id = need_str(entry, "tool_call_id", path + ".")
    content = read_content(entry.get("content"), f"{path}.content")
    return ToolResultPart(
        call_id=call_id,
        name=get_str(entry, "name", path + ".") or "",
        content=[TextPart(text=part.text) if isinstance(part, RefusalPart) else part for part in content],
        is_error=get_bool(entry, "is_error", path + "."),
        custom=call_id in custom_calls,
    )


def _assistant(entry: dict[str, Any], path: str) -> list[Part]:
    if entry.get("function_call") is not None:
        unsupported(f"{path}.function_call", "is not supported by this provider; use tool_calls")
    if entry.get("audio") is not None:
        unsupported(f"{path}.audio", "is not supported: this provider takes no audio")
    parts: list[Part] = list(_reasoning(entry, path))
    content = read_content(entry.get("content"), f"{path}.content", media=False)
    _cite(content, entry)
    parts += content
    refusal = get_str(entry, "refusal", path + ".")
    if refusal:
        parts.append(RefusalPart(text=refusal))
    parts += _images(entry, path)
    for index, call in enumerate(get_list(entry, "tool_calls", path + ".")):
        where = f"{path}.tool_calls[{index}]"
        parts.append(_tool_call(need_dict(call, where), where))
    return parts


def _cite(content: list[Any], entry: dict[str, Any]) -> None:
    """Give the sources of an earlier answer of ours to its text."""
    annotations = entry.get("annotations")
    texts = [part for part in content if isinstance(part, TextPart)]
    if isinstance(annotations, list) and texts:
        texts[-1].citations = [entry for entry in annotations if isinstance(entry, dict)]


def _images(entry: dict[str, Any], path: str) -> list[MediaPart]:
    """Take back the images that an earlier answer of ours carried."""
    found = []
    for index, image in enumerate(get_list(entry, "images", path + ".")):
        where = f"{path}.images[{index}]"
        source = need_dict(need_dict(image, where).get("image_url"), f"{where}.image_url")
        url = need_str(source, "url", f"{where}.image_url.")
        found.append(media_from(url, f"{where}.image_url.url", kind="image"))
    return found


def _reasoning(entry: dict[str, Any], path: str) -> list[ReasoningPart]:
    """Take back the thoughts that an earlier answer carried: with their signatures where they have any."""
    blocks = get_list(entry, "thinking_blocks", path + ".")
    if blocks:
        return [_thinking(block, f"{path}.thinking_blocks[{index}]") for index, block in enumerate(blocks)]
    for name in ("reasoning_content", "reasoning"):
        text = get_str(entry, name, path + ".")
        if text:
            return [ReasoningPart(text=text)]
    return []


def _thinking(entry: Any, path: str) -> ReasoningPart:
    block = need_dict(entry, path)
    kind = block.get("type")
    if kind not in _THINKING:
        invalid(f"{path}.type", "must be thinking or redacted_thinking")
    path += "."
    text = get_str(block, "thinking", path) or ""
    signature = get_str(block, "signature", path) or ""
    sealed = need_str(block, "data", path) if kind == "redacted_thinking" else get_str(block, "data", path)
    item_id = get_str(block, "id", path) or ""
    origin = get_str(block, "origin", path) or "anthropic"
    return ReasoningPart(
        text=text,
        signature=signature,
        sealed=sealed or "",
        origin=origin if signature or sealed or item_id else "",
        item_id=item_id,
    )


def _tool_call(call: dict[str, Any], path: str) -> ToolCallPart:
    kind = call.get("type")
    if kind not in (None, "function", "custom"):
        unsupported(f"{path}.type", "must be 'function' or 'custom'")
    kind = kind or "function"
    body = get_dict(call, kind, path + ".")
    if body is None:
        invalid(f"{path}.{kind}", "must be an object")
    where = f"{path}.{kind}."
    custom = kind == "custom"
    return ToolCallPart(
        id=need_str(call, "id", path + "."),
        name=need_str(body, "name", where),
        arguments=(get_str(body, "input", where) or "") if custom else _arguments(body, where),
        signature=_signature(call, path),
        custom=custom,
        cache=cache_mark(call, path),
    )


def _arguments(function: dict[str, Any], path: str) -> str:
    arguments = get_str(function, "arguments", path) or ""
    if not arguments.strip():
        return ""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        invalid(f"{path}arguments", "must be a JSON object in text form")
    return arguments


def _signature(call: dict[str, Any], path: str) -> str:
    """Read the signature that Gemini's calls carry in `extra_content`, as its own OpenAI endpoint has it."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    if not isinstance(google, dict):
        return ""
    return get_str(google, "thought_signature", f"{path}.extra_content.google.") or ""
