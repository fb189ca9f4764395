"""
Messages of a conversation in Cohere's dialect.
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
    from services.providers.dialects.neutral.conversation import Message, Part
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["MessageWriter"]

_SEE_BELOW = "The tool's output is in the message that follows."
_EMPTY_OUTPUT = "{}"


class MessageWriter:
    """
    Writes messages in their order.

    Args:
        names: Of tools, as they are sent.
        thinks: The model takes thoughts as content.
        notes: What is dropped or emulated.
    """

    def __init__(self, names: ToolNames, notes: Notes, *, thinks: bool) -> None:
        self._names = names
        self._notes = notes
        self._thinks = thinks
        self._system: list[str] = []
        self._messages: list[dict[str, Any]] = []
        # Images that tools gave; they follow the round's results, which must not be parted.
        self._images: list[dict[str, Any]] = []

    def add(self, message: Message) -> None:
        """Write one message."""
        if message.name:
            self._notes.dropped("messages.name")
        if message.role != "tool":
            self._flush()
        match message.role:
            case "system" | "developer":
                self._system += [part.text for part in message.parts if isinstance(part, TextPart)]
            case "user":
                self._user(message)
            case "assistant":
                self._assistant(message)
            case "tool":
                for part in message.parts:
                    if isinstance(part, ToolResultPart):
                        self._result(part, message.path)

    def instruct(self, text: str) -> None:
        """Add an instruction of ours."""
        self._system.append(text)

    def written(self) -> list[dict[str, Any]]:
        """Return all messages. What the system says comes first, as Cohere demands."""
        self._flush()
        system = "\n\n".join(text for text in self._system if text)
        head = [{"role": "system", "content": system}] if system else []
        return head + self._messages

    def _user(self, message: Message) -> None:
        blocks = [block for part in message.parts if (block := self._block(part, message.path)) is not None]
        if blocks:
            self._messages.append({"role": "user", "content": _short(blocks)})

    def _block(self, part: Part, path: str) -> dict[str, Any] | None:
        match part:
            case TextPart() | RefusalPart():
                return _text(part.text)
            case MediaPart():
                return _media(part, path)
            case ToolResultPart():
                self._result(part, path)
        return None

    def _assistant(self, message: Message) -> None:
        calls = [self._call(part) for part in message.parts if isinstance(part, ToolCallPart)]
        if any(isinstance(part, MediaPart) for part in message.parts):
            self._notes.dropped("messages.media")
        thoughts = [part for part in message.parts if isinstance(part, ReasoningPart)]
        written: dict[str, Any] = {"role": "assistant"}
        if self._thinks:
            blocks = [block for part in message.parts if (block := _spoken(part)) is not None]
            if blocks:
                written["content"] = _short(blocks)
            lost = any(not thought.text for thought in thoughts)
        else:
            blocks = [block for part in message.parts if (block := _said(part)) is not None]
            lost = self._unthinking(written, blocks, thoughts, called=bool(calls))
        if lost:
            self._notes.dropped("messages.reasoning")
        if calls:
            written["tool_calls"] = calls
        if len(written) > 1:
            self._messages.append(written)

    @staticmethod
    def _unthinking(
        written: dict[str, Any], blocks: list[dict[str, Any]], thoughts: list[ReasoningPart], *, called: bool
    ) -> bool:
        """Write what precedes a model's calls as its plan, where it has no thoughts. True: some were lost."""
        if not called:
            if blocks:
                written["content"] = _short(blocks)
            return bool(thoughts)
        plan = [thought.text for thought in thoughts if thought.text]
        plan += [block["text"] for block in blocks]
        if plan:
            written["tool_plan"] = "\n\n".join(plan)
        return any(not thought.text for thought in thoughts)

    def _call(self, part: ToolCallPart) -> dict[str, Any]:
        arguments = dump_free_text(part.arguments) if part.custom else part.arguments or "{}"
        return {
            "id": part.id,
            "type": "function",
            "function": {"name": self._names.sent(part.name), "arguments": arguments},
        }

    def _result(self, part: ToolResultPart, path: str) -> None:
        blocks: list[dict[str, Any]] = []
        shown = False
        for item in part.content:
            if isinstance(item, TextPart):
                blocks.append(_text(item.text))
            elif item.kind == "image":
                self._images.append(_media(item, path))
                shown = True
            else:
                blocks.append(_document(item, path))
        content = _short(blocks) if blocks else ""
        if part.is_error:
            content = orjson.dumps({"error": _plain(blocks)}).decode()
        elif not content:
            content = _SEE_BELOW if shown else _EMPTY_OUTPUT
        self._messages.append({"role": "tool", "tool_call_id": part.call_id, "content": content})

    def _flush(self) -> None:
        if self._images:
            self._notes.emulated("messages.content")
            self._messages.append({"role": "user", "content": self._images})
            self._images = []


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _short(blocks: list[dict[str, Any]]) -> Any:
    """Take a single text without its block, which every model reads."""
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return blocks[0]["text"]
    return blocks


def _plain(blocks: list[dict[str, Any]]) -> str:
    texts = [block["text"] if "text" in block else block["document"]["data"]["text"] for block in blocks]
    return "\n".join(texts)


def _said(part: Part) -> dict[str, Any] | None:
    return _text(part.text) if isinstance(part, TextPart | RefusalPart) and part.text else None


def _spoken(part: Part) -> dict[str, Any] | None:
    if isinstance(part, ReasoningPart):
        return {"type": "thinking", "thinking": part.text} if part.text else None
    return _said(part)


def _media(part: MediaPart, path: str) -> dict[str, Any]:
    """Write an image as it is, and a document as its text, where it stands."""
    if part.kind == "document":
        text = _document_text(part, path)
        return _text(f"{part.name}\n\n{text}" if part.name else text)
    if part.kind != "image":
        unsupported(path or "messages", f"holds {part.kind}, which Cohere's models do not read")
    if part.data:
        url = f"data:{part.media_type or 'image/png'};base64,{part.data}"
    elif part.url:
        url = part.url
    else:
        unsupported(path or "messages", "refers to a file of another provider's")
    image = {"url": url}
    if part.detail in {"auto", "low", "high"}:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _document(part: MediaPart, path: str) -> dict[str, Any]:
    """Write what a tool gave as a document, which the model can cite."""
    if part.kind != "document":
        unsupported(path or "messages", f"holds {part.kind}, which Cohere's models do not read")
    data = {"text": _document_text(part, path)}
    if part.name:
        data["title"] = part.name
    return {"type": "document", "document": {"data": data}}


def _document_text(part: MediaPart, path: str) -> str:
    text = part.text or _decoded(part)
    if not text:
        unsupported(path or "messages", "holds a document that is not plain text, which Cohere does not read")
    return text


def _decoded(part: MediaPart) -> str:
    if not part.media_type.startswith("text/"):
        return ""
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
