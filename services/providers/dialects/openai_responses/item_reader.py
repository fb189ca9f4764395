"""
Reads `input`: a string, or items of which several make one message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.answer import text
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.fields import get_bool, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid, unsupported
from services.providers.dialects.openai_responses.content_reader import read_content
from services.providers.dialects.openai_responses.seals import Seal, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.neutral.conversation import Part, Role
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["listed", "read_input", "reasoning_text"]

_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
}
# What stands for a part of the conversation, so that without it the rest would mean something else.
_REFUSED: Final = {
    "item_reference": "refers to a stored item, and nothing is stored here: send the item itself",
    "compaction": "holds a conversation in a form that only its own provider can read",
    "compaction_trigger": "asks for a compaction, which only OpenAI has",
}


def read_input(value: Any, notes: Notes) -> list[Message]:
    """
    Read `input`.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED.
    """
    if isinstance(value, str):
        return [Message(role="user", parts=[*read_content(value, "input")], path="input")]
    if value is None:
        return []
    if not isinstance(value, list):
        invalid("input", "must be a string or a list")
    reader = _ItemReader(notes)
    for at, item in enumerate(value):
        reader.item(need_dict(item, f"input[{at}]"), f"input[{at}]")
    return reader.finish()


def reasoning_text(item: dict[str, Any]) -> str:
    """Put the parts of a reasoning item together that may be shown."""
    parts = [part for name in ("summary", "content") for part in listed(item.get(name))]
    shown = [text(part.get("text")) for part in parts if isinstance(part, dict)]
    return "\n\n".join(filter(None, shown))


def listed(value: Any) -> list[Any]:
    """Take a list as it is and anything else as an empty one."""
    return value if isinstance(value, list) else []


class _ItemReader:
    """Puts items together to messages: what the model gave in one turn is one, results of tools are one."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._messages: list[Message] = []
        self._signatures: dict[str, str] = {}
        self._readers: dict[str, Callable[[dict[str, Any], str], None]] = {
            "message": self._message,
            "reasoning": self._reasoning,
            "function_call": self._call,
            "custom_tool_call": self._call,
            "function_call_output": self._result,
            "custom_tool_call_output": self._result,
            "image_generation_call": self._image,
        }

    def item(self, item: dict[str, Any], path: str) -> None:
        """Read one item."""
        kind = get_str(item, "type", f"{path}.") or _kind(item)
        if not kind:
            invalid(f"{path}.type", "must be a non-empty string")
        if kind in _REFUSED:
            unsupported(path, _REFUSED[kind])
        reader = self._readers.get(kind)
        if reader is None:
            # Of tools that the provider runs itself. The model's own words about them stand in messages.
            self._notes.dropped(f"input.{kind}")
            return
        reader(item, path)

    def finish(self) -> list[Message]:
        """Return the messages."""
        for message in self._messages:
            for part in message.parts:
                if isinstance(part, ToolCallPart):
                    part.signature = self._signatures.get(part.id, "")
        return self._messages

    def _message(self, item: dict[str, Any], path: str) -> None:
        role = _ROLES.get(need_str(item, "role", f"{path}."))
        if role is None:
            invalid(f"{path}.role", "must be 'user', 'assistant', 'system' or 'developer'")
        parts = read_content(item.get("content"), f"{path}.content")
        if role == "assistant":
            self._open("assistant", path).extend(parts)
        else:
            self._messages.append(Message(role=role, parts=[*parts], path=path))

    def _reasoning(self, item: dict[str, Any], path: str) -> None:
        seal = opened(get_str(item, "encrypted_content", f"{path}.") or "")
        shown = reasoning_text(item)
        if seal.call_id:
            self._signatures[seal.call_id] = seal.signature
            seal = Seal()
        if shown or seal.origin:
            self._open("assistant", path).append(
                ReasoningPart(
                    text=shown,
                    signature=seal.signature,
                    sealed=seal.sealed,
                    origin=seal.origin,
                    item_id=get_str(item, "id", f"{path}.") or "",
                )
            )

    def _call(self, item: dict[str, Any], path: str) -> None:
        custom = item["type"] == "custom_tool_call"
        self._open("assistant", path).append(
            ToolCallPart(
                id=need_str(item, "call_id", f"{path}."),
                name=need_str(item, "name", f"{path}."),
                arguments=get_str(item, "input" if custom else "arguments", f"{path}.") or "",
                custom=custom,
            )
        )

    def _result(self, item: dict[str, Any], path: str) -> None:
        content = read_content(item.get("output"), f"{path}.output")
        self._open("tool", path).append(
            ToolResultPart(
                call_id=need_str(item, "call_id", f"{path}."),
                name=get_str(item, "name", f"{path}.") or "",
                content=[
                    part if isinstance(part, TextPart | MediaPart) else TextPart(text=part.text)
                    for part in content
                ],
                is_error=get_bool(item, "is_error", f"{path}."),
                custom=item["type"] == "custom_tool_call_output",
            )
        )

    def _image(self, item: dict[str, Any], path: str) -> None:
        """Read an image that the model made. One without its data is only known to its own provider."""
        data = get_str(item, "result", f"{path}.")
        if not data:
            self._notes.dropped("input.image_generation_call")
            return
        form = get_str(item, "output_format", f"{path}.") or "png"
        media = MediaPart(kind="image", media_type=f"image/{form}", data=data)
        self._open("assistant", path).append(media)

    def _open(self, role: Role, path: str) -> list[Part]:
        if not self._messages or self._messages[-1].role != role:
            self._messages.append(Message(role=role, path=path))
        return self._messages[-1].parts


def _kind(item: dict[str, Any]) -> str:
    """Tell the kind of an item that does not say it: messages and references need not."""
    if "role" in item:
        return "message"
    return "item_reference" if isinstance(item.get("id"), str) else ""
