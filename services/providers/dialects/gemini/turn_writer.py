"""
Messages as `contents`: turns of user and model in alternation, results of tools in a turn of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.providers.dialects.gemini.part_writer import (
    arguments_of,
    call_part,
    media_part,
    result_part,
)
from services.providers.dialects.gemini.signatures import ORIGIN, SKIP, is_signature
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from services.providers.dialects.neutral.notes import invalid

if TYPE_CHECKING:
    from services.providers.dialects.gemini.models import ModelProfile
    from services.providers.dialects.neutral.conversation import Conversation, Message
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["Turns"]

Json = dict[str, Any]


@dataclass(slots=True)
class _Calls:
    """The calls of a turn of the model's, and the results that have come for them."""

    order: list[str] = field(default_factory=list)
    results: dict[str, list[Json]] = field(default_factory=dict)
    media: list[Json] = field(default_factory=list)


class Turns:
    """
    Writes the messages of one request.

    Args:
        profile: What the model takes.
        names: Of tools, as they are sent.
        notes: What was dropped.
        vertex: Calls and results have no ids, which Vertex AI does not know.
    """

    def __init__(self, profile: ModelProfile, names: ToolNames, notes: Notes, *, vertex: bool) -> None:
        self._profile = profile
        self._names = names
        self._notes = notes
        self._vertex = vertex
        self._system: list[Json] = []
        self._entries: list[Json] = []
        self._called: dict[str, str] = {}
        self._open = _Calls()
        self._held: list[Json] = []

    def write(self, conversation: Conversation) -> tuple[list[Json], list[Json]]:
        """
        Return the parts of the system instruction, and the entries of `contents`.

        Raises:
            GatewayError: INVALID_REQUEST or UNSUPPORTED, naming the message.
        """
        for message in conversation.messages:
            self._message(message)
        self._close_round()
        if not self._entries or self._entries[0]["role"] != "user":
            self._insert_turn()
        if self._entries[-1]["role"] == "model" and not self._profile.prefill:
            self._notes.refuse("messages", "may not end with the assistant's message for this model")
        self._sign()
        self._fill()
        return self._system_parts(), self._entries

    def _message(self, message: Message) -> None:
        if message.name:
            self._notes.dropped("messages.name")
        match message.role:
            case "system" | "developer":
                for part in message.parts:
                    self._system_part(part)
            case "assistant":
                self._close_round()
                self._add("model", self._model_parts(message))
                self._open = _Calls(order=[p.id for p in message.parts if isinstance(p, ToolCallPart)])
            case _:
                for part in message.parts:
                    self._user_part(part, message)

    def _system_part(self, part: object) -> None:
        if isinstance(part, TextPart):
            if part.text:
                self._system.append({"text": part.text})
        else:
            self._notes.dropped("messages")

    def _system_parts(self) -> list[Json]:
        if self._profile.system or not self._system:
            return self._system
        # Such a model has no place for it but the first thing that the user says.
        self._notes.emulated("messages")
        first = self._entries[0]
        first["parts"] = [*self._system, *first["parts"]]
        return []

    def _user_part(self, part: object, message: Message) -> None:
        match part:
            case TextPart():
                if part.text:
                    self._held.append({"text": part.text})
            case MediaPart():
                self._held.append(
                    media_part(part, message.path, self._profile, self._notes, vertex=self._vertex)
                )
            case ToolResultPart():
                self._result(part, message)
            case _:
                self._notes.dropped("messages")

    def _result(self, part: ToolResultPart, message: Message) -> None:
        name = self._called.get(part.call_id)
        if name is None:
            invalid(message.path or "messages", "answers a tool call that is not in the conversation")
        written, media = result_part(
            part, name, message.path, self._profile, self._notes, vertex=self._vertex
        )
        self._open.results.setdefault(part.call_id, []).append(written)
        self._open.media += media

    def _close_round(self) -> None:
        """Write the results of the last calls, in the order of the calls, then what the user said besides."""
        calls, self._open = self._open, _Calls()
        results = [item for call in calls.order for item in calls.results.pop(call, [])]
        # What is left answers calls of earlier turns.
        results += [item for items in calls.results.values() for item in items]
        if results:
            self._entries.append({"role": "user", "parts": results})
        held, self._held = calls.media + self._held, []
        if held and results:
            self._entries.append({"role": "user", "parts": held})
        else:
            self._add("user", held)

    def _add(self, role: str, parts: list[Json]) -> None:
        if not parts:
            return
        last = self._entries[-1] if self._entries else None
        if last is not None and last["role"] == role and not _holds_results(last):
            last["parts"] += parts
        else:
            self._entries.append({"role": role, "parts": parts})

    def _model_parts(self, message: Message) -> list[Json]:
        parts: list[Json] = []
        signatures: list[str] = []
        for part in message.parts:
            match part:
                case ReasoningPart():
                    self._thought(part, parts, signatures)
                case TextPart() | RefusalPart():
                    if part.text:
                        parts.append({"text": part.text})
                        if signatures:
                            parts[-1]["thoughtSignature"] = signatures.pop(0)
                case ToolCallPart():
                    parts.append(self._call(part, message, signatures))
                case MediaPart():
                    parts.append(
                        media_part(part, message.path, self._profile, self._notes, vertex=self._vertex)
                    )
                case _:
                    self._notes.dropped("messages")
        if signatures and parts and "thoughtSignature" not in parts[-1]:
            parts[-1]["thoughtSignature"] = signatures[0]
        return parts

    def _thought(self, part: ReasoningPart, parts: list[Json], signatures: list[str]) -> None:
        if part.origin not in ("", ORIGIN):
            # What another model thought, under a seal that means nothing here.
            self._notes.dropped("messages.reasoning")
            return
        if part.signature:
            if is_signature(part.signature):
                signatures.append(part.signature)
            else:
                self._notes.dropped("messages.reasoning")
        if part.text:
            parts.append({"text": part.text, "thought": True})

    def _call(self, part: ToolCallPart, message: Message, signatures: list[str]) -> Json:
        name = self._names.sent(part.name)
        self._called[part.id] = name
        written = call_part(name, "" if self._vertex else part.id, arguments_of(part, message.path))
        if part.signature and is_signature(part.signature):
            written["thoughtSignature"] = part.signature
        elif part.signature:
            self._notes.dropped("messages.tool_calls.signature")
        elif signatures:
            written["thoughtSignature"] = signatures.pop(0)
        return written

    def _sign(self) -> None:
        """Give the first call of each of the model's turns a signature, where the model insists on one."""
        if not self._profile.signatures:
            return
        for entry in self._entries:
            calls = [part for part in entry["parts"] if "functionCall" in part]
            if calls:
                calls[0].setdefault("thoughtSignature", SKIP)

    def _insert_turn(self) -> None:
        self._notes.emulated("messages")
        self._entries.insert(0, {"role": "user", "parts": [{"text": " "}]})

    def _fill(self) -> None:
        """Add text to a turn of media alone, which older models refuse."""
        if self._profile.json_schema:
            return
        for entry in self._entries:
            parts = entry["parts"]
            if entry["role"] == "user" and all("inlineData" in part or "fileData" in part for part in parts):
                parts.append({"text": " "})


def _holds_results(entry: Json) -> bool:
    return any("functionResponse" in part for part in entry["parts"])
