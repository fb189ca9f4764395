"""
Writes the messages of a conversation as items of a response's input.
"""

from __future__ import annotations

import hashlib
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
from services.providers.dialects.openai_responses.citations import flat_citation
from services.providers.dialects.openai_responses.media_writer import media_part
from services.providers.dialects.openai_responses.seals import OPENAI

if TYPE_CHECKING:
    from services.providers.dialects.neutral.conversation import CacheMark, Message
    from services.providers.dialects.neutral.notes import Notes
    from services.providers.dialects.neutral.tool_names import ToolNames

__all__ = ["MessageWriter"]

Json = dict[str, Any]
# OpenAI refuses longer ones; those of other providers may be.
_LONGEST_ID: Final = 64


class MessageWriter:
    """
    Writes the items of one request.

    Args:
        names: Of tools, as they are sent.
        notes: What is dropped or emulated.
        marks: The model takes marks of what its provider is to cache.
        thinks: The model takes its thoughts back.
    """

    def __init__(self, names: ToolNames, notes: Notes, *, marks: bool, thinks: bool) -> None:
        self._names = names
        self._notes = notes
        self._marks = marks
        self._thinks = thinks
        self._items: list[Json] = []
        self._custom_ids: set[str] = set()
        self._open: list[Json] | None = None  # content of the message that is being written

    def write(self, messages: list[Message]) -> list[Json]:
        """
        Return the items.

        Raises:
            GatewayError: UNSUPPORTED, naming the message.
        """
        for message in messages:
            if message.name:
                self._notes.dropped("messages.name")
            if message.role == "assistant":
                self._assistant(message)
            else:
                self._given(message)
        return self._items

    def _given(self, message: Message) -> None:
        """Write what the client gives: instructions, the user's words, results of tools."""
        content: list[Json] = []
        for part in message.parts:
            match part:
                case ToolResultPart():
                    self._result(part, message.path)
                case MediaPart() if message.role in {"system", "developer"}:
                    self._notes.dropped("messages.content")
                case MediaPart():
                    content.append(media_part(part, message.path) | self._mark(part.cache))
                case TextPart() if part.text:
                    content.append({"type": "input_text", "text": part.text} | self._mark(part.cache))
                case RefusalPart() if part.text:
                    content.append({"type": "input_text", "text": part.text})
                case _:
                    pass
        if content:
            self._items.append({"type": "message", "role": message.role, "content": _short(content)})

    def _assistant(self, message: Message) -> None:
        for part in message.parts:
            match part:
                case TextPart() if part.text:
                    self._said(part)
                case RefusalPart() if part.text:
                    self._spoken().append({"type": "refusal", "refusal": part.text})
                case ReasoningPart():
                    self._thought(part)
                case ToolCallPart():
                    self._call(part)
                case MediaPart():
                    self._image(part)
                case _:
                    pass
        self._close()

    def _spoken(self) -> list[Json]:
        if self._open is None:
            self._open = []
        return self._open

    def _close(self) -> None:
        """Write the message that is open: a single text as it is, else as the model's own answers look."""
        content, self._open = self._open, None
        if not content:
            return
        item: Json = {"type": "message", "role": "assistant", "content": content[0].get("text", "")}
        if len(content) > 1 or content[0].get("annotations") or content[0]["type"] != "output_text":
            made_up = f"msg_{len(self._items):04d}"
            item = {"id": made_up, **item, "status": "completed", "content": content}
        self._items.append(item)

    def _add(self, item: Json) -> None:
        self._close()
        self._items.append(item)

    def _said(self, part: TextPart) -> None:
        annotations = [flat for citation in part.citations if (flat := flat_citation(citation)) is not None]
        if part.cache is not None:
            self._notes.dropped("cache_control")
        self._spoken().append({"type": "output_text", "text": part.text, "annotations": annotations})

    def _thought(self, part: ReasoningPart) -> None:
        if not part.sealed or part.origin != OPENAI or not self._thinks:
            # Thoughts without OpenAI's own seal are nothing that a model of OpenAI's takes back.
            self._notes.dropped("messages.reasoning")
            return
        item: Json = {"type": "reasoning"}
        if part.item_id:
            item["id"] = part.item_id
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text else []
        item["encrypted_content"] = part.sealed
        self._add(item)

    def _call(self, part: ToolCallPart) -> None:
        if part.cache is not None:
            self._notes.dropped("cache_control")
        if part.signature:
            self._notes.dropped("messages.tool_calls.signature")
        head: Json = {"call_id": _call_id(part.id), "name": self._names.sent(part.name)}
        if part.custom:
            self._custom_ids.add(part.id)
            self._add({"type": "custom_tool_call", **head, "input": part.arguments})
        else:
            self._add({"type": "function_call", **head, "arguments": part.arguments or "{}"})

    def _image(self, part: MediaPart) -> None:
        if part.kind != "image" or not part.data:
            self._notes.dropped("messages.media")
            return
        digest = hashlib.sha256(part.data.encode("utf-8", "surrogatepass")).hexdigest()
        item: Json = {"type": "image_generation_call", "id": f"ig_{digest[:32]}", "status": "completed"}
        form = part.media_type.rpartition("/")[2]
        self._add({**item, "result": part.data} | ({"output_format": form} if form else {}))

    def _result(self, part: ToolResultPart, path: str) -> None:
        if part.cache is not None:
            self._notes.dropped("cache_control")
        content = [
            media_part(item, path) | self._mark(item.cache)
            if isinstance(item, MediaPart)
            else {"type": "input_text", "text": item.text} | self._mark(item.cache)
            for item in part.content
        ]
        if part.is_error:
            # Responses have no other way to say it.
            self._notes.emulated("messages.is_error")
            content = _failed(content)
        custom = part.custom or part.call_id in self._custom_ids
        kind = "custom_tool_call_output" if custom else "function_call_output"
        output = _short(content) if content else ""
        self._add({"type": kind, "call_id": _call_id(part.call_id), "output": output})

    def _mark(self, cache: CacheMark | None) -> Json:
        if cache is None:
            return {}
        if not self._marks:
            self._notes.dropped("cache_control")
            return {}
        return {"prompt_cache_breakpoint": {"mode": "explicit"}}


def _short(content: list[Json]) -> str | list[Json]:
    """Take a single text without its part, which every host reads."""
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        text: str = content[0]["text"]
        return text
    return content


def _failed(content: list[Json]) -> list[Json]:
    words = "\n".join(part["text"] for part in content if "text" in part)
    told = {"type": "input_text", "text": orjson.dumps({"error": words}).decode()}
    return [told, *(part for part in content if "text" not in part)]


def _call_id(given: str) -> str:
    """Fit the id of a call to what OpenAI takes, the same for the call and its result."""
    if len(given) <= _LONGEST_ID:
        return given
    return f"call_{hashlib.sha256(given.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
