"""Messages of an OpenAI chat request as Anthropic's system text and alternating turns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.anthropic_parts import Block, content_blocks, text_block
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
    from services.providers.dialects.anthropic_tools import ToolNames

# The least that a user turn may hold; put in where the conversation has none to start with.
_MINIMAL_USER_TEXT = "."
_CALL_ID_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_THINKING_TYPES = frozenset({"thinking", "redacted_thinking"})
_LEADING_TYPES = _THINKING_TYPES | {"tool_result"}


@dataclass(slots=True, kw_only=True)
class Conversation:
    """
    The messages, translated.

    Attributes:
        system: Blocks of the system prompt.
        turns: Alternating turns, each with a role and a list of blocks. The first is the user's.
        called: Tools that the history calls, under the names that are sent.
    """

    system: list[Block] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    def add(self, role: str, blocks: list[Block]) -> None:
        """Append to the conversation; turns of the same role become one."""
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"].extend(blocks)
        else:
            self.turns.append({"role": role, "content": blocks})

    def system_value(self) -> str | list[Block] | None:
        """Join the system prompt, unless a part of it is marked for caching."""
        if any("cache_control" in block for block in self.system):
            return self.system
        return "\n\n".join(block["text"] for block in self.system) or None


def translate_messages(document: dict[str, Any], names: ToolNames, notes: Notes) -> Conversation:
    """
    Translate the messages of a request.

    Raises:
        GatewayError: With INVALID_REQUEST or UNSUPPORTED, naming the message at fault.
    """
    conversation = Conversation()
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        invalid("messages", "must be a non-empty list")
    for index, entry in enumerate(messages):
        path = f"messages[{index}]"
        _translate(need_dict(entry, path), path, conversation, names, notes)
    for turn in conversation.turns:
        # Anthropic wants the results of calls before anything else in a user turn, and thinking before
        # anything else in an assistant turn; two messages that became one turn may have them later.
        turn["content"].sort(key=lambda block: block["type"] not in _LEADING_TYPES)
    _strip_prefill(conversation)
    if not conversation.turns or conversation.turns[0]["role"] != "user":
        notes.emulated("messages.user")
        minimal = [{"type": "text", "text": _MINIMAL_USER_TEXT}]
        conversation.turns.insert(0, {"role": "user", "content": minimal})
    return conversation


def _translate(
    message: dict[str, Any], path: str, conversation: Conversation, names: ToolNames, notes: Notes
) -> None:
    role = need_str(message, "role", path + ".")
    content = message.get("content")
    if message.get("name") is not None and role != "tool":
        notes.dropped("messages.name")
    if role in {"system", "developer"}:
        blocks = content_blocks(content, f"{path}.content", notes, media=False)
        conversation.system.extend(_marked(blocks, message))
    elif role == "user":
        if content is None:
            invalid(f"{path}.content", "must be a string or a list of parts")
        conversation.add("user", _marked(content_blocks(content, f"{path}.content", notes), message))
    elif role == "assistant":
        _assistant(message, path, conversation, names, notes)
    elif role == "tool":
        conversation.add("user", _marked([_tool_result(message, path, notes)], message))
    elif role == "function":
        unsupported(f"{path}.role", "'function' is not supported by this provider; use 'tool'")
    else:
        invalid(f"{path}.role", "must be system, developer, user, assistant or tool")


def _marked(blocks: list[Block], message: dict[str, Any]) -> list[Block]:
    """Carry a cache mark on a message over to its last block."""
    cache_control = message.get("cache_control")
    if blocks and isinstance(cache_control, dict):
        blocks[-1]["cache_control"] = cache_control
    return blocks


def _tool_result(message: dict[str, Any], path: str, notes: Notes) -> Block:
    block: Block = {
        "type": "tool_result",
        "tool_use_id": _call_id(need_str(message, "tool_call_id", path + ".")),
    }
    content = message.get("content")
    if isinstance(content, str):
        if content.strip():
            block["content"] = content
    else:
        parts = content_blocks(content, f"{path}.content", notes)
        if parts:
            block["content"] = parts
    if get_bool(message, "is_error", path + "."):
        block["is_error"] = True
    return block


def _assistant(
    message: dict[str, Any], path: str, conversation: Conversation, names: ToolNames, notes: Notes
) -> None:
    if message.get("function_call") is not None:
        unsupported(f"{path}.function_call", "is not supported by this provider; use tool_calls")
    if message.get("audio") is not None:
        unsupported(f"{path}.audio", "is not supported: this provider takes no audio")
    blocks = _thinking(message, path, notes)
    text = content_blocks(message.get("content"), f"{path}.content", notes, media=False)
    refusal = text_block(get_str(message, "refusal", path + ".") or "")
    blocks += [*text, refusal] if refusal else text
    for index, call in enumerate(get_list(message, "tool_calls", path + ".")):
        where = f"{path}.tool_calls[{index}]"
        block = _tool_use(need_dict(call, where), where, names)
        conversation.called.add(block["name"])
        blocks.append(block)
    conversation.add("assistant", _marked(blocks, message))


def _thinking(message: dict[str, Any], path: str, notes: Notes) -> list[Block]:
    """Take back the thinking that an earlier answer of ours carried; unsigned thinking is of no use."""
    blocks = []
    for index, entry in enumerate(get_list(message, "thinking_blocks", path + ".")):
        where = f"{path}.thinking_blocks[{index}]"
        block = need_dict(entry, where)
        kind = block.get("type")
        if kind not in _THINKING_TYPES:
            invalid(f"{where}.type", "must be thinking or redacted_thinking")
        if kind == "redacted_thinking":
            data = need_str(block, "data", where + ".")
            blocks.append({"type": kind, "data": data})
        elif block.get("signature"):
            signature = need_str(block, "signature", where + ".")
            thinking = get_str(block, "thinking", where + ".") or ""
            blocks.append({"type": kind, "thinking": thinking, "signature": signature})
        else:
            notes.dropped("messages.thinking_blocks")
    if not blocks and get_str(message, "reasoning_content", path + "."):
        notes.dropped("messages.reasoning_content")
    return blocks


def _tool_use(call: dict[str, Any], path: str, names: ToolNames) -> Block:
    if call.get("type") not in {None, "function"}:
        unsupported(f"{path}.type", "must be 'function' for this provider")
    function = get_dict(call, "function", path + ".")
    if function is None:
        invalid(f"{path}.function", "must be an object")
    name = need_str(function, "name", path + ".function.")
    return {
        "type": "tool_use",
        "id": _call_id(need_str(call, "id", path + ".")),
        "name": names.sent(name),
        "input": _arguments(function, path),
    }


def _arguments(function: dict[str, Any], path: str) -> dict[str, Any]:
    arguments = get_str(function, "arguments", path + ".function.") or ""
    if not arguments.strip():
        return {}
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        invalid(f"{path}.function.arguments", "must be a JSON object in text form")
    return value


def _call_id(value: str) -> str:
    """Fit an id that another provider made to Anthropic's alphabet."""
    return _CALL_ID_UNSAFE.sub("_", value)


def _strip_prefill(conversation: Conversation) -> None:
    """Anthropic refuses a last assistant turn that ends in whitespace."""
    if not conversation.turns or conversation.turns[-1]["role"] != "assistant":
        return
    last = conversation.turns[-1]["content"][-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()
