"""Messages as Converse's system prompt and alternating turns."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.providers.dialects.converse.blocks import (
    Block,
    DocumentNames,
    cache_point,
    content_block,
    text_block,
)
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
    from services.providers.dialects.converse.families import Family
    from services.providers.dialects.neutral.conversation import CacheMark, Conversation, Message, Part
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["Turns", "read_turns"]

_CACHE_CONTROL: Final = "cache_control"
_MINIMAL_USER_TEXT: Final = "."
# A message that holds a document must hold text; a tool that gave nothing back must have said something.
_BESIDE_DOCUMENT: Final = "See the attached document."
_NO_OUTPUT: Final = "(no output)"
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_LEADING: Final = frozenset({"reasoningContent", "toolResult"})


@dataclass(slots=True, kw_only=True)
class Turns:
    """
    The messages, written.

    Attributes:
        system: Blocks of the system prompt.
        messages: Alternating, the user's first.
        calls: Whether the history holds calls of tools or results of them.
    """

    system: list[Block] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    calls: bool = False


# A block and the cache point behind it, if there is one: they move together.
Unit = list[Block]


def read_turns(conversation: Conversation, family: Family, names: ToolNames, notes: Notes) -> Turns:
    """
    Write the messages of a conversation.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the message at fault.
    """
    writer = _TurnWriter(family, names, notes)
    for message in conversation.messages:
        writer.message(message)
    return writer.done()


class _TurnWriter:
    def __init__(self, family: Family, names: ToolNames, notes: Notes) -> None:
        self._family = family
        self._names = names
        self._notes = notes
        self._documents = DocumentNames()
        self._turns = Turns()
        self._merged: list[tuple[str, list[Unit]]] = []

    def message(self, message: Message) -> None:
        if message.name and message.role != "tool":
            self._notes.dropped("messages.name")
        if message.role in {"system", "developer"}:
            for unit in self._units(message, system=True):
                self._turns.system.extend(unit)
            return
        role = "assistant" if message.role == "assistant" else "user"
        units = self._units(message)
        if not units:
            return
        if self._merged and self._merged[-1][0] == role:
            self._merged[-1][1].extend(units)
        else:
            self._merged.append((role, units))

    def done(self) -> Turns:
        self._strip_prefill()
        if not self._merged or self._merged[0][0] != "user":
            self._notes.emulated("messages.user")
            self._merged.insert(0, ("user", [[{"text": _MINIMAL_USER_TEXT}]]))
        for role, units in self._merged:
            # Models want results of calls, and thoughts, before anything else in a turn; of two messages that
            # became one turn, the second may have them. Thoughts between calls stay where the model had them.
            if not _LEADING & units[0][0].keys() or role == "user":
                units.sort(key=lambda unit: not _LEADING & unit[0].keys())
            content = [block for unit in units for block in unit]
            if any("document" in block for block in content) and not any(
                "text" in block for block in content
            ):
                content.append({"text": _BESIDE_DOCUMENT})
            self._turns.messages.append({"role": role, "content": content})
        return self._turns

    def _units(self, message: Message, *, system: bool = False) -> list[Unit]:
        units: list[Unit] = []
        place = "system" if system else "messages"
        for part in message.parts:
            block = self._system(part, message) if system else self._block(part, message)
            mark = _mark_of(part)
            if block is not None:
                units.append([block])
            if mark is not None and units:
                self._mark(units[-1], mark, place)
            elif mark is not None:
                self._notes.dropped(_CACHE_CONTROL)
        return units

    def _mark(self, unit: Unit, mark: CacheMark, place: str) -> None:
        if "cachePoint" in unit[-1]:
            return  # two marks on what became one block
        if place in self._family.caches:
            unit.append(cache_point(mark))
        else:
            self._notes.dropped(_CACHE_CONTROL)

    def _system(self, part: Part, message: Message) -> Block | None:
        if not isinstance(part, TextPart):
            unsupported(message.path, "must be text for this provider")
        return text_block(part.text)

    def _block(self, part: Part, message: Message) -> Block | None:
        match part:
            case TextPart() | RefusalPart():
                return text_block(part.text)
            case MediaPart():
                if message.role == "assistant":
                    self._notes.dropped("messages.media")
                    return None
                if part.detail not in {"", "auto"}:
                    self._notes.dropped("messages.detail")
                return content_block(part, message.path, self._documents)
            case ReasoningPart():
                return self._thought(part)
            case ToolCallPart():
                return self._call(part, message)
            case ToolResultPart():
                return self._result(part, message)

    def _thought(self, part: ReasoningPart) -> Block | None:
        own = part.origin == self._family.origin
        if own and part.sealed and _is_base64(part.sealed):
            return {"reasoningContent": {"redactedContent": part.sealed}}
        if own and part.signature:
            return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
        self._notes.dropped("messages.reasoning")
        return None

    def _call(self, part: ToolCallPart, message: Message) -> Block:
        self._turns.calls = True
        return {
            "toolUse": {
                "toolUseId": _call_id(part.id),
                "name": self._names.sent(part.name),
                "input": {"input": part.arguments} if part.custom else _arguments(part, message),
            }
        }

    def _result(self, part: ToolResultPart, message: Message) -> Block:
        self._turns.calls = True
        content = []
        for entry in part.content:
            if isinstance(entry, MediaPart) and entry.kind == "audio":
                unsupported(message.path, "holds sound, which this provider's tools do not give back")
            block = content_block(entry, message.path, self._documents)
            if block is not None:
                content.append(block)
        result: Block = {"toolUseId": _call_id(part.call_id), "content": content or [{"text": _NO_OUTPUT}]}
        if part.is_error and self._family.result_status:
            result["status"] = "error"
        elif part.is_error:
            self._notes.dropped("messages.is_error")
        return {"toolResult": result}

    def _strip_prefill(self) -> None:
        """Models refuse a last turn of their own that ends in whitespace."""
        if self._merged and self._merged[-1][0] == "assistant":
            last = self._merged[-1][1][-1][0]
            if "text" in last:
                last["text"] = last["text"].rstrip()


def _mark_of(part: Part) -> CacheMark | None:
    """Return the mark of a part; one inside a tool result stands behind it, where there is a place for it."""
    if isinstance(part, ToolResultPart):
        inner = [item.cache for item in part.content if item.cache is not None]
        return part.cache or (inner[-1] if inner else None)
    return None if isinstance(part, ReasoningPart | RefusalPart) else part.cache


def _arguments(part: ToolCallPart, message: Message) -> dict[str, Any]:
    if not part.arguments.strip():
        return {}
    try:
        value = orjson.loads(part.arguments)
    except orjson.JSONDecodeError:
        invalid(message.path, "holds a tool call whose arguments are not JSON in text form")
    return value if isinstance(value, dict) else {"value": value}


def _is_base64(value: str) -> bool:
    """Tell whether AWS can take a text for bytes; seals of Anthropic's own API need not be any."""
    try:
        return bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False


def _call_id(value: str) -> str:
    """Fit an id that another provider made to Converse's alphabet and length."""
    if _CALL_ID.fullmatch(value):
        return value
    return "call_" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
