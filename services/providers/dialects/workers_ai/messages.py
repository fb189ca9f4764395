"""
Messages of a conversation as `run` takes them: OpenAI's shape, with a text in every message.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import orjson

from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.free_text import dump_free_text
from services.providers.dialects.neutral.notes import unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Conversation, Message, Part
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["write_messages"]

_SEE_BELOW = "The tool's output is in the message that follows."


def write_messages(conversation: Conversation, names: ToolNames, notes: Notes) -> list[dict[str, Any]]:
    """
    Write all messages in their order.

    Raises:
        GatewayError: UNSUPPORTED for sound, film, and what is not here.
    """
    writer = _Writer(names, notes)
    for message in conversation.messages:
        writer.add(message)
    return writer.written()


class _Writer:
    def __init__(self, names: ToolNames, notes: Notes) -> None:
        self._names = names
        self._notes = notes
        self._messages: list[dict[str, Any]] = []
        self._called: dict[str, str] = {}  # id of a call → the tool's name
        # Images that tools gave; they follow the round's results, which must not be parted.
        self._images: list[dict[str, Any]] = []

    def add(self, message: Message) -> None:
        if message.name:
            self._notes.dropped("messages.name")
        if message.role != "tool":
            self._flush()
        match message.role:
            case "system" | "developer":
                self._put("system", "\n\n".join(_texts(message.parts)))
            case "user":
                self._user(message)
            case "assistant":
                self._assistant(message)
            case "tool":
                for part in message.parts:
                    if isinstance(part, ToolResultPart):
                        self._result(part, message.path)

    def written(self) -> list[dict[str, Any]]:
        self._flush()
        return self._messages

    def _put(self, role: str, content: Any, **more: Any) -> None:
        self._messages.append({"role": role, "content": content, **more})

    def _user(self, message: Message) -> None:
        blocks: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolResultPart):
                self._result(part, message.path)
            elif isinstance(part, MediaPart):
                if part.detail not in {"", "auto"}:
                    self._notes.dropped("messages.detail")
                blocks.append(_media(part, message.path))
            elif isinstance(part, TextPart | RefusalPart):
                blocks.append(_text(part.text))
        self._flush()
        if blocks:
            self._put("user", _short(blocks))

    def _assistant(self, message: Message) -> None:
        if any(isinstance(part, MediaPart) for part in message.parts):
            self._notes.dropped("messages.media")
        if any(isinstance(part, ReasoningPart) for part in message.parts):
            self._notes.dropped("messages.reasoning")
        calls = [self._call(part) for part in message.parts if isinstance(part, ToolCallPart)]
        text = "\n\n".join(text for text in _texts(message.parts) if text)
        if calls:
            self._put("assistant", text, tool_calls=calls)
        elif text:
            self._put("assistant", text)

    def _call(self, part: ToolCallPart) -> dict[str, Any]:
        name = self._names.sent(part.name)
        self._called[part.id] = name
        arguments = dump_free_text(part.arguments) if part.custom else part.arguments or "{}"
        return {"id": part.id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _result(self, part: ToolResultPart, path: str) -> None:
        texts: list[str] = []
        for item in part.content:
            if isinstance(item, TextPart):
                texts.append(item.text)
            elif item.kind == "image":
                self._images.append(_media(item, path))
            else:
                texts.append(_media(item, path)["text"])
        content = "\n".join(texts)
        if part.is_error:
            content = orjson.dumps({"error": content}).decode()
        elif not content:
            content = _SEE_BELOW if self._images else "{}"
        name = self._names.sent(part.name) if part.name else self._called.get(part.call_id, "")
        named = {"name": name} if name else {}
        self._put("tool", content, tool_call_id=part.call_id, **named)

    def _flush(self) -> None:
        if self._images:
            self._notes.emulated("messages.content")
            self._put("user", self._images)
            self._images = []


def _texts(parts: list[Part]) -> list[str]:
    return [part.text for part in parts if isinstance(part, TextPart | RefusalPart)]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _short(blocks: list[dict[str, Any]]) -> Any:
    """Take text as one string, which every model reads; blocks are for models that see."""
    if all(block["type"] == "text" for block in blocks):
        return "\n\n".join(block["text"] for block in blocks)
    return blocks


def _media(part: MediaPart, path: str) -> dict[str, Any]:
    """Write an image by its bytes, and a document as its text, where it stands."""
    where = path or "messages"
    if part.kind == "document":
        text = part.text or _decoded(part)
        if not text:
            unsupported(where, "holds a document that is not plain text, which Workers AI does not read")
        return _text(f"{part.name}\n\n{text}" if part.name else text)
    if part.kind != "image":
        unsupported(where, f"holds {part.kind}, which Workers AI's chat models do not read")
    if not part.data:
        unsupported(where, "holds an image without its bytes, which Workers AI does not fetch")
    url = f"data:{part.media_type or 'image/png'};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _decoded(part: MediaPart) -> str:
    if not part.media_type.startswith("text/"):
        return ""
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
