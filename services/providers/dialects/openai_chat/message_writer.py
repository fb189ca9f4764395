"""
Writes the messages of a conversation as chat messages.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

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
from services.providers.dialects.openai_chat.media_writer import (
    cache_control,
    media_part,
    short,
    text_part,
)
from services.providers.dialects.openai_chat.thought_writer import replay, thinking_parts

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import Message, Part
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames
    from services.providers.dialects.openai_chat.quirks import ChatQuirks

__all__ = ["MessageWriter"]

Json = dict[str, Any]
_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
_SEE_BELOW: Final = "The result follows in the next message."


class MessageWriter:
    """
    Writes the messages of one request.

    Args:
        quirks: What the host takes.
        names: Of tools, as they are sent.
        notes: What is dropped or emulated.
    """

    def __init__(self, quirks: ChatQuirks, names: ToolNames, notes: Notes) -> None:
        self._quirks = quirks
        self._names = names
        self._notes = notes
        self._messages: list[Json] = []
        # Media that tools gave; they follow the round's results, which must not be parted.
        self._media: list[Json] = []

    def write(self, messages: list[Message]) -> list[Json]:
        """
        Return the messages.

        Raises:
            GatewayError: UNSUPPORTED, naming the message.
        """
        for message in messages:
            if message.role not in {"tool", "user"}:
                self._flush()
            self._message(message)
        self._flush()
        if messages and messages[-1].role == "assistant":
            self._prefill(messages[-1])
        return self._messages

    def _message(self, message: Message) -> None:
        match message.role:
            case "system" | "developer" as role:
                self._system(role if self._quirks.developer else "system", message)
            case "user":
                self._user(message)
            case "assistant":
                self._assistant(message)
            case "tool":
                results = [part for part in message.parts if isinstance(part, ToolResultPart)]
                self._results(results, message.path)

    def _system(self, role: str, message: Message) -> None:
        texts = [self._text(part) for part in message.parts if isinstance(part, TextPart) and part.text]
        if texts:
            self._messages.append({"role": role, "content": short(texts, self._quirks)} | self._name(message))

    def _user(self, message: Message) -> None:
        # In some dialects a tool's results and what the user says next are one message.
        self._results([part for part in message.parts if isinstance(part, ToolResultPart)], message.path)
        parts = [written for part in message.parts if (written := self._user_part(part, message))]
        parts = [*self._media, *parts]
        if self._media:
            self._notes.emulated("messages.content")
            self._media = []
        if parts:
            self._messages.append(
                {"role": "user", "content": short(parts, self._quirks)} | self._name(message)
            )

    def _user_part(self, part: Part, message: Message) -> Json | None:
        match part:
            case TextPart():
                return self._text(part) if part.text else None
            case RefusalPart():
                return {"type": "text", "text": part.text} if part.text else None
            case MediaPart():
                return self._file(part, message.path)
        return None

    def _text(self, part: TextPart) -> Json:
        if part.cache is not None and not self._quirks.cache_marks:
            self._notes.dropped("cache_control")
        return text_part(part, self._quirks)

    def _file(self, part: MediaPart, path: str) -> Json:
        if part.cache is not None and not self._quirks.cache_marks:
            self._notes.dropped("cache_control")
        written = media_part(part, path or "messages", self._quirks)
        if written["type"] == "text":
            self._notes.emulated("messages.content")
        return written

    def _name(self, message: Message) -> Json:
        if not message.name:
            return {}
        if not self._quirks.names:
            self._notes.dropped("messages.name")
            return {}
        return {"name": message.name}

    def _assistant(self, message: Message) -> None:
        thoughts = [part for part in message.parts if isinstance(part, ReasoningPart)]
        calls = [self._call(part) for part in message.parts if isinstance(part, ToolCallPart)]
        if any(isinstance(part, MediaPart) for part in message.parts):
            self._notes.dropped("messages.media")
        members, lost = replay(thoughts, self._quirks)
        if lost:
            self._notes.dropped("messages.reasoning")
        content = self._spoken(message.parts, thinking_parts(thoughts, self._quirks))
        if self._quirks.refusals:
            refusal = "".join(part.text for part in message.parts if isinstance(part, RefusalPart))
            members |= {"refusal": refusal} if refusal else {}
        if calls:
            members["tool_calls"] = calls
        if content or members:
            # Hosts refuse a message that says nothing at all.
            self._messages.append(
                {"role": "assistant", "content": content or None} | members | self._name(message)
            )

    def _spoken(self, parts: list[Part], thinking: list[Json]) -> str | list[Json]:
        """Write what the model said. It was one flow of text, in however many parts it came."""
        texts = [part for part in parts if isinstance(part, TextPart) and part.text]
        said = [self._text(part) for part in texts]
        if not self._quirks.refusals:
            said += [
                {"type": "text", "text": part.text}
                for part in parts
                if isinstance(part, RefusalPart) and part.text
            ]
        if thinking or any("cache_control" in part for part in said):
            return [*thinking, *said]
        return "".join(part["text"] for part in said)

    def _call(self, part: ToolCallPart) -> Json:
        if part.cache is not None and not self._quirks.cache_marks:
            self._notes.dropped("cache_control")
        name = self._names.sent(part.name)
        written: Json = {"id": self._id(part.id)}
        if part.custom and self._quirks.custom_tools:
            written |= {"type": "custom", "custom": {"name": name, "input": part.arguments}}
        else:
            arguments = part.arguments or "{}"
            if part.custom:
                self._notes.emulated("messages.tool_calls")
                arguments = dump_free_text(part.arguments)
            written |= {"type": "function", "function": {"name": name, "arguments": arguments}}
        if part.signature:
            if self._quirks.signatures:
                written["extra_content"] = {"google": {"thought_signature": part.signature}}
            else:
                self._notes.dropped("messages.tool_calls.signature")
        return written | cache_control(part.cache, self._quirks)

    def _id(self, given: str) -> str:
        """Give the id of a call as the host takes it: the same for the call and its result."""
        if not self._quirks.short_ids or _SHORT_ID.fullmatch(given):
            return given
        return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:9]

    def _results(self, results: list[ToolResultPart], path: str) -> None:
        for part in results:
            if part.cache is not None and not self._quirks.cache_marks:
                self._notes.dropped("cache_control")
            texts = [self._text(item) for item in part.content if isinstance(item, TextPart)]
            media = [self._file(item, path) for item in part.content if isinstance(item, MediaPart)]
            texts += [item for item in media if item["type"] == "text"]
            shown = [item for item in media if item["type"] != "text"]
            content = short(texts, self._quirks) if texts else (_SEE_BELOW if shown else "")
            if part.is_error:
                # Chat completions have no other way to say it.
                self._notes.emulated("messages.is_error")
                content = orjson.dumps({"error": "\n".join(item["text"] for item in texts)}).decode()
            self._media += shown
            self._messages.append(
                {"role": "tool", "tool_call_id": self._id(part.call_id), "content": content}
                | cache_control(part.cache, self._quirks)
            )

    def _flush(self) -> None:
        """Show the media that tools gave, where no message of the user's takes them along."""
        if self._media:
            self._notes.emulated("messages.content")
            self._messages.append({"role": "user", "content": self._media})
            self._media = []

    def _prefill(self, message: Message) -> None:
        """Take care of an answer that the client has begun for the model."""
        if any(isinstance(part, ToolCallPart) for part in message.parts):
            return
        if self._quirks.prefill == "prefix" and self._messages and self._messages[-1]["role"] == "assistant":
            self._messages[-1]["prefix"] = True
        elif not self._quirks.prefill:
            # The model answers anew, with those words before it.
            self._notes.emulated(message.path or "messages")
