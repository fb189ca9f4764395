"""
Messages as a system prompt and alternating turns.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.anthropic.blocks import Block, cache_control, media_block, text_block
from services.providers.dialects.anthropic.citations import citation_of
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import invalid, unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import CacheMark, Conversation, Message, Part
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["ORIGIN", "THINKING", "Turns", "read_turns"]

# Whose signatures and seals this dialect takes back.
ORIGIN: Final = "anthropic"
THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_LEADING: Final = THINKING | {"tool_result"}
# The least that a user turn may hold; put in where the conversation has none to start with.
_MINIMAL_USER_TEXT: Final = "."
_CALL_ID_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_-]")
_HASH_CHARS: Final = 8


@dataclass(slots=True, kw_only=True)
class Turns:
    """
    The messages, written.

    Attributes:
        system: Blocks of the system prompt.
        messages: Alternating, the user's first.
        called: Tools that the history calls, under the names that are sent.
    """

    system: list[Block] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    @property
    def prefill(self) -> bool:
        """The last turn is the assistant's, to be gone on with."""
        return bool(self.messages[-1]["role"] == "assistant")

    def system_value(self) -> str | list[Block] | None:
        """Join the system prompt, unless a part of it is marked for caching."""
        if any("cache_control" in block for block in self.system):
            return self.system
        return "\n\n".join(block["text"] for block in self.system) or None


def read_turns(conversation: Conversation, names: ToolNames, notes: Notes) -> Turns:
    """
    Write the messages of a conversation.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the message at fault.
    """
    writer = _TurnWriter(names, notes)
    for message in conversation.messages:
        writer.message(message)
    return writer.done()


class _CallIds:
    """Fits ids that other providers made to Anthropic's alphabet, one to one."""

    def __init__(self) -> None:
        self._sent: dict[str, str] = {}
        self._taken: set[str] = set()

    def sent(self, call_id: str) -> str:
        found = self._sent.get(call_id)
        if found is None:
            found = _CALL_ID_UNSAFE.sub("_", call_id) or "_"
            if found in self._taken:
                digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
                found = f"{found}_{digest[:_HASH_CHARS]}"
            self._sent[call_id] = found
            self._taken.add(found)
        return found


class _TurnWriter:
    def __init__(self, names: ToolNames, notes: Notes) -> None:
        self._names = names
        self._notes = notes
        self._ids = _CallIds()
        self._turns = Turns()

    def message(self, message: Message) -> None:
        if message.name and message.role != "tool":
            self._notes.dropped("messages.name")
        blocks: list[Block] = []
        for part in message.parts:
            written = self._blocks(part, message)
            mark = None if isinstance(part, ReasoningPart | RefusalPart) else part.cache
            if mark is not None:
                self._mark(written or blocks, mark)
            blocks += written
        if message.role in {"system", "developer"}:
            self._turns.system += blocks
        elif blocks:
            self._add("assistant" if message.role == "assistant" else "user", blocks)

    def done(self) -> Turns:
        messages = self._turns.messages
        for turn in messages:
            # Anthropic wants the results of calls before anything else in a user turn, and thinking before
            # anything else in an assistant turn; two messages that became one turn may have them later.
            turn["content"].sort(key=lambda block: block["type"] not in _LEADING)
        if messages and self._turns.prefill:
            last = messages[-1]["content"][-1]
            if last["type"] == "text":
                # Anthropic refuses a last assistant turn that ends in whitespace.
                last["text"] = last["text"].rstrip()
        if not messages or messages[0]["role"] != "user":
            self._notes.emulated("messages.user")
            minimal = [{"type": "text", "text": _MINIMAL_USER_TEXT}]
            messages.insert(0, {"role": "user", "content": minimal})
        return self._turns

    def _add(self, role: str, blocks: list[Block]) -> None:
        """Append blocks; turns of the same role become one."""
        messages = self._turns.messages
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})

    def _mark(self, blocks: list[Block], mark: CacheMark) -> None:
        """Put a mark on the last of some blocks; the text that had it may have been left out as empty."""
        if blocks and blocks[-1]["type"] not in THINKING:
            blocks[-1]["cache_control"] = cache_control(mark)
        else:
            self._notes.dropped("cache_control")

    def _blocks(self, part: Part, message: Message) -> list[Block]:
        match part:
            case TextPart():
                return self._text(part)
            case RefusalPart():
                block = text_block(part.text)
                return [block] if block is not None else []
        if message.role in {"system", "developer"}:
            unsupported(message.path or "messages", "must be text for this provider")
        match part:
            case MediaPart():
                return self._media(part, message)
            case ReasoningPart():
                return self._thought(part)
            case ToolCallPart():
                return [self._call(part, message)]
        return [self._result(part, message)]

    def _text(self, part: TextPart) -> list[Block]:
        block = text_block(part.text)
        if block is None:
            return []
        # A source without the index that only Anthropic can read is none of its own, and it takes no other.
        cited = [citation_of(entry) for entry in part.citations]
        own = [entry for entry in cited if entry is not None and entry["encrypted_index"]]
        if own:
            block["citations"] = own
        if len(own) < len(cited):
            self._notes.dropped("messages.citations")
        return [block]

    def _media(self, part: MediaPart, message: Message) -> list[Block]:
        if message.role == "assistant":
            # The model makes none, so it takes none back.
            self._notes.dropped("messages.media")
            return []
        return [media_block(part, message.path or "messages", self._notes)]

    def _thought(self, part: ReasoningPart) -> list[Block]:
        blocks: list[Block] = []
        own = part.origin == ORIGIN
        if own and part.signature:
            blocks.append({"type": "thinking", "thinking": part.text, "signature": part.signature})
        if own and part.sealed:
            blocks.append({"type": "redacted_thinking", "data": part.sealed})
        if not blocks and (part.text or part.signature or part.sealed):
            # Thoughts count only with a signature of the provider's own.
            self._notes.dropped("messages.reasoning")
        return blocks

    def _call(self, part: ToolCallPart, message: Message) -> Block:
        name = self._names.sent(part.name)
        self._turns.called.add(name)
        if part.signature:
            # Calls are signed by others only; Anthropic signs the thoughts before them.
            self._notes.dropped("messages.tool_calls.signature")
        return {
            "type": "tool_use",
            "id": self._ids.sent(part.id),
            "name": name,
            "input": {"input": part.arguments} if part.custom else _arguments(part, message),
        }

    def _result(self, part: ToolResultPart, message: Message) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": self._ids.sent(part.call_id)}
        if len(part.content) == 1 and isinstance(part.content[0], TextPart) and part.content[0].cache is None:
            if part.content[0].text.strip():
                block["content"] = part.content[0].text
        else:
            content = [entry for piece in part.content for entry in self._result_content(piece, message)]
            if content:
                block["content"] = content
        if part.is_error:
            block["is_error"] = True
        return block

    def _result_content(self, piece: TextPart | MediaPart, message: Message) -> list[Block]:
        block = (
            text_block(piece.text)
            if isinstance(piece, TextPart)
            else media_block(piece, message.path or "messages", self._notes)
        )
        if block is None:
            return []
        if piece.cache is not None:
            block["cache_control"] = cache_control(piece.cache)
        return [block]


def _arguments(part: ToolCallPart, message: Message) -> dict[str, Any]:
    if not part.arguments.strip():
        return {}
    try:
        value = orjson.loads(part.arguments)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        invalid(message.path or "messages", "holds a tool call whose arguments are not a JSON object")
    return value
