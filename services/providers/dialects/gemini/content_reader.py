"""
Reads `contents` and the system instruction.

Calls and results may come without ids here: a result then answers the first call of its function that has
none yet. Calls get ids by their place, so that the same history reads the same in every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.providers.dialects.gemini.part_reader import (
    dump_arguments,
    note_unread,
    read_content_part,
    read_response,
)
from services.providers.dialects.gemini.signatures import ORIGIN, restored
from services.providers.dialects.gemini.wire_names import camel, many, need_camel
from services.providers.dialects.neutral.conversation import (
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.fields import get_bool, get_dict, get_str, need_dict, need_str
from services.providers.dialects.neutral.notes import invalid, unsupported

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Part, Role
    from services.providers.dialects.neutral.notes import Notes

__all__ = ["read_contents", "read_system"]

Json = dict[str, Any]

_USERS: Final = frozenset({"user", "function", "tool"})


def read_system(document: Json, notes: Notes) -> list[Message]:
    """
    Read the system instruction: one message, or none.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the part at fault.
    """
    path = "systemInstruction"
    value = document.get(path)
    if isinstance(value, str):
        value = {"parts": [{"text": value}]}
    if value is None:
        return []
    parts: list[Part] = []
    for where, part in _parts(need_camel(value, path), path, notes):
        found = read_content_part(part, where)
        if isinstance(found, TextPart):
            parts.append(found)
        elif found is not None or "functionCall" in part or "functionResponse" in part:
            unsupported(where, "may hold nothing but text")
    return [Message(role="system", parts=parts, path=path)] if parts else []


def read_contents(document: Json, notes: Notes) -> list[Message]:
    """
    Read the turns of a conversation.

    Raises:
        GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the part at fault.
    """
    reader = _Reader(notes)
    for index, entry in enumerate(many(document, "contents")):
        path = f"contents[{index}]"
        reader.take(need_camel(entry, path), path)
    if not reader.messages:
        invalid("contents", "must be a non-empty list with parts")
    return reader.messages


def _parts(content: Json, path: str, notes: Notes) -> list[tuple[str, Json]]:
    """List the parts of an entry, each with its path."""
    found = []
    for index, entry in enumerate(many(content, "parts", path + ".")):
        where = f"{path}.parts[{index}]"
        part = camel(need_dict(entry, where))
        note_unread(part, where, notes)
        found.append((where, part))
    return found


class _Reader:
    """Reads the entries of one request, in their order."""

    def __init__(self, notes: Notes) -> None:
        self.messages: list[Message] = []
        self._notes = notes
        self._calls: dict[str, str] = {}  # id → name
        self._open: dict[str, list[str]] = {}  # name → ids of calls without a result

    def take(self, content: Json, path: str) -> None:
        """Read one entry."""
        role = get_str(content, "role", path + ".") or "user"
        parts = _parts(content, path, self._notes)
        if role == "model":
            last = self.messages[-1] if self.messages else None
            # A client that kept the events of a stream gives each back as a turn of its own.
            message = last if last is not None and last.role == "assistant" else None
            told = message.parts if message else []
            for where, part in parts:
                self._model_part(part, where, told)
            if message is None:
                self._add("assistant", told, path)
        elif role in _USERS:
            self._user(parts, path)
        else:
            invalid(f"{path}.role", "must be user or model")

    def _add(self, role: Role, parts: list[Part], path: str) -> None:
        if parts:
            self.messages.append(Message(role=role, parts=parts, path=path))

    def _user(self, parts: list[tuple[str, Json]], path: str) -> None:
        results: list[Part] = []
        rest: list[Part] = []
        for where, part in parts:
            if part.get("functionResponse") is not None:
                results.append(self._result(part["functionResponse"], f"{where}.functionResponse"))
                continue
            if part.get("functionCall") is not None:
                invalid(f"{where}.functionCall", "may stand in turns of the model only")
            found = read_content_part(part, where)
            if found is not None:
                rest.append(found)
        self._add("tool", results, path)
        self._add("user", rest, path)

    def _result(self, value: Any, path: str) -> ToolResultPart:
        response = need_camel(value, path)
        name = get_str(response, "name", path + ".") or ""
        call_id = get_str(response, "id", path + ".") or ""
        if call_id not in self._calls:
            waiting = self._open.get(name)
            if not waiting:
                invalid(path, "answers no call of this conversation")
            call_id = waiting[0]
        name = self._calls[call_id]
        if call_id in self._open[name]:
            self._open[name].remove(call_id)
        content, is_error = read_response(response, path, self._notes)
        return ToolResultPart(call_id=call_id, name=name, content=content, is_error=is_error)

    def _model_part(self, part: Json, path: str, told: list[Part]) -> None:
        signature = get_str(part, "thoughtSignature", path + ".") or ""
        if part.get("functionResponse") is not None:
            invalid(f"{path}.functionResponse", "may stand in turns of the user only")
        if get_bool(part, "thought", path + "."):
            _think(told, get_str(part, "text", path + ".") or "", signature)
        elif part.get("functionCall") is not None:
            self._call(part["functionCall"], f"{path}.functionCall", signature, told)
        else:
            _think(told, "", signature)
            found = read_content_part(part, path)
            last = told[-1] if told else None
            if isinstance(found, TextPart) and isinstance(last, TextPart):
                last.text += found.text
            elif found is not None:
                told.append(found)

    def _call(self, value: Any, path: str, signature: str, told: list[Part]) -> None:
        call = need_camel(value, path)
        name = need_str(call, "name", path + ".")
        call_id = get_str(call, "id", path + ".") or self._made_id()
        own = restored(signature).origin == ORIGIN if signature else False
        if not own:
            _think(told, "", signature)
        arguments = get_dict(call, "args", path + ".") or {}
        told.append(
            ToolCallPart(
                id=call_id,
                name=name,
                arguments=dump_arguments(arguments, f"{path}.args"),
                signature=signature if own else "",
            )
        )
        self._calls[call_id] = name
        self._open.setdefault(name, []).append(call_id)

    def _made_id(self) -> str:
        number = len(self._calls)
        while (made := f"call_{number}") in self._calls:
            number += 1
        return made


def _think(told: list[Part], text: str, signature: str) -> None:
    """Add thoughts; those in a row are one, up to a signature."""
    if not text and not signature:
        return
    last = told[-1] if told else None
    if not isinstance(last, ReasoningPart) or last.origin:
        last = ReasoningPart()
        told.append(last)
    last.text += text
    if signature:
        found = restored(signature)
        last.signature, last.sealed = found.signature, found.sealed
        last.origin, last.item_id = found.origin, found.item_id
